"""One number of several seeds: their mean and its 95 % interval, and the single values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

from reports.wording import number, rounded

Interval = tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, its 95 % interval, and what went into it.

    One seed has no spread: then the interval is that of its own measurement, and ``each`` has one value.
    """

    value: float
    low: float
    high: float
    each: tuple[float, ...]

    def text(self, unit: str = "", *, signed: bool = False) -> str:
        """Return ``21.3× [20.1, 22.6]`` and, of several seeds, ``(21.0, 21.4, 21.5)``."""
        value, low, high = rounded(self.value, self.low, self.high)
        plus = "+" if signed and self.value > 0 else ""
        singles = f" ({', '.join(number(one) for one in self.each)})" if len(self.each) > 1 else ""
        return f"{plus}{value}{unit} [{low}, {high}]{singles}".replace("-", "−")


def mean(values: Sequence[float], single: Interval) -> Mean:
    """Return the arithmetic mean with Student's interval, m ± t(n - 1, 0.975) s / √n; of one value with ``single``."""
    n = len(values)
    middle = math.fsum(values) / n
    if n == 1:
        return Mean(middle, *single, tuple(values))
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (n - 1))
    half = float(student.ppf(0.975, n - 1)) * spread / math.sqrt(n)
    return Mean(middle, middle - half, middle + half, tuple(values))


def geometric_mean(values: Sequence[float], single: Interval = (math.nan, math.nan)) -> Mean:
    """Return the same of logarithms, for ratios: no value may be 0 or below."""
    logs = mean([math.log(value) for value in values], tuple(math.log(end) for end in single))  # type: ignore[arg-type]
    return Mean(math.exp(logs.value), math.exp(logs.low), math.exp(logs.high), tuple(values))


def over_processes(ratios: Sequence[float]) -> Mean:
    """Return the geometric mean of one seed's processes; of one process without an interval."""
    return geometric_mean(ratios, (ratios[0], ratios[0]))
