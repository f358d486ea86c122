"""Jobs as a worker does them, in this process: JSON in, JSON out, and the same result whether resumed or not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.cost import count_cost
from compress.generator import Generator
from nas import worker
from nas.context import Context
from nas.families.base import Phase
from nas.seeds import Stream
from nas.worker import PROGRESS_FILE, Saver, error_of, evaluate, measure_job, read_progress, train_job

SCHEDULE = (Phase("distill", 6), Phase("finetune", 3))


@pytest.fixture
def context(tiny_run) -> Context:
    return Context.of_folder(tiny_run.folder)


def through_json(job: dict[str, Any]) -> dict[str, Any]:
    """``evaluate`` as a remote worker sees it."""
    result: dict[str, Any] = json.loads(json.dumps(evaluate(json.loads(json.dumps(job)))))
    return result


def job_of(context: Context, out: Path, until: int) -> dict[str, Any]:
    origin = context.family.narrowed(0.25, 0).origin
    return train_job(context, out, SCHEDULE, until=until, origin=origin, stream=Stream.RUNG)


def test_a_training_in_two_jobs_is_the_one_in_one(context, tmp_path):
    whole = through_json(job_of(context, tmp_path / "whole", 9))
    first = through_json(job_of(context, tmp_path / "parts", 4))
    parts = through_json(job_of(context, tmp_path / "parts", 9))
    assert (first["steps"], parts["steps"], whole["steps"]) == (4, 9, 9)
    assert parts["quality"] == whole["quality"] != first["quality"]
    assert (whole["quality"]["seeds"], whole["quality"]["n"]) == ([0, 3], 400)
    one, other = (Generator.load(tmp_path / name).module.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_finished_training_is_only_scored_again(context, tmp_path):
    before = through_json(job_of(context, tmp_path, 4))
    again = through_json(job_of(context, tmp_path, 4))
    assert again["quality"] == before["quality"]


def test_a_job_that_fails_returns_its_error(context, tmp_path):
    for job in ({"kind": "dream"}, {"kind": "train", "run": str(tmp_path)}, measure_job_to_nowhere(context)):
        result = through_json(job)
        assert error_of(result)
        assert "Traceback" in result["traceback"]
        assert result["seconds"] >= 0


def test_measuring_tells_ratio_and_macs(context):
    """The reference at a quarter of its width, against itself: faster, and with fewer multiply-accumulates."""
    record = context.folder.record("reference")
    reference = context.folder.path / record["files"]["fp32"]
    result = through_json(measure_job(context, context.family.narrowed(0.25, 0), reference, 0.1, 5.0))
    assert error_of(result) is None, result
    assert set(result) == {"ratio", "macs", "seconds", "peak_mib"}
    assert set(result["ratio"]) == {"value", "ci95", "precision"}
    assert 0 < result["ratio"]["value"] < 1
    assert 0 < result["macs"] < count_cost(reference).macs


def measure_job_to_nowhere(context: Context) -> dict[str, Any]:
    return measure_job(context, context.family.narrowed(0.25, 0), Path("no-such-file.onnx"), 0.1)


def test_a_checkpoint_of_another_network_is_not_taken(context, tmp_path):
    """A pruning that is done again after a kill may keep other channels than the checkpoint beside it."""
    for factor in (0.25, 0.5):
        generator = context.family.narrowed(factor, 0)
        generator.save(tmp_path)
        job = train_job(context, tmp_path, (Phase("distill", 2),), until=2, start=tmp_path)
        result = through_json(job)
        assert error_of(result) is None, result
        assert result["steps"] == 2
        assert "quality" not in result
        assert Generator.load(tmp_path).id == generator.id


def test_errors_and_complaints_end_a_candidate():
    assert error_of({"error": "boom"}) == "boom"
    assert error_of({"complaint": "collapsed"}) == "collapsed"
    assert error_of({"complaint": None, "quality": {}}) is None


def test_saver_tells_every_second_and_saves_every_quarter_of_a_minute(tmp_path, monkeypatch):
    now, saved = [100.0], []
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    saver = Saver(saved.append, tmp_path / "out" / "checkpoint")
    for step, moment in ((1, 100.5), (2, 101.0), (3, 114.9), (4, 115.0), (5, 116.0), (6, 130.0)):
        now[0] = moment
        saver(step)
        if step == 1:
            assert read_progress(tmp_path / "out") == 0
    assert saved == [tmp_path / "out" / "checkpoint"] * 2
    assert read_progress(tmp_path / "out") == 6


def test_progress_that_cannot_be_read_is_none(tmp_path):
    assert read_progress(tmp_path) == 0
    (tmp_path / PROGRESS_FILE).write_text("")
    assert read_progress(tmp_path) == 0
