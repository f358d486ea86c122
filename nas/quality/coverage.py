"""Improved precision and recall: what share of one set of features lies on the manifold of another, with its error.

The manifold of a set is the union of balls, one around each row, that reach its third nearest other row (Kynkäänniemi
et al. 2019, arXiv 1904.06991, equation 1). Precision is the share of generated rows on the manifold of real ones,
recall the share of real rows on the manifold of generated ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.quality.estimates import NOTHING, Array, Linear, half_moves, is_finite, share_moves

NEIGHBOURS = 3
MAX_ROWS = 5_000  # of each side: the first ones; distances of all pairs are computed
HALVES = 40  # random halves of a manifold's rows: the standard error of that part's error is then about 11 %
_CHUNK = 1024  # rows of the matrix of distances at a time
_NEAR = 64  # nearest rows that are kept of each: enough to find the third one in any half


def squared_distances(a: Array, b: Array) -> Array:
    """Return ``(N, M)`` squared Euclidean distances of the rows of ``a`` ``(N, D)`` and ``b`` ``(M, D)``."""
    found = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    squares: Array = np.maximum(found, 0.0)
    return squares


@dataclass(frozen=True, eq=False)
class Manifold:
    """The balls around ``features`` ``(N, D)``, as squared radii: ``(N,)`` of all rows, ``(HALVES, N)`` of halves.

    The ball of a row that is not in a half has the radius -1 there, and holds nothing.
    """

    features: Array
    radii: Array
    halves: Array

    @classmethod
    def of(cls, features: Array) -> "Manifold":
        """Return the manifold of at least ``4 * NEIGHBOURS`` rows; manifolds of as many rows have the same halves."""
        count = len(features)
        distances, near = _nearest(features, min(_NEAR, count - 1))
        rng, halves = np.random.default_rng(count), np.full((HALVES, count), -1.0)
        for radii in halves:
            chosen = np.zeros(count, bool)
            chosen[rng.permutation(count)[: count // 2]] = True
            radii[chosen] = _third(np.where(chosen[near], distances, np.inf))[chosen]
        return cls(features, _third(distances), halves)

    def holds(self, rows: Array) -> tuple[NDArray[np.bool_], Array]:
        """Return ``(N,)`` whether each of ``rows`` lies in a ball, and ``(HALVES,)`` the share in each half's."""
        hits, shares = np.empty(len(rows), bool), np.zeros(len(self.halves))
        for start in range(0, len(rows), _CHUNK):
            distances = squared_distances(rows[start : start + _CHUNK], self.features)
            hits[start : start + _CHUNK] = (distances <= self.radii).any(axis=1)
            shares += [(distances <= radii).any(axis=1).sum() for radii in self.halves]
        return hits, shares / len(rows)


def _third(distances: Array) -> Array:
    nearest: Array = np.partition(distances, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1]
    return nearest


def _nearest(features: Array, count: int) -> tuple[Array, NDArray[np.intp]]:
    """Return squared distances ``(N, count)`` to the nearest other rows, in any order, and their indices."""
    distances, indices = [], []
    for start in range(0, len(features), _CHUNK):
        found = squared_distances(features[start : start + _CHUNK], features)
        rows = np.arange(len(found))
        found[rows, start + rows] = np.inf
        near = np.argpartition(found, count - 1, axis=1)[:, :count]
        indices.append(near)
        distances.append(np.take_along_axis(found, near, axis=1))
    return np.concatenate(distances), np.concatenate(indices)


def coverage(manifold: Manifold, rows: Array, *, generated: int) -> Linear:
    """Return the share of ``rows`` ``(N, D)`` on ``manifold``: precision or recall, whichever side is which.

    Its error has two parts: the rows, one by one (binomial), and the manifold, by its halves, since a row more or less
    changes the balls of its neighbours. Both are paired in a difference. In simulations the error was 0.8 to 1.55 times
    the spread of repetitions (asserted in ``tests/nas/quality/test_coverage.py``). It does not cover that a manifold of
    fewer rows is coarser: only scores of equal counts are alike.

    NaN where features are not finite.
    """
    if not is_finite(manifold.features, rows):
        return NOTHING
    hits, halves = manifold.holds(rows)
    moves = np.concatenate([share_moves(hits), half_moves(halves)])
    return Linear(float(hits.mean()), generated, moves)
