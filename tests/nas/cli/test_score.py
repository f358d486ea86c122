"""``leangen score``: repeats a report's numbers to the last digit, and says what chance does to them."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from nas.cli import app


def score(*words: object):
    return CliRunner().invoke(app, ["score", *map(str, words)])


def test_held_out_repeats_the_report_and_a_seed_does_not(tiny_run):
    """Float file of the reference and the file that ships; every metric of the final table."""
    record = json.loads((tiny_run.folder / "export" / "record.json").read_text())
    files = {"reference": tiny_run.folder / "reference" / "model.onnx", "final": tiny_run.folder / record["shipped"]}
    for who, file in files.items():
        found = score(file, "--run", tiny_run.folder, "--json")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["scores"] == record["quality"]["metrics"][who]
    other = json.loads(score(files["final"], "--run", tiny_run.folder, "--seed", 7, "--json").stdout)["scores"]
    assert other["fid"]["seeds"][0] == 7
    assert other["fid"]["value"] != record["quality"]["metrics"]["final"]["fid"]["value"]


def test_the_table_names_metric_extractor_count_and_error(tiny_run):
    found = score(tiny_run.folder / "export" / "model.onnx", "--run", tiny_run.folder, "--stream", "choice")
    assert found.exit_code == 0, found.output
    for word in ("fid", "kid", "precision", "recall", "classifier@", "400", "standard error", "choice, seed 0"):
        assert word in found.stdout


@pytest.mark.parametrize(("what", "message"), [("no.onnx", "cannot be read"), ("extractor", "takes the inputs")])
def test_a_file_that_is_no_generator_of_the_run(tiny_run, cache, what, message):
    file = next((cache / "extractors").glob("classifier*.onnx")) if what == "extractor" else what
    found = score(file, "--run", tiny_run.folder)
    assert found.exit_code == 2
    assert message in found.stderr


def test_a_run_is_needed(tmp_path, tiny_run):
    found = score(tiny_run.folder / "export" / "model.onnx", "--run", tmp_path)
    assert found.exit_code == 2
    assert "has an experiment.yaml" in found.stderr


def test_pictures_that_have_changed_are_not_judged_by(tiny_run, tmp_path):
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    (tmp_path / "run" / "data.json").write_text('{"seen": "x", "held_out": "y"}')
    found = score(tiny_run.folder / "export" / "model.onnx", "--run", tmp_path / "run")
    assert found.exit_code == 2
    assert "the pictures have changed" in found.stderr


def test_an_unknown_extractor_is_refused(tiny_run):
    found = score(tiny_run.folder / "export" / "model.onnx", "--run", tiny_run.folder, "--extractor", "incep")
    assert found.exit_code == 2
    assert "extractors are classifier" in found.stderr
