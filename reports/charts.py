"""Positions of everything in the pictures of a report; ``templates/charts.html.j2`` draws them as inline SVG.

Numbers of a picture are pixels of its view box, x to the right and y downwards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.axes import Axis, Tick, linear_axis, log_axis
from reports.summary import Candidate, Estimate, LatencyRow, Model, Ratio, Score, Summary
from reports.wording import genotype_text, metric_name, number, rounded, score, score_value, speedup

Z95 = 1.96  # half width of a normal 95 % interval, in standard errors
MAX_RUG = 400  # infeasible candidates drawn


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a place; ``anchor`` and ``kind`` are CSS words."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    kind: str = "note"


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its intervals (pixels; equal ends draw nothing) and its tooltip."""

    kind: str
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A path in SVG's words; ``kind`` is a CSS class."""

    kind: str
    path: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: a plot area, ticks, lines below marks below labels."""

    title: str
    width: int
    height: int
    left: float
    top: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """One latency: ``width``, ``low`` and ``high`` in percent of the longest bar."""

    who: str
    label: str
    text: str
    width: float
    low: float
    high: float


def latency_bars(rows: Sequence[LatencyRow]) -> tuple[Bar, ...]:
    """Bars from zero, longest = 100 %: lengths compare as the times do."""
    longest = max((row.ci95_ms[1] for row in rows), default=1.0)
    bars = []
    for row in rows:
        who = "result" if row.who == "final" else row.who
        median, _, _ = rounded(row.median_ms, *row.ci95_ms)
        low, high = (round(100 * end / longest, 2) for end in row.ci95_ms)
        bars.append(Bar(row.who, f"{who}, {row.precision}, {row.runtime}", f"{median} ms",
                        round(100 * row.median_ms / longest, 2), low, high))
    return tuple(bars)


def front_chart(summary: Summary, width: int = 960, height: int = 460) -> Chart | None:
    """Quality against speed-up of every evaluated candidate, with finalists, baseline, result and limits.

    The staircase joins the complete candidates that no other complete one beats in both. Null if nothing has both
    a ratio and a score.
    """
    scored = [one for one in summary.candidates or () if one.ratio and one.quality and one.outcome != "duplicate"]
    finalists = [one for one in summary.finalists or () if one.ratio and one.quality]
    points = [_Point(_candidate_kind(one), one.ratio, one.quality, _candidate_title(one))
              for one in sorted(scored, key=lambda one: one.outcome == "complete") if one.ratio and one.quality]
    points += [_Point("winner" if one.winner else "finalist", one.ratio, one.quality,
                      f"{'winner' if one.winner else 'finalist'} {one.id}\n{genotype_text(one.genotype)}")
               for one in finalists if one.ratio and one.quality]
    points += _finished(summary)
    if not points:
        return None
    infeasible = [one.ratio for one in summary.candidates or () if one.outcome == "infeasible" and one.ratio][:MAX_RUG]
    line = summary.reference_seen or (summary.reference.quality if summary.reference else None)
    minimum = summary.target.min_speedup if summary.target else None
    speeds = [1.0, *(point.speed for point in points), *(1 / ratio.value for ratio in infeasible)]
    frame = _Frame(width, height)
    x = log_axis([*speeds, minimum] if minimum else speeds, frame.left, frame.right)
    y = log_axis([v for p in points for v in (p.quality, p.quality + p.error)] + ([line.value] if line else []),
                 frame.bottom, frame.top)
    lines, labels = _limits(x, y, frame, line, summary.reference_seen is not None, minimum)
    lines += [Line("front", _staircase([p for p in points if p.kind in ("complete", "chosen")], x, y))]
    lines += [Line("rug", f"M{x.at(1 / ratio.value)} {frame.bottom}v-9", f"infeasible, {speedup(ratio)}")
              for ratio in infeasible]
    labels += [_beside(x.at(p.speed), y.at(p.quality) + 4, p.kind, "name", frame)
               for p in points if p.kind in ("baseline", "result")]
    return frame.chart("Quality against speed-up", x, y, "speed-up over the reference's fastest file (log scale)",
                       f"{metric_name(line or points[0].score)}, lower is better", lines,
                       [p.mark(x, y) for p in points], labels)


def curve_chart(summary: Summary, width: int = 960, height: int = 320) -> Chart | None:
    """The reference's score while it learned, with its 95 % band; null below two points."""
    curve = summary.curve or ()
    if len(curve) < 2:
        return None
    timed = all(point.cpu_seconds is not None for point in curve)
    at = [float(point.cpu_seconds or 0.0) if timed else float(point.step) for point in curve]
    spread = [Z95 * (point.standard_error or 0.0) for point in curve]
    frame = _Frame(width, height)
    x = linear_axis(at, frame.left, frame.right)
    values = [point.value for point in curve] + ([summary.floor.value] if summary.floor else [])
    y = log_axis(values, frame.bottom, frame.top)
    upper = [(x.at(a), y.at(p.value + s)) for a, p, s in zip(at, curve, spread, strict=True)]
    lower = [(x.at(a), y.at(p.value - s)) for a, p, s in zip(at, curve, spread, strict=True)]
    middle = [(x.at(a), y.at(p.value)) for a, p in zip(at, curve, strict=True)]
    lines = [Line("band", _path([*upper, *reversed(lower)]) + "Z"), Line("curve", _path(middle))]
    labels: list[Label] = []
    if summary.floor:
        level = y.at(summary.floor.value)
        lines.append(Line("floor", f"M{frame.left} {level}H{frame.right}"))
        labels.append(Label(frame.left + 8, level - 6, f"real against real, {score_value(summary.floor)}"))
    marks = [Mark("point", px, py, (px, px), (py, py), f"step {point.step:,}: {number(point.value)}")
             for (px, py), point in zip(middle, curve, strict=True)]
    name = metric_name(summary.floor or (summary.reference.quality if summary.reference else None))
    return frame.chart("Learning curve of the reference", x, y,
                       "CPU-seconds of training" if timed else "training steps",
                       f"{name}, lower is better", lines, marks, labels)


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
        title = f"{self.about}\n{number(self.speed)}× as fast, {metric_name(self.score)} {score(self.score)}"
        return Mark(self.kind, x.at(self.speed), y.at(self.quality), (ends[0], ends[-1]),
                    (y.at(self.quality - self.error), y.at(self.quality + self.error)), title)


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int

    left = 52.0
    top = 14.0

    @property
    def right(self) -> float:
        return self.width - 16.0

    @property
    def bottom(self) -> float:
        return self.height - 46.0

    def chart(self, title: str, x: Axis, y: Axis, x_label: str, y_label: str, lines: Iterable[Line],
              marks: Iterable[Mark], labels: Iterable[Label]) -> Chart:
        return Chart(title, self.width, self.height, self.left, self.top, self.right, self.bottom, x.ticks(), y.ticks(),
                     x_label, y_label, tuple(lines), tuple(marks), tuple(labels))


def _candidate_kind(one: Candidate) -> str:
    return "chosen" if one.finalist and one.outcome == "complete" else one.outcome


def _candidate_title(one: Candidate) -> str:
    rung = "" if one.rung is None else f", rung {one.rung}"
    return f"{one.id}, {one.outcome}{rung}\n{genotype_text(one.genotype)}"


def _finished(summary: Summary) -> list[_Point]:
    """Baseline and result as they stand in the final table, at the target's batch."""
    batch = summary.target.batch if summary.target else 1
    points = []
    models: tuple[tuple[str, str, Model | None], ...] = (
        ("baseline", "baseline", summary.baseline), ("result", "final", summary.final))
    for kind, who, model in models:
        ratios = [row.ratio for row in summary.latency or () if row.who == who and row.batch == batch and row.ratio]
        if model and model.quality and ratios:
            fastest = min(ratios, key=lambda ratio: ratio.value)
            points.append(_Point(kind, fastest, model.quality, f"{kind}, on held_out"))
    return points


def _limits(x: Axis, y: Axis, frame: _Frame, line: Score | None, seen: bool,
            minimum: float | None) -> tuple[list[Line], list[Label]]:
    """The reference's quality across the plot, and the least speed-up asked for."""
    lines, labels = [], []
    if line:
        at = y.at(line.value)
        lines.append(Line("reference", f"M{frame.left} {at}H{frame.right}"))
        labels.append(Label(frame.left + 8, at - 6, f"reference, {score(line)}{'' if seen else ' (held_out)'}"))
    if minimum:
        at = x.at(minimum)
        lines.append(Line("limit", f"M{at} {frame.top}V{frame.bottom}"))
        labels.append(_beside(at, frame.top + 12, f"at least {minimum:g}×", "note", frame))
    return lines, labels


def _beside(x: float, y: float, text: str, kind: str, frame: _Frame) -> Label:
    """Text to the right of a place, or to its left near the right border."""
    return Label(x - 14, y, text, "end", kind) if x > frame.right - 100 else Label(x + 14, y, text, "start", kind)


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


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in places)
