import pytest
from scipy import stats

from benchmarks.binomial import at_least, at_most, lower_rank, proportion_interval


@pytest.mark.parametrize("n", [1, 7, 60, 1000])
@pytest.mark.parametrize("p", [0.01, 0.5, 0.93])
def test_tails_agree_with_scipy(n, p):
    for k in (-1, 0, n // 3, n // 2, n - 1, n, n + 1):
        assert at_most(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), abs=1e-12)
        assert at_least(k, n, p) == pytest.approx(stats.binom.sf(k - 1, n, p), abs=1e-12)


@pytest.mark.parametrize("tail", [0.025, 0.005, 0.0001])
def test_ranks_are_the_largest_allowed(tail):
    for n in (1, 5, 6, 30, 999, 20_000):
        rank = lower_rank(n, tail)
        assert rank == 0 or stats.binom.cdf(rank - 1, n, 0.5) <= tail
        assert stats.binom.cdf(rank, n, 0.5) > tail


def test_proportions_agree_with_scipy():
    for hits, n in ((3, 60), (95, 100), (1, 2)):
        exact = stats.binomtest(hits, n).proportion_ci(0.95)
        assert proportion_interval(hits, n) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_none_or_all_of_n_by_hand():
    """0 of 300 leaves at most 1 - 0.05^(1/300) = 0.99 %; 42 of 42 at least 0.05^(1/42) = 93.1 %."""
    assert proportion_interval(0, 300) == pytest.approx((0.0, 0.00993608))
    assert proportion_interval(42, 42) == pytest.approx((0.93116, 1.0), abs=1e-5)
    with pytest.raises(ValueError, match="hits"):
        proportion_interval(3, 2)
