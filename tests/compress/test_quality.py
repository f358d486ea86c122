import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import CompressError
from compress.quality import METRICS, Budget, Difference, Score, get_metric, parse_budgets


def fid(value, n=5000, extractor="mnist-cnn-1", error=0.1):
    return Score("fid", extractor, n, (1, 2), value, error)


def accuracy(value, error=0.001):
    return Score("accuracy", "mnist-cnn-1", 1000, (1,), value, error)


def test_four_times_the_fid_is_not_inside_five_percent():
    """FID 20 -> 80 must never pass for "fid<=+5%"."""
    assert not Budget.parse("fid<=+5%").inside(fid(80), fid(20), Difference(60, (58, 62)))


@pytest.mark.parametrize(
    ("text", "score", "reference", "interval", "inside"),
    [
        ("fid<=+10%", 21.0, 20.0, (0.5, 2.0), True),  # 10 % of 20 is 2: the worse end may touch it
        ("fid<=+10%", 21.0, 20.0, (0.5, 2.01), False),
        ("fid<=+10%|+2", 6.0, 4.0, (1.5, 2.0), True),  # the looser of 0.4 and 2
        ("fid<=+10%|+2", 42.5, 40.0, (1.0, 3.9), True),  # the looser of 4 and 2
        ("fid<=-1", 18.0, 20.0, (-3.0, -1.5), True),  # must become better
        ("fid<=-1", 18.0, 20.0, (-3.0, -0.5), False),
        ("fid<=30", 29.0, 90.0, (-99.0, 99.0), True),  # 29 + 1.96 * 0.1: the difference does not count
        ("fid<=29.1", 29.0, 20.0, (9.0, 9.0), False),
        ("fid<=10|+2", 21.0, 20.0, (0.5, 1.5), True),  # the value fails, the difference holds
    ],
)
def test_lower_is_better(text, score, reference, interval, inside):
    difference = Difference(score - reference, interval)
    assert Budget.parse(text).inside(fid(score), fid(reference), difference) is inside


@pytest.mark.parametrize(
    ("text", "interval", "inside"),
    [
        ("accuracy>=-1pt", (-0.009, 0.0), True),
        ("accuracy>=-1pt", (-0.011, 0.5), False),  # the lower end is the worse one here
        ("accuracy>=-2%", (-0.0179, 0.0), True),  # 2 % of 0.9 is 0.018
        ("accuracy>=-2%", (-0.0181, 0.0), False),
        ("accuracy>=0.88", (-1.0, 1.0), True),  # 0.89 - 1.96 * 0.001
        ("accuracy>=89pt", (-1.0, 1.0), False),
    ],
)
def test_higher_is_better(text, interval, inside):
    assert Budget.parse(text).inside(accuracy(0.89), accuracy(0.9), Difference(-0.01, interval)) is inside


def test_nan_and_infinity_are_never_inside():
    budget, good = Budget.parse("fid<=+50%|+99|999"), Difference(0.0, (0.0, 0.0))
    nan, infinite = math.nan, math.inf
    assert budget.inside(fid(20), fid(20), good)
    assert not budget.inside(fid(nan), fid(20), good)
    assert not budget.inside(fid(20), fid(infinite), good)
    assert not budget.inside(fid(20), fid(20), Difference(nan, (nan, nan)))
    assert not Budget.parse("fid<=+50%").inside(fid(20), fid(20), Difference(0.0, (0.0, nan)))
    assert not Budget.parse("fid<=30").inside(fid(20, error=nan), fid(20), good)
    assert not Difference(-1.0, (nan, nan)).is_better(METRICS["fid"])


def test_allowed_is_the_loosest_limit_as_a_value():
    assert Budget.parse("fid<=+10%|+2").allowed(10.0) == 12.0
    assert Budget.parse("fid<=+10%|+2").allowed(40.0) == pytest.approx(44.0)
    assert Budget.parse("fid<=30|+2").allowed(10.0) == 30.0
    assert Budget.parse("accuracy>=-1pt|-5%").allowed(0.8) == pytest.approx(0.76)
    assert Budget.parse("kid<=+10%").allowed(-0.01) == pytest.approx(-0.009)  # KID's estimator can be below 0
    assert math.isnan(Budget.parse("fid<=+10%|30").allowed(math.nan))
    assert Budget.parse("fid<=30").allowed(math.nan) == 30.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fid>=+10%", "lower is better"),
        ("accuracy<=-1pt", "higher is better"),
        ("fjd<=+10%", "Known metrics: fid"),
        ("fid<=+1pt", "not counted in points"),
        ("fid<=10%", "needs a sign"),
        ("fid<=", "fid<=\\+10%"),
        ("fid<=+10%|", "not a number"),
        ("fid<=nan", "not a number"),
        ("fid<=+1e3", "not a number"),
        ("fid<+10%", "found 'fid<"),
        ("fid<=1<=2", "found"),
        ("fid<=+" + "1" * 300, "found"),
        (None, "found None"),
    ],
)
def test_a_wrong_budget_says_what_to_write(text, says):
    with pytest.raises(CompressError, match=says):
        Budget.parse(text)


def test_spaces_and_capitals_do_not_matter():
    assert Budget.parse(" FID <= +10% | +2 ") == Budget.parse("fid<=+10%|+2")


def test_several_budgets():
    assert [b.metric.name for b in parse_budgets(["fid<=+2", "accuracy>=-1pt"])] == ["fid", "accuracy"]
    assert parse_budgets("fid<=+2") == (Budget.parse("fid<=+2"),)
    with pytest.raises(CompressError, match="several for fid"):
        parse_budgets(["fid<=+2", "fid<=+10%"])
    with pytest.raises(CompressError, match="found none"):
        parse_budgets([])


@pytest.mark.parametrize("other", [fid(20, n=1000), fid(20, extractor="b"), accuracy(0.9)])
def test_unlike_scores_are_not_compared(other):
    with pytest.raises(CompressError, match="Only like scores"):
        Budget.parse("fid<=+2").inside(fid(20), other, Difference(0, (0, 0)))


def test_a_budget_judges_its_own_metric_only():
    with pytest.raises(CompressError, match="cannot judge a score of accuracy"):
        Budget.parse("fid<=+2").inside(accuracy(0.9), accuracy(0.9), Difference(0, (0, 0)))


def test_better_follows_the_direction():
    assert Difference(-1, (-2, -0.1)).is_better(METRICS["fid"])
    assert not Difference(-1, (-2, 0.1)).is_better(METRICS["fid"])
    assert Difference(0.02, (0.01, 0.03)).is_better(METRICS["accuracy"])


def test_json_round_trips():
    score, difference = fid(20.5), Difference(1.0, (0.5, 1.5))
    assert Score.from_json(json.loads(json.dumps(score.to_json()))) == score
    assert Difference.from_json(json.loads(json.dumps(difference.to_json()))) == difference
    assert math.isnan(Score.from_json(json.loads(json.dumps(fid(math.nan).to_json(), allow_nan=False))).value)


@pytest.mark.parametrize(
    "change", [{"n": True}, {"n": 0}, {"seeds": [1.5]}, {"value": "3"}, {"metric": "x"}, {"standard_error": -1}]
)
def test_hostile_scores_are_refused(change):
    with pytest.raises(CompressError):
        Score.from_json(fid(20).to_json() | change)


@pytest.mark.parametrize("data", [{}, [], {"value": 1, "ci95": [1]}, {"value": 1, "ci95": [2, 1]}, {"ci95": [0, 1]}])
def test_hostile_differences_are_refused(data):
    with pytest.raises(CompressError):
        Difference.from_json(data)


def test_unknown_metric():
    with pytest.raises(CompressError, match="no metric"):
        get_metric(["fid"])


@given(st.floats(0.1, 500), st.floats(-100, 100), st.floats(0, 50), st.sampled_from(["+10%", "+2", "+10%|+2", "-1"]))
def test_inside_agrees_with_allowed(reference, shift, half, terms):
    """Oracle: inside exactly if the worse end, as a value, is at most the loosest limit."""
    budget = Budget.parse(f"fid<={terms}")
    difference = Difference(shift, (shift - half, shift + half))
    worst, limit = reference + shift + half, budget.allowed(reference)
    if not math.isclose(worst, limit, rel_tol=1e-9):
        assert budget.inside(fid(reference + shift), fid(reference), difference) is (worst < limit)
