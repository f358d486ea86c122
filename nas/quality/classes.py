"""Whether a generator draws the class that it is asked for: accuracy by a labeller, by class, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.quality import frechet
from nas.quality.estimates import Array, Linear, is_finite, share_moves

MISSING_BELOW = 0.1  # of the accuracy that real pictures of the class have
_DRAWS = 25  # bootstrap draws of one class: its standard error is shown, nothing is decided by it

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with what they should show and what the labeller sees in them: features ``(N, D)``, labels ``(N,)``."""

    features: Array
    wanted: Labels
    seen: Labels

    @property
    def hits(self) -> NDArray[np.bool_]:
        """``(N,)``: whether each picture shows what it should."""
        hits: NDArray[np.bool_] = self.wanted == self.seen
        return hits

    def of(self, label: int) -> NDArray[np.bool_]:
        """``(N,)``: which pictures should show ``label``."""
        rows: NDArray[np.bool_] = self.wanted == label
        return rows


def accuracy(wanted: Labels, seen: Labels) -> Linear:
    """Return the share of pictures in which the labeller sees what was asked for, with its binomial standard error."""
    hits = wanted == seen
    return Linear(float(hits.mean()), len(hits), share_moves(hits))


def by_class(names: Sequence[str], generated: Labelled, real: Labelled, *, seed: int) -> list[dict[str, Any]]:
    """Return a row a class: accuracy and FID of the pictures asked for it, each with its standard error, JSON types.

    The FID is that of the class's generated pictures to its real ones; null with its reason where one of the two has
    no more pictures than there are features. ``ceiling`` is the accuracy of the class's real pictures.
    """
    return [_row(label, name, generated, real, seed) for label, name in enumerate(names)]


def _row(label: int, name: str, generated: Labelled, real: Labelled, seed: int) -> dict[str, Any]:
    hits, shown = generated.hits[generated.of(label)], real.hits[real.of(label)]
    value, error, reason = _fid(generated.features[generated.of(label)], real.features[real.of(label)], seed)
    return {
        "name": name,
        "n": len(hits),
        "n_real": len(shown),
        "accuracy": float(hits.mean()) if len(hits) else None,
        "accuracy_error": float(np.linalg.norm(share_moves(hits))) if len(hits) else None,
        "ceiling": float(shown.mean()) if len(shown) else None,
        "share": float((generated.seen == label).mean()),
        "fid": value,
        "fid_error": error,
        "fid_reason": reason,
    }


def _fid(generated: Array, real: Array, seed: int) -> tuple[float | None, float | None, str | None]:
    rows, needed = min(len(generated), len(real)), generated.shape[1] + 1
    if rows < needed:
        return None, None, f"{rows} pictures, and {needed - 1} features need {needed}"
    if not is_finite(generated, real):
        return None, None, "features are not finite"
    (found,) = frechet.measure(real, [generated], seed=seed, draws=_DRAWS)
    return found.value, found.error, None


def missing(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the classes that hardly ever come out when they are asked for.

    That is: their accuracy is below a tenth of that of the class's real pictures. (Their share of all answers of the
    labeller is then small too, unless other classes are drawn like them.) Of a class that was not asked for, or that
    the labeller never recognises, nothing is said.
    """
    asked = [row for row in rows if row["accuracy"] is not None and row["ceiling"]]
    return [row["name"] for row in asked if row["accuracy"] < MISSING_BELOW * row["ceiling"]]
