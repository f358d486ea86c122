"""The study of compression alone: on a tiny run, and its table on what that gave."""

import json

import pytest
from typer.testing import CliRunner

from examples.studies.compress_dcgan import OURS, PLAIN, REWRITTEN, app

SMALL = (
    "--set=search.final_features=2",
    "--set=search.final_adversarial=2",
    "--set=search.final_match=2",
    "--set=compress.recover=5",
)
PAGE = "head\n<!-- study: begin -->\nold\n<!-- study: end -->\ntail\n"


def program(*words):
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_the_study_and_its_table(tiny_run, tmp_path, shortened, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*") if path.is_file()}
    said = program(
        "run", tiny_run.folder, "--out", "out", "--results", "results", "--minutes", "0.1", "--seconds", "0.5", *SMALL
    )
    assert "prune 75%: " in said
    (file,) = (tmp_path / "results").glob("*.json")
    record = json.loads(file.read_text())
    assert set(record["files"]) >= {"reference fp32", "reference int8", OURS, f"{OURS}, fp32", PLAIN, REWRITTEN}
    for name, found in record["files"].items():
        assert found["speedup"]["1"]["value"] > 0
        assert (found["difference"] is None) == (name == "reference fp32")
    assert record["files"][record["fastest_reference"]["1"]]["speedup"]["1"]["value"] == pytest.approx(1, abs=0.3)
    assert before == {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*") if path.is_file()}
    (tmp_path / "page.md").write_text(PAGE)
    program("table", "page.md", "--results", "results")
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("head\n")
    assert page.endswith("tail\n")
    assert f"| **{OURS}** | " in page
    assert all(step["reason"] in page for step in record["steps"])
