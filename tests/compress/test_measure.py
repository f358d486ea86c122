"""Paired ratios of real files: a model against itself, against a larger one, and all its variants."""

import math

import pytest

from benchmarks.inputs import InputSpec
from benchmarks.records import Ratio, Target
from benchmarks.runtimes.onnx import generate
from compress.export import export_onnx
from compress.generator import Generator
from compress.measure import FP32, INT8, Bench, Timing, fastest
from search_spaces.space import ImageShape

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)


def bench(**changes):
    return Bench(Target("onnxruntime", "cpu", threads=1, batch=1), Z, seed=(0, 9), calibration_seed=(0, 7), **changes)


def generator(width):
    genotype = {
        "body": "conv", "start": 8, "width": width, "upsampling": "shuffle4", "blocks": 1, "kernel": 3,
        "norm": "batch", "activation": "relu", "output": "tanh",
    }  # fmt: skip
    return Generator.from_genotype("decoder", genotype, Z, ImageShape(1, 32, 32))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for width in (16, 128):
        export_onnx(generator(width), folder / f"{width}.onnx")
    return folder


def test_a_file_takes_as_long_as_itself(files):
    found = bench().ratios(files / "16.onnx", {"same": files / "16.onnx"}, 0.3)["same"]
    assert found.value == pytest.approx(1, abs=0.2)


def test_a_smaller_file_is_faster(files):
    """Ratio = its time / the other's: below 1. And the other way round, in one go with a third."""
    small, large = files / "16.onnx", files / "128.onnx"
    assert bench().ratios(large, {"small": small}, 0.3)["small"].ci95[1] < 0.7
    found = bench().ratios(small, {"large": large, "same": small}, 0.4)
    assert list(found) == ["large", "same"]
    assert found["large"].ci95[0] > 1.4


def test_the_batch_is_the_targets(files):
    assert bench().runner(files / "16.onnx").outputs()["image"].shape[0] == 1
    larger = bench().at_batch(5)
    assert larger.runner(files / "16.onnx").outputs()["image"].shape[0] == 5
    assert larger.target.threads == bench().target.threads


def test_variants_draw_the_same_pictures(tmp_path, latents):
    one = bench(opset=19)
    files = one.variants(generator(16), tmp_path)
    assert {name: path.name for name, path in files.items()} == {FP32: "model.onnx", INT8: "model.int8.onnx"}
    drawn = {name: generate(path, latents) for name, path in files.items()}
    assert abs(drawn[FP32] - drawn[INT8]).mean() < 0.05
    assert abs(drawn[FP32] - drawn[INT8]).max() > 0


def test_equal_generators_and_seeds_give_equal_files(tmp_path):
    one = generator(16)
    for name in ("a", "b"):
        bench().variants(one, tmp_path / name)
    for file in ("model.onnx", "model.int8.onnx"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_untrained_candidate_is_timed_and_leaves_nothing(files, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = bench().time_untrained(generator(16), files / "128.onnx", 0.3)
    assert found.precision in (FP32, INT8)
    assert found.ratio.ci95[1] < 0.7
    assert list(tmp_path.iterdir()) == []


def test_what_is_far_too_slow_gets_a_short_look_only(files, monkeypatch):
    """Within the limit, or without one, it is timed for as long as asked."""
    looks, ratios = [], Bench.ratios

    def spy(self, against, files, seconds):
        looks.append(seconds)
        return ratios(self, against, files, seconds)

    monkeypatch.setattr(Bench, "ratios", spy)
    slow = bench().time_untrained(generator(128), files / "16.onnx", 0.3, give_up_above=0.5)
    assert slow.ratio.ci95[0] > 0.5
    assert looks == [0.1]
    bench().time_untrained(generator(16), files / "128.onnx", 0.3, give_up_above=5)
    bench().time_untrained(generator(128), files / "16.onnx", 0.3, give_up_above=math.inf)
    assert looks == [0.1, 0.1, 0.3, 0.3]


def test_fastest():
    ratios = {FP32: Ratio(0.5, (0.4, 0.6), 20), INT8: Ratio(0.7, (0.6, 0.8), 20)}
    assert fastest(ratios) == Timing(FP32, ratios[FP32])
    assert fastest(ratios, [INT8]).precision == INT8
    assert fastest(ratios).to_json() == {"value": 0.5, "ci95": [0.4, 0.6], "precision": "fp32"}
