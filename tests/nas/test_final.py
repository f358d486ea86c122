"""The final table: who is in it, and what the speed-ups are taken from."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.records import Ratio, Sample
from nas import final
from nas.final import Contestant, Scene, contestants, measure_latency


def sample(seconds: float) -> Sample:
    values = tuple(seconds * factor for factor in (0.99, 1.0, 1.01) * 10)
    return Sample(values, values, (0,) * len(values), (0.0,) * len(values), 1, 0.0)


@pytest.fixture
def context(make_context):
    return make_context(target={"batch": 4})


@pytest.fixture
def scene(context):
    return Scene.of(context)


def records() -> dict[str, Any]:
    both = {"fp32": "x/model.onnx", "int8": "x/model.int8.onnx"}
    return {
        "reference": {"files": both},
        "baseline": {"files": both},
        "final": {"files": {"fp32": "export/model.onnx"}},
    }


def test_everybody_stands_in_the_table(scene):
    keys = [one.key for one in contestants(scene, records())]
    assert keys == [
        "reference fp32 onnxruntime",
        "reference int8 onnxruntime",
        "baseline fp32 onnxruntime",
        "baseline int8 onnxruntime",
        "final fp32 onnxruntime",
        "reference fp32 torch eager",
    ]


def test_a_reference_without_a_module_is_not_run_in_torch(scene):
    keys = [one.key for one in contestants(replace(scene, module=None), {"final": {"files": {"fp32": "x.onnx"}}})]
    assert keys == ["final fp32 onnxruntime"]


def test_speedup_is_against_the_fastest_file_of_the_reference_at_each_batch(scene, monkeypatch):
    """fp32 is faster up to batch 4 and int8 at 32: 8 / 2 and 6 / 2; torch eager takes 20."""
    times = {
        "reference fp32 onnxruntime": {1: 8, 4: 8, 32: 9},
        "reference int8 onnxruntime": {1: 9, 4: 9, 32: 6},
        "final fp32 onnxruntime": {1: 2, 4: 2, 32: 2},
        "reference fp32 torch eager": {1: 20, 4: 20, 32: 20},
    }
    everybody = [
        Contestant("reference", "fp32", scene.root / "a.onnx"),
        Contestant("reference", "int8", scene.root / "b.onnx"),
        Contestant("final", "fp32", scene.root / "c.onnx"),
        Contestant("reference", "fp32", None),
    ]
    monkeypatch.setattr(final, "_runner", lambda scene, one, batch: SimpleNamespace(batch=batch))
    monkeypatch.setattr(final, "peak_mib", lambda *_: 50.0)
    monkeypatch.setattr(
        final,
        "measure_interleaved",
        lambda runners, **_: {key: sample(times[key][runner.batch] / 1e3) for key, runner in runners.items()},
    )
    monkeypatch.setattr(final, "_again", lambda *_: [])
    table = measure_latency(scene, everybody, "fp32")
    assert {batch: one["value"] for batch, one in table["speedup"].items()} == pytest.approx({"1": 4, "4": 4, "32": 3})
    assert table["speedup_vs_eager"]["32"]["value"] == pytest.approx(10)
    assert [row["batch"] for row in table["rows"]] == [1] * 4 + [4] * 4 + [32] * 4
    last = {(row["who"], row["precision"], row["runtime"]): row for row in table["rows"][-4:]}
    assert last["final", "fp32", "onnxruntime"]["median_ms"] == pytest.approx(2)
    assert last["final", "fp32", "onnxruntime"]["ratio"]["value"] == pytest.approx(1 / 3)
    eager = last["reference", "fp32", "torch eager"]
    assert (eager["artifact"], eager["peak_mib"]) == (None, None)


def test_the_speedup_is_that_of_several_processes(scene, monkeypatch):
    """This process says 4 times, two others 4.4 and 4 / 1.1: their mean, and an interval as wide as they differ."""
    a, c = (scene.root / name for name in ("a.onnx", "c.onnx"))
    everybody = [Contestant("reference", "fp32", path) for path in (a, None)] + [Contestant("final", "fp32", c)]
    times = {"reference fp32 onnxruntime": 8e-3, "final fp32 onnxruntime": 2e-3, "reference fp32 torch eager": 2e-2}
    monkeypatch.setattr(final, "_runner", lambda *_: None)
    monkeypatch.setattr(final, "peak_mib", lambda *_: 50.0)
    monkeypatch.setattr(final, "measure_interleaved", lambda runners, **_: {key: sample(times[key]) for key in runners})
    others = [Ratio(0.25 * factor, (0.249 * factor, 0.251 * factor), 50) for factor in (1.1, 1 / 1.1)]
    asked = []
    monkeypatch.setattr(final, "ratio_over_restarts", lambda a, b, **_: asked.append((a.model, b.model)) or others)
    table = measure_latency(scene, everybody, "fp32")
    assert asked == [(a, c)] * 3  # batches 1, 4 and 32
    found = table["speedup"]["1"]
    assert found["value"] == pytest.approx(4)
    assert found["ci95"][0] < 4 / 1.1 < 4.4 < found["ci95"][1]
    row = next(row for row in table["rows"] if row["who"] == "final")
    assert row["ratio"]["value"] == pytest.approx(1 / found["value"])
