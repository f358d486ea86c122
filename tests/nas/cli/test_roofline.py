"""``leangen bench roofline``: what it prints and writes, with a model and without."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import CliRunner, Result

from benchmarks import peaks
from nas.cli import app


def roofline(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", "roofline", *map(str, arguments), "--seconds", "0.1", "--quiet"])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "MATMULS", ((64, 64, 64),))
    monkeypatch.setattr(peaks, "CONVS", ())
    monkeypatch.setattr(peaks, "CACHED_BYTES", (3 * 2**15,))
    monkeypatch.setattr(peaks, "MEMORY_LIMITS", (3 * 2**20, 3 * 2**20))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """tanh(z w): (N, 100) -> (N, 10)."""
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["a"], name="product"),
        helper.make_node("Tanh", ["a"], ["y"], name="squash"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("z", 1, ["N", 100])],
        [helper.make_tensor_value_info("y", 1, ["N", 10])],
        [numpy_helper.from_array(np.ones((100, 10), np.float32), "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_the_machine_alone(tmp_path):
    found = roofline("--json", tmp_path / "roofs.json")
    assert found.exit_code == 0, found.output
    for words in ("1 thread", "fp32 peak", "int8 peak", "bandwidth", "GMAC/s", "GB/s"):
        assert words in found.stdout
    record = json.loads((tmp_path / "roofs.json").read_text())
    assert record["schema"] == 1
    assert set(record["peaks"]["macs_per_second"]) == {"float32", "int8"}
    assert record["machine"]["onnxruntime"]
    assert "model" not in record


def test_operators_of_a_model(tmp_path, model):
    found = roofline(model, "--batch", 3, "--json", tmp_path / "m.json")
    assert found.exit_code == 0, found.output
    for words in ("batch 3", "MatMul", "Tanh", "3 k", "a call, outside its operators", "scaled as shares"):
        assert words in found.stdout
    assert "squash" not in found.stdout
    record = json.loads((tmp_path / "m.json").read_text())["model"]
    assert (record["batch"], record["threads"], record["macs"]) == (3, 1, 3000)
    assert record["bytes"] == 4000 + 4 * 3 * (100 + 10 + 10 + 10)
    assert {row["node"] for row in record["node_rows"]} >= {"squash"}
    assert sum(row["ms"] for row in record["operators"]) + record["overhead_ms"] == pytest.approx(record["median_ms"])
    assert record["remarks"]


def test_every_node(model):
    found = roofline(model, "--nodes")
    assert found.exit_code == 0, found.output
    assert "squash" in found.stdout


def test_what_is_no_model(tmp_path):
    found = roofline(tmp_path / "no.onnx")
    assert found.exit_code == 2
    assert "no.onnx" in found.stderr
