"""The nearest training picture of each generated one, in features: whether a generator repeats what it was shown."""

import numpy as np
from numpy.typing import NDArray

from nas.quality.coverage import squared_distances
from nas.quality.estimates import Array

_CHUNK = 1024


def nearest(queries: Array, references: Array) -> tuple[NDArray[np.intp], Array]:
    """Return for each of ``queries`` ``(N, D)`` the index of the nearest of ``references`` ``(M, D)``, and how far.

    The distance of what is not finite is NaN, and its index means nothing.
    """
    indices, distances = np.empty(len(queries), np.intp), np.empty(len(queries))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(queries), _CHUNK):
            found = squared_distances(queries[start : start + _CHUNK], references)
            near = found.argmin(axis=1)
            indices[start : start + _CHUNK] = near
            distances[start : start + _CHUNK] = np.sqrt(found[np.arange(len(found)), near])
    return indices, distances
