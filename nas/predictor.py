"""Latency of a genotype before anything is built: prices of what it computes, fitted to measured members of its space.

It only ranks. Whatever is chosen by it is measured before anything is decided.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from benchmarks.inputs import InputSpec
from nas.costs import cost, fit_prices, terms_of
from nas.errors import NasError
from nas.outlines import operators_of
from search_spaces.space import Genotype, ImageShape, SearchSpace

Floats = NDArray[np.float64]

FOLDS = 5
FASTEST_SHARE = 0.25
CAUTION = 0.05
"""Share of members that are faster than predicted by more than the margin of ``Errors.slack``."""

_NOTHING = 1e-9  # a ratio that no model has: stands for a cost of 0, whose logarithm is none


class PredictorError(NasError):
    """There is too little to fit a predictor to."""


@dataclass(frozen=True)
class Member:
    """A measured genotype: time over that of one fixed model by precision, and its multiply-accumulates."""

    genotype: Genotype
    ratios: Mapping[str, float]
    macs: int

    @property
    def fastest(self) -> float:
        """The ratio of its fastest variant."""
        return min(self.ratios.values())


@dataclass(frozen=True, slots=True)
class Errors:
    """How predictions of members missed what was measured.

    Args:
        members: How many.
        median: Median of |predicted / measured - 1|.
        spearman: Rank correlation of predicted and measured.
        spearman_fastest: The same within the quarter that was measured to be fastest.
        slack: Quantile ``CAUTION`` of log(measured / predicted), a negative number: so much faster than predicted are
            but so few.
    """

    members: int
    median: float
    spearman: float
    spearman_fastest: float
    slack: float

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, predicted: Floats, measured: Floats) -> "Errors":
        """The errors of logarithms of ratios; correlations of what does not vary are 0."""
        misses = measured - predicted
        fastest = measured <= np.quantile(measured, FASTEST_SHARE)
        return cls(
            len(measured),
            float(np.median(np.abs(np.expm1(-misses)))),
            _correlation(predicted, measured),
            _correlation(predicted[fastest], measured[fastest]),
            float(np.quantile(misses, CAUTION)),
        )

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class Predictor:
    """Ratios to one fixed model, as sums of priced amounts (see ``nas.costs``).

    Args:
        space: Whose genotypes are predicted.
        inputs: What generators take.
        image: What they draw.
        prices: By precision, then by term; a genotype is as fast as its fastest precision.
    """

    space: SearchSpace
    inputs: tuple[InputSpec, ...]
    image: ImageShape
    prices: Mapping[str, Mapping[str, float]]

    @classmethod
    def fit(
        cls, space: SearchSpace, inputs: tuple[InputSpec, ...], image: ImageShape, members: Sequence[Member]
    ) -> "Predictor":
        """Return the predictor of ``members``; a precision that only some of them have is fitted to those.

        Raises:
            PredictorError: there are no members.
        """
        if not members:
            raise PredictorError("a predictor needs measured members of the space, but there is none")
        terms = [terms_of(operators_of(space, one.genotype, inputs, image)) for one in members]
        prices = {}
        for precision in sorted({name for one in members for name in one.ratios}):
            rows = [
                (row, one.ratios[precision]) for row, one in zip(terms, members, strict=True) if precision in one.ratios
            ]
            prices[precision] = fit_prices([row for row, _ in rows], np.array([ratio for _, ratio in rows]))
        return cls(space, inputs, image, prices)

    def log_ratio(self, genotype: Genotype) -> float:
        """Return the logarithm of the predicted ratio of the fastest precision of ``genotype``.

        Raises:
            SearchSpaceError: the space has no such generator for these inputs or this image.
        """
        terms = terms_of(operators_of(self.space, genotype, self.inputs, self.image))
        return math.log(max(_NOTHING, min(cost(terms, prices) for prices in self.prices.values())))

    def log_ratios(self, members: Sequence[Member]) -> Floats:
        """Return the same for the genotypes of ``members``."""
        return np.array([self.log_ratio(one.genotype) for one in members])

    def errors(self, members: Sequence[Member]) -> Errors:
        """Return how predictions of ``members`` miss."""
        return Errors.of(self.log_ratios(members), log_measured(members))


def cross_errors(
    space: SearchSpace, inputs: tuple[InputSpec, ...], image: ImageShape, members: Sequence[Member]
) -> Errors:
    """Return the errors of ``members`` when each is predicted from the others, in ``FOLDS`` parts."""
    predicted = np.zeros(len(members))
    for fold in range(FOLDS):
        others = [one for index, one in enumerate(members) if index % FOLDS != fold]
        predicted[fold::FOLDS] = Predictor.fit(space, inputs, image, others).log_ratios(members[fold::FOLDS])
    return Errors.of(predicted, log_measured(members))


def macs_errors(members: Sequence[Member]) -> Errors:
    """Return the errors of the monotone curve of multiply-accumulates that fits ``members`` themselves best.

    Correlations are those of the bare count: the curve's own, with its ties, would be lower. That the curve has seen
    what it is judged by flatters it, so whatever beats it here is better than any use of MACs alone.
    """
    macs, measured = np.array([float(one.macs) for one in members]), log_measured(members)
    order = np.argsort(macs, kind="stable")
    curve = np.empty(len(members))
    curve[order] = isotonic_regression(measured[order]).x
    bare, fitted = Errors.of(np.log(macs), measured), Errors.of(curve, measured)
    return Errors(len(members), fitted.median, bare.spearman, bare.spearman_fastest, fitted.slack)


def log_measured(members: Sequence[Member]) -> Floats:
    """Return the logarithms of the measured ratios of ``members``, of their fastest variants."""
    return np.log([one.fastest for one in members])


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b)[0])
