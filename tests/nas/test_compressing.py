"""The task that compression is given, and what the stage leaves."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.files import read_json
from compress.generator import Generator
from compress.shares import AGAIN
from nas.compressing import RunTask, compress_winner
from nas.errors import NasError
from nas.progress import Silent


def test_without_recovery_a_generator_comes_back_as_it_is(make_context, scripted):
    executor = scripted(lambda job: {})
    task = RunTask(make_context(compress={"recover": 0}), executor)
    generator = SimpleNamespace()
    assert task.recover(generator, Path("x")) is generator
    assert executor.jobs == []


def test_recovery_is_a_training_like_a_finalists_from_the_folder_to_the_folder(make_context, scripted, tmp_path):
    context = make_context(
        compress={"recover": 7}, search={"final_features": 3, "final_adversarial": 5, "final_match": 4}
    )
    generator = context.family.narrowed(0.125, 0)
    generator.save(tmp_path / "step")
    executor = scripted(lambda job: {"steps": 7})
    found = RunTask(context, executor).recover(generator, tmp_path / "step")
    assert found.id == generator.id
    (job,) = executor.jobs
    kinds = {"distill": 7, "features": 3, "finetune": 5, "match": 4}
    assert job["schedule"] == [{"kind": kind, "steps": steps} for kind, steps in kinds.items()]
    assert (job["until"], job["start"], job["out"]) == (19, str(tmp_path / "step"), str(tmp_path / "step"))
    assert (job["origin"], job["stream"]) == (None, None)


def test_recovery_is_not_fine_tuned_where_finalists_are_not(make_context, scripted, tmp_path):
    context = make_context(
        compress={"recover": 7}, search={"final_features": 0, "final_adversarial": 0, "final_match": 0}
    )
    context.family.narrowed(0.125, 0).save(tmp_path / "step")
    executor = scripted(lambda job: {"steps": 7})
    RunTask(context, executor).recover(SimpleNamespace(), tmp_path / "step")
    assert executor.jobs[0]["schedule"] == [{"kind": "distill", "steps": 7}]


def test_a_recovery_that_fails_is_named(make_context, scripted):
    task = RunTask(make_context(compress={"recover": 7}), scripted(lambda job: {"error": "diverged"}))
    with pytest.raises(NasError, match="recovery after pruning failed: diverged"):
        task.recover(SimpleNamespace(), Path("x"))


def test_inputs_are_the_familys(make_context):
    context = make_context()
    assert RunTask(context, None).inputs == context.family.inputs  # type: ignore[arg-type]


def test_a_finished_stage_is_not_done_again(make_context):
    context = make_context()
    context.folder.finish("compressed", {"id": "x"})
    assert compress_winner(context, Path("x"), Path("y"), None, Silent()) == {"id": "x"}  # type: ignore[arg-type]


def test_what_compression_leaves(tiny_run):
    record = read_json(tiny_run.folder / "compressed" / "record.json")
    names = [step["name"] for step in record["steps"]]
    first = [name for name in names if not name.endswith(AGAIN)]  # a step may have missed its budget by a hair
    assert first == ["prune 25%", "quantize per tensor", "quantize per channel"]
    for step in record["steps"]:
        assert step["reason"].startswith("kept: " if step["kept"] else "refused: ")
    kept = Generator.load(tiny_run.folder / "compressed" / "kept")
    assert kept.id == record["id"]
    assert (tiny_run.folder / record["file"]).is_file()
    quantized = any(step["kept"] for step in record["steps"] if "quantize" in step["name"])
    assert record["precision"] == ("int8" if quantized else "fp32")
    assert (kept.edits[-1:] and kept.edits[-1].kind == "quantize") == quantized or not quantized
