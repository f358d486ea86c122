"""Latencies as bars and strips of HTML, in percent of their track."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.axes import Axis
from reports.finished import LatencyRow
from reports.wording import number, rounded

CLIP = 1.6  # times the 95th percentile's distance from the median: what lies beyond is cut at the edge


@dataclass(frozen=True, slots=True)
class Strip:
    """Five places on a track of 100: whiskers, box, middle."""

    low: float
    box_low: float
    middle: float
    box_high: float
    high: float
    title: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One latency: ``width``, ``low`` and ``high`` in percent of the longest bar; and how single timings scatter."""

    who: str
    label: str
    text: str
    width: float
    low: float
    high: float
    strip: Strip | None


@dataclass(frozen=True, slots=True)
class Place:
    """A round value on a track of 100."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Latencies of one batch; ``places`` stand below the strips."""

    rows: tuple[Bar, ...]
    places: tuple[Place, ...]


def latency_bars(rows: Sequence[LatencyRow]) -> Bars:
    """Bars from zero, longest = 100 %: lengths compare as the times do. Strips in percent of each one's own median.

    A strip's whiskers are the 1st and 99th percentile, its box the quartiles; all strips share one axis.
    """
    longest = max((row.ci95_ms[1] for row in rows), default=1.0)
    axis = _scatter_axis(rows)
    bars = []
    for row in rows:
        who = "result" if row.who == "final" else row.who
        median, _, _ = rounded(row.median_ms, *row.ci95_ms)
        low, high = (round(100 * end / longest, 2) for end in row.ci95_ms)
        width = round(100 * row.median_ms / longest, 2)
        label, strip = f"{who}, {row.precision}, {row.runtime}", _scatter(row, axis) if axis else None
        bars.append(Bar(row.who, label, f"{median} ms", width, low, high, strip))
    ticks = axis.ticks() if axis else ()
    return Bars(tuple(bars), tuple(Place(tick.at, _percent(tick.text)) for tick in ticks if 2 <= tick.at <= 96))


def _percent(text: str) -> str:
    return "median" if text == "0" else ("" if text.startswith("-") else "+") + text.replace("-", "−") + " %"


def _relative(row: LatencyRow) -> dict[str, float] | None:
    wanted = ("1", "25", "50", "75", "95", "99")
    if not row.quantiles_ms or any(percent not in row.quantiles_ms for percent in wanted):
        return None
    return {percent: 100 * (row.quantiles_ms[percent] / row.median_ms - 1) for percent in wanted}


def _scatter_axis(rows: Sequence[LatencyRow]) -> Axis | None:
    found = [relative for row in rows if (relative := _relative(row))]
    if not found:
        return None
    low = min(one["1"] for one in found)
    high = min(max(one["99"] for one in found), CLIP * max(one["95"] for one in found))
    low, high = min(low, -1.0), max(high, 1.0)
    return Axis(low - 1, high + 1, 0.0, 100.0, log=False)


def _scatter(row: LatencyRow, axis: Axis) -> Strip | None:
    relative = _relative(row)
    if relative is None or row.quantiles_ms is None:
        return None
    low, first, middle, third, _, high = (axis.at(value) for value in relative.values())
    quantiles = "  ".join(f"{percent} %: {number(value)}" for percent, value in row.quantiles_ms.items())
    return Strip(low, first, middle, third, high, f"{number(row.median_ms)} ms\nquantiles in ms: {quantiles}")
