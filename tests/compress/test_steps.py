import itertools
import json
import math

import pytest

from benchmarks.records import Ratio
from compress.quality import Budget, Difference, Score
from compress.steps import StepResult, decide

BUDGET = Budget.parse("fid<=+10%|+2")
REFERENCE = Score("fid", "cnn", 1000, (0,), 10.0, 0.1)

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


def decided(latency, to_reference, to_previous, **more):
    difference = TO_REFERENCE[to_reference]
    return decide(
        "step",
        ratio_to_previous=LATENCY[latency],
        score=Score("fid", "cnn", 1000, (0,), 10.0 + difference.value, 0.1),
        reference=REFERENCE,
        difference_to_reference=difference,
        difference_to_previous=TO_PREVIOUS[to_previous],
        budget=BUDGET,
        **more,
    )


@pytest.mark.parametrize("case", list(itertools.product(LATENCY, TO_REFERENCE, TO_PREVIOUS)), ids="-".join)
def test_truth_table(case):
    result = decided(*case)
    assert result.kept is (case in KEPT)
    assert result.reason.startswith("kept" if result.kept else "refused")


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
        score=REFERENCE,
        reference=REFERENCE,
        difference_to_reference=Difference(0, (0, 0)),
        difference_to_previous=None,
        budget=BUDGET,
    )
    assert not result.kept


def test_nan_never_speaks_for_a_step():
    nan = math.nan
    unknown = Ratio(nan, (nan, nan), 0)
    for ratio, to_previous in [(unknown, TO_PREVIOUS["better"]), (LATENCY["unclear"], Difference(nan, (nan, nan)))]:
        result = decide(
            "step",
            ratio_to_previous=ratio,
            score=REFERENCE,
            reference=REFERENCE,
            difference_to_reference=Difference(0, (0, 0)),
            difference_to_previous=to_previous,
            budget=BUDGET,
        )
        assert not result.kept


def test_result_is_json():
    data = decided("faster", "inside", "same", settings={"per_channel": False}).to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["settings"] == {"per_channel": False}
    assert StepResult("prune", False, "refused: no channel groups").to_json()["ratio"] is None
