"""Who is drawn again: nobody before enough was measured, then what is predicted to be far over the limit."""

import math

import numpy as np
import pytest

from benchmarks.inputs import InputSpec
from nas.candidate import Candidate
from nas.outlines import operators_of
from nas.predictor import Predictor
from nas.screening import EVERY, LEAST, LEAST_SHIFT, Screen
from search_spaces import get_space
from search_spaces.space import Genotype, ImageShape

Z = InputSpec("z", (100,), "float32", {"kind": "normal"})
IMAGE = ImageShape(1, 32, 32)
SPACE = get_space("decoder")
NOTHING = Predictor(SPACE, (Z,), IMAGE, {})
LIMIT = 0.1


def true_ratio(genotype: Genotype) -> float:
    """A made-up machine, a sum of nodes, arithmetic and maps."""
    operators = operators_of(SPACE, genotype, (Z,), IMAGE)
    return (len(operators) + sum(one.macs / 5e4 + one.outputs * one.pixels / 3e3 for one in operators)) / 1000


def measured(n: int, seed: int = 0) -> list[Candidate]:
    rng, found = np.random.default_rng(seed), []
    for trial in range(n):
        genotype = SPACE.sample(rng)
        ratio = true_ratio(genotype) * math.exp(0.03 * rng.standard_normal())
        found.append(Candidate(f"{trial:012x}", genotype, trial, ratio={"value": ratio}, macs=1))
    return found


def test_nothing_is_screened_before_enough_was_measured():
    screen, candidates = Screen(NOTHING, LIMIT), measured(LEAST + EVERY)
    screen.learn(candidates[: LEAST - 1], LEAST - 1)
    assert not screen.ready
    assert screen.excess(SPACE.named["dcgan64"]) == 0
    screen.learn(candidates, LEAST)
    assert screen.ready
    assert screen.excess(SPACE.named["dcgan64"]) > 0


def test_the_far_too_slow_are_told_and_hardly_any_that_are_fast_enough():
    screen = Screen(NOTHING, LIMIT)
    screen.learn(measured(60), 60)
    others = [one.genotype for one in measured(300, seed=1)]
    fast = [one for one in others if true_ratio(one) <= LIMIT]
    slow = [one for one in others if true_ratio(one) > 1.5 * LIMIT]
    assert len(fast) > 50
    assert len(slow) > 50
    assert np.mean([screen.excess(one) > 0 for one in fast]) <= 0.05
    assert np.mean([screen.excess(one) > 0 for one in slow]) >= 0.9


def test_it_depends_on_the_trials_before_the_last_multiple_of_ten_alone():
    """As a search that was killed finds it: more records, in another order, and the same proposal to make."""
    candidates, genotype = measured(58), SPACE.named["dcgan64"]
    first, resumed, later = (Screen(NOTHING, LIMIT) for _ in range(3))
    for number in range(50):
        first.learn(candidates[:number], number)
    resumed.learn(reversed(candidates), 49)
    assert first.excess(genotype) == resumed.excess(genotype)
    later.learn(candidates, 50)
    assert later.excess(genotype) != resumed.excess(genotype)


def test_with_workers_the_latest_trials_are_not_fitted_to():
    candidates = measured(LEAST + 3)
    screen = Screen(NOTHING, LIMIT, workers=4)
    screen.learn(candidates, LEAST + 2)  # trial 39 may still be on its way
    assert not screen.ready
    screen.learn(candidates, LEAST + 3)
    assert screen.ready


def test_without_a_limit_everything_passes():
    screen = Screen(NOTHING, math.inf)
    screen.learn(measured(80), 80)
    assert not screen.ready


def test_a_device_profile_needs_ten_proposals_to_learn_how_the_reference_compares():
    """The profile's own anchor is half as fast as the reference: its ratios are half as large."""
    candidates = measured(50)
    profiled = [Candidate(one.id, one.genotype, one.trial, ratio={"value": one.ratio["value"] / 2}, macs=1)
                for one in candidates if one.ratio]  # fmt: skip
    own = Screen(NOTHING, LIMIT)
    own.learn(profiled, 50)
    predictor = own._predictor
    assert predictor is not None
    screen = Screen(NOTHING, LIMIT, device=(predictor, -0.1))
    screen.learn(candidates[: LEAST_SHIFT - 1], LEAST_SHIFT - 1)
    assert not screen.ready
    screen.learn(candidates, LEAST_SHIFT)
    genotype = SPACE.named["dcgan64"]
    expected = predictor.log_ratio(genotype) + math.log(2) - 0.1 - math.log(LIMIT)
    assert screen.excess(genotype) == pytest.approx(expected, abs=0.1)


def test_what_the_space_cannot_build_is_left_to_those_who_say_why():
    small = Screen(Predictor(SPACE, (Z,), ImageShape(1, 24, 24), {}), LIMIT, device=(
        Predictor(SPACE, (Z,), ImageShape(1, 24, 24), {"fp32": {"call": 9.0}}), 0.0))  # fmt: skip
    small._predictor = Predictor(SPACE, (Z,), ImageShape(1, 24, 24), {"fp32": {"call": 9.0}})
    assert small.excess(SPACE.named["dcgan64"]) == 0
