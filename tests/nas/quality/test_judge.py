"""The judge: like scores with all they need to be compared, exact pairing, and what is plainly wrong."""

import math

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.runtimes.onnx import generate
from compress.export import export_onnx
from compress.generator import Generator
from compress.quality import METRICS, require_alike
from compress.running import run_module
from nas.quality import frechet, judge
from nas.quality.classes import by_class, missing
from nas.quality.classifier import Labeller
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

    def features(self, images, threads=1, progress=None):
        type(self).seen += len(images)
        return super().features(images, threads, progress)


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


def test_values_outside_are_judged_as_they_are_shown(extractor, real):
    """int8 files leave [-1, 1] by some thousandths; NaN is no such thing."""
    judge = judge_of(extractor, real)
    inside = np.where(real[:120] > 0, 1.0, -1.0).astype(np.float32)
    scores = [judge.score(lambda _, by=by: (inside * by).astype(np.float32))[0].value for by in (1.0, 1.004)]
    assert scores[0] == scores[1]
    broken = inside.copy()
    broken[0, 0, 0, 0] = np.inf
    score, complaint = judge.score(lambda _: broken)
    assert math.isnan(score.value)
    assert "diverged" in complaint


def test_scores_hold_what_makes_them_comparable(extractor, real, files):
    scores = [one.primary for one in judge_of(extractor, real).evaluate(files).values()]
    for score in scores:
        assert (score.metric, score.extractor, score.n) == ("fid", "pool@0123456789ab", 120)
        assert score.seeds == (4, Stream.CHOICE)
        assert type(score.seeds[1]) is int
        assert score.metric in METRICS
        assert 0 < score.standard_error < score.value
        require_alike(score, scores[0])


def test_the_value_is_the_distance_of_what_the_file_draws(extractor, real, files):
    """Worked again with plain numpy: features are 2 x 2 means."""
    found = judge_of(extractor, real).evaluate({"a": files["a"]})["a"].primary.value
    drawn = generate(files["a"], draw_inputs(Z, 120, (4, Stream.CHOICE)))
    pooled = [x.reshape(len(x), 4, 2, 4, 2).mean(axis=(2, 4)).reshape(len(x), 16) for x in (real, drawn)]
    assert found == pytest.approx(frechet.fid(*pooled), rel=1e-4)


def test_differences_name_the_other_files_and_are_antisymmetric(extractor, real, files):
    found = judge_of(extractor, real).evaluate(files)
    assert {name: set(one.differences) for name, one in found.items()} == {n: set(files) - {n} for n in files}
    there, back = found["a"].primary_difference("b"), found["b"].primary_difference("a")
    assert there.value == pytest.approx(found["a"].primary.value - found["b"].primary.value)
    assert there.value == -back.value
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert there.ci95[0] < there.value < there.ci95[1]


def test_a_generator_and_its_copy_differ_by_exactly_nothing(extractor, real, files):
    found = judge_of(extractor, real).evaluate(files)["a"].primary_difference("copy")
    assert (found.value, found.ci95) == (0.0, (0.0, 0.0))


def test_score_and_evaluate_agree(extractor, real, files):
    """The module in torch and its file in onnxruntime, on the same latents."""
    torch.manual_seed(0)
    module = Generator.from_genotype("decoder", GENOTYPE, Z, ImageShape(1, 8, 8)).module
    one = judge_of(extractor, real)
    score, complaint = one.score(lambda inputs: run_module(module, inputs))
    assert complaint is None
    assert score.value == pytest.approx(one.evaluate(files)["a"].primary.value, rel=1e-3)
    assert score.standard_error == pytest.approx(one.evaluate(files)["a"].primary.standard_error, rel=0.4)


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
    first = one.evaluate({"x": path})["x"].primary
    path.write_bytes(files["b"].read_bytes())
    assert one.evaluate({"x": path})["x"].primary != first, "a file of another content is scored anew"
    assert CountingExtractor.seen == 150 + 2 * 120


def test_blank_is_far_away(extractor, real, files):
    """Its covariance is nothing, so all of the reals' variance is lost: 16 means of 4 uniforms, 16 * (1 / 3) / 4."""
    one = judge_of(extractor, real)
    blank = one.blank()
    assert blank.value == pytest.approx(16 / 12, rel=0.1)
    assert blank.standard_error == 0
    assert blank.value > 10 * one.floor(extractor.features(real[::-1].copy())).value


def test_floor_is_that_of_the_pictures_it_is_asked_about(extractor, real):
    one = judge_of(extractor, real)
    assert one.floor(extractor.features(real)).value == pytest.approx(0, abs=1e-9)
    other = one.floor(extractor.features(-real[:100] / 2))
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
    assert math.isnan(found["nan"].primary.value)
    assert math.isnan(found["nan"].primary_difference("a").worse_end(METRICS["fid"]))
    assert found["a"].primary == one.evaluate({"a": files["a"]})["a"].primary


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
    values = [judge_of(extractor, real, seed=seed).evaluate({"a": files["a"]})["a"].primary for seed in range(12)]
    spread = np.std([score.value for score in values], ddof=1)
    assert spread < 1.5 * np.mean([score.standard_error for score in values])


def test_all_metrics_are_known_and_their_scores_alike(extractor, real, files):
    metrics = ("kid", *judge.METRICS)
    found = judge_of(extractor, real, metrics=tuple(dict.fromkeys(metrics))).evaluate(files)
    assert found["a"].primary.metric == "kid"
    for one in found.values():
        assert tuple(one.scores) == ("kid", "fid", "precision", "recall")
        for metric, score in one.scores.items():
            assert score.metric in METRICS
            assert score.metric == metric
            require_alike(score, found["a"].scores[metric])
        assert all(set(differences) == set(one.scores) for differences in one.differences.values())
    for metric, difference in found["a"].differences["copy"].items():
        assert (difference.value, difference.ci95) == (0.0, (0.0, 0.0)), metric


def test_a_metric_is_the_same_alone_and_beside_others(extractor, real, files):
    together = judge_of(extractor, real, metrics=judge.METRICS).evaluate(files)["a"].scores
    for metric in judge.METRICS:
        alone = judge_of(extractor, real, metrics=(metric,)).evaluate({"a": files["a"]})["a"].primary
        assert alone == together[metric]


def test_the_search_scores_its_own_metric_only(extractor, real, files, monkeypatch):
    """A rung with KID costs no Fréchet bootstrap, no manifold and no labeller."""
    monkeypatch.setattr(judge.frechet, "measure", None)
    monkeypatch.setattr(judge, "Manifold", None)
    one = judge_of(extractor, real, metrics=("kid", "fid", "recall", "accuracy"))
    score, _ = one.score(lambda inputs: generate(files["a"], inputs))
    assert score.metric == "kid"
    assert one.floor(extractor.features(real[::-1].copy())).value < score.value
    assert math.isfinite(one.blank().value)


def test_files_beyond_the_last_few_are_forgotten(extractor, real, files):
    one = judge_of(extractor, real)
    one._kept = {str(number): judge.Drawn(real) for number in range(judge._KEPT)}
    one.evaluate({"a": files["a"]})
    assert list(one._kept)[:-1] == ["1", "2", "3"]


class Quadrants(nn.Module):
    """Draws class 0 to 3 as a bright quadrant of 8 x 8 pixels; ``confused`` classes are all drawn as class 0."""

    inputs = (
        InputSpec("z", (6,), "float32", {"kind": "normal"}),
        InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 3}),
    )

    def __init__(self, confused=()):
        super().__init__()
        shapes = torch.full((4, 1, 8, 8), -0.5)
        for label in range(4):
            top, left = divmod(0 if label in confused else label, 2)
            shapes[label, :, 4 * top : 4 * top + 4, 4 * left : 4 * left + 4] = 0.5
        self.register_buffer("shapes", shapes)
        self.noise = nn.Linear(6, 64)

    def forward(self, z, label):
        return self.shapes[label] + 0.1 * self.noise(z).reshape(-1, 1, 8, 8)


class Brightest(nn.Module):
    """Labels a picture by its brightest quadrant."""

    inputs = (InputSpec("pixels", (1, 8, 8), "float32", {"kind": "normal"}),)

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(4)

    def forward(self, pixels):
        return self.pool(pixels).reshape(-1, 4, 1, 1)


@pytest.fixture(scope="module")
def conditional(extractor, tmp_path_factory):
    """A judge of generators with a label; real pictures are those of the good one. And files: good, and one that
    draws every class but 0 and 1 wrong."""
    folder = tmp_path_factory.mktemp("conditional")
    torch.manual_seed(0)
    good, bad = Quadrants(), Quadrants(confused=(2, 3))
    bad.noise = good.noise
    for name, module in (("good", good), ("bad", bad), ("labeller", Brightest())):
        export_onnx(module, folder / f"{name}.onnx")
    drawn = draw_inputs(good.inputs, 200, (1, 99))
    one = Judge(
        extractor=extractor,
        real=generate(folder / "good.onnx", drawn),
        inputs=good.inputs,
        samples=160,
        seed=4,
        stream=Stream.CHOICE,
        metrics=("fid", "accuracy"),
        labels=drawn["label"],
        label_input="label",
        labeller=Labeller(folder / "labeller.onnx", "feed" * 16),
    )
    return one, {name: folder / f"{name}.onnx" for name in ("good", "bad")}


def test_accuracy_is_the_share_drawn_as_asked(conditional):
    """Of four classes drawn evenly two are drawn as another: one half, and exactly 40 of 160 each."""
    one, files = conditional
    found = one.evaluate(files)
    good, bad = (found[name].scores["accuracy"] for name in ("good", "bad"))
    assert good.extractor == "labeller@feedfeedfeed"
    assert (good.value, good.n) == (1.0, 160)
    assert good.standard_error == pytest.approx(math.sqrt(162 / 164 * 2 / 164 / 163))
    asked = one.latents()["label"]
    share = float(np.isin(asked, (0, 1)).mean())
    assert bad.value == pytest.approx(share)
    difference = found["bad"].differences["good"]["accuracy"]
    assert difference.value == pytest.approx(share - 1)
    half = 1.96 * math.sqrt(share * (1 - share) / 159)
    assert difference.ci95 == pytest.approx((share - 1 - half, share - 1 + half), rel=0.03)


def test_classes_of_a_file(conditional):
    one, files = conditional
    good, bad, real = one.labelled(files["good"]), one.labelled(files["bad"]), one.real_labelled
    rows = by_class("abcd", bad, real, seed=0)
    assert [row["accuracy"] for row in rows] == [1, 1, 0, 0]
    assert missing(rows) == ["c", "d"]
    assert missing(by_class("abcd", good, real, seed=0)) == []
    fids = [row["fid"] for row in rows]
    assert max(fids[:2]) < 0.2 < min(fids[2:])
    assert sum(row["n"] for row in rows) == 160


def test_without_a_label_there_is_no_accuracy(extractor, real, files):
    with pytest.raises(AssertionError, match="labeller"):
        judge_of(extractor, real, metrics=("fid", "accuracy")).evaluate(files)


@pytest.mark.parametrize("metric", ["kid", "precision", "recall"])
def test_a_diverged_generator_has_none_of_the_other_scores(extractor, real, files, metric, tmp_path):
    found = judge_of(extractor, real, metrics=(metric,)).evaluate(
        {"a": files["a"], "nan": nan_file(files["a"], tmp_path)}
    )
    assert math.isnan(found["nan"].primary.value)
    assert not found["nan"].primary_difference("a").is_better(METRICS[metric])
    assert math.isfinite(found["a"].primary.value)


@pytest.mark.parametrize(
    ("features", "counts", "enough"), [(64, (40, 400), True), (1280, (1000, 5000), False), (1280, (1281, 5000), True)]
)
def test_a_fid_of_many_features_needs_more_pictures(features, counts, enough):
    assert judge.enough_for_fid(features, *counts) is enough
