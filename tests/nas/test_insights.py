"""Importances, effects and curves, on candidates whose numbers follow from their knobs by hand-written rules."""

import itertools
import math
from typing import Any

import pytest

from nas.candidate import NOT_TRAINED
from nas.insights import curve_of, importances_of, is_unreached, knobs_of, quality_of


def score(value: float | None) -> dict[str, Any]:
    return {"metric": "fid", "extractor": "a", "n": 10, "seeds": [0], "value": value, "standard_error": 0.5}


def rungs(*values: float | None) -> list[dict[str, Any]]:
    return [{"steps": 100 * (place + 1), "quality": score(value)} for place, value in enumerate(values)]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Time follows from the width alone, the score from the norm alone; depth is off where the body is an MLP."""
    made = []
    for width, norm, depth in itertools.product((8, 16, 32, 64), ("batch", "none"), (1, 2, None)):
        genotype = {"width": width, "norm": norm} | ({} if depth is None else {"depth": depth})
        first = {"batch": 20.0, "none": 40.0}[norm]
        ratio = {"value": width / 256, "ci95": [width / 257, width / 255]}
        made.append({"genotype": genotype, "ratio": ratio, "rungs": rungs(first, first / 2) if width < 64 else []})
    return made


def test_each_goal_is_explained_by_its_knob(rows):
    found = knobs_of(rows, seed=0)
    shares = {knob["name"]: knob["importance"] for knob in found["knobs"]}
    assert (found["measured"], found["trained"], found["steps"]) == (24, 18, 100)
    assert shares["width"]["latency"] > 0.95
    assert shares["norm"]["quality"] > 0.95
    assert shares["depth"]["latency"] < 0.05
    for goal in ("latency", "quality"):
        assert sum(one[goal] for one in shares.values()) == pytest.approx(1)


def test_effects_by_value_in_order_with_what_was_off_last(rows):
    knobs = {knob["name"]: knob for knob in knobs_of(rows, seed=0)["knobs"]}
    width, depth = knobs["width"]["values"], knobs["depth"]["values"]
    assert [one["value"] for one in width] == [8, 16, 32, 64]
    assert [one["value"] for one in depth] == [1, 2, None]
    assert width[0]["speedup"] == {"low": 32.0, "median": 32.0, "high": 32.0}
    assert width[0]["quality"] == {"low": 20.0, "median": 30.0, "high": 40.0}
    assert (width[0]["measured"], width[0]["trained"], width[0]["best_quality"]) == (6, 6, 10.0)
    assert (width[3]["measured"], width[3]["trained"], width[3]["quality"], width[3]["best_quality"]) == (
        6,
        0,
        None,
        None,
    )


def test_the_same_seed_gives_the_same_shares(rows):
    points = [(row["genotype"], math.log(row["ratio"]["value"])) for row in rows]
    assert importances_of(points, 3) == importances_of(points, 3)


def test_too_few_candidates_or_no_spread_explain_nothing(rows):
    points = [(row["genotype"], 1.0) for row in rows]
    assert importances_of(points, 0) is None
    assert importances_of([(row["genotype"], float(place)) for place, row in enumerate(rows[:11])], 0) is None
    assert importances_of([({"width": 8}, float(place)) for place in range(20)], 0) is None


def test_without_optuna_the_effects_are_still_there(rows, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    found = knobs_of(rows, seed=99)
    assert {value for knob in found["knobs"] for value in knob["importance"].values()} == {None}
    assert found["knobs"][0]["values"]


def test_scores_that_are_not_numbers_are_left_out(rows):
    spoiled = [
        row | {"rungs": rungs(None)} if place else row | {"rungs": rungs(math.nan, 3.0)}
        for place, row in enumerate(rows)
    ]
    found = knobs_of(spoiled, seed=0)
    assert found["trained"] == 0
    assert all(knob["importance"]["quality"] is None for knob in found["knobs"])


def test_nothing_measured_teaches_nothing():
    assert knobs_of([], 0) is None
    assert knobs_of([{"genotype": {"width": 8}, "ratio": None, "rungs": []}], 0) is None


def test_a_curve_has_a_point_for_each_rung_that_was_scored():
    assert curve_of({"rungs": rungs(30.0, None, math.inf, 10.0)}) == [
        {"steps": 100, "value": 30.0, "standard_error": 0.5},
        {"steps": 400, "value": 10.0, "standard_error": 0.5},
    ]


def test_unreached_is_only_what_was_never_trained():
    assert is_unreached({"outcome": "failed", "error": NOT_TRAINED})
    assert not is_unreached({"outcome": "failed", "error": "ValueError"})
    assert not is_unreached({"outcome": "complete", "error": None})


def test_quality_of_an_old_record_is_unknown():
    assert quality_of({"scores": {}, "differences": {}}) is None
    assert quality_of({}) is None


def test_quality_in_full_is_gathered_by_who():
    row = {"name": "3", "accuracy": 0.9, "accuracy_error": 0.03, "fid": 7.0, "fid_error": None, "n": 100}
    found = quality_of(
        {
            "metrics": {"final": {"fid": score(4.0)}},
            "metric_differences": {"final": {"reference": {"fid": {"value": 1.0, "ci95": [0.5, 1.5]}}}},
            "also": {"inception": {"final": score(9.0)}, "random": {"final": {"fid": score(8.0), "kid": score(0.1)}}},
            "classes": {"final": [row | {"extra": 1}], "missing": {"final": ["8"]}, "ceiling": 0.99},
            "neighbours": {"n": 5, "median_distance": 1.5, "rows": []},
        }
    )
    assert found is not None
    assert [one["value"] for one in found["also"]["final"]] == [9.0, 8.0, 0.1]
    assert found["classes"] == {"final": {"rows": [row], "missing": ["8"], "ceiling": 0.99}}
    assert found["neighbours"] == {"n": 5, "median_distance": 1.5, "median_distance_held_out": None}
