"""Paired ratios of real files: a model against itself, against a larger one, and all its variants."""

import math
from pathlib import Path

import pytest

from benchmarks.cost import count_cost
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
        "body": "conv", "rank": 0, "mapping": 0, "start": 8, "width": width, "last": "shuffle4", "last_kernel": 3,
        "blocks": 1, "block": "plain", "kernel": 3,
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


def test_the_macs_of_one_picture_are_told(files, tmp_path):
    """Weights do not change them, nor does the precision: they are counted on the float file."""
    export_onnx(generator(16), tmp_path / "model.onnx")
    wanted = count_cost(tmp_path / "model.onnx").macs
    assert wanted > 0
    assert bench().time_untrained(generator(16), files / "128.onnx", 0.1).macs == wanted
    assert bench().time_untrained(generator(16), files / "16.onnx", 0.3, give_up_above=0.01).macs == wanted


def test_without_int8_nothing_is_fast_through_a_file_that_never_ships(files, tmp_path, monkeypatch):
    """However fast int8 would be: it is neither written nor timed."""
    one = bench(precisions=(FP32,))
    assert one.variants(generator(16), tmp_path) == {FP32: tmp_path / "model.onnx"}
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    timed = []

    def spy(self, against, files, seconds):
        timed.append(tuple(files))
        return {name: Ratio(0.1 if name == INT8 else 0.5, (0.1, 0.6), 20) for name in files}

    monkeypatch.setattr(Bench, "ratios", spy)
    assert one.time_untrained(generator(16), files / "128.onnx", 0.3).precision == FP32
    assert bench().time_untrained(generator(16), files / "128.onnx", 0.3).precision == INT8
    assert timed == [(FP32,), (FP32, INT8)]


@pytest.mark.parametrize(("ratio", "wanted"), [(0.9, INT8), (1.0, FP32), (1.1, FP32)])
def test_the_fastest_file(monkeypatch, ratio, wanted):
    files = {FP32: Path("a.onnx"), INT8: Path("b.onnx")}
    monkeypatch.setattr(Bench, "ratios", lambda *_: {INT8: Ratio(ratio, (ratio, ratio), 20)})
    assert bench().fastest_file(files, 1.0) == files[wanted]


def test_one_file_alone_is_not_timed(monkeypatch):
    monkeypatch.setattr(Bench, "ratios", lambda *_: pytest.fail("timed"))
    assert bench().fastest_file({FP32: Path("a.onnx")}, 1.0) == Path("a.onnx")


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
    assert fastest(ratios).to_json() == {"value": 0.5, "ci95": [0.4, 0.6], "precision": "fp32"}
