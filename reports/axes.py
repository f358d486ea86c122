"""Scales of a picture: data to pixels, and round values along the way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 1e-12  # what is nearer to zero has no logarithm, and no length, that floats can tell


@dataclass(frozen=True, slots=True)
class Tick:
    """A round value: its place in pixels and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from ``low``..``high`` in the data's unit to ``start``..``end`` in pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    @property
    def scale(self) -> str:
        """What to say behind the axis's name."""
        return " (log scale)" if self.log else ""

    def at(self, value: float) -> float:
        """Pixels; values outside are clipped to the ends."""
        clipped = min(max(value, self.low), self.high)
        low, high, here = (math.log(v) if self.log else v for v in (self.low, self.high, clipped))
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """Round values along the axis."""
        return tuple(Tick(self.at(value), f"{value:,.10g}") for value in _round_values(self))


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """A logarithmic axis round ``values`` with some room; a linear one if any is not above ``LEAST``."""
    low, high = min(values), max(values)
    if low <= LEAST:
        room = 0.05 * (high - low if high - low > LEAST else max(abs(high), 1.0))
        return Axis(low - room, high + room, start, end, log=False)
    room = 1.08 if high / low > 1.2 else 1.25
    return Axis(low / room, high * room, start, end, log=True)


def linear_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """A linear axis from zero (or the least value, if below) to the largest of ``values``."""
    low, high = min(0.0, *values), max(0.0, *values)
    return Axis(low, high if high - low > LEAST else low + 1.0, start, end, log=False)


def _round_values(axis: Axis) -> list[float]:
    """4 to 9 round values of each decade: 1, 2, 3, 5, 7, or 1, 2, 5, or only 1; else equal steps of 1, 2 or 5 10^k."""
    if axis.log:
        decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
        for mantissas in ((1, 2, 3, 5, 7), (1, 2, 5), (1,)):
            values = [m * 10.0**d for d in decades for m in mantissas if axis.low <= m * 10.0**d <= axis.high]
            if 4 <= len(values) <= 9:
                return values
    raw = (axis.high - axis.low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10, 20) if m * power >= raw)
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]
