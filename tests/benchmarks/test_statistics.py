import itertools
import math

import numpy as np
import pytest

from benchmarks.records import Sample
from benchmarks.statistics import (
    StatisticsError,
    autocorrelation,
    median_interval,
    quantiles,
    ratio,
    summarize,
)


def sample(seconds, preempted=None):
    zeros = (0,) * len(seconds)
    marks = tuple(map(int, preempted)) if preempted is not None else zeros
    return Sample(tuple(seconds), tuple(seconds), marks, zeros, calls=1, warmup_s=0)


@pytest.mark.parametrize(
    ("n", "rank"),
    # From the table of order-statistic intervals for the median, e.g. Conover, Practical Nonparametric Statistics, A3.
    [(6, 1), (8, 1), (9, 2), (10, 2), (15, 4), (20, 6), (25, 8), (30, 10), (100, 40)],
)
def test_interval_ranks(n, rank):
    values = np.random.default_rng(0).permutation(np.arange(1, n + 1))
    estimate = median_interval(values)
    assert estimate.value == (n + 1) / 2
    assert estimate.ci95 == (rank, n + 1 - rank)
    assert estimate.n == n


def test_ranks_agree_with_whole_number_arithmetic():
    """The definition, in exact integers, for every n up to 300."""
    for n in range(1, 301):
        tails = itertools.accumulate(math.comb(n, k) for k in range(n + 1))
        rank = next(r for r, tail in enumerate(tails) if 40 * tail > 2**n)
        low = 1 if rank == 0 else rank
        assert median_interval(range(1, n + 1)).ci95 == (low, n + 1 - low)


def test_few_values_give_their_range():
    assert median_interval([3.0]).ci95 == (3.0, 3.0)
    assert median_interval([5.0, 1.0, 2.0]).ci95 == (1.0, 5.0)


def test_no_values_and_nan_are_refused():
    with pytest.raises(StatisticsError, match="at least one"):
        median_interval([])
    with pytest.raises(StatisticsError, match="NaN"):
        median_interval([1.0, math.nan])


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        low, high = median_interval(rng.lognormal(size=35)).ci95
        hits += low <= 1 <= high
    assert 0.945 <= hits / 2000 <= 0.985


def test_ratio_of_constant_times():
    result = ratio(sample([2.0] * 24), sample([1.0] * 24))
    assert result.value == pytest.approx(0.5)
    assert result.ci95 == pytest.approx((0.5, 0.5))
    assert result.pairs == 12


def test_a_steady_drift_cancels_in_mirrored_rounds():
    """Measured A B, B A at times 0 1 2 3 with the machine slowing down exponentially: the ratio stays exact."""
    slow = [math.exp(0.1 * step) for step in range(4 * 12)]
    a = [slow[step] for start in range(0, 48, 4) for step in (start, start + 3)]
    b = [0.8 * slow[step] for start in range(0, 48, 4) for step in (start + 1, start + 2)]
    result = ratio(sample(a), sample(b))
    assert result.value == pytest.approx(0.8)
    assert result.ci95 == pytest.approx((0.8, 0.8))


def test_preempted_rounds_are_set_aside():
    """Every third timing of A is a hundred times too long and marked; one side of a pair is enough."""
    marks = [index % 3 == 0 for index in range(60)]
    a = [100.0 if mark else 2.0 for mark in marks]
    result = ratio(sample(a, marks), sample([1.0] * 60))
    assert result.ci95 == pytest.approx((0.5, 0.5))
    assert result.pairs == 30


def test_pairs_with_a_side_that_was_always_preempted_are_left_out():
    marks = [index < 20 for index in range(60)]
    a = [100.0 if mark else 2.0 for mark in marks]
    assert ratio(sample(a, marks), sample([1.0] * 60)).pairs == 20


def test_with_too_few_clean_pairs_all_count():
    marks = [index >= 18 for index in range(40)]  # nine clean pairs of twenty
    result = ratio(sample([2.0] * 40, marks), sample([1.0] * 40))
    assert result.pairs == 20


def test_a_last_round_without_mirror_is_left_out():
    assert ratio(sample([1.0] * 25), sample([1.0] * 25)).pairs == 12


def test_like_neighbours_are_joined_into_blocks():
    """Runs of eight equal values: 24 blocks of eight, or 12 of sixteen, are what is really independent."""
    rng = np.random.default_rng(0)
    logs = np.repeat(rng.normal(size=24), 16)
    widened = ratio(sample([1.0] * 384), sample(np.exp(logs)))
    shuffled = ratio(sample([1.0] * 384), sample(np.exp(rng.permutation(logs.reshape(-1, 2)).ravel())))
    assert widened.pairs in (12, 24)
    assert shuffled.pairs == 192
    assert widened.ci95[1] - widened.ci95[0] > 1.5 * (shuffled.ci95[1] - shuffled.ci95[0])


def test_unlike_samples_are_refused():
    with pytest.raises(StatisticsError, match="not 4 and 6"):
        ratio(sample([1.0] * 4), sample([1.0] * 6))
    with pytest.raises(StatisticsError, match="not 0 and 0"):
        ratio(sample([]), sample([]))
    with pytest.raises(StatisticsError, match="above 0"):
        ratio(sample([1.0, 0.0]), sample([1.0, 1.0]))


def test_autocorrelation():
    assert autocorrelation(np.array([1.0, 2.0])) == 0
    assert autocorrelation(np.ones(10)) == 0
    assert autocorrelation(np.array([1.0, 2.0] * 50)) == pytest.approx(-0.99)
    assert autocorrelation(np.arange(100.0)) > 0.9
    # ranks 0 1 2 about their mean: (-1)(0) + (0)(1) = 0, however far the last value is out
    assert autocorrelation(np.array([1.0, 2.0, 1e9])) == 0
    # equal values share a rank: 0.5, 0.5, 2 -> deviations -.5 -.5 1, so (.25 - .5) / 1.5
    assert autocorrelation(np.array([1.0, 1.0, 9.0])) == pytest.approx(-1 / 6)


def test_summary():
    seconds = [float(value) for value in range(1, 21)] + [1000.0] * 5
    marks = [False] * 20 + [True] * 5
    order = np.random.default_rng(3).permutation(25)
    latency = summarize(sample([seconds[i] for i in order], [marks[i] for i in order]))
    assert latency.median.value == 10.5
    assert latency.median.ci95 == (6.0, 15.0)
    assert latency.p95_s == pytest.approx(19.05)
    assert latency.p95_all_s == 1000.0
    assert latency.preempted == pytest.approx(0.2)


def test_summary_of_an_always_preempted_sample_uses_all():
    latency = summarize(sample([1.0, 2.0, 3.0], [True] * 3))
    assert latency.median.value == 2.0
    with pytest.raises(StatisticsError, match="empty"):
        summarize(sample([]))


def test_the_summary_of_drifting_times_has_the_median_of_all_and_an_honest_interval():
    """A machine that slows down by half: every timing is like its neighbour, so few of them are independent."""
    times = np.linspace(1.0, 1.5, 1000)
    latency = summarize(sample(times))
    assert latency.median.value == pytest.approx(1.25)
    assert latency.median.n < 50
    low, high = latency.median.ci95
    assert low < 1.2 < 1.3 < high


def test_quantiles_are_of_the_rounds_that_the_median_is_of():
    clean = [float(n) for n in range(1, 102)]
    timed = sample([*clean, 900.0], [*(False for _ in clean), True])
    assert quantiles(timed, (1, 50, 99)) == {1: 2.0, 50: 51.0, 99: 100.0}
    assert quantiles(timed, (50,))[50] == summarize(timed).median.value
    assert quantiles(sample([1.0, 3.0], [False, True]), (50,)) == {50: 2.0}, "too few are clean: all count"


def test_no_timings_have_no_quantiles():
    with pytest.raises(StatisticsError, match="at least one timing"):
        quantiles(sample([]), (50,))
