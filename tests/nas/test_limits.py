"""By how much a candidate misses its limits, by numbers worked out by hand."""

import math
from pathlib import Path

import pytest

from nas.candidate import Candidate
from nas.families.base import Phase
from nas.limits import Limits

DISTILLED = (Phase("distill", 540),)
TUNED = (*DISTILLED, Phase("finetune", 10))
LIMITS = Limits(Path("reference.onnx"), max_ratio=0.2, blank=500.0, teacher=4.0, allowed=6.0)


@pytest.fixture
def candidate(quality):
    def make(ratio: float, *scores: float, outcome: str = "complete") -> Candidate:
        rungs = [{"steps": steps, "quality": quality(value)} for steps, value in zip((20, 60), scores, strict=False)]
        return Candidate("x", {}, 0, outcome, {"value": ratio, "ci95": [ratio, ratio]}, 1, rungs)

    return make


def test_log_of_the_factor_by_which_each_limit_is_missed(candidate):
    """Twice the time; excess 54 at 20 and 18 at 60 steps falls like a power of one: 2 at 540, all that may be lost."""
    found = LIMITS.violations(candidate(0.4, 58.0, 22.0), DISTILLED)
    assert found == pytest.approx({"latency": math.log(2), "quality": 0.0}, abs=1e-9)
    assert LIMITS.violations(candidate(0.1, 58.0, 22.0), TUNED)["quality"] < 0
    assert LIMITS.violations(candidate(0.1, 112.0, 40.0), DISTILLED)["quality"] == pytest.approx(math.log(2))


def test_better_than_the_reference_is_still_inside(candidate):
    """No logarithm of a negative loss."""
    assert LIMITS.violations(candidate(0.1, 5.0, 3.0), DISTILLED)["quality"] < -1


def test_where_better_than_the_reference_is_asked_for_scores_are_compared(candidate):
    limits = Limits(Path("reference.onnx"), 0.2, 500.0, 4.0, 3.0)
    found = limits.violations(candidate(0.2, 58.0, 22.0), (Phase("distill", 60),))
    assert found["quality"] == pytest.approx(math.log(22 / 3))


def test_what_is_too_slow_was_not_trained_and_says_nothing_of_quality(candidate):
    assert list(LIMITS.violations(candidate(0.4, outcome="infeasible"), DISTILLED)) == ["latency"]


def test_what_was_outcomputed_counts_as_the_blank_picture(candidate):
    found = LIMITS.violations(candidate(0.2, outcome="dominated"), DISTILLED)
    assert found == pytest.approx({"latency": 0.0, "quality": math.log(496 / 2)})


@pytest.mark.parametrize("allowed", [math.nan, 0.0, -3.0])
def test_without_limits_there_is_nothing_to_miss(candidate, allowed):
    limits = Limits(Path("reference.onnx"), math.inf, 500.0, 4.0, allowed)
    assert limits.violations(candidate(3.0, 58.0, 22.0), DISTILLED) == {}


def test_a_reference_without_a_score_makes_no_violation_that_is_not_a_number(candidate):
    """A budget of a plain value is still there: then the last score is compared with it."""
    limits = Limits(Path("reference.onnx"), 0.2, 500.0, math.nan, 11.0)
    found = limits.violations(candidate(0.2, 58.0, 22.0), DISTILLED)
    assert found["quality"] == pytest.approx(math.log(2))
