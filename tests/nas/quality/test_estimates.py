"""What measurements are made of: moves add up to errors, and what is common cancels."""

import math

import numpy as np
import pytest

from nas.quality.estimates import (
    Linear,
    Resampled,
    half_moves,
    is_finite,
    jackknife_moves,
    mean_moves,
    share_moves,
)


def test_moves_of_a_mean_give_its_standard_error():
    """Rows 0, 2, 4: standard deviation 2, so 2 / sqrt(3)."""
    assert np.linalg.norm(mean_moves(np.array([0.0, 2, 4]))) == pytest.approx(2 / math.sqrt(3))


def test_leaving_out_one_row_of_a_mean_gives_the_same():
    rows = np.array([1.0, 5, 6, 2])
    left_out = np.array([np.delete(rows, row).mean() for row in range(4)])
    assert np.linalg.norm(jackknife_moves(left_out)) == pytest.approx(np.linalg.norm(mean_moves(rows)))


def test_halves_of_a_mean_give_the_same_on_average():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=200)
    halves = np.array([rng.permutation(rows)[:100].mean() for _ in range(2000)])
    assert np.linalg.norm(half_moves(halves)) == pytest.approx(np.linalg.norm(mean_moves(rows)), rel=0.06)


@pytest.mark.parametrize("hits", [0, 30, 100])
def test_a_share_is_never_certain(hits):
    """Agresti and Coull: (hits + 2) of (n + 4)."""
    rows = np.arange(100) < hits
    share = (hits + 2) / 104
    assert np.linalg.norm(share_moves(rows)) == pytest.approx(math.sqrt(share * (1 - share) / 103))


def test_a_common_part_cancels_in_a_difference():
    """Moves (3, 4) and (3, 0): errors 5 and 3, of the difference 4."""
    one, other = Linear(7.0, 2, np.array([3.0, 4.0])), Linear(5.0, 2, np.array([3.0, 0.0]))
    assert (one.error, other.error) == (5, 3)
    assert one.minus(other).value == 2
    assert one.minus(other).ci95 == pytest.approx((2 - 1.96 * 4, 2 + 1.96 * 4))


def test_draws_that_move_together_differ_by_nothing():
    draws = np.array([1.0, 2, 3, 4])
    one, other = Resampled(2.0, 10, draws + 5), Resampled(1.5, 10, draws)
    assert one.error == pytest.approx(np.std(draws, ddof=1))
    assert one.minus(other).ci95 == (0.5, 0.5)


@pytest.mark.parametrize(("bad", "finite"), [(1.0, True), (math.nan, False), (math.inf, False), (1e200, False)])
def test_finite_are_numbers_whose_squares_are(bad, finite):
    rows = np.ones((3, 2))
    rows[1, 1] = bad
    assert is_finite(np.ones((2, 2)), rows) is finite
