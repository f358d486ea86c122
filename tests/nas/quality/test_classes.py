"""Accuracy and FID by class, and the classes that are missing."""

import numpy as np
import pytest

from nas.quality.classes import Labelled, accuracy, by_class, missing
from nas.quality.frechet import fid


def labelled(rng, counts, seen=None, features=3, shift=0.0):
    wanted = np.repeat(np.arange(len(counts)), counts)
    rows = rng.normal(size=(len(wanted), features)) + 5 * wanted[:, None] + shift
    return Labelled(rows, wanted, wanted.copy() if seen is None else np.asarray(seen))


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def test_accuracy_by_hand():
    found = accuracy(np.array([0, 1, 1, 2]), np.array([0, 1, 2, -1]))
    assert (found.value, found.n) == (0.5, 4)
    assert found.error == pytest.approx(np.sqrt(0.25 / 7))


def test_a_row_a_class(rng):
    """Class c is asked for 10 times and drawn as b; it is missing, though b is seen too often."""
    generated = labelled(rng, (30, 30, 10), seen=[0] * 30 + [1] * 30 + [1] * 10)
    real = labelled(rng, (20, 20, 20), seen=[0] * 20 + [1] * 20 + [2] * 18 + [1] * 2)
    rows = by_class(("a", "b", "c"), generated, real, seed=0)
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [(row["n"], row["n_real"]) for row in rows] == [(30, 20), (30, 20), (10, 20)]
    assert [row["accuracy"] for row in rows] == [1, 1, 0]
    assert [row["ceiling"] for row in rows] == [1, 1, 0.9]
    assert [row["share"] for row in rows] == pytest.approx([30 / 70, 40 / 70, 0])
    assert missing(rows) == ["c"]
    assert rows[1]["fid"] == pytest.approx(fid(real.features[20:40], generated.features[30:60]))
    assert 0 < rows[1]["fid_error"] < 10 * rows[1]["fid"]
    assert all(row["fid_reason"] is None for row in rows)


def test_the_threshold_is_a_tenth_of_what_real_pictures_have(rng):
    """Drawn as asked: 1, 2, 0 and 0 of 20; the labeller knows all real pictures of classes a, b and d, none of c."""
    drawn = [0] * 1 + [3] * 19 + [1] * 2 + [3] * 18 + [1] * 20 + [1] * 20
    known = [0] * 20 + [1] * 20 + [0] * 20 + [3] * 20
    generated, real = (labelled(rng, (20, 20, 20, 20), seen=seen) for seen in (drawn, known))
    assert missing(by_class("abcd", generated, real, seed=0)) == ["a", "d"]


def test_too_few_pictures_have_no_fid_and_say_so(rng):
    generated, real = labelled(rng, (30, 30), features=20), labelled(rng, (20, 21), features=20)
    first, second = by_class("ab", generated, real, seed=0)
    assert (first["fid"], first["fid_error"]) == (None, None)
    assert first["fid_reason"] == "20 pictures, and 20 features need 21"
    assert second["fid"] is not None


def test_a_class_that_was_not_asked_for_has_no_accuracy(rng):
    rows = by_class("ab", labelled(rng, (30, 0)), labelled(rng, (20, 20)), seed=0)
    assert (rows[1]["n"], rows[1]["accuracy"], rows[1]["fid"]) == (0, None, None)
    assert missing(rows) == []


def test_a_diverged_generator_has_no_fid(rng):
    generated = labelled(rng, (30, 30), seen=[-1] * 60)
    generated.features[:] = np.nan
    rows = by_class("ab", generated, labelled(rng, (20, 20)), seed=0)
    assert [row["fid_reason"] for row in rows] == ["features are not finite"] * 2
    assert missing(rows) == ["a", "b"]
