"""The judge: like scores with all they need to be compared, exact pairing, and what is plainly wrong."""

import math

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.inputs import InputSpec, draw_inputs
from compress.export import export_onnx
from compress.generator import Generator
from compress.quality import METRICS, require_alike
from compress.running import run_module
from nas.quality import frechet, judge
from nas.quality.extractors import Extractor
from nas.quality.judge import Judge, diagnose
from nas.seeds import Stream
from search_spaces.space import ImageShape

Z = (InputSpec("z", (6,), "float32", {"kind": "normal"}),)
GENOTYPE = {"body": "mlp", "hidden": 128, "layers": 1, "activation": "relu", "output": "tanh"}


class Pooled(nn.Module):
    """Sixteen means of 2 x 2 pixels: features that can be checked by hand."""

    def __init__(self):
        super().__init__()
        self.inputs = (InputSpec("pixels", (1, 8, 8), "float32", {"kind": "normal"}),)
        self.pool = nn.AvgPool2d(2)

    def forward(self, pixels):
        return self.pool(pixels)


class CountingExtractor(Extractor):
    """Counts the pictures it is asked about."""

    seen = 0

    def features(self, images, threads=1):
        type(self).seen += len(images)
        return super().features(images, threads)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    path = tmp_path_factory.mktemp("extractor") / "pool.onnx"
    export_onnx(Pooled(), path)
    return CountingExtractor("pool", path, "0123456789abcdef")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two different generators, and a copy of the first one."""
    folder, paths = tmp_path_factory.mktemp("files"), {}
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        generator = Generator.from_genotype("decoder", GENOTYPE, Z, ImageShape(1, 8, 8))
        paths[name] = folder / f"{name}.onnx"
        export_onnx(generator, paths[name])
    paths["copy"] = folder / "copy.onnx"
    paths["copy"].write_bytes(paths["a"].read_bytes())
    return paths


@pytest.fixture
def real():
    return np.random.default_rng(0).uniform(-1, 1, (150, 1, 8, 8)).astype(np.float32)


def judge_of(extractor, real, **changes):
    settings = {"inputs": Z, "samples": 120, "seed": 4, "stream": Stream.CHOICE} | changes
    return Judge(extractor=extractor, real=real, **settings)


def test_scores_hold_what_makes_them_comparable(extractor, real, files):
    scores = [one.score for one in judge_of(extractor, real).evaluate(files).values()]
    for score in scores:
        assert (score.metric, score.extractor, score.n) == ("fid", "pool@0123456789ab", 120)
        assert score.seeds == (4, Stream.CHOICE)
        assert type(score.seeds[1]) is int
        assert score.metric in METRICS
        assert 0 < score.standard_error < score.value
        require_alike(score, scores[0])


def test_the_value_is_the_distance_of_what_the_file_draws(extractor, real, files):
    """Worked again with plain numpy: features are 2 x 2 means."""
    found = judge_of(extractor, real).evaluate({"a": files["a"]})["a"].score.value
    from benchmarks.runtimes.onnx import generate

    drawn = generate(files["a"], draw_inputs(Z, 120, (4, Stream.CHOICE)))
    pooled = [x.reshape(len(x), 4, 2, 4, 2).mean(axis=(2, 4)).reshape(len(x), 16) for x in (real, drawn)]
    assert found == pytest.approx(frechet.fid(*pooled), rel=1e-4)


def test_differences_name_the_other_files_and_are_antisymmetric(extractor, real, files):
    found = judge_of(extractor, real).evaluate(files)
    assert {name: set(one.differences) for name, one in found.items()} == {n: set(files) - {n} for n in files}
    there, back = found["a"].differences["b"], found["b"].differences["a"]
    assert there.value == pytest.approx(found["a"].score.value - found["b"].score.value)
    assert there.value == -back.value
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert there.ci95[0] < there.value < there.ci95[1]


def test_a_generator_and_its_copy_differ_by_exactly_nothing(extractor, real, files):
    found = judge_of(extractor, real).evaluate(files)["a"].differences["copy"]
    assert (found.value, found.ci95) == (0.0, (0.0, 0.0))


def test_score_and_evaluate_agree(extractor, real, files):
    """The module in torch and its file in onnxruntime, on the same latents."""
    torch.manual_seed(0)
    module = Generator.from_genotype("decoder", GENOTYPE, Z, ImageShape(1, 8, 8)).module
    one = judge_of(extractor, real)
    score, complaint = one.score(lambda inputs: run_module(module, inputs))
    assert complaint is None
    assert score.value == pytest.approx(one.evaluate(files)["a"].score.value, rel=1e-3)
    assert score.standard_error == pytest.approx(one.evaluate(files)["a"].score.standard_error, rel=0.4)


def test_streams_and_seeds_have_latents_of_their_own(extractor, real):
    kinds = [judge_of(extractor, real, seed=seed, stream=stream) for seed in (0, 1, 4) for stream in Stream]
    first = [one.latents()["z"][0].tobytes() for one in kinds]
    assert len(set(first)) == len(kinds)
    np.testing.assert_array_equal(kinds[0].latents()["z"], kinds[0].latents()["z"])


def test_features_are_kept_by_the_content_of_a_file(extractor, real, files, tmp_path):
    one = judge_of(extractor, real)
    CountingExtractor.seen = 0
    one.evaluate({"a": files["a"], "b": files["b"]})
    assert CountingExtractor.seen == 150 + 2 * 120
    one.evaluate({"c": files["copy"], "a": files["a"]})
    assert CountingExtractor.seen == 150 + 2 * 120
    path = tmp_path / "changing.onnx"
    path.write_bytes(files["a"].read_bytes())
    first = one.evaluate({"x": path})["x"].score
    path.write_bytes(files["b"].read_bytes())
    assert one.evaluate({"x": path})["x"].score != first, "a file of another content is scored anew"
    assert CountingExtractor.seen == 150 + 2 * 120


def test_blank_is_far_away(extractor, real, files):
    """Its covariance is nothing, so all of the reals' variance is lost: 16 means of 4 uniforms, 16 * (1 / 3) / 4."""
    one = judge_of(extractor, real)
    blank = one.blank()
    assert blank.value == pytest.approx(16 / 12, rel=0.1)
    assert blank.standard_error == 0
    assert blank.value > 10 * one.floor(real[::-1].copy()).value


def test_floor_is_that_of_the_pictures_it_is_asked_about(extractor, real):
    one = judge_of(extractor, real)
    assert one.floor(real).value == pytest.approx(0, abs=1e-9)
    other = one.floor(-real[:100] / 2)
    assert other.value > 0.2
    assert other.n == 100


def test_diagnose_names_divergence_and_collapse(real):
    assert diagnose(real) is None
    for bad in (math.nan, math.inf):
        broken = real.copy()
        broken[3, 0, 2, 2] = bad
        assert diagnose(broken).startswith("diverged")
    alike = np.repeat(real[:1], 50, axis=0) + np.random.default_rng(1).normal(0, 0.005, (50, 1, 8, 8))
    assert diagnose(alike).startswith("collapsed")
    assert diagnose(np.zeros((50, 1, 8, 8), np.float32)).startswith("collapsed")
    assert diagnose(real[:1]) is None, "one picture cannot tell"


def test_a_collapsed_generator_is_scored_and_named(extractor, real):
    score, complaint = judge_of(extractor, real).score(lambda inputs: np.repeat(real[:1], len(inputs["z"]), axis=0))
    assert complaint == "collapsed: all pictures are alike"
    assert score.value > 1


def test_a_diverged_generator_has_no_score(extractor, real, files, tmp_path):
    """From a function and from a file; the other file's score is untouched, and no budget is met."""
    one = judge_of(extractor, real)
    score, complaint = one.score(lambda inputs: np.full((len(inputs["z"]), 1, 8, 8), np.nan, np.float32))
    assert complaint == "diverged: pictures hold NaN or infinity"
    assert math.isnan(score.value)
    assert math.isnan(score.standard_error)

    found = one.evaluate({"a": files["a"], "nan": nan_file(files["a"], tmp_path)})
    assert math.isnan(found["nan"].score.value)
    assert math.isnan(found["nan"].differences["a"].worse_end(METRICS["fid"]))
    assert found["a"].score == one.evaluate({"a": files["a"]})["a"].score


def nan_file(file, folder):
    model = onnx.load(file)
    for weights in model.graph.initializer:
        if weights.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(weights)
            weights.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    onnx.save(model, folder / "nan.onnx")
    return folder / "nan.onnx"


def test_the_standard_error_is_the_spread_over_other_latents(extractor, real, files):
    """The bootstrap draws the reals anew as well, so what latents alone do must not be much more."""
    values = [judge_of(extractor, real, seed=seed).evaluate({"a": files["a"]})["a"].score for seed in range(12)]
    spread = np.std([score.value for score in values], ddof=1)
    assert spread < 1.5 * np.mean([score.standard_error for score in values])


def test_the_metric_is_a_known_one():
    assert judge.METRIC in METRICS
