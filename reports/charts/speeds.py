"""How fast everything that was measured is: a histogram with the limit, which also a search without result has."""

import math
from collections.abc import Sequence

from reports.axes import Axis, linear_axis, log_axis
from reports.charts.chart import Box, Chart, Frame, Line, beside
from reports.records import Ratio
from reports.summary import Summary
from reports.wording import number

BINS = 30


def speeds_chart(summary: Summary, width: int = 960, height: int = 240) -> Chart | None:
    """Candidates by speed-up, those over the latency limit apart; null if none was measured."""
    measured = [(one.outcome == "infeasible", one.ratio) for one in summary.candidates or () if one.ratio]
    if not measured:
        return None
    minimum = summary.target.min_speedup if summary.target else None
    frame = Frame(width, height)
    speeds = [1 / ratio.value for _, ratio in measured]
    x = log_axis([*speeds, 1.0, *([minimum] if minimum else [])], frame.left, frame.right)
    counts = [_counts([r for slow, r in measured if slow is which], x) for which in (True, False)]
    y = linear_axis([5.0, *(float(a + b) for a, b in zip(*counts, strict=True))], frame.bottom, frame.top)
    lines = [Line("reference", f"M{x.at(1.0)} {frame.top}V{frame.bottom}")]
    labels = [beside(x.at(1.0), frame.top + 12, "reference, 1×", "note", frame)]
    if minimum:
        lines.append(Line("limit", f"M{x.at(minimum)} {frame.top}V{frame.bottom}"))
        labels.append(beside(x.at(minimum), frame.top + 12, f"at least {minimum:g}×", "note", frame))
    boxes = _boxes(counts[0], counts[1], x, y)
    name = "speed-up over the reference (log scale)"
    return frame.chart("Candidates by speed-up", x, y, name, "candidates", lines, (), labels, boxes)


def _edge(x: Axis, index: int) -> float:
    return math.exp(math.log(x.low) + (math.log(x.high) - math.log(x.low)) * index / BINS)


def _counts(ratios: Sequence[Ratio], x: Axis) -> list[int]:
    counts = [0] * BINS
    for ratio in ratios:
        place = math.log(1 / ratio.value / x.low) / math.log(x.high / x.low)
        counts[min(BINS - 1, max(0, int(place * BINS)))] += 1
    return counts


def _boxes(slow: Sequence[int], fast: Sequence[int], x: Axis, y: Axis) -> list[Box]:
    """Stacked columns, too slow below."""
    boxes = []
    for index in range(BINS):
        left, right = x.at(_edge(x, index)), x.at(_edge(x, index + 1))
        span, below = f"{number(_edge(x, index), 2)}× to {number(_edge(x, index + 1), 2)}×", 0
        for kind, count, words in (("slow", slow[index], "too slow"), ("fast", fast[index], "fast enough")):
            if count:
                top, bottom = y.at(below + count), y.at(below)
                size = round(right - left - 1.5, 1), round(bottom - top, 1)
                boxes.append(Box(kind, left, top, *size, f"{count} {words}\n{span}"))
                below += count
    return boxes
