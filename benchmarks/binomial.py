"""The binomial distribution, as far as order statistics, sign tests and counted runs need it; exact, numpy only."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_BISECTIONS = 60  # halves [0, 1] down to the last bit of a float


@lru_cache(maxsize=256)
def _log_factorials(n: int) -> npt.NDArray[np.float64]:
    """Logarithms of k! for k = 0 ... n."""
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))


def at_most(k: int, n: int, p: float = 0.5) -> float:
    """P(X <= k) for X ~ Binomial(n, p)."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    logs = _log_factorials(n)
    ks = np.arange(k + 1)
    terms = logs[n] - logs[ks] - logs[n - ks] + ks * math.log(p) + (n - ks) * math.log1p(-p)
    return min(1.0, float(np.exp(terms).sum()))


def at_least(k: int, n: int, p: float = 0.5) -> float:
    """P(X >= k) for X ~ Binomial(n, p)."""
    return at_most(n - k, n, 1 - p)


@lru_cache(maxsize=4096)
def lower_rank(n: int, tail: float) -> int:
    """The largest r with P(Binomial(n, 1/2) <= r - 1) <= tail; 0 if there is none.

    The r-th smallest of n values then lies above their distribution's median with probability at most ``tail``
    (David & Nagaraja, *Order Statistics*, 3rd ed., section 7.1).
    """
    low, high = 0, n // 2 + 1  # at_most(low - 1) <= tail always; never for high, since tail < 1/2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at_most(middle - 1, n) <= tail else (low, middle)
    return low


def proportion_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a proportion from ``hits`` of ``n`` (Clopper & Pearson 1934).

    With no hits the upper end is 1 - (1 - confidence) ** (1 / n), all of the error being on that side, and likewise
    with all hits: the bound that "0 of 300" stands for.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"hits must be 0 to n, and n at least 1, not {hits} of {n}")
    alpha = 1 - confidence
    if hits == 0:
        return 0.0, 1 - alpha ** (1 / n)
    if hits == n:
        return alpha ** (1 / n), 1.0
    low = _bisect(lambda p: at_least(hits, n, p) < alpha / 2)
    return low, _bisect(lambda p: at_most(hits, n, p) > alpha / 2)


def _bisect(holds_below: Callable[[float], bool]) -> float:
    """The p in [0, 1] up to which ``holds_below`` is true."""
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds_below(middle) else (low, middle)
    return (low + high) / 2
