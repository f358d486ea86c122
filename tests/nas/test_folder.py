"""The run folder: whose it is, who is in it, and the seconds that were spent there."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.files import read_json, write_json
from nas import folder as folder_module
from nas.experiment import Experiment
from nas.folder import FolderError, RunFolder

ROOT = Path(__file__).parents[2]


def experiment(**sections: Any) -> Experiment:
    return Experiment.model_validate({"name": "digits", "data": "mnist-5k", **sections})


def test_a_new_folder_holds_experiment_and_machine(tmp_path: Path):
    made = RunFolder.create(tmp_path / "runs" / "a", experiment(seed=7))
    assert Experiment.load(made.experiment_file).digest() == experiment(seed=7).digest()
    assert read_json(made.path / "machine.json")["cores"] >= 1


def test_the_same_experiment_finds_its_folder_again(tmp_path: Path):
    RunFolder.create(tmp_path / "a", experiment()).finish("reference", {"id": "x"})
    again = RunFolder.create(tmp_path / "a", experiment(name="other", search={"workers": 7}))
    assert again.record("reference") == {"id": "x"}


def test_another_experiment_is_refused_by_the_keys_that_changed(tmp_path: Path):
    RunFolder.create(tmp_path / "a", experiment()).finish("reference", {})
    changed = experiment(seed=1, search={"trials": 60}, target={"min_speedup": 2})
    with pytest.raises(FolderError, match=r"search\.trials, seed, target\.min_speedup") as error:
        RunFolder.create(tmp_path / "a", changed)
    assert "--fresh" in str(error.value)


def test_a_run_that_made_nothing_does_not_hold_its_folder(tmp_path: Path):
    """It ended at a mistake in its experiment; put right, the same command must work."""
    first = RunFolder.create(tmp_path / "a", experiment())
    first.check_data({"seen": "1"})
    with first.locked(), pytest.raises(FolderError, match="in use"):
        RunFolder.create(tmp_path / "a", experiment(seed=1))
    second = RunFolder.create(tmp_path / "a", experiment(seed=1))
    second.check_data({"seen": "2"})
    assert Experiment.load(second.experiment_file).seed == 1


def test_keys_that_change_no_result_are_not_named_among_those_that_do(tmp_path: Path):
    RunFolder.create(tmp_path / "a", experiment()).finish("reference", {})
    with pytest.raises(FolderError) as error:
        RunFolder.create(tmp_path / "a", experiment(name="other", seed=1, search={"workers": 7}))
    assert "(changed: seed)" in str(error.value)


def test_fresh_renames_and_deletes_nothing(tmp_path: Path):
    RunFolder.create(tmp_path / "a", experiment()).finish("reference", {"id": "old"})
    RunFolder.create(tmp_path / "a", experiment(seed=1), fresh=True)
    RunFolder.create(tmp_path / "a", experiment(seed=2), fresh=True)
    folders = sorted(path for path in tmp_path.iterdir() if path.name != "a")
    assert len(folders) == 2
    assert all(path.name.startswith("a.") for path in folders)
    assert [path for path in folders if (path / "reference" / "record.json").is_file()]
    assert RunFolder(tmp_path / "a").record("reference") is None


def test_fresh_takes_no_folder_from_under_a_running_process(tmp_path: Path):
    used = RunFolder.create(tmp_path / "a", experiment())
    with used.locked(), pytest.raises(FolderError, match=rf"in use by process {os.getpid()}"):
        RunFolder.create(tmp_path / "a", experiment(), fresh=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FolderError, match=r"holds no experiment\.yaml"):
        RunFolder.create(tmp_path, experiment())
    with pytest.raises(FolderError, match=r"holds no experiment\.yaml"):
        RunFolder.create(tmp_path, experiment(), fresh=True)  # not a run folder: nothing of ours to rename
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_pictures_that_changed_under_a_run_are_refused(tmp_path: Path):
    """A new picture moves others between the splits: what was held out may have been trained on."""
    made = RunFolder(tmp_path)
    made.check_data({"seen": "a", "held_out": "b"})
    made.check_data({"seen": "a", "held_out": "b"})
    with pytest.raises(FolderError, match=r"pictures have changed.*--fresh"):
        made.check_data({"seen": "a2", "held_out": "b"})


def test_killed_while_it_was_made_a_folder_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each write may be the last: the next process goes on."""
    for name in ("write_text", "write_json"):
        path = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(folder_module, name, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                RunFolder.create(path, experiment())
        assert (RunFolder.create(path, experiment()).path / "machine.json").is_file()


def test_locked_is_refused_to_a_second_process_until_the_first_is_killed(tmp_path: Path):
    made = RunFolder.create(tmp_path / "a", experiment())
    code = (
        "import sys, time; from pathlib import Path; from nas.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(made.path)], cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(FolderError, match=f"process {process.pid}"), made.locked():
            pass
        process.kill()
    with made.locked():
        pass


def test_records_mark_what_is_finished(tmp_path: Path):
    made = RunFolder(tmp_path)
    assert made.record("search") is None
    with pytest.raises(FolderError, match=r"no finished search: run `leangen search .*` first"):
        made.need("search", "leangen search")
    assert made.finish("search", {"a": 1}) == {"a": 1} == made.record("search") == made.need("search", "x")
    assert made.relative(tmp_path / "b" / "c.onnx") == "b/c.onnx"


def test_seconds_are_summed_over_resumes(tmp_path: Path):
    made, clock = RunFolder(tmp_path), iter([0.0, 5.0, 100.0, 102.5]).__next__
    assert made.seconds == {}
    with made.timed("search", clock):
        pass
    with made.timed("search", clock):
        pass
    assert made.seconds == {"search": 7.5}


def test_seconds_of_other_stages_stay_and_an_error_counts_too(tmp_path: Path):
    made = RunFolder(tmp_path)
    write_json(tmp_path / "seconds.json", {"reference": 3.0})
    with pytest.raises(KeyError), made.timed("search", iter([0.0, 5.0]).__next__):
        raise KeyError
    assert made.seconds == {"reference": 3.0, "search": 5.0}


def test_seconds_are_written_while_they_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a kill -9 would leave behind."""
    monkeypatch.setattr(folder_module, "_FLUSH_S", 0.01)
    made = RunFolder(tmp_path)
    with made.timed("search"):
        deadline = time.monotonic() + 10
        while not made.seconds and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "search" in made.seconds
