"""Dominance, front and prediction, by numbers worked out by hand."""

import math

import pytest

from nas.families.base import Phase, Schedule
from nas.rungs import LEAVES, MACS_MARGIN, MATCHED, STEEPEST, Measured, Standing, dominator, front, outcomputed, predict


def test_dominated_by_one_that_is_no_slower_and_better_beyond_the_error():
    """Errors 3 and 4 make 5 for the difference: 5 better is not enough, 5.1 is."""
    mine = Standing("mine", 0.2, 30.0, 3.0)
    assert dominator(mine, [Standing("close", 0.2, 25.0, 4.0)]) is None
    better = Standing("better", 0.2, 24.9, 4.0)
    assert dominator(mine, [Standing("close", 0.2, 25.0, 4.0), better]) == better


def test_a_slower_one_dominates_nobody_and_nobody_dominates_itself():
    mine = Standing("mine", 0.2, 30.0, 0.0)
    assert dominator(mine, [mine, Standing("slower", 0.21, 1.0, 0.0)]) is None
    assert dominator(mine, []) is None


def test_nan_is_dominated_by_any_that_is_no_slower_and_dominates_none():
    lost = Standing("lost", 0.2, math.nan, math.nan)
    other = Standing("other", 0.1, 900.0, 1.0)
    assert dominator(lost, [other]) == other
    assert dominator(other, [lost]) is None


def test_outcomputed_by_one_that_is_no_slower_and_does_a_quarter_more():
    """At an equal ratio 125 against 100 is enough, 124 is not; a slower one proves nothing, however much it does."""
    assert MACS_MARGIN == 1.25
    mine = Measured("mine", 0.2, 100)
    assert outcomputed(mine, [Measured("close", 0.2, 124), Measured("slower", 0.201, 900)]) is None
    better = Measured("better", 0.2, 125)
    assert outcomputed(mine, [Measured("close", 0.2, 124), better]) == better
    assert outcomputed(mine, [Measured("faster", 0.1, 125)]) is not None


def test_nobody_outcomputes_itself_and_of_two_at_most_one_the_other():
    mine, other = Measured("mine", 0.2, 100), Measured("other", 0.2, 125)
    assert outcomputed(mine, []) is None
    assert outcomputed(mine, [Measured("mine", 0.2, 1000)]) is None
    assert outcomputed(other, [mine]) is None


def test_front_is_fastest_first_and_only_ever_better():
    a, b, c = Standing("a", 0.1, 50, 1), Standing("b", 0.2, 20, 1), Standing("c", 0.3, 10, 1)
    beaten = [Standing("d", 0.15, 50, 1), Standing("e", 0.25, 21, 1), Standing("f", 0.1, 51, 1)]
    assert front([c, *beaten, b, a]) == [a, b, c]
    assert front([]) == []
    assert front([Standing("nan", 0.1, math.nan, 1), b]) == [b]


def test_front_keeps_one_of_equals():
    assert len(front([Standing("a", 0.1, 5, 1), Standing("b", 0.1, 5, 1)])) == 1


def distilled(steps: int) -> Schedule:
    return (Phase("distill", steps),)


def test_predict_counts_both_phases_of_a_distillation_and_what_each_leaves():
    """Excess 8 at 20, 4 at 40: a power of one, so 1 at 160; of that, features leave a half, fine-tuning 0.85."""
    curve = [(20, 9.0), (40, 5.0)]
    both = (Phase("distill", 100), Phase("features", 60))
    assert predict(curve, 1.0, both) == pytest.approx(1 + LEAVES["features"])
    every = (*both, Phase("finetune", 10))
    assert predict(curve, 1.0, every) == pytest.approx(1 + LEAVES["features"] * LEAVES["finetune"])
    matched = (*every, Phase("match", 10))
    assert predict(curve, 1.0, matched) == pytest.approx(MATCHED * (1 + LEAVES["features"] * LEAVES["finetune"]))


def test_predict_is_the_power_law_of_the_excess_over_the_teacher():
    """low48b3 of research/performance.md: 10.8 at 30 s, 7.7 at 60 s, teacher 4.45; 5.2 was measured at 240 s.

    Excess 6.35 -> 3.25 in a doubling: a = log2(1.954) = 0.966; two doublings on: 4.45 + 3.25 * 4^-0.966 = 5.30.
    """
    found = predict([(30, 10.8), (60, 7.7)], teacher=4.45, schedule=distilled(240))
    assert found == pytest.approx(5.30, abs=0.005)
    assert abs(found - 5.2) < 1


def test_predict_takes_the_last_two_points():
    """Excess 8 -> 4 halves in a doubling (a = 1): 4 / 4 after two more."""
    assert predict([(1, 999), (10, 9), (20, 5)], teacher=1, schedule=distilled(80)) == pytest.approx(2.0)


def test_predict_promises_no_miracle():
    """Excess 100 -> 10 in a doubling would be a = 3.3; ``STEEPEST`` makes it 10 * 4^-1.5 = 1.25."""
    assert STEEPEST == 1.5
    assert predict([(10, 100), (20, 10)], teacher=0, schedule=distilled(80)) == pytest.approx(1.25)


def test_predict_does_not_extrapolate_a_curve_that_rises():
    assert predict([(10, 5), (20, 6)], teacher=1, schedule=distilled(1000)) == pytest.approx(6)


@pytest.mark.parametrize(
    ("curve", "teacher", "steps"),
    [
        ([(20, 7.0)], 1.0, 100),  # one point promises nothing
        ([(10, 9.0), (20, 7.0)], 8.0, 100),  # better than its teacher already
        ([(10, 9.0), (20, 7.0)], 1.0, 20),  # there already
    ],
)
def test_predict_returns_the_last_score_where_there_is_nothing_to_extrapolate(curve, teacher, steps):
    assert predict(curve, teacher, distilled(steps)) == 7.0


def test_predict_of_nothing_is_nan():
    assert math.isnan(predict([], 1.0, distilled(100)))


def test_predict_where_the_first_point_was_below_the_teacher():
    """No logarithm of a negative number: such a curve rises, so the last score stands."""
    assert predict([(10, 0.5), (20, 2.0)], teacher=1.0, schedule=distilled(100)) == pytest.approx(2.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_predict_returns_the_last_score_where_something_is_not_a_number(bad):
    assert predict([(10, 9.0), (20, 7.0)], bad, distilled(100)) == 7.0
    assert predict([(10, bad), (20, 7.0)], 1.0, distilled(100)) == 7.0
    assert predict([(10, 9.0), (20, bad)], 1.0, distilled(100)) == pytest.approx(bad, nan_ok=True)
