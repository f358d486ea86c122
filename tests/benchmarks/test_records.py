import json

import pytest

from benchmarks import records
from benchmarks.records import Estimate, Fingerprint, Latency, Ratio, RecordError, Sample, Target, fingerprint

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2 GHz
flags\t\t: fpu avx2 avx512_vnni sse2 fma

processor\t: 1
model name\t: Another
"""


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


def test_fingerprint_reads_the_first_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    found = fingerprint(path)
    assert found.cpu == "Some CPU @ 2 GHz"
    assert found.flags == ("avx2", "avx512_vnni", "fma")
    assert found.cores >= 1
    json.dumps(found.to_json(), allow_nan=False)


def test_fingerprint_of_a_system_that_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.delattr(records.os, "sysconf")
    monkeypatch.delattr(records.os, "sched_getaffinity")
    monkeypatch.setattr(records.platform, "processor", lambda: "")
    monkeypatch.setattr(records.shutil, "which", lambda name: None)
    found = fingerprint(tmp_path / "none")
    assert isinstance(found, Fingerprint)
    assert (found.cpu, found.flags, found.memory_bytes, found.gpu) == ("unknown", (), None, None)


def test_the_gpu_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA RTX 4090'\necho 'NVIDIA RTX 3090'\n")
    program.chmod(0o755)
    monkeypatch.setattr(records.shutil, "which", lambda name: str(program))
    assert fingerprint().gpu == "NVIDIA RTX 4090"
    program.write_text("#!/bin/sh\nexit 9\n")
    assert fingerprint().gpu is None
