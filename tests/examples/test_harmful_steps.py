"""Steps that do harm: a few real ones, and the table on rows made up."""

import json

import numpy as np
import onnx
from typer.testing import CliRunner

from benchmarks.selftest import share
from benchmarks.twins import SIZES, build
from examples.studies.harmful_steps import app, noisy, told


def test_a_few_steps_and_their_table(tmp_path):
    out, page = tmp_path / "harm.json", tmp_path / "page.md"
    runner = CliRunner()
    done = runner.invoke(app, ["run", "--steps", "2", "--seconds", "0.1", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    worse, slower = json.loads(out.read_text())["rows"]
    assert (worse["kind"], slower["kind"], slower["harmful"]) == ("worse", "slower", True)
    assert 0.94 < worse["harm"] / 0.05 < 1.06, "near the budget, where a decision is hard"
    assert all(row["wrong"] == (row["harmful"] and row["kept"]) for row in (worse, slower))
    page.write_text("<!-- harm: begin -->\n<!-- harm: end -->\n")
    runner.invoke(app, ["table", str(page), "--result", str(out)], catch_exceptions=False)
    assert "| slower, drawing the same | 1 | " in page.read_text()


def test_the_table_counts_what_was_kept():
    rows = [{"kind": "worse", "harmful": True, "kept": number < 2} for number in range(50)]
    text = told({"rows": rows, "seed": 0, "machine": {"cpu": "x", "onnxruntime": "1"}})
    _, low, high = share(2, 50)
    assert f"| faster, and worse than the budget allows | 50 | 2 | 4.0% [{low:.1%}, {high:.1%}] |" in text
    assert "slower" not in text


def test_noise_moves_every_weight_a_little(tmp_path):
    (tmp_path / "base.onnx").write_bytes(build(SIZES[0]))
    before = onnx.load(tmp_path / "base.onnx")
    after = onnx.load_model_from_string(noisy(tmp_path / "base.onnx", 0.01, np.random.default_rng(0)))
    pairs = zip(before.graph.initializer, after.graph.initializer, strict=True)
    moved = [
        (onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other))
        for one, other in pairs
        if one.data_type == onnx.TensorProto.FLOAT and np.prod(one.dims) > 1
    ]
    assert moved
    for one, other in moved:
        assert np.abs(other - one).max() <= 0.06 * np.abs(one).max() + 1e-12
