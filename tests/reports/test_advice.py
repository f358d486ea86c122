"""What a "no" says to do."""

from reports import advice
from reports.summary import parse


def test_a_yes_needs_no_advice(run):
    assert advice.missed_limits(run) == ()
    assert advice.knobs_to_open(run) == []


def test_an_early_no_names_limit_nearest_and_knob(early_no):
    (limit,) = advice.missed_limits(early_no)
    assert (limit.asked, limit.found) == ("at least 20× at batch 1", "4.00× [3.94, 4.06]")
    assert advice.best_found(early_no) == ["Fastest measured: 4.00× [3.94, 4.06] with width=16 norm=batch."]
    assert advice.knobs_to_open(early_no) == [
        "width: the fastest candidate has 16, the smallest that was tried; try values below it."
    ]


def test_a_knob_inside_its_range_is_not_to_be_opened(early_no_data):
    early_no_data["candidates"][1]["ratio"] = {"value": 0.1, "ci95": [0.09, 0.11]}
    assert advice.knobs_to_open(parse(early_no_data)) == []


def test_a_value_hardly_better_than_the_one_before_it_promises_nothing(early_no_data):
    values = early_no_data["knobs"]["knobs"][0]["values"]
    values[0]["speedup"] = {"low": 2.7, "median": 2.7, "high": 2.7}
    assert advice.knobs_to_open(parse(early_no_data)) == []


def test_below_none_there_is_nothing_to_try(early_no_data):
    early_no_data["knobs"]["knobs"][0]["values"][0]["value"] = 0
    for one in early_no_data["candidates"]:
        one["genotype"]["width"] = 0
    assert advice.knobs_to_open(parse(early_no_data)) == []


def test_a_missed_budget_looks_at_the_best_candidate(data):
    data["verdict"] = {"met": False, "missed": ["quality.budget"]}
    data["final"]["quality_difference"] = {"value": 2.4, "ci95": [1.7, 3.1]}
    for one in data["candidates"]:
        if one["quality"]:
            one["genotype"]["width"] = 96
    run = parse(data)
    (limit,) = advice.missed_limits(run)
    assert (limit.asked, limit.found) == ("fid<=+10%|+2", "FID 8.9 ± 0.2 (+2.4 [1.7, 3.1] to the reference)")
    told = "width: the best candidate has 96, the largest that was tried; try values above it."
    assert told in advice.knobs_to_open(run)


def test_a_missed_latency_names_both_numbers(data):
    data["verdict"] = {"met": False, "missed": ["target.max_latency_ms"]}
    data["target"]["max_latency_ms"] = 0.02
    (limit,) = advice.missed_limits(parse(data))
    assert (limit.asked, limit.found) == ("at most 0.02 ms at batch 1", "9.3× [9.1, 9.5], 0.0263 ms")


def test_what_no_limit_caused_says_what_to_change(early_no_data):
    for key, change in (("reference.steps", "more reference.steps"), ("search.trials", "more search.minutes")):
        early_no_data["verdict"]["missed"] = [key]
        (limit,) = advice.missed_limits(parse(early_no_data))
        assert limit.change.startswith(change)
