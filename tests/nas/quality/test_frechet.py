"""Fréchet distance: against cases worked by hand, against torchmetrics, and its errors against simulations."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from nas.quality.estimates import Linear, Resampled, centred_interval
from nas.quality.frechet import Gaussian, bootstrap, distance, fid, fit, linear, measure


class Flatten(nn.Module):
    """Pictures (N, 1, 1, D) are their own features."""

    num_features = 5

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_one_dimension_by_hand():
    """(m_a - m_b)^2 + (s_a - s_b)^2: means 0 and 3, deviations 1 and 2."""
    assert distance(gaussian([0], [[1]]), gaussian([3], [[4]])) == pytest.approx(9 + 1)


def test_two_dimensions_by_hand():
    """S_a = diag(1, 4), S_b = diag(9, 1): cross = sqrt(1 * 9) + sqrt(4 * 1) = 5, so 5 + 10 - 2 * 5, and 1^2 + 2^2."""
    a, b = gaussian([0, 0], [[1, 0], [0, 4]]), gaussian([1, 2], [[9, 0], [0, 1]])
    assert distance(a, b) == pytest.approx(5 + 5)
    assert distance(b, a) == pytest.approx(5 + 5)


def test_covariances_that_do_not_commute():
    """S_a = diag(1, 0), S_b = [[1, 1], [1, 1]]: the root of S_a S_b S_a is diag(1, 0), so 1 + 2 - 2."""
    a, b = gaussian([0, 0], [[1, 0], [0, 0]]), gaussian([0, 0], [[1, 1], [1, 1]])
    assert distance(a, b) == pytest.approx(1)


def test_fit_by_hand():
    """Rows (0, 0), (2, 0), (1, 3): means 1 and 1; squared deviations 2 and 6, products 0; divided by 3 - 1."""
    found = fit(np.array([[0.0, 0], [2, 0], [1, 3]]))
    np.testing.assert_allclose(found.mean, [1, 1])
    np.testing.assert_allclose(found.covariance, [[1, 0], [0, 3]])


def test_weights_are_repeated_rows(rng):
    rows, counts = rng.normal(size=(6, 3)), np.array([2.0, 0, 1, 3, 0, 1])
    weighted, repeated = fit(rows, counts), fit(np.repeat(rows, counts.astype(int), axis=0))
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.covariance, np.cov(np.repeat(rows, counts.astype(int), axis=0).T))
    np.testing.assert_allclose(weighted.covariance, repeated.covariance)


@pytest.mark.parametrize("correlated", [False, True])
def test_agrees_with_torchmetrics(rng, correlated):
    mix = rng.normal(size=(5, 5)) if correlated else np.eye(5)
    real, generated = rng.normal(size=(300, 5)) @ mix, 0.5 + 1.5 * rng.normal(size=(200, 5))
    oracle = FrechetInceptionDistance(feature=Flatten(), normalize=True).set_dtype(torch.float64)
    oracle.update(torch.from_numpy(real)[:, None, None], real=True)
    oracle.update(torch.from_numpy(generated)[:, None, None], real=False)
    assert fid(real, generated) == pytest.approx(float(oracle.compute()), rel=1e-6)


def test_agrees_with_torchmetrics_where_covariances_are_singular(rng):
    """Fewer pictures than features, and features that never fire: what a young generator looks like."""
    real, generated = rng.normal(size=(100, 5)), np.zeros((50, 5))
    generated[:, 0] = rng.normal(size=50)
    oracle = FrechetInceptionDistance(feature=Flatten(), normalize=True).set_dtype(torch.float64)
    oracle.update(torch.from_numpy(real)[:, None, None], real=True)
    oracle.update(torch.from_numpy(generated)[:, None, None], real=False)
    assert fid(real, generated) == pytest.approx(float(oracle.compute()), abs=1e-5)


def test_a_set_is_at_no_distance_from_itself(rng):
    features = rng.normal(size=(100, 8))
    assert fid(features, features) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_what_is_not_finite_has_no_distance(rng, bad):
    """On either side, and with squares that overflow; no warning, no exception from linear algebra."""
    good, broken = rng.normal(size=(50, 4)), rng.normal(size=(50, 4))
    broken[7, 2] = bad
    assert math.isnan(fid(good, broken))
    assert math.isnan(fid(broken, good))
    if not math.isfinite(bad):  # a finite row may be left out of a draw
        assert np.isnan(bootstrap(broken, [good], seed=0, draws=3)).all()
        draws = bootstrap(good, [good, broken], seed=0, draws=3)
        assert np.isfinite(draws[:, 0]).all()
        assert np.isnan(draws[:, 1]).all()
        assert all(map(math.isnan, centred_interval(math.nan, draws[:, 1])))


def test_one_picture_has_no_covariance():
    with pytest.raises(ValueError, match="two pictures or more, got 1"):
        fit(np.ones((1, 3)))


def test_unequal_lengths_are_not_paired(rng):
    with pytest.raises(ValueError, match=r"same latents, got \[20, 30\]"):
        bootstrap(rng.normal(size=(40, 2)), [rng.normal(size=(20, 2)), rng.normal(size=(30, 2))], seed=0)


def test_bootstrap_repeats_itself_and_obeys_its_seed(rng):
    real, generated = rng.normal(size=(60, 3)), rng.normal(size=(50, 3))
    first = bootstrap(real, [generated], seed=3, draws=8)
    np.testing.assert_array_equal(first, bootstrap(real, [generated], seed=3, draws=8))
    assert (first != bootstrap(real, [generated], seed=4, draws=8)).all()


def test_bootstrap_draws_rows_with_replacement(rng):
    """The oracle: the same counts, spelled out as repeated rows."""
    real, generated = rng.normal(size=(40, 3)), 2 * rng.normal(size=(30, 3))
    numbers, expected = np.random.default_rng(5), []
    for _ in range(4):
        reals, rows = numbers.integers(0, 40, 40), numbers.integers(0, 30, 30)
        expected.append(fid(real[reals], generated[rows]))
    np.testing.assert_allclose(bootstrap(real, [generated], seed=5, draws=4)[:, 0], expected, rtol=1e-6)


def test_a_generator_compared_with_itself_differs_by_exactly_nothing(rng):
    features = rng.normal(size=(80, 4))
    draws = bootstrap(rng.normal(size=(80, 4)), [features, features.copy()], seed=0, draws=20)
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])
    assert centred_interval(0.0, draws[:, 0] - draws[:, 1]) == (0.0, 0.0)


def test_another_generator_changes_nothing_for_the_first(rng):
    real, one, other = (rng.normal(size=(50, 3)) for _ in range(3))
    alone = bootstrap(real, [one], seed=2, draws=5)[:, 0]
    np.testing.assert_array_equal(alone, bootstrap(real, [one, other], seed=2, draws=5)[:, 0])


def test_interval_is_centred_like_the_value():
    """Draws 0 .. 100 have the mean 50 and the percentiles 2.5 and 97.5."""
    assert centred_interval(7.0, np.arange(101.0)) == pytest.approx((7 - 47.5, 7 + 47.5))


def test_bias_of_the_bootstrap_is_the_same_for_like_generators(rng):
    """Resampling inflates every distance, and by much the same: that is why a difference can be trusted."""
    real, latents = rng.normal(size=(400, 8)), rng.normal(size=(400, 8))
    generated = [1.3 * latents, 1.3 * latents @ np.linalg.qr(rng.normal(size=(8, 8)))[0]]
    bias = bootstrap(real, generated, seed=0, draws=100).mean(axis=0) - [fid(real, one) for one in generated]
    assert bias[0] > 0.05
    assert bias[1] == pytest.approx(bias[0], rel=0.25)


def shifted_and_scaled(latents: np.ndarray) -> list[np.ndarray]:
    """Two generators: from reals N(0, I) they are truly 4 * (0.25 + 0.09) = 1.36 and 0.81 + 4 * 0.16 = 1.45 away."""
    return [1.3 * latents + 0.5, 1.4 * latents + np.array([0.9, 0, 0, 0])]


def test_paired_interval_covers_the_true_difference(rng):
    """The 95 % interval holds it in about 95 of 100 repetitions; below 90 would be an interval that lies."""
    inside = 0
    for repetition in range(100):
        real, latents = rng.normal(size=(250, 4)), rng.normal(size=(250, 4))
        one, other = shifted_and_scaled(latents)
        draws = bootstrap(real, [one, other], seed=repetition, draws=100)
        low, high = centred_interval(fid(real, other) - fid(real, one), draws[:, 1] - draws[:, 0])
        inside += low <= 1.45 - 1.36 <= high
    assert 90 <= inside <= 100


def test_standard_error_is_the_spread_of_independent_repetitions(rng):
    values, errors = [], []
    for repetition in range(100):
        real, one = rng.normal(size=(250, 4)), shifted_and_scaled(rng.normal(size=(250, 4)))[0]
        values.append(fid(real, one))
        errors.append(bootstrap(real, [one], seed=repetition, draws=50).std(ddof=1))
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.25)


def test_pairing_narrows_the_interval(rng):
    real, latents = rng.normal(size=(250, 4)), rng.normal(size=(250, 4))
    draws = bootstrap(real, shifted_and_scaled(latents), seed=0, draws=100)
    assert (draws[:, 1] - draws[:, 0]).std() < 0.8 * np.hypot(*draws.std(axis=0))


def test_the_derivative_gives_the_error_that_the_bootstrap_finds(rng):
    """Of the value, and of a difference of two generators on the same latents."""
    mix = np.eye(12) + 0.4 * rng.normal(size=(12, 12))
    real, latents = rng.normal(size=(600, 12)), rng.normal(size=(700, 12))
    generated = [latents @ mix + 0.3, 1.2 * latents @ mix + 0.2]
    draws = bootstrap(real, generated, seed=1, draws=300)
    one, other = (linear(real, features) for features in generated)
    assert one.value == pytest.approx(fid(real, generated[0]))
    assert one.error == pytest.approx(draws[:, 0].std(ddof=1), rel=0.2)
    low, high = one.minus(other).ci95
    assert (high - low) / (2 * 1.96) == pytest.approx((draws[:, 0] - draws[:, 1]).std(ddof=1), rel=0.2)
    assert one.minus(one).ci95 == (0.0, 0.0)


def test_the_derivative_by_hand(rng):
    """Each row's weight is raised a little, and the distance taken again; n and n - 1 are not told apart (1 in 40)."""
    real, generated = rng.normal(size=(50, 1)), 1.5 * rng.normal(size=(40, 1)) + 1
    found = linear(real, generated)
    weights, steps = np.ones(40), np.empty(40)
    for row in range(40):
        more = weights.copy()
        more[row] += 1e-6
        steps[row] = (distance(fit(real), fit(generated, more)) - fid(real, generated)) / 1e-6
    np.testing.assert_allclose(found.moves[:40], steps - steps.mean(), atol=1 / 40 * np.abs(steps).max())


def test_many_features_are_not_resampled(rng):
    few, many = (rng.normal(size=(400, features)) for features in (3, 300))
    assert isinstance(measure(few, [few + 1], seed=0)[0], Resampled)
    (found,) = measure(many, [many + 1], seed=0)
    assert isinstance(found, Linear)
    assert found.value == pytest.approx(300, rel=1e-6)
    assert math.isnan(linear(many, np.full_like(many, np.nan)).value)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def gaussian(mean: list[float], covariance: list[list[float]]) -> Gaussian:
    return Gaussian(np.array(mean, float), np.array(covariance, float))
