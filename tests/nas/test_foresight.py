"""Intervals of decisions are as wide as those of the final table: by hand."""

import pytest

from compress.quality import Difference, Score
from compress.task import Evaluation
from nas.foresight import foreseen


class Sets:
    seen, held_out = range(400), range(100)


def test_twice_as_wide_for_a_quarter_of_the_pictures():
    """The half of [1.0, 1.5, 2.2] is 0.5 and 0.7; accuracy asks no real picture."""
    scores = {"fid": Score("fid", "x", 10, (0,), 5.0, 0.2), "accuracy": Score("accuracy", "x", 10, (0,), 0.9, 0.01)}
    gaps = {"fid": Difference(1.5, (1.0, 2.2)), "accuracy": Difference(0.0, (-0.01, 0.01))}
    found = foreseen({"a": Evaluation(scores, {"b": gaps})}, Sets)["a"]
    assert found.scores["fid"].standard_error == pytest.approx(0.4)
    assert found.scores["fid"].value == 5.0
    assert found.scores["accuracy"] == scores["accuracy"]
    assert found.differences["b"]["fid"].value == 1.5
    assert found.differences["b"]["fid"].ci95 == pytest.approx((0.5, 2.9))
    assert found.differences["b"]["accuracy"] == gaps["accuracy"]


class Many:
    seen, held_out = range(40_000), range(10_000)


def test_no_wider_where_as_many_pictures_are_looked_at():
    """KID takes 10,000 of either, so it has the same error on both; FID takes all."""
    scores = {name: Score(name, "x", 10, (0,), 1.0, 0.1) for name in ("fid", "kid")}
    found = foreseen({"a": Evaluation(scores, {})}, Many)["a"]
    assert {name: one.standard_error for name, one in found.scores.items()} == pytest.approx({"fid": 0.2, "kid": 0.1})
