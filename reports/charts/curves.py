"""Scores while something learned: the reference, and every trained candidate from rung to rung."""

from collections.abc import Sequence
from dataclasses import replace

from reports.axes import Axis, Tick, linear_axis, log_axis
from reports.charts.chart import Z95, Chart, Frame, Label, Line, Mark, polyline
from reports.charts.front import candidate_title
from reports.searched import Candidate, RungPoint
from reports.summary import Summary
from reports.wording import metric_name, number, score_value

MAX_TICKS = 6  # rungs with their steps below the axis


def curve_chart(summary: Summary, width: int = 960, height: int = 320) -> Chart | None:
    """The reference's score while it learned, with its 95 % band; null below two points."""
    curve = summary.curve or ()
    if len(curve) < 2:
        return None
    timed = all(point.cpu_seconds is not None for point in curve)
    at = [float(point.cpu_seconds or 0.0) if timed else float(point.step) for point in curve]
    spread = [Z95 * (point.standard_error or 0.0) for point in curve]
    frame = Frame(width, height)
    x = linear_axis(at, frame.left, frame.right)
    values = [point.value for point in curve] + ([0.9 * summary.floor.value] if summary.floor else [])
    y = log_axis(values, frame.bottom, frame.top)
    upper = [(x.at(a), y.at(p.value + s)) for a, p, s in zip(at, curve, spread, strict=True)]
    lower = [(x.at(a), y.at(p.value - s)) for a, p, s in zip(at, curve, spread, strict=True)]
    middle = [(x.at(a), y.at(p.value)) for a, p in zip(at, curve, strict=True)]
    lines = [Line("band", polyline([*upper, *reversed(lower)]) + "Z"), Line("curve", polyline(middle))]
    labels: list[Label] = []
    if summary.floor:
        level = y.at(summary.floor.value)
        lines.append(Line("floor", f"M{frame.left} {level}H{frame.right}"))
        labels.append(Label(frame.left + 8, level - 6, f"real against real, {score_value(summary.floor)}"))
    marks = [
        Mark("point", px, py, (px, px), (py, py), f"step {point.step:,}: {number(point.value)}")
        for (px, py), point in zip(middle, curve, strict=True)
    ]
    name = metric_name(summary.floor or (summary.reference.quality if summary.reference else None))
    x_name = "CPU-seconds of training" if timed else "training steps"
    title, y_name = "Learning curve of the reference", f"{name}, lower is better{y.scale}"
    return frame.chart(title, x, y, x_name, y_name, lines, marks, labels)


def rungs_chart(summary: Summary, width: int = 960, height: int = 320) -> Chart | None:
    """Every trained candidate's score after each rung, finalists in colour; null below two candidates with one."""
    trained = [one for one in summary.candidates or () if one.curve]
    if len(trained) < 2:
        return None
    frame = Frame(width, height)
    levels = [score.value for score in (summary.reference_seen,) if score]
    x = log_axis([float(point.steps) for one in trained for point in one.curve], frame.left, frame.right)
    y = log_axis([p.value for one in trained for p in one.curve] + [0.8 * v for v in levels], frame.bottom, frame.top)
    lines, marks = [], []
    for one in sorted(trained, key=_importance):
        kind = _kind(one, summary)
        places = _places(one.curve, x, y)
        if len(places) > 1:
            lines.append(Line(f"path {kind}", polyline(places)))
        marks += _marks(one, kind, places)
    labels = []
    for value in levels:
        lines.append(Line("reference", f"M{frame.left} {y.at(value)}H{frame.right}"))
        about = f"reference, {score_value(summary.reference_seen)}"
        labels.append(Label(frame.right - 8, y.at(value) + 16, about, "end"))
    metric = metric_name(next((one.quality for one in trained if one.quality), None))
    y_name = f"{metric}, lower is better{y.scale}"
    chart = frame.chart("Scores over the rungs", x, y, "training steps (log scale)", y_name, lines, marks, labels)
    steps = sorted({point.steps for one in trained for point in one.curve})
    return replace(chart, x_ticks=tuple(Tick(x.at(one), f"{one:,}") for one in steps[-MAX_TICKS:]))


def _importance(one: Candidate) -> tuple[bool, bool]:
    return one.finalist, one.outcome == "complete"


def _kind(one: Candidate, summary: Summary) -> str:
    """``winner``, ``finalist``, ``complete`` or ``dominated``."""
    if one.finalist:
        winners = {finalist.id for finalist in summary.finalists or () if finalist.winner}
        return "winner" if one.id in winners else "finalist"
    return "complete" if one.outcome == "complete" else "dominated"


def _places(curve: Sequence[RungPoint], x: Axis, y: Axis) -> list[tuple[float, float]]:
    return [(x.at(point.steps), y.at(point.value)) for point in curve]


def _marks(one: Candidate, kind: str, places: Sequence[tuple[float, float]]) -> list[Mark]:
    """One mark a rung; its tooltip begins with who it is."""
    head, *rest = candidate_title(one).split("\n")
    titles = ["\n".join([head, f"{number(p.value)} after {p.steps:,} steps", *rest]) for p in one.curve]
    return [
        Mark(f"rung {kind}", px, py, (px, px), (py, py), title) for (px, py), title in zip(places, titles, strict=True)
    ]
