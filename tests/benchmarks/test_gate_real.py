"""The gate on models that really run: two sessions, two processes, a fresh process that confirms."""

import sys
from importlib.metadata import version

import numpy as np
import pytest

from benchmarks.decision import Rule
from benchmarks.gate import gate, step_down
from benchmarks.looks import BASELINE, CANDIDATE
from benchmarks.runtimes.onnx import OnnxRunner
from benchmarks.sides import NotComparable, OutputsDiffer, Side, check_outputs
from benchmarks.twins import SIZES, build
from benchmarks.workers import RemoteTimer, WorkerError

RULE = Rule(catch=0.5, budget_s=20.0)  # the line lies at +22 %: far from nothing and from a twin of twice the time


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    (root / "model.onnx").write_bytes(build(SIZES[0]))
    (root / "slow.onnx").write_bytes(build(SIZES[0], extra=12_000))
    (root / "large.onnx").write_bytes(build(SIZES[1]))  # to go to sleep takes CPU time, which it hardly notices
    (root / "other.onnx").write_bytes(build(SIZES[0], seed=1))
    np.savez(root / "inputs.npz", z=np.random.default_rng(0).normal(size=(1, 100)).astype(np.float32))
    return root


def side(folder, name, **settings):
    return Side(folder / f"{name}.onnx", folder / "inputs.npz", **settings)


def test_the_same_model_passes(folder):
    outcome = gate(side(folder, "model"), side(folder, "model"), RULE)
    assert outcome.decision.verdict == "pass"
    assert outcome.outputs_differ_by == 0.0
    assert outcome.line().endswith("%")
    record = outcome.to_json()
    assert record["verdict"] == "pass"
    assert record["looks"][-1]["wall"]["high"] < 1 + record["decision_line"]
    assert 0 < record["probe_share"] < 0.2


def test_a_slower_twin_is_a_regression_that_a_fresh_process_confirms(folder):
    outcome = gate(side(folder, "model"), side(folder, "slow"), RULE)
    assert (outcome.decision.verdict, outcome.decision.kind) == ("regression", "compute")
    assert outcome.confirmation["verdict"] == "regression"
    assert outcome.ratio.value > 1.22


def test_waiting_is_seen_although_cpu_time_does_not_see_it(folder):
    outcome = gate(side(folder, "large"), side(folder, "large", wait_s=2e-3), RULE)
    assert (outcome.decision.verdict, outcome.decision.kind) == ("regression", "waiting")
    last = outcome.measured.last
    assert last.cpu.value < RULE.line < last.wall.low


def test_two_processes_that_take_turns(folder):
    """Sides with an interpreter of their own: here both have this one."""
    sides = side(folder, "model", python=sys.executable), side(folder, "slow", python=sys.executable)
    outcome = gate(*sides, RULE, confirm=False)
    assert outcome.decision.verdict == "regression"
    assert set(outcome.measured.samples) >= {BASELINE, CANDIDATE}
    here = gate(side(folder, "model"), side(folder, "model"), RULE).runtimes
    assert outcome.to_json()["runtimes"] == here == dict.fromkeys((BASELINE, CANDIDATE), here[BASELINE])
    assert here[BASELINE].startswith(f"onnxruntime {version('onnxruntime')}")
    assert outcome.notes == ()


def test_two_runtimes_are_named(folder, monkeypatch):
    names = iter(("onnxruntime 1.23.2", "onnxruntime 1.31.1", "onnxruntime 1.23.2"))
    monkeypatch.setattr(OnnxRunner, "name", property(lambda _: next(names)))
    outcome = gate(side(folder, "model"), side(folder, "model"), RULE, confirm=False)
    assert outcome.notes == ("baseline in onnxruntime 1.23.2; candidate in onnxruntime 1.31.1",)


def test_a_faster_wrong_model_does_not_pass(folder):
    with pytest.raises(OutputsDiffer, match="--tolerance"):
        gate(side(folder, "model"), side(folder, "other"), RULE)


def test_other_inputs_are_not_comparable(folder, linear_model):
    (folder / "linear.onnx").write_bytes(linear_model())
    with pytest.raises(NotComparable, match="inputs must agree"):
        gate(side(folder, "model"), side(folder, "linear"), RULE)


def test_an_interpreter_that_is_not_there(folder):
    with pytest.raises(WorkerError, match="cannot be started"):
        RemoteTimer(side(folder, "model", python="/no/python"), "baseline")


def test_a_worker_tells_what_went_wrong(folder):
    with pytest.raises(WorkerError, match=r"nothing\.onnx"):
        RemoteTimer(side(folder, "nothing", python=sys.executable), "candidate")


def test_outputs():
    a = {"x": np.array([0.0, 2.0], np.float32)}
    assert check_outputs(a, {"x": np.array([0.001, 2.0], np.float32)}) == pytest.approx(0.0005)
    with pytest.raises(OutputsDiffer, match="differs by"):
        check_outputs(a, {"x": np.array([0.01, 2.0], np.float32)})
    check_outputs(a, {"x": np.array([0.01, 2.0], np.float32)}, tolerance=0.01)
    with pytest.raises(OutputsDiffer, match="the candidate computes values that are not finite"):
        check_outputs(a, {"x": np.array([np.nan, 2.0], np.float32)})
    with pytest.raises(NotComparable):
        check_outputs(a, {"y": a["x"]})
    with pytest.raises(NotComparable):
        check_outputs(a, {"x": a["x"].astype(np.float64)})


def test_holm_changes_nothing_that_was_decided(folder):
    same = side(folder, "model")
    outcome = gate(same, same, RULE)
    assert step_down([outcome, outcome], [(same, same)] * 2, 0.05) == [outcome, outcome]
