"""Kernel inception distance: the squared maximum mean discrepancy of two sets of features, unbiased, with its error.

Unlike the Fréchet distance it does not depend on the number of pictures, and it needs no more pictures than features.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nas.quality.estimates import NOTHING, Array, Linear, is_finite, jackknife_moves

MAX_ROWS = 10_000  # of each side: the cost grows as their square, and the estimate has no bias that more would lift
_CHUNK = 1024  # rows of the kernel matrix at a time: 80 MB against 10,000 others


def kernel_sums(a: Array, b: Array) -> Array:
    """Return ``(N,)``: sums over all rows y of ``b`` ``(M, D)`` of k(x, y) = (x.y / D + 1)^3, for each row x of ``a``.

    Binkowski et al. 2018 (arXiv 1801.01401), section 4.
    """
    sums = [((a[start : start + _CHUNK] @ b.T / a.shape[1] + 1) ** 3).sum(axis=1) for start in range(0, len(a), _CHUNK)]
    return np.concatenate(sums)


def _self_kernel(a: Array) -> Array:
    values: Array = (np.square(a).sum(axis=1) / a.shape[1] + 1) ** 3
    return values


@dataclass(frozen=True, eq=False)
class Side:
    """One set of features ``(N, D)``; keeps its sums, which every comparison needs."""

    features: Array

    @cached_property
    def inner(self) -> Array:
        """``(N,)``: sums of k(x, x') over all other rows x'."""
        return kernel_sums(self.features, self.features) - _self_kernel(self.features)


def kid(real: Side, generated: Side) -> Linear:
    """Return the unbiased MMD^2 of two sets of at least three rows each; below 0 by chance where they are alike.

    MMD^2 = sum_(i!=j) k(g_i, g_j) / n(n-1) + sum_(i!=j) k(r_i, r_j) / m(m-1) - 2 sum k(g_i, r_j) / nm (Binkowski et al.
    2018, arXiv 1801.01401, equation 4, where n = m). They take the error from the spread over random subsets, whose
    values are not independent, and which are not those of another generator. Here each row is left out in turn, which
    the sums give exactly: a jackknife over generated and over real rows (Arvesen 1969, doi 10.1214/aoms/1177697287), so
    that differences of generators are paired. Of two sets that are truly alike it errs to the large side.

    NaN where features are not finite.
    """
    if not is_finite(real.features, generated.features):
        return NOTHING
    cross, back = kernel_sums(generated.features, real.features), kernel_sums(real.features, generated.features)
    n, m = len(generated.features), len(real.features)
    value = float(_mean_pair(generated) + _mean_pair(real) - 2 * cross.sum() / (n * m))
    moves = [_left_out(generated, cross, m), _left_out(real, back, n)]
    return Linear(value, n, np.concatenate([jackknife_moves(values) for values in moves]))


def _mean_pair(side: Side) -> float:
    n = len(side.features)
    return float(side.inner.sum() / (n * (n - 1)))


def _left_out(side: Side, cross: Array, others: int) -> Array:
    """Return ``(N,)``: the part of MMD^2 that knows of ``side``, with each of its rows left out in turn."""
    n = len(side.features)
    within = (side.inner.sum() - 2 * side.inner) / ((n - 1) * (n - 2))
    result: Array = within - 2 * (cross.sum() - cross) / ((n - 1) * others)
    return result
