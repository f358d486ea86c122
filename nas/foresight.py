"""Decisions foresee how they will be judged: the final table has fewer real pictures, so its intervals are wider."""

import math
from collections.abc import Mapping
from dataclasses import replace

from compress.quality import Difference, Score
from compress.task import Evaluation
from nas.data import Splits
from nas.quality.judge import ACCURACY


def foreseen(found: Mapping[str, Evaluation], splits: Splits) -> dict[str, Evaluation]:
    """Return what was ``found`` on ``seen`` with errors and intervals as wide as on ``held_out``.

    Most of an error comes from the real pictures, and falls with the root of their number; four fifths of them are
    ``seen``. A budget that is held by a hair here would be missed there by chance every second time. Accuracy is
    asked of drawn pictures alone, and stays as it is.
    """
    factor = math.sqrt(len(splits.seen) / len(splits.held_out))
    return {name: _widened(one, factor) for name, one in found.items()}


def _widened(found: Evaluation, factor: float) -> Evaluation:
    scores = {name: _wider_score(one, factor) for name, one in found.scores.items()}
    differences = {
        other: {name: one if name == ACCURACY else _wider(one, factor) for name, one in of.items()}
        for other, of in found.differences.items()
    }
    return Evaluation(scores, differences)


def _wider_score(score: Score, factor: float) -> Score:
    return score if score.metric == ACCURACY else replace(score, standard_error=factor * score.standard_error)


def _wider(difference: Difference, factor: float) -> Difference:
    value, (low, high) = difference.value, difference.ci95
    return Difference(value, (value + factor * (low - value), value + factor * (high - value)))
