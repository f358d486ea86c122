import json

import pytest

from benchmarks.records import Estimate, Latency, Ratio, RecordError, Sample, Target


def test_a_target_checks_itself():
    assert Target().to_json() == {
        "runtime": "onnxruntime",
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "batch": 1,
    }
    for wrong in ({"runtime": "tf"}, {"device": "tpu"}, {"precision": "fp8"}, {"threads": 0}, {"batch": True}):
        with pytest.raises(RecordError, match=next(iter(wrong))):
            Target(**wrong)


def test_a_sample_has_as_many_of_everything():
    sample = Sample((1.0,), (0.5,), (2,), (0.25,), calls=3, warmup_s=0.1, turns=(0,), probed=False)
    assert json.loads(json.dumps(sample.to_json())) == {
        "seconds": [1.0],
        "cpu_seconds": [0.5],
        "switches": [2],
        "waited": [0.25],
        "calls": 3,
        "warmup_s": 0.1,
        "turns": [0],
        "probed": False,
    }
    assert sample.preempted == (True,)
    with pytest.raises(RecordError):
        Sample((1.0, 2.0), (0.5,), (0,), (0.0,), calls=1, warmup_s=0)
    with pytest.raises(RecordError):
        Sample((1.0,), (0.5,), (0,), (0.0,), calls=1, warmup_s=0, turns=(0, 1))


def test_speedup_is_the_inverse_with_its_ends_exchanged():
    ratio = Ratio(0.5, (0.25, 0.8), pairs=7)
    assert ratio.speedup == Estimate(2.0, (1.25, 4.0), n=7)
    assert ratio.to_json() == {"value": 0.5, "ci95": [0.25, 0.8], "pairs": 7}


def test_a_latency_in_milliseconds():
    latency = Latency(Estimate(0.002, (0.001, 0.003), 9), p95_s=0.004, p95_all_s=0.005, preempted=0.25)
    assert latency.to_milliseconds() == {
        "median": 2.0,
        "ci95": [1.0, 3.0],
        "p95": 4.0,
        "p95_all": 5.0,
        "n": 9,
        "preempted": 0.25,
    }
    assert latency.to_json()["median_s"] == 0.002
