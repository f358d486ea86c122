"""The picture of the search: speed against quality of everything that was trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.axes import Axis, log_axis
from reports.charts.chart import Z95, Box, Chart, Frame, Label, Line, Mark, beside
from reports.finished import Model
from reports.records import Estimate, Ratio, Score
from reports.searched import Candidate
from reports.summary import Summary
from reports.wording import genotype_text, metric_name, number, score, speedup

MAX_RUG = 400  # untrained candidates drawn
MAX_IDLE = 0.35  # of the width, at most, to have the reference itself (1×) on the axis


def front_chart(summary: Summary, width: int = 960, height: int = 480) -> Chart | None:
    """Quality against speed-up of every trained candidate, with finalists, reference, baseline, result and limits.

    The axis spans what was trained; untrained candidates are short lines where they fall on it, and a count where they
    do not. The staircase joins the complete candidates that no other complete one beats in both. Null if nothing was
    searched, or nothing has both a ratio and a score.
    """
    points = _points(summary)
    if not points or not (summary.candidates or summary.finalists):
        return None
    frame = Frame(width, height)
    level = summary.reference_seen or (summary.reference.quality if summary.reference else None)
    minimum = summary.target.min_speedup if summary.target else None
    x = _speed_axis([point.speed for point in points] + ([minimum] if minimum else []), frame)
    levels = [one for one in (level.value if level else None, summary.allowed_seen) if one]
    heights = [value for p in points for value in (p.quality, p.quality + p.error)]
    y = log_axis([*heights, *(0.8 * one for one in levels)], frame.bottom, frame.top)
    lines, labels, boxes = _limits(summary, x, y, frame, level, minimum)
    lines.append(Line("front", _staircase([p for p in points if p.kind in ("complete", "chosen")], x, y)))
    rug, counts = _rug(summary, x, frame)
    marks = [point.mark(x, y) for point in points]
    if level:
        marks.append(_reference_mark(level, x, y, summary.reference_seen is not None))
    named = [p for p in points if p.kind in ("baseline", "result")]
    labels += [beside(x.at(p.speed), y.at(p.quality) + 4, p.kind, "name", frame) for p in named]
    return frame.chart(
        "Quality against speed-up",
        x,
        y,
        "speed-up over the reference (log scale)",
        f"{metric_name(level or points[0].score)}, lower is better",
        [*lines, *rug],
        marks,
        [*labels, *counts],
        boxes,
    )


@dataclass(frozen=True, slots=True)
class _Point:
    kind: str
    ratio: Ratio | Estimate
    score: Score
    about: str

    @property
    def speed(self) -> float:
        return 1 / self.ratio.value

    @property
    def quality(self) -> float:
        return self.score.value

    @property
    def error(self) -> float:
        return Z95 * (self.score.standard_error or 0.0)

    def mark(self, x: Axis, y: Axis) -> Mark:
        ends = [x.at(1 / end) for end in reversed(self.ratio.ci95) if end > 0] or [x.at(self.speed)]
        head, *rest = self.about.split("\n")
        facts = f"{number(self.speed)}× as fast, {metric_name(self.score)} {score(self.score)}"
        at, title = (x.at(self.speed), y.at(self.quality)), "\n".join([head, facts, *rest])
        y_ends = y.at(self.quality - self.error), y.at(self.quality + self.error)
        return Mark(self.kind, *at, (ends[0], ends[-1]), y_ends, title)


def _points(summary: Summary) -> list[_Point]:
    """Everything with a ratio and a score, the most important last: it is drawn on top."""
    trained = [one for one in summary.candidates or () if one.outcome != "duplicate"]
    points = [
        _Point(candidate_kind(one), one.ratio, one.quality, candidate_title(one))
        for one in sorted(trained, key=lambda one: one.outcome == "complete")
        if one.ratio and one.quality
    ]
    for finalist in summary.finalists or ():
        if finalist.ratio and finalist.quality:
            kind = "winner" if finalist.winner else "finalist"
            about = f"{kind} {finalist.id}, after its whole training\n{genotype_text(finalist.genotype)}"
            points.append(_Point(kind, finalist.ratio, finalist.quality, about))
    return points + _finished(summary)


def candidate_kind(one: Candidate) -> str:
    """The CSS class of a candidate: ``chosen`` if it became a finalist, else its outcome."""
    return "chosen" if one.finalist and one.outcome == "complete" else one.outcome


def candidate_title(one: Candidate) -> str:
    """What a tooltip says of a candidate: id, outcome, knobs."""
    rung = "" if one.rung is None else f", rung {one.rung}"
    chosen = ", became a finalist" if one.finalist else ""
    return f"{one.id}, {one.outcome}{rung}{chosen}\n{genotype_text(one.genotype)}"


def _finished(summary: Summary) -> list[_Point]:
    """Baseline and result as they stand in the final table, at the target's batch."""
    batch = summary.target.batch if summary.target else 1
    models: tuple[tuple[str, str, Model | None], ...] = (
        ("baseline", "baseline", summary.baseline),
        ("result", "final", summary.final),
    )
    points = []
    for kind, who, model in models:
        ratios = [row.ratio for row in summary.latency or () if row.who == who and row.batch == batch and row.ratio]
        if model and model.quality and ratios:
            fastest = min(ratios, key=lambda ratio: ratio.value)
            about = "the reference narrowed, without search" if kind == "baseline" else "what ships"
            points.append(_Point(kind, fastest, model.quality, f"{kind}, on held_out\n{about}"))
    return points


def _speed_axis(speeds: Sequence[float], frame: Frame) -> Axis:
    """An axis of the speeds, from 1 (the reference) where that leaves less than ``MAX_IDLE`` of the width idle."""
    low, high = min(speeds), max(speeds)
    idle, used = math.log(low), math.log(high / low)
    near = low <= 1 or idle <= MAX_IDLE * (idle + used)
    return log_axis([1.0, *speeds] if near else speeds, frame.left, frame.right)


def _reference_mark(level: Score, x: Axis, y: Axis, seen: bool) -> Mark:
    where = "" if x.low <= 1 else "; 1× lies to the left of this picture"
    title = f"reference\n1× as fast, {metric_name(level)} {score(level)}{'' if seen else ', on held_out'}{where}"
    at_x, at_y, error = x.at(1.0), y.at(level.value), Z95 * (level.standard_error or 0.0)
    return Mark("teacher", at_x, at_y, (at_x, at_x), (y.at(level.value - error), y.at(level.value + error)), title)


def _limits(
    summary: Summary, x: Axis, y: Axis, frame: Frame, level: Score | None, minimum: float | None
) -> tuple[list[Line], list[Label], list[Box]]:
    """The reference's quality, the worst that the budget allows, the least speed-up; and the corner that meets both."""
    lines, labels, boxes = [], [], []
    left = x.at(minimum) if minimum else frame.left
    allowed = summary.allowed_seen if level and summary.allowed_seen and summary.allowed_seen > 0 else None
    if allowed and y.low < allowed < y.high:
        at = y.at(allowed)
        boxes.append(Box("goal", left, at, round(frame.right - left, 1), round(frame.bottom - at, 1)))
        lines.append(Line("limit", f"M{frame.left} {at}H{frame.right}"))
        labels.append(Label(frame.right - 6, at - 6, f"budget, {number(allowed)}", "end"))
    if level:
        at = y.at(level.value)
        lines.append(Line("reference", f"M{frame.left} {at}H{frame.right}"))
        about = f"reference, {score(level)}{'' if summary.reference_seen else ' (held_out)'}"
        labels.append(Label(frame.left + 14, at + 16, about))
    if minimum:
        lines.append(Line("limit", f"M{left} {frame.top}V{frame.bottom}"))
        labels.append(beside(left, frame.top + 12, f"at least {minimum:g}×", "note", frame))
    return lines, labels, boxes


def _rug(summary: Summary, x: Axis, frame: Frame) -> tuple[list[Line], list[Label]]:
    """Short lines on the axis for what was too slow and never trained; those that lie outside are counted."""
    ratios = [one.ratio for one in summary.candidates or () if one.outcome == "infeasible" and one.ratio]
    shown = [ratio for ratio in ratios if x.low <= 1 / ratio.value <= x.high][:MAX_RUG]
    outside = sum(1 / ratio.value < x.low for ratio in ratios)
    places = [(x.at(1 / ratio.value), f"too slow, {speedup(ratio)}") for ratio in shown]
    lines = [Line("rug", f"M{at} {frame.bottom}v-9", title) for at, title in places]
    labels = [Label(frame.left - 44, frame.bottom + 38, f"◂ {outside:,} slower")] if outside else []
    return lines, labels


def _staircase(points: Sequence[_Point], x: Axis, y: Axis) -> str:
    """The border of what the points reach, from the fastest to the best quality; empty below two points."""
    front: list[_Point] = []
    for point in sorted(points, key=lambda p: (-p.speed, p.quality)):
        if not front or point.quality < front[-1].quality:
            front.append(point)
    places = [(x.at(p.speed), y.at(p.quality)) for p in front]
    if len(places) < 2:
        return ""
    return f"M{places[0][0]} {places[0][1]}" + "".join(f"H{x}V{y}" for x, y in places[1:])
