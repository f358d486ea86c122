"""Another point of the front: found by its id, and taken through all that follows in a run folder of its own."""

import hashlib
import os
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from benchmarks.files import read_json
from nas import picking
from nas.candidate import Candidate, front_of
from nas.cli import app
from nas.experiment import Experiment
from nas.folder import FolderError, RunFolder
from nas.log import read_log
from nas.picking import describe_front, find, pick, read_candidates
from reports.summary import parse


@pytest.fixture
def candidate(quality):
    def make(name: str, ratio: float, value: float, outcome: str = "complete") -> Candidate:
        rungs = [{"steps": 20, "quality": quality(value)}]
        return Candidate(name, {}, 0, outcome, {"value": ratio, "ci95": [ratio, ratio]}, rungs=rungs)

    return make


@pytest.fixture
def found(candidate):
    """A front of two; one that is beaten; one that was stopped."""
    return [
        candidate("ab12", 0.5, 10.0),
        candidate("ab34", 0.25, 20.0),
        candidate("cd56", 0.5, 30.0),
        candidate("ef78", 0.1, 90.0, "dominated"),
    ]


def test_the_front_is_of_complete_ones_that_none_beats(found):
    assert [one.id for one in front_of(found)] == ["ab34", "ab12"]
    assert describe_front(found) == [("ab34", "4.00x", "fid 20.0"), ("ab12", "2.00x", "fid 10.0")]


def test_the_beginning_of_an_id_is_enough_and_it_need_not_be_on_the_front(found):
    assert find(found, "ab3").id == "ab34"
    assert find(found, "cd56").id == "cd56"


def test_an_id_that_is_the_beginning_of_another_is_itself(found, candidate):
    assert find([*found, candidate("ab", 0.9, 9.0)], "ab").id == "ab"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zz", "no candidate has an id beginning with 'zz'"),
        ("", "no candidate has an id"),
        ("ab", "2 candidates have ids beginning with 'ab'"),
        ("ef", r"candidate ef78 is dominated \(by None\), not complete"),
    ],
)
def test_what_is_not_one_complete_candidate_is_answered_with_the_front(found, name, message):
    with pytest.raises(FolderError, match=message) as error:
        find(found, name)
    assert "\n  ab34  4.00x  fid 20.0\n  ab12  2.00x  fid 10.0" in str(error.value)


def test_without_any_complete_one_it_says_so(found):
    with pytest.raises(FolderError, match="none is complete"):
        find(found[3:], "ef")


def test_only_a_finished_search_has_a_front(tmp_path):
    with pytest.raises(FolderError, match=r"has none: name a run folder"):
        read_candidates(RunFolder(tmp_path))
    made = RunFolder.create(tmp_path / "run", Experiment.model_validate({"data": "mnist-5k"}))
    with pytest.raises(FolderError, match="no finished candidates"):
        read_candidates(made)


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and "picked" not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_one_that_the_search_did_not_choose_gets_a_run_of_its_own(tiny_run, tmp_path, shortened):
    """The slowest complete one, or the winner where there is no other: that one's training is taken over."""
    before = hashes(tiny_run.folder)
    complete = [one for one in read_candidates(RunFolder(tiny_run.folder)) if one.outcome == "complete"]
    chosen = max(complete, key=lambda one: one.ratio["value"])
    out = tmp_path / "picked"
    summary, folder = pick(tiny_run.folder, chosen.id[:8], out)
    assert folder == out
    parse(summary)
    assert [one["id"] for one in summary["finalists"]] == [chosen.id]
    assert summary["finalists"][0]["winner"]
    assert summary["verdict"] is not None
    assert summary["search"] == tiny_run.summary["search"]
    assert len(summary["candidates"]) == len(tiny_run.summary["candidates"])
    assert any("Picked by hand" in note for note in summary["notes"])
    assert summary["command"].split()[:2] == ["leangen", "pick"]
    assert (out / "report" / "index.html").is_file()
    onnx.checker.check_model(onnx.load(out / read_json(out / "export" / "record.json")["shipped"]))
    assert summary["baseline"]["latency_ms"]["1"]["median"] > 0
    reference, copy = tiny_run.folder / "reference" / "bank.npy", out / "reference" / "bank.npy"
    assert reference.stat().st_ino == copy.stat().st_ino
    assert hashes(tiny_run.folder) == before

    # A second call finds all of it done; a winner that was picked again was not trained again.
    jobs = len(read_log(out / "log.jsonl"))
    assert pick(tiny_run.folder, chosen.id, out)[0]["final"] == summary["final"]
    assert all(line["kind"] == "stage" for line in read_log(out / "log.jsonl")[jobs:])


def test_the_training_of_a_finalist_is_taken_over(tiny_run, tmp_path, monkeypatch):
    winner = next(one["id"] for one in tiny_run.summary["finalists"] if one["winner"])
    monkeypatch.setattr(picking, "run", lambda *_, **__: {})
    pick(tiny_run.folder, winner, tmp_path / "a")
    kept = [path.name for path in (tmp_path / "a" / "finalists" / winner).iterdir()]
    assert {"record.json", "weights.safetensors"} <= set(kept)
    other = next(one.id for one in read_candidates(RunFolder(tiny_run.folder)) if one.id != winner)
    monkeypatch.setattr(picking, "find", lambda *_: Candidate(other, {}, 0))
    with pytest.raises(FolderError, match="holds another candidate's run"):
        pick(tiny_run.folder, other, tmp_path / "a")


def test_where_links_cannot_be_made_files_are_copied(tiny_run, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    made = RunFolder(tmp_path)
    made.link(RunFolder(tiny_run.folder), "reference")
    for path in (tiny_run.folder / "reference").iterdir():
        assert (tmp_path / "reference" / path.name).read_bytes() == path.read_bytes()
        assert (tmp_path / "reference" / path.name).stat().st_ino != path.stat().st_ino


def test_the_command_lists_the_front_and_explains_a_wrong_id(tiny_run):
    listed = CliRunner().invoke(app, ["pick", str(tiny_run.folder)])
    assert listed.exit_code == 0
    front = front_of(read_candidates(RunFolder(tiny_run.folder)))
    assert all(one.id in listed.stdout for one in front)
    wrong = CliRunner().invoke(app, ["pick", str(tiny_run.folder), "nobody"])
    assert wrong.exit_code == 2
    assert front[0].id in wrong.stderr
