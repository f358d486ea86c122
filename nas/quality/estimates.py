"""What a metric found of one generator: a value, its standard error, and paired differences to other generators.

Generators are scored on the same real pictures and the same latents, so much of their errors is common and cancels in
a difference. Two forms of a measurement keep what that takes: the values on resampled rows (``Resampled``), and how
much each row alone moved the value (``Linear``).
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compress.quality import Difference

Array = NDArray[np.float64]

_Z95 = 1.96  # two-sided 95 % of a normal distribution


class Measured(Protocol):
    """One metric of one generator; compared with another of the same kind, rows and latents."""

    @property
    def value(self) -> float:
        """In the metric's units; NaN where there is none."""

    @property
    def n(self) -> int:
        """Generated pictures that were used."""

    @property
    def error(self) -> float:
        """The standard error of ``value``."""

    def minus(self, other: Any) -> Difference:
        """Return this minus the other, with its paired 95 % interval."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """A value, and the same on ``draws`` of resampled rows; generators that are compared drew the same rows."""

    value: float
    n: int
    draws: Array

    @property
    def error(self) -> float:
        """The spread of the draws."""
        return float(self.draws.std(ddof=1))

    def minus(self, other: "Resampled") -> Difference:
        """Return this minus the other; the interval is that of the draws' differences, see ``centred_interval``."""
        value = self.value - other.value
        return Difference(value, centred_interval(value, self.draws - other.draws))


@dataclass(frozen=True, eq=False)
class Linear:
    """A value, and ``moves``: how much each row (or group of rows) alone moved it, so scaled that error = |moves|.

    To first order an estimate is a sum over independent rows, so its variance is the sum of the squares, and that of
    a difference of two estimates on the same rows the sum of the squares of the differences (infinitesimal or
    delete-one jackknife; Efron & Stein 1981, doi 10.1214/aos/1176345462).
    """

    value: float
    n: int
    moves: Array

    @property
    def error(self) -> float:
        """The square root of the sum of the squared moves."""
        return float(np.linalg.norm(self.moves))

    def minus(self, other: "Linear") -> Difference:
        """Return this minus the other, 1.96 standard errors of the difference to each side."""
        value = self.value - other.value
        half = _Z95 * float(np.linalg.norm(self.moves - other.moves))
        return Difference(value, (value - half, value + half))


NOTHING = Linear(math.nan, 1, np.array([math.nan]))
"""What a metric finds of features that are not finite: a diverged generator has no quality."""


def mean_moves(rows: Array) -> Array:
    """Return the ``moves`` of a mean over independent ``rows`` ``(N,)``, N from 2."""
    moves: Array = (rows - rows.mean()) / math.sqrt(len(rows) * (len(rows) - 1))
    return moves


def share_moves(hits: NDArray[np.bool_]) -> Array:
    """Return the ``moves`` of a share of ``hits`` ``(N,)``, as if two more had hit and two more had missed.

    So a share of 0 or 1 has an error too (Agresti & Coull 1998, doi 10.1080/00031305.1998.10480550). In a difference
    of two shares of the same rows these four cancel.
    """
    return mean_moves(np.concatenate([hits, (True, True, False, False)]).astype(np.float64))


def jackknife_moves(left_out: Array) -> Array:
    """Return the ``moves`` from the values ``(N,)`` with each of N rows left out in turn: delete-one jackknife.

    var = (N - 1) / N * sum (v_i - mean v)^2, so that a bias that all of them share (there is a row less) drops out.
    """
    count = len(left_out)
    moves: Array = math.sqrt((count - 1) / count) * (left_out - left_out.mean())
    return moves


def half_moves(halves: Array) -> Array:
    """Return the ``moves`` from the values ``(H,)`` on H random halves of the rows: delete-d jackknife, d = N / 2.

    var = sum (v_h - mean v)^2 / (H - 1). Where a value is no smooth function of the rows (nearest neighbours), the
    delete-one jackknife is wrong, and this is not (Shao & Wu 1989, doi 10.1214/aos/1176347263).
    """
    moves: Array = (halves - halves.mean()) / math.sqrt(len(halves) - 1)
    return moves


def centred_interval(value: float, draws: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval of ``draws``, moved so that it is centred like ``value``.

    A resampled Fréchet distance is biased upwards (fewer distinct rows), much the same in every draw; moving the
    draws' mean onto the value takes that bias out.
    """
    low, high = np.percentile(draws - draws.mean(), (2.5, 97.5))
    return float(value + low), float(value + high)


def is_finite(*features: Array) -> bool:
    """Return whether all of these features are numbers whose squares are, too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return all(bool(np.isfinite(rows.sum() + np.square(rows).sum())) for rows in features)
