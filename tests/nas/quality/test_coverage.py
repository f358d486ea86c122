"""Improved precision and recall: cases by hand, a brute-force implementation, and errors against simulations."""

import math

import numpy as np
import pytest

from nas.quality import coverage as module
from nas.quality.coverage import NEIGHBOURS, Manifold, coverage, squared_distances


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def line(*places: float) -> np.ndarray:
    return np.array(places, float)[:, None]


def brute_force(balls: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Equation 1 of Kynkäänniemi et al., a pair at a time: the radius is the distance to the third nearest other."""
    inside = []
    for row in rows:
        for index, centre in enumerate(balls):
            others = sorted(math.dist(centre, other) for at, other in enumerate(balls) if at != index)
            if math.dist(row, centre) <= others[NEIGHBOURS - 1]:
                inside.append(True)
                break
        else:
            inside.append(False)
    return np.array(inside)


def test_distances_by_hand():
    np.testing.assert_allclose(squared_distances(np.array([[0.0, 0], [3, 4]]), np.array([[3.0, 4]])), [[25], [0]])


def test_a_line_by_hand():
    """Balls around 0 to 11 reach 2 to 3 to either side (the third nearest of an inner point is 2 away): -3 to 14."""
    found = coverage(Manifold.of(line(*range(12))), line(-4, -3, 5.5, 14, 14.1), generated=5)
    assert found.value == pytest.approx(3 / 5)
    np.testing.assert_allclose(Manifold.of(line(*range(12))).radii, [9, 4, *[4] * 8, 4, 9])


@pytest.mark.parametrize("chunk", [16, 1024])
def test_agrees_with_brute_force(rng, chunk, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    balls, rows = rng.normal(size=(90, 3)), 1.6 * rng.normal(size=(70, 3)) + 0.5
    hits, _ = Manifold.of(balls).holds(rows)
    np.testing.assert_array_equal(hits, brute_force(balls, rows))
    assert 0.1 < hits.mean() < 0.9


def test_halves_are_manifolds_of_half_the_rows(rng):
    """Each half's radii and shares are those of a manifold made of its rows alone."""
    balls, rows = rng.normal(size=(80, 2)), 1.5 * rng.normal(size=(60, 2))
    manifold = Manifold.of(balls)
    _, shares = manifold.holds(rows)
    for radii, share in zip(manifold.halves, shares, strict=True):
        chosen = radii >= 0
        assert chosen.sum() == 40
        assert share == pytest.approx(brute_force(balls[chosen], rows).mean())


def test_known_cases(rng):
    """The same distribution: both high. A collapsed generator: precise, and recalls nothing. Far away: neither."""
    real, same = rng.normal(size=(400, 4)), rng.normal(size=(400, 4))
    collapsed = 0.01 * rng.normal(size=(400, 4))
    far = real + 100
    cases = {"same": (same, 0.85, 0.85), "collapsed": (collapsed, 0.99, 0.0), "far": (far, 0.0, 0.0)}
    for name, (generated, precision, recall) in cases.items():
        found = [
            coverage(Manifold.of(real), generated, generated=400).value,
            coverage(Manifold.of(generated), real, generated=400).value,
        ]
        assert found == pytest.approx([precision, recall], abs=0.1), name


def test_errors_are_the_spread_of_independent_repetitions(rng):
    """Of values and of paired differences, of both: never much below the truth, and at most half above."""
    mix = np.eye(8) + 0.4 * rng.normal(size=(8, 8))
    found = {name: ([], []) for name in ("precision", "recall", "precision gap", "recall gap")}
    for _ in range(80):
        real, latents = rng.normal(size=(300, 8)), rng.normal(size=(350, 8))
        pair = (latents @ mix + 0.2, 1.2 * latents @ mix)
        reals = Manifold.of(real)
        for name, (one, other) in {
            "precision": [coverage(reals, generated, generated=350) for generated in pair],
            "recall": [coverage(Manifold.of(generated), real, generated=350) for generated in pair],
        }.items():
            gap = one.minus(other)
            for key, value, error in (
                (name, one.value, one.error),
                (f"{name} gap", gap.value, (gap.ci95[1] - gap.value) / 1.96),
            ):
                found[key][0].append(value)
                found[key][1].append(error)
    for name, (values, errors) in found.items():
        assert 0.8 < np.mean(errors) / np.std(values, ddof=1) < 1.55, name


def test_a_generator_differs_from_itself_by_exactly_nothing(rng):
    real, generated = rng.normal(size=(60, 3)), rng.normal(size=(50, 3))
    one, copy = (coverage(Manifold.of(generated.copy()), real, generated=50) for _ in range(2))
    assert one.minus(copy).ci95 == (0.0, 0.0)


def test_a_share_of_one_has_an_error_too(rng):
    real = rng.normal(size=(200, 2))
    found = coverage(Manifold.of(real), real[:100], generated=100)
    assert found.value == 1
    assert found.error > 0.005


def test_what_is_not_finite_is_on_no_manifold(rng):
    good, broken = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    broken[3, 0] = math.nan
    assert math.isnan(coverage(Manifold.of(good), broken, generated=40).value)
    assert math.isnan(coverage(Manifold.of(broken), good, generated=40).value)
