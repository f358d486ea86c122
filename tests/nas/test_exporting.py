"""What ships: the proof that it draws what torch draws, and TensorRT where it is, is missing, or fails."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.records import BackendMissing, BenchmarkError
from benchmarks.runtimes import tensorrt
from compress.errors import CompressError
from compress.export import export_onnx
from compress.generator import Generator
from nas import exporting
from search_spaces import get_space
from search_spaces.space import ImageShape

TYPED = exporting._typed


@pytest.fixture
def build(make_context, monkeypatch, tmp_path):
    """Build plans with ``export.tensorrt`` as given; ``answer`` stands for the adapter."""

    def do(wanted: Any, answer: Any = None, convert: Any = lambda *_: None) -> dict[str, Any]:
        def build_plan(source: Path, plan: Path, **_: Any) -> dict[str, Any]:
            found = answer.pop(0) if isinstance(answer, list) else answer
            if isinstance(found, Exception):
                raise found
            return {"file": plan.name, "bytes": 10, "backend": "tensorrt_rtx", "version": "1.7"}

        monkeypatch.setattr(exporting.tensorrt, "build_plan", build_plan)
        monkeypatch.setattr(exporting, "quantize", lambda *_, **__: None)
        monkeypatch.setattr(exporting, "convert_to_half", convert)
        context = make_context(export={"tensorrt": wanted})
        return exporting._build_plans(context, tmp_path / "model.onnx", context.folder.path / "export")

    return do


def test_the_plans_are_named_from_the_run_folder(build):
    found = build("auto")
    assert {name: plan["file"] for name, plan in found["plans"].items()} == {
        "fp32": "export/model.fp32.plan",
        "fp16": "export/model.fp16.plan",
        "int8": "export/model.int8.plan",
    }
    assert (found["built"], found["latency_ms"]) == (True, None)
    assert found["reason"]


@pytest.mark.skipif(tensorrt.find() is None, reason="no TensorRT can build here: pip install 'leangen[tensorrt-rtx]'")
def test_plans_are_really_built_in_three_precisions(make_context):
    context = make_context(export={"tensorrt": True})
    folder = context.folder.path / "export"
    genotype = get_space("decoder").sample(np.random.default_rng(0))
    image = ImageShape(1, 32, 32)
    export_onnx(Generator.from_genotype("decoder", genotype, context.family.inputs, image), folder / "model.onnx")
    found = exporting._build_plans(context, folder / "model.onnx", folder)
    assert list(found["plans"]) == ["fp32", "fp16", "int8"]
    assert all((context.folder.path / plan["file"]).stat().st_size == plan["bytes"] for plan in found["plans"].values())
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx", "model.trt-fp16.onnx", "model.trt-int8.onnx",
        "model.fp32.plan", "model.fp16.plan", "model.int8.plan",
    }  # fmt: skip
    assert found["latency_ms"] is None, "no engine ran"


def test_without_tensorrt_the_run_succeeds_and_names_the_extra(build):
    found = build("auto", BackendMissing("pip install 'leangen[tensorrt-rtx]'"))
    assert found == {"built": False, "plans": None, "latency_ms": None, "reason": "pip install 'leangen[tensorrt-rtx]'"}
    with pytest.raises(BackendMissing):
        build(True, BackendMissing("no"))


def test_a_build_that_fails_is_an_answer_unless_it_was_demanded(build):
    found = build("auto", [None, BenchmarkError("node Conv_3 is not supported"), None])
    assert (found["built"], found["reason"]) == (True, "node Conv_3 is not supported")
    assert {name: bool(plan) for name, plan in found["plans"].items()} == {"fp32": True, "fp16": False, "int8": True}
    found = build("auto", BenchmarkError("no memory"))
    assert (found["built"], found["plans"]) == (False, None)
    with pytest.raises(BenchmarkError):
        build(True, BenchmarkError("no memory"))


def test_a_conversion_that_fails_is_an_answer_too(build):
    def refuse(*_: Any) -> None:
        raise CompressError("weights beyond fp16")

    found = build("auto", convert=refuse)
    assert (found["plans"]["fp16"], found["reason"]) == (None, "weights beyond fp16")
    with pytest.raises(CompressError):
        build(True, convert=refuse)


def test_each_precision_has_a_source_of_its_own(build, monkeypatch):
    sources = []
    monkeypatch.setattr(exporting, "_typed", lambda *args: sources.append(TYPED(*args)) or sources[-1])
    build("auto")
    assert [path.name for path in sources] == ["model.onnx", "model.trt-fp16.onnx", "model.trt-int8.onnx"]


def test_not_wanted_is_not_tried(build):
    assert build(False, AssertionError("tried"))["reason"] == "export.tensorrt is false"


def test_an_int8_file_may_differ_and_says_and_shows_by_how_much(make_context):
    """A generator's file stands for one in int8 of another: nothing is alike, which only a float file may not be."""
    context = make_context(seed=5)
    one, other = (
        Generator.from_genotype("decoder", genotype, context.family.inputs, ImageShape(1, 32, 32))
        for genotype in (get_space("decoder").sample(np.random.default_rng(seed)) for seed in (0, 1))
    )
    path = context.folder.path / "export" / "model.int8.onnx"
    export_onnx(other, path)
    (row,) = exporting._prove(context, one, {"int8": path})
    assert row["max_abs"] > 0.01
    assert (row["artifact"], row["worst_input_seed"], row["n"]) == ("export/model.int8.onnx", 5, exporting.PARITY_ROWS)
    assert 0 <= row["worst_input_index"] < row["n"]
    with Image.open(context.folder.path / "report" / "worst.png") as picture:
        assert picture.size == (3 * 4 * 32, 4 * 32)
