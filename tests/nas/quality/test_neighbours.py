"""The nearest training picture: by hand, in chunks, and of copies."""

import numpy as np
import pytest

from nas.quality import neighbours
from nas.quality.neighbours import nearest


def test_by_hand():
    indices, distances = nearest(np.array([[0.0, 0], [9, 9]]), np.array([[3.0, 4], [9, 8], [-20, 0]]))
    assert indices.tolist() == [0, 1]
    assert distances == pytest.approx([5, 1])


def test_chunks_make_no_difference(monkeypatch):
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    whole = nearest(queries, references)
    monkeypatch.setattr(neighbours, "_CHUNK", 7)
    for one, other in zip(whole, nearest(queries, references), strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole[1] == pytest.approx([np.linalg.norm(references - query, axis=1).min() for query in queries])


def test_a_copy_is_at_no_distance():
    references = np.random.default_rng(1).normal(size=(30, 4))
    indices, distances = nearest(references[[7, 3]], references)
    assert indices.tolist() == [7, 3]
    assert distances == pytest.approx([0, 0], abs=1e-6)


def test_what_is_not_a_number_is_near_nothing():
    _, distances = nearest(np.array([[np.nan, 0.0], [1, 1]]), np.array([[1.0, 1]]))
    assert np.isnan(distances).tolist() == [True, False]
