"""Decisions foresee how they will be judged: the final table has fewer real pictures, so its intervals are wider."""

import math
from collections.abc import Mapping
from dataclasses import replace

from compress.quality import Difference
from compress.task import Evaluation
from nas.data import Splits
from nas.quality.coverage import MAX_ROWS as MANIFOLD_ROWS
from nas.quality.judge import ACCURACY, KID, PRECISION, RECALL
from nas.quality.kernel import MAX_ROWS as KERNEL_ROWS

_MOST = {KID: KERNEL_ROWS, PRECISION: MANIFOLD_ROWS, RECALL: MANIFOLD_ROWS}  # real pictures that a metric looks at


def foreseen(found: Mapping[str, Evaluation], splits: Splits) -> dict[str, Evaluation]:
    """Return what was ``found`` on ``seen`` with errors and intervals about as wide as on ``held_out``.

    Most of an error comes from the real pictures, and falls with the root of their number; four fifths of them are
    ``seen``. A budget that is held by a hair here would be missed there by chance every second time. The drawn
    pictures' part is widened with it, so intervals are rather too wide than too narrow. Accuracy is asked of drawn
    pictures alone, and stays as it is.
    """
    return {name: _widened(one, splits) for name, one in found.items()}


def _widened(found: Evaluation, splits: Splits) -> Evaluation:
    scores = {
        name: replace(one, standard_error=_factor(name, splits) * one.standard_error)
        for name, one in found.scores.items()
    }
    differences = {
        other: {name: _wider(one, _factor(name, splits)) for name, one in of.items()}
        for other, of in found.differences.items()
    }
    return Evaluation(scores, differences)


def _factor(metric: str, splits: Splits) -> float:
    if metric == ACCURACY:
        return 1.0
    seen, held_out = (min(len(one), _MOST.get(metric, len(one))) for one in (splits.seen, splits.held_out))
    return math.sqrt(seen / held_out)


def _wider(difference: Difference, factor: float) -> Difference:
    value, (low, high) = difference.value, difference.ci95
    return Difference(value, (value + factor * (low - value), value + factor * (high - value)))
