"""A run holds the reference's fastest file and its own under the machine's roofs, and shows both."""

import json
from types import SimpleNamespace

import pytest

from nas.final import Scene
from nas.roofline import roofline_of


def test_a_run_says_what_limits_its_files(tiny_run):
    found = tiny_run.summary["roofline"]
    record = json.loads((tiny_run.folder / "export" / "record.json").read_text())
    who = {file["who"]: file for file in found["files"]}
    assert set(who) == {"reference", "final"}
    assert who["final"]["artifact"] == record["shipped"]
    rows = [row for row in record["latency"]["rows"] if row["who"] == "reference" and row["batch"] == 1]
    fastest = min((row for row in rows if row["artifact"]), key=lambda row: row["median_ms"])
    assert who["reference"]["artifact"] == fastest["artifact"]
    assert who["final"]["macs"] == tiny_run.summary["final"]["macs"]
    assert "What limits the result" in (tiny_run.folder / "report" / "report.md").read_text()
    assert "What limits the result" in (tiny_run.folder / "report" / "index.html").read_text()


def test_no_roofline_where_the_target_is_a_gpu():
    scene = SimpleNamespace(bench=SimpleNamespace(target=SimpleNamespace(device="cuda")))
    assert roofline_of(scene, {"rows": []}, "export/model.onnx") is None


def test_a_file_that_cannot_be_run_costs_its_roofline_and_nothing_else(make_context, shortened):
    scene = Scene.of(make_context())
    rows = [{"who": "reference", "artifact": "no.onnx", "batch": 1, "median_ms": 1.0}]
    found = roofline_of(scene, {"rows": rows}, "export/no.onnx")
    assert found is not None
    assert "no.onnx" in found["reason"]
    with pytest.raises(KeyError):
        found["files"]
