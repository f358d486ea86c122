"""Predictions of a made-up machine whose times are known, and errors worked out by hand."""

import math

import numpy as np
import pytest

from benchmarks.inputs import InputSpec
from nas.costs import terms_of
from nas.outlines import operators_of
from nas.predictor import Errors, Member, Predictor, PredictorError, cross_errors, macs_errors
from search_spaces import get_space
from search_spaces.space import ImageShape

Z = InputSpec("z", (100,), "float32", {"kind": "normal"})
IMAGE = ImageShape(1, 32, 32)
SPACE = get_space("decoder")


def made_up(n: int, seed: int = 0, noise: float = 0.05) -> list[Member]:
    """Members on a machine with costs of its own, not all of which are sums: nodes, caches, int8 where it helps."""
    rng = np.random.default_rng(seed)
    members = []
    for _ in range(n):
        genotype = SPACE.sample(rng)
        operators = operators_of(SPACE, genotype, (Z,), IMAGE)
        macs = sum(one.macs for one in operators)
        nodes = sum(amount for name, amount in terms_of(operators).items() if name.endswith("nodes"))
        maps = sum(one.outputs * one.pixels for one in operators)
        fp32 = 3 + nodes + macs / 5e4 + maps / 3e3
        int8 = 5 + 1.3 * nodes + macs / 2e5 + (maps / 2e3) ** 1.02
        ratios = {"fp32": fp32, "int8": int8}
        measured = {name: time / 500 * math.exp(noise * rng.standard_normal()) for name, time in ratios.items()}
        members.append(Member(genotype, measured, macs))
    return members


def test_it_reaches_what_is_asked_of_it_and_beats_macs():
    members = made_up(200)
    predictor = Predictor.fit(SPACE, (Z,), IMAGE, members[100:])
    mine, macs = predictor.errors(members[:100]), macs_errors(members[:100])
    assert mine.members == 100
    assert mine.median <= 0.10
    assert mine.spearman >= 0.95
    assert mine.spearman_fastest >= 0.9
    assert mine.median < macs.median
    assert mine.spearman > macs.spearman
    assert mine.spearman_fastest > macs.spearman_fastest


def test_a_genotype_is_as_fast_as_its_fastest_precision():
    predictor = Predictor(SPACE, (Z,), IMAGE, {"fp32": {"call": 0.5}, "int8": {"call": 0.2}})
    assert predictor.log_ratio(SPACE.named["dcgan64"]) == pytest.approx(math.log(0.2))


def test_a_precision_that_only_some_have_is_fitted_to_those():
    members = [Member(one.genotype, {"fp32": one.ratios["fp32"]}, one.macs) for one in made_up(30)]
    members += made_up(30, seed=1)
    assert set(Predictor.fit(SPACE, (Z,), IMAGE, members).prices) == {"fp32", "int8"}


def test_without_members_there_is_no_predictor():
    with pytest.raises(PredictorError, match="needs measured members"):
        Predictor.fit(SPACE, (Z,), IMAGE, [])


def test_errors_by_hand():
    """Four members; the third was predicted twice as slow as it is, the last half as slow."""
    measured = np.log([1.0, 2.0, 4.0, 8.0])
    errors = Errors.of(np.log([1.0, 2.0, 8.0, 4.0]), measured)
    assert errors.median == pytest.approx((0 + 0.5) / 2)  # of 0, 0, 1 and 0.5
    assert errors.spearman == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert errors.spearman_fastest == 0.0  # one member has no rank
    assert -math.log(2) <= errors.slack < 0


def test_macs_are_judged_by_their_best_monotone_curve():
    """Times that only MACs decide: the curve is exact. Two that are in the wrong order share a step of it."""
    genotype = SPACE.named["dcgan64"]
    exact = [Member(genotype, {"fp32": float(n) ** 2}, n) for n in range(1, 9)]
    assert macs_errors(exact).median == pytest.approx(0, abs=1e-12)
    assert macs_errors(exact).spearman == pytest.approx(1)
    swapped = [Member(genotype, {"fp32": time}, macs) for macs, time in ((1, 1.0), (2, 4.0), (3, 2.0), (4, 9.0))]
    found = macs_errors(swapped)
    assert found.spearman == pytest.approx(0.8)
    assert found.median == pytest.approx(np.median([0, 1 - math.sqrt(8) / 4, math.sqrt(8) / 2 - 1, 0]))


def test_predicted_from_the_others_errors_are_larger_than_of_the_fit_itself():
    members = made_up(60)
    crossed = cross_errors(SPACE, (Z,), IMAGE, members)
    own = Predictor.fit(SPACE, (Z,), IMAGE, members).errors(members)
    assert crossed.members == own.members == 60
    assert crossed.slack < own.slack < 0
