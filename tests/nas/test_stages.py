"""The stages end to end on one small run; what a second run does; and the two ways to hear "no"."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner, Result

from benchmarks.files import read_json
from compress.generator import Generator
from nas import stages
from nas.cli import app
from nas.experiment import Experiment
from nas.folder import FolderError, RunFolder
from nas.stages import STAGES, run
from reports.summary import parse

# What a run that finds everything done writes again.
CHANGING = ("seconds.json", "summary.json", ".lock", "report", "log.jsonl")


@pytest.fixture(autouse=True)
def threads():
    """A run sets torch to one thread; other tests shall not notice."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def copy_of(tiny_run, tmp_path) -> Callable[..., tuple[Path, Path]]:
    """Return experiment file and folder of another experiment, to which parts of the tiny run are copied."""

    def copy(changes: dict[str, Any], *parts: str) -> tuple[Path, Path]:
        values = Experiment.load(tiny_run.file).model_dump(mode="json")
        for section, settings in changes.items():
            values[section] |= settings
        file, folder = tmp_path / "other.yaml", tmp_path / "run"
        file.write_text(json.dumps(values))  # JSON is YAML
        RunFolder.create(folder, Experiment.load(file))
        for part in parts:
            shutil.copytree(tiny_run.folder / part, folder / part)
        return file, folder

    return copy


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--quiet"])


# the whole


def test_summary_is_valid_and_is_what_was_written(tiny_run):
    assert tiny_run.summary == read_json(tiny_run.folder / "summary.json")
    parse(tiny_run.summary)


def test_summary_has_every_field_of_the_issue(tiny_run):
    summary = tiny_run.summary
    assert summary["schema"] == 1
    assert summary["family"] == "gan"
    assert summary["command"].startswith("leangen run ")
    assert summary["verdict"] == {"met": True, "missed": []}
    assert set(summary["seconds"]) == {"reference", "search", "finalists", "compress", "export", "total"}
    assert summary["seconds"]["total"] >= sum(v for k, v in summary["seconds"].items() if k != "total")
    common = {"id", "params", "macs", "bytes", "quality", "latency_ms"}
    assert common | {"plateau"} <= set(summary["reference"])
    assert set(summary["reference"]) | {"artifact"} <= set(summary["baseline"])
    assert set(summary["baseline"]) | {"quality_difference"} <= set(summary["final"])
    for name in ("reference", "baseline", "final"):
        one = summary[name]
        assert set(one["latency_ms"]) == {"1", "32"}
        for latency in one["latency_ms"].values():
            assert set(latency) == {"median", "ci95", "p95", "precision"}
            assert 0 < latency["ci95"][0] <= latency["median"] <= latency["ci95"][1]
            assert latency["median"] <= latency["p95"]
    for name in ("speedup", "speedup_vs_eager"):
        assert set(summary[name]) == {"1", "32"}
        assert all(set(one) == {"value", "ci95"} for one in summary[name].values())
    assert all({"name", "kept", "reason"} <= set(step) for step in summary["steps"])
    assert set(summary["tensorrt"]) == {"built", "plans", "latency_ms", "reason"}


def test_counts_add_up(tiny_run):
    search = dict(tiny_run.summary["search"])
    assert search.pop("space_size") >= 10**4
    assert search.pop("trials") == sum(search.values())
    assert search["complete"] >= 1
    assert search["complete"] + search["dominated"] + search["failed"] >= 3
    assert len(tiny_run.summary["candidates"]) == sum(search.values()) - search["duplicate"]


def test_quality_is_of_held_out_pictures_on_latents_of_its_own(tiny_run):
    scores = [tiny_run.summary[name]["quality"] for name in ("reference", "baseline", "final")]
    for score in scores:
        assert (score["metric"], score["n"], score["seeds"]) == ("fid", 400, [0, 6])
        assert re.fullmatch(r"classifier@[0-9a-f]{12}", score["extractor"])
        assert score["standard_error"] > 0
    difference = tiny_run.summary["final"]["quality_difference"]
    assert difference["value"] == pytest.approx(scores[2]["value"] - scores[0]["value"])
    assert difference["ci95"][0] < difference["value"] < difference["ci95"][1]
    seeds = [one["quality"]["seeds"] for one in tiny_run.summary["finalists"] if one["quality"]]
    assert seeds
    assert all(one == [0, 4] for one in seeds)
    assert all(one["quality"]["seeds"] == [0, 3] for one in tiny_run.summary["candidates"] if one["quality"])


def test_the_winner_was_measured_within_the_limit_and_is_a_finalist(tiny_run):
    winners = [one for one in tiny_run.summary["finalists"] if one["winner"]]
    assert len(winners) == 1
    assert winners[0]["inside"]
    assert winners[0]["ratio"]["value"] <= 1 / 1.5
    complete = {one["id"] for one in tiny_run.summary["candidates"] if one["outcome"] == "complete"}
    assert {one["id"] for one in tiny_run.summary["finalists"]} <= complete
    assert {one["id"] for one in tiny_run.summary["candidates"] if one["finalist"]} <= complete


def test_nothing_was_trained_that_is_too_slow(tiny_run):
    for one in tiny_run.summary["candidates"]:
        trained = (tiny_run.folder / "candidates" / one["id"] / "weights.safetensors").exists()
        assert trained == (one["rung"] is not None)
        assert not (trained and one["outcome"] == "infeasible")
        assert (one["ratio"]["value"] > 1 / 1.5) == (one["outcome"] == "infeasible")


def test_exported_files_are_self_contained_and_run_at_any_batch(tiny_run):
    files = sorted((tiny_run.folder / "export").glob("*.onnx"))
    assert tiny_run.folder / tiny_run.summary["final"]["artifact"] in files
    assert tiny_run.folder / "export" / "model.onnx" in files
    for path in files:
        model = onnx.load(path, load_external_data=False)
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [one.name for one in session.get_inputs()] == ["z"]
        for batch in (1, 7):
            drawn = session.run(None, {"z": np.random.default_rng(0).normal(size=(batch, 100)).astype("f4")})[0]
            assert drawn.shape == (batch, 1, 32, 32)
            assert np.abs(drawn).max() <= 1.001
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(metadata["leangen.inputs"])[0]["name"] == "z"
        assert json.loads(metadata["leangen.origin"])
        assert json.loads(metadata["leangen.scores"])["seen"]["seeds"] == [0, 5]
        kinds = [edit["kind"] for edit in json.loads(metadata["leangen.edits"])]
        assert kinds.count("quantize") == (path.name == "model.int8.onnx")


def test_parity_is_proven_on_enough_latents(tiny_run):
    floats = next(one for one in tiny_run.summary["parity"] if one["artifact"] == "export/model.onnx")
    assert floats["max_abs"] < 1e-3
    assert floats["n"] >= 64
    assert floats["psnr_db"] is None or floats["psnr_db"] > 60


def test_weights_can_be_loaded_everywhere(tiny_run):
    winner = next(one["id"] for one in tiny_run.summary["finalists"] if one["winner"])
    baseline = read_json(tiny_run.folder / "baseline" / "record.json")["folder"]
    assert Generator.load(tiny_run.folder / "reference").id == tiny_run.summary["reference"]["id"]
    assert Generator.load(tiny_run.folder / "compressed" / "kept").id == tiny_run.summary["final"]["id"]
    for part in (f"finalists/{winner}", f"candidates/{winner}", baseline):
        drawn = Generator.load(tiny_run.folder / part).module.eval()(z=torch.zeros(2, 100))
        assert drawn.shape == (2, 1, 32, 32)


def test_report_needs_no_network(tiny_run):
    page = (tiny_run.folder / "report" / "index.html").read_text()
    assert not re.search(r"""(src|href|url\()\s*=?\s*["']?\s*(https?:)?//""", page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert page.count("data:image/png;base64,") == 5  # three grids, the nearest training pictures, the worst latents


def test_report_and_tables_are_there(tiny_run):
    assert (tiny_run.folder / "report" / "report.md").read_text().startswith("#")
    lines = (tiny_run.folder / "export" / "latency.csv").read_text().splitlines()
    assert len(lines) == 1 + len(tiny_run.summary["latency"])
    eager = [row for row in tiny_run.summary["latency"] if row["runtime"] == "torch eager"]
    assert [(row["who"], row["batch"], row["artifact"]) for row in eager] == [
        ("reference", 1, None),
        ("reference", 32, None),
    ]


# again


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in files
        if not str(path.relative_to(folder)).startswith(CHANGING) and path.name != "latency.csv"
    }


def test_a_second_run_does_nothing_again(tiny_run, monkeypatch):
    before = contents(tiny_run.folder)
    monkeypatch.setattr(stages.LocalExecutor, "submit", lambda *_: pytest.fail("a job was submitted"))
    monkeypatch.setattr(stages, "measure_latency", lambda *_: pytest.fail("latency was measured again"))
    summary = run(Experiment.load(tiny_run.file), tiny_run.folder)
    assert contents(tiny_run.folder) == before
    same = set(summary) - {"created", "seconds"}
    assert {key: summary[key] for key in same} == {key: tiny_run.summary[key] for key in same}
    assert summary["seconds"]["total"] - tiny_run.summary["seconds"]["total"] < 15


def test_one_stage_after_the_other_asks_for_what_is_missing(tmp_path, tiny_run):
    experiment = Experiment.load(tiny_run.file)
    for stage, command in (("compress", "leangen search"), ("export", "leangen compress")):
        with pytest.raises(FolderError, match=f"run `{command}"):
            run(experiment, tmp_path / "run", stages=(stage,))
    with pytest.raises(FolderError, match=f"stages are {', '.join(STAGES)}; found serch"):
        run(experiment, tmp_path / "run", stages=("serch",))


def test_a_metric_that_nobody_scores_is_refused_before_anything_is_trained(tmp_path, tiny_run):
    experiment = Experiment.load(tiny_run.file, ["quality.budget='accuracy>=-1pt'"])
    with pytest.raises(ValueError, match="accuracy") as error:
        run(experiment, tmp_path / "run")
    assert "quality.budget" in str(error.value)
    assert not (tmp_path / "run" / "reference").exists()


# "no"


@pytest.mark.usefixtures("shortened")
def test_a_limit_that_nobody_meets_is_an_early_no(copy_of, tiny_run):
    file, folder = copy_of({"target": {"min_speedup": 1000}, "search": {"trials": 1, "minutes": 0.02}}, "reference")
    result = invoke("run", file, "--out", folder)
    assert (result.exit_code, result.exception and str(result.exception)) == (1, "1")
    summary = read_json(folder / "summary.json")
    parse(summary)
    assert summary["verdict"] == {"met": False, "missed": ["target.min_speedup"]}
    for key in ("final", "baseline", "speedup", "speedup_vs_eager", "steps", "tensorrt", "finalists", "latency"):
        assert summary[key] is None, key
    assert summary["search"]["infeasible"] == summary["search"]["trials"] >= 1
    assert not list(folder.rglob("weights.safetensors"))[1:]  # only the reference's
    assert any("No candidate met the latency limit" in note for note in summary["notes"])
    assert "min_speedup" in (folder / "report" / "index.html").read_text()
    assert read_json(folder / "reference" / "record.json") == read_json(tiny_run.folder / "reference" / "record.json")
    # The answer stays: neither the same command nor a later stage begins anything.
    assert invoke("run", file, "--out", folder).exit_code == 1
    assert invoke("compress", folder).exit_code == 1


@pytest.mark.usefixtures("shortened")
def test_a_missed_budget_ships_the_best_finalist_and_says_no(copy_of):
    changes = {
        "quality": {"budget": ["fid<=-1000"]},
        "compress": {"prune": False, "quantize": False},
        "search": {"final_distill": 20, "final_features": 0, "final_adversarial": 0, "final_match": 0},
    }
    file, folder = copy_of(changes, "reference", "candidates")
    result = invoke("run", file, "--out", folder)
    assert result.exit_code == 1, result.output
    summary = read_json(folder / "summary.json")
    parse(summary)
    assert summary["verdict"]["met"] is False
    assert summary["verdict"]["missed"][0] == "quality.budget"  # and perhaps the speed: that is the clock's to say
    assert not any(one["inside"] for one in summary["finalists"])
    best = min((one for one in summary["finalists"] if one["quality"]), key=lambda one: one["quality"]["value"])
    assert best["winner"]
    assert summary["final"]["artifact"] == "export/model.onnx"
    assert (folder / "export" / "model.onnx").is_file()
    assert summary["steps"] == []
    assert any("No finalist was inside the budget" in note for note in summary["notes"])
    assert "quality.budget" in result.stdout


def test_without_a_finalist_that_could_be_trained_the_answer_is_no(copy_of):
    _, folder = copy_of({}, "reference", "candidates")
    RunFolder(folder).finish("finalists", {"finalists": [], "winner": None})
    result = invoke("compress", folder)
    assert result.exit_code == 1, result.output
    assert read_json(folder / "summary.json")["verdict"] == {"met": False, "missed": ["search.finalists"]}


def test_a_changed_experiment_is_exit_2(tiny_run, tmp_path):
    result = invoke("run", tiny_run.file, "--out", tiny_run.folder, "--set", "search.trials=4")
    assert result.exit_code == 2
    assert "search.trials" in result.stderr


def test_what_cannot_run_renames_no_folder_and_makes_none(tiny_run, tmp_path):
    result = invoke("run", tiny_run.file, "--out", tiny_run.folder, "--set", "quality.extractor=inception", "--fresh")
    assert result.exit_code == 2
    assert "extractors are classifier" in result.stderr
    assert (tiny_run.folder / "summary.json").is_file()
    new = tmp_path / "new"
    assert invoke("run", tiny_run.file, "--out", new, "--set", "quality.extractor=inception").exit_code == 2
    assert not new.exists()


def test_a_locked_folder_is_exit_2(tiny_run):
    with RunFolder(tiny_run.folder).locked():
        result = invoke("run", tiny_run.file, "--out", tiny_run.folder)
    assert result.exit_code == 2
    assert "is in use by process" in result.stderr


def test_further_metrics_stand_in_scores(tiny_run):
    for who in ("reference", "baseline", "final"):
        model = tiny_run.summary[who]
        assert model["quality"]["metric"] == "fid"
        assert [score["metric"] for score in model["scores"]] == ["kid", "precision", "recall"]
        assert {score["n"] for score in model["scores"]} == {model["quality"]["n"]}
