import itertools
import json
import math

import pytest

from benchmarks.records import Ratio
from compress.errors import CompressError
from compress.quality import Budget, Difference, Score
from compress.steps import StepResult, decide, is_near, used
from compress.task import Evaluation

BUDGET = Budget.parse("fid<=+10%|+2")
REFERENCE = Evaluation({"fid": Score("fid", "cnn", 1000, (0,), 10.0, 0.1)}, {})

LATENCY = {
    "faster": Ratio(0.5, (0.4, 0.8), 99),
    "unclear": Ratio(0.98, (0.9, 1.05), 99),
    "slower": Ratio(1.71, (1.66, 1.75), 99),
}
TO_REFERENCE = {"inside": Difference(1.0, (0.5, 1.9)), "outside": Difference(1.5, (0.5, 2.5))}
TO_PREVIOUS = {
    "better": Difference(-1.0, (-1.5, -0.5)),
    "same": Difference(0.0, (-0.5, 0.5)),
    "worse": Difference(1.0, (0.5, 1.5)),
    "unknown": None,
}

# By hand from the issue: kept if (faster and inside) or (better and not slower).
KEPT = {
    ("faster", "inside", "better"), ("faster", "inside", "same"), ("faster", "inside", "worse"),
    ("faster", "inside", "unknown"), ("faster", "outside", "better"),
    ("unclear", "inside", "better"), ("unclear", "outside", "better"),
}  # fmt: skip


def evaluation(value, to_reference, to_previous=None):
    """Of FID alone; what is None was not measured."""
    against = {"reference": to_reference, "before": to_previous}
    differences = {other: {"fid": difference} for other, difference in against.items() if difference is not None}
    return Evaluation({"fid": Score("fid", "cnn", 1000, (0,), value, 0.1)}, differences)


def decided(latency, to_reference, to_previous, **more):
    difference = TO_REFERENCE[to_reference]
    return decide(
        "step",
        ratio_to_previous=LATENCY[latency],
        found=evaluation(10.0 + difference.value, difference, TO_PREVIOUS[to_previous]),
        reference=REFERENCE,
        budgets=[BUDGET],
        **more,
    )


@pytest.mark.parametrize("case", list(itertools.product(LATENCY, TO_REFERENCE, TO_PREVIOUS)), ids="-".join)
def test_truth_table(case):
    result = decided(*case)
    assert result.kept is (case in KEPT)
    assert result.reason.startswith("kept" if result.kept else "refused")


ACCURACY = Budget.parse("accuracy>=-1pt")


def of_both(fid, accuracy, floats=None):
    """FID and accuracy as differences to the reference at 10 and 0.9, exact; ``floats`` is the FID lost next to it."""
    scores = {
        "fid": Score("fid", "cnn", 1000, (0,), 10 + fid, 0.1),
        "accuracy": Score("accuracy", "cnn", 1000, (0,), 0.9 + accuracy, 0.001),
    }
    against = {"reference": {"fid": Difference(fid, (fid,) * 2), "accuracy": Difference(accuracy, (accuracy,) * 2)}}
    if floats is not None:
        against["floats"] = {"fid": floats, "accuracy": Difference(0.0, (0.0, 0.0))}
    return Evaluation(scores, against)


@pytest.mark.parametrize(
    ("value", "interval", "near", "share"),
    [
        (11.0, (0.5, 1.9), True, 0.95),  # of +2 at 10
        (11.5, (0.5, 2.5), True, 1.25),
        (12.5, (2.1, 2.9), False, 1.45),
        (8.0, (-2.5, -1.5), True, -0.75),
        (math.nan, (0.5, 1.9), False, 0.95),
    ],
)
def test_how_much_of_the_budget_was_used(value, interval, near, share):
    found = evaluation(value, Difference(value - 10, interval))
    assert is_near(found, REFERENCE, [BUDGET]) is near
    assert used(found, REFERENCE, [BUDGET]) == pytest.approx(share)


def test_of_several_budgets_the_one_that_is_used_most_counts():
    """Half of FID's two, and four fifths of accuracy's point; then more than the point."""
    reference = of_both(0.0, 0.0)
    assert used(of_both(1.0, -0.008), reference, [BUDGET, ACCURACY]) == pytest.approx(0.8)
    assert is_near(of_both(1.0, -0.008), reference, [BUDGET, ACCURACY])
    assert not is_near(of_both(1.0, -0.012), reference, [BUDGET, ACCURACY])


def test_a_budget_that_allows_nothing_has_no_shares():
    exact = evaluation(10.0, Difference(0.0, (0.0, 0.0)))
    assert math.isnan(used(exact, REFERENCE, [Budget.parse("fid<=+0%")]))
    assert math.isnan(used(evaluation(10.0, Difference(math.nan, (math.nan,) * 2)), REFERENCE, [BUDGET]))


def quantized(before, after, lost, budgets=(BUDGET,)):
    """A faster int8 file ``after`` of a float file ``before``, with ``lost`` between them."""
    return decide(
        "step",
        ratio_to_previous=LATENCY["faster"],
        found=of_both(*after, floats=Difference(*lost)),
        reference=of_both(0.0, 0.0),
        budgets=budgets,
        floats=of_both(*before),
    )


def test_what_is_outside_already_loses_nothing_by_int8_that_costs_nothing():
    """The budget allows 2, a quarter is 0.5: an int8 file that loses 0.1, or at worst 0.4, ships; one of 0.6 does not.

    Of a generator that is inside none of this is asked: its limit is the budget.
    """
    kept = quantized((2.5, 0.0), (2.6, 0.0), (0.1, (-0.2, 0.4)))
    assert kept.reason == (
        "kept: 2.00x faster [1.25, 2.50]; fid +0.1 [-0.2, +0.4] against the float file, which is outside "
        "fid<=+10%|+2 too"
    )
    assert not quantized((2.5, 0.0), (2.6, 0.0), (0.1, (-0.4, 0.6))).kept
    assert not quantized((1.9, 0.0), (2.1, 0.0), (0.2, (0.1, 0.3))).kept
    assert not quantized((2.5, 0.0), (2.6, 0.0), (math.nan, (math.nan, math.nan))).kept


def test_a_budget_that_still_held_is_not_given_up():
    """FID is outside in float, accuracy is not: an int8 file that misses both is refused, one that misses FID ships."""
    both, cheap = (BUDGET, ACCURACY), (0.1, (0.0, 0.2))
    assert quantized((2.5, 0.0), (2.6, -0.005), cheap, both).kept
    assert not quantized((2.5, 0.0), (2.6, -0.02), cheap, both).kept


def test_reasons_are_sentences():
    slow = decided("slower", "inside", "same", cause="4 ConvTranspose stay in fp32")
    assert slow.reason == "refused: 1.71x slower [1.66, 1.75]; 4 ConvTranspose stay in fp32"
    fast = decided("faster", "inside", "same", cause="not told when kept")
    assert fast.reason == (
        "kept: 2.00x faster [1.25, 2.50]; fid 11 (+1 [+0.5, +1.9] against the reference) is inside fid<=+10%|+2"
    )
    outside = decided("faster", "outside", "worse").reason
    assert outside == ("refused: fid 11.5 (+1.5 [+0.5, +2.5] against the reference) is outside fid<=+10%|+2 (limit 12)")
    both = decided("unclear", "outside", "same").reason
    assert both.startswith("refused: latency not measurably different, ratio 0.98 [0.90, 1.05]; fid 11.5")
    better = decided("unclear", "outside", "better").reason
    assert better == (
        "kept: fid -1 [-1.5, -0.5] against the step before, latency not measurably different, ratio 0.98 [0.90, 1.05]"
    )


def test_an_interval_that_touches_one_is_not_faster():
    result = decide(
        "step",
        ratio_to_previous=Ratio(0.9, (0.8, 1.0), 9),
        found=evaluation(10, Difference(0, (0, 0))),
        reference=REFERENCE,
        budgets=[BUDGET],
    )
    assert not result.kept


@pytest.mark.parametrize(("high", "kept"), [(0.995, False), (0.991, False), (0.989, True)])
def test_less_than_a_percent_is_not_told_from_another_start(high, kept):
    result = decide(
        "step",
        ratio_to_previous=Ratio(0.985, (0.98, high), 9),
        found=evaluation(10, Difference(0, (0, 0))),
        reference=REFERENCE,
        budgets=[BUDGET],
    )
    assert result.kept is kept
    assert kept or result.reason == f"refused: hardly faster, ratio 0.985 [0.980, {high:.3f}]"


def test_nan_never_speaks_for_a_step():
    nan = math.nan
    unknown = Ratio(nan, (nan, nan), 0)
    for ratio, to_previous in [(unknown, TO_PREVIOUS["better"]), (LATENCY["unclear"], Difference(nan, (nan, nan)))]:
        result = decide(
            "step",
            ratio_to_previous=ratio,
            found=evaluation(10, Difference(0, (0, 0)), to_previous),
            reference=REFERENCE,
            budgets=[BUDGET],
        )
        assert not result.kept


def test_result_is_json():
    data = decided("faster", "inside", "same", settings={"per_channel": False}).to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["settings"] == {"per_channel": False}
    assert StepResult("prune", False, "refused: no channel groups").to_json()["ratio"] is None


BOTH = [BUDGET, Budget.parse("accuracy>=-1pt")]
ACCURATE = {
    "inside": Difference(0.0, (-0.005, 0.005)),
    "outside": Difference(-0.02, (-0.03, -0.01)),
    "better": Difference(0.02, (0.01, 0.03)),
    "worse": Difference(-0.02, (-0.03, -0.01)),
}


def decided_by_both(latency, fid, accuracy, fid_before, accuracy_before):
    scores = {
        "fid": Score("fid", "cnn", 1000, (0,), 10.0 + TO_REFERENCE[fid].value, 0.1),
        "accuracy": Score("accuracy", "labeller", 1000, (0,), 0.95 + ACCURATE[accuracy].value, 0.01),
    }
    differences = {
        "reference": {"fid": TO_REFERENCE[fid], "accuracy": ACCURATE[accuracy]},
        "before": {"fid": TO_PREVIOUS[fid_before], "accuracy": ACCURATE[accuracy_before]},
    }
    before = {**REFERENCE.scores, "accuracy": Score("accuracy", "labeller", 1000, (0,), 0.95, 0.01)}
    return decide(
        "step",
        ratio_to_previous=LATENCY[latency],
        found=Evaluation(scores, differences),
        reference=Evaluation(before, {}),
        budgets=BOTH,
    )


@pytest.mark.parametrize(
    ("case", "kept"),
    [
        (("faster", "inside", "inside", "same", "inside"), True),
        (("faster", "inside", "outside", "same", "worse"), False),  # one budget of two is missed
        (("faster", "outside", "inside", "same", "inside"), False),
        (("faster", "inside", "outside", "better", "worse"), False),  # FID is better, at the cost of the other budget
        (("faster", "inside", "outside", "better", "better"), True),  # both are better, one not yet by enough
        (("unclear", "inside", "inside", "better", "worse"), True),  # worse in what is inside its budget all the same
        (("unclear", "inside", "inside", "same", "better"), False),  # only the first metric can speak for a step
        (("slower", "inside", "inside", "better", "better"), False),
    ],
)
def test_all_budgets_must_hold(case, kept):
    assert decided_by_both(*case).kept is kept


def test_reasons_name_every_budget():
    kept = decided_by_both("faster", "inside", "inside", "same", "inside").reason
    assert (
        "is inside fid<=+10%|+2; accuracy 0.95 (+0 [-0.005, +0.005] against the reference) is inside accuracy>=-1pt"
        in kept
    )
    refused = decided_by_both("faster", "inside", "outside", "same", "worse").reason
    assert refused == (
        "refused: accuracy 0.93 (-0.02 [-0.03, -0.01] against the reference) is outside accuracy>=-1pt (limit 0.94)"
    )


def test_a_budget_that_was_not_scored_is_an_error():
    with pytest.raises(CompressError, match=r"'accuracy>=-1pt' cannot be judged by scores of fid"):
        decide(
            "step",
            ratio_to_previous=LATENCY["faster"],
            found=evaluation(10, Difference(0, (0, 0))),
            reference=REFERENCE,
            budgets=BOTH,
        )
