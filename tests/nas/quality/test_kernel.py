"""Kernel distance: by hand, against torchmetrics, and its errors against simulations."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from nas.quality import kernel
from nas.quality.kernel import Side, kernel_sums, kid


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_by_hand():
    """D = 1, k(x, y) = (x y + 1)^3. Reals 0, 0, 0: all kernels 1. Generated 1, 1, 1: 8 within, 1 across: 8 + 1 - 2."""
    real, generated = Side(np.zeros((3, 1))), Side(np.ones((3, 1)))
    found = kid(real, generated)
    assert found.value == pytest.approx(7)
    assert found.error == 0, "leaving one of equal rows out changes nothing"


@pytest.mark.parametrize("chunk", [7, 1024])
def test_agrees_with_torchmetrics(rng, chunk, monkeypatch):
    """Its estimator takes equal counts."""
    monkeypatch.setattr(kernel, "_CHUNK", chunk)
    real, generated = rng.normal(size=(60, 5)), 0.3 + 1.2 * rng.normal(size=(60, 5))
    oracle = float(poly_mmd(torch.from_numpy(real), torch.from_numpy(generated)))
    assert kid(Side(real), Side(generated)).value == pytest.approx(oracle, rel=1e-9)


def test_unequal_counts_by_plain_sums(rng):
    real, generated = rng.normal(size=(20, 3)), 1 + rng.normal(size=(30, 3))
    k = {(a, b): (x @ y.T / 3 + 1) ** 3 for a, x in zip("rg", (real, generated), strict=True)
         for b, y in zip("rg", (real, generated), strict=True)}  # fmt: skip
    within = [(k[a, a].sum() - np.trace(k[a, a])) / (n * (n - 1)) for a, n in (("r", 20), ("g", 30))]
    assert kid(Side(real), Side(generated)).value == pytest.approx(sum(within) - 2 * k["r", "g"].mean())
    np.testing.assert_allclose(kernel_sums(real, generated), k["r", "g"].sum(axis=1))


def test_moves_are_those_of_leaving_one_row_out(rng):
    real, generated = rng.normal(size=(12, 2)), 0.5 + rng.normal(size=(9, 2))
    found = kid(Side(real), Side(generated))
    left = np.array([kid(Side(real), Side(np.delete(generated, row, axis=0))).value for row in range(9)])
    np.testing.assert_allclose(found.moves[:9], math.sqrt(8 / 9) * (left - left.mean()))
    left = np.array([kid(Side(np.delete(real, row, axis=0)), Side(generated)).value for row in range(12)])
    np.testing.assert_allclose(found.moves[9:], math.sqrt(11 / 12) * (left - left.mean()))


def test_alike_sets_are_at_no_distance_on_average(rng):
    """The estimator is unbiased: values of both signs, whose mean is zero within its error."""
    values = [kid(Side(rng.normal(size=(50, 4))), Side(rng.normal(size=(50, 4)))).value for _ in range(200)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)


def test_errors_are_the_spread_of_independent_repetitions(rng):
    """Of the value and of a paired difference; a jackknife errs to the large side, here by up to a third."""
    values, errors, gaps, gap_errors = [], [], [], []
    for _ in range(120):
        real, latents = Side(rng.normal(size=(200, 4))), rng.normal(size=(250, 4))
        one, other = (kid(real, Side(scale * latents + shift)) for scale, shift in ((1.2, 0.4), (1.3, 0.3)))
        gap = one.minus(other)
        values.append(one.value)
        errors.append(one.error)
        gaps.append(gap.value)
        gap_errors.append((gap.ci95[1] - gap.value) / 1.96)
    assert 0.85 < np.mean(errors) / np.std(values, ddof=1) < 1.35
    assert 0.85 < np.mean(gap_errors) / np.std(gaps, ddof=1) < 1.35
    assert np.mean(gap_errors) < 0.8 * math.hypot(np.mean(errors), np.mean(errors)), "pairing takes the common part out"


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
def test_what_is_not_finite_has_no_distance(rng, bad):
    good, broken = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    broken[4, 1] = bad
    assert math.isnan(kid(Side(good), Side(broken)).value)
    assert math.isnan(kid(Side(broken), Side(good)).error)
