"""What compression gains: one real run, and the table on rows made up."""

import json

from typer.testing import CliRunner

from examples.studies.gain_of_compression import app, told


def test_a_run_and_its_table(tiny_run, tmp_path):
    out, page = tmp_path / "gains.json", tmp_path / "page.md"
    words = ["run", str(tiny_run.folder), "--restarts", "2", "--seconds", "0.05", "--out", str(out)]
    CliRunner().invoke(app, words, catch_exceptions=False)
    (row,) = json.loads(out.read_text())["rows"]
    assert (tiny_run.folder / row["shipped"]).is_file()
    for batch in ("1", "32"):
        low, high = row["batches"][batch]["ratio"]["ci95"]
        assert 0 < low <= row["batches"][batch]["ratio"]["value"] <= high
        assert all(one["ms"] > 0 for one in row["batches"][batch]["operators"])
    page.write_text("<!-- gains: begin -->\n<!-- gains: end -->\n")
    CliRunner().invoke(app, ["table", str(page), "--result", str(out)], catch_exceptions=False)
    assert f"| {row['name']} | " in page.read_text()


def test_the_table_tells_speedups_and_what_is_not_int8():
    operators = [
        {"operator": "QLinearConv", "int8": True, "ms": 0.9, "nodes": 3},
        {"operator": "Tanh", "int8": False, "ms": 0.06, "nodes": 1},
        {"operator": "QuantizeLinear", "int8": False, "ms": 0.04, "nodes": 1},
    ]
    batch = {"ratio": {"value": 0.5, "ci95": [0.4, 0.625]}, "operators": operators}
    rows = [{"name": "gan-0", "batches": {"1": batch, "32": {**batch, "operators": operators[:1]}}}]
    text = told({"rows": rows, "restarts": 6, "seconds": 1.0, "machine": {"cpu": "x", "onnxruntime": "1"}})
    gain = "2.00× [1.60, 2.50]"
    assert f"| gan-0 | {gain} | {gain} | 90% | 100% | Tanh 6%, QuantizeLinear 4% |" in text
