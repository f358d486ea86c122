"""The final judgement, on untrained generators with a label: every metric, the classes, the neighbours."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.files import write_json
from compress.export import export_onnx
from compress.quality import Difference, Score, parse_budgets
from nas.context import Context
from nas.experiment import Experiment
from nas.folder import RunFolder
from nas.held_out import NEIGHBOURS_FILE, final_judge, judge_held_out, missed_on_held_out, write_neighbours
from nas.quality import classifier
from nas.seeds import Stream

YAML = """\
data: {folder: pictures, size: 16, channels: 1}
family: {name: cgan, latent: 5}
space: class_decoder
reference: {width: 8}
quality: {samples: 120, budget: [kid<=+1, accuracy>=-1pt], also: [other.onnx]}
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """120 dark and 120 bright pictures; an extractor of a few steps, and another one of random features."""
    root, rng = tmp_path_factory.mktemp("experiment"), np.random.default_rng(0)
    for label, name in enumerate(("bright", "dark")):
        (root / "pictures" / name).mkdir(parents=True)
        for index in range(120):
            pixels = rng.integers(0, 128, (16, 16)) + 127 * (1 - label)
            Image.fromarray(pixels.astype(np.uint8)).save(root / "pictures" / name / f"{index}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEANGEN_CACHE", str(root / "cache"))
        patch.setattr(classifier, "EPOCHS", 1)
        patch.setattr(classifier, "LEAST_STEPS", 10)
        (root / "e.yaml").write_text(YAML)
        random_features(root / "other.onnx")
        experiment = Experiment.load(root / "e.yaml")
        yield Context.build(experiment, RunFolder.create(root / "run", experiment))


def random_features(path: Path) -> None:
    import torch

    from benchmarks.inputs import InputSpec

    torch.manual_seed(0)
    module = torch.nn.Conv2d(1, 12, 16)
    module.inputs = (InputSpec("pixels", (1, 16, 16), "float32", {"kind": "normal"}),)
    module.forward = lambda pixels: torch.nn.Conv2d.forward(module, pixels)
    export_onnx(module, path)


@pytest.fixture(scope="module")
def files(context, tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("files"), {}
    for seed, who in enumerate(("reference", "baseline", "final")):
        found[who] = folder / f"{who}.onnx"
        export_onnx(context.family.reference(seed), found[who])
    return found


@pytest.fixture(scope="module")
def record(context, files):
    return judge_held_out(context, files)


def test_everybody_has_every_metric(record, files):
    assert set(record["metrics"]) == set(files)
    for who, scores in record["metrics"].items():
        assert list(scores) == ["kid", "accuracy", "fid", "precision", "recall"]
        assert record["scores"][who] == scores["kid"]
        assert all(Score.from_json(score).n == 120 for score in scores.values())
    assert scores["accuracy"]["extractor"].startswith("labeller@")
    for who, others in record["metric_differences"].items():
        assert set(others) == set(files) - {who}
        for other, differences in others.items():
            assert record["differences"][who][other] == differences["kid"]
            for metric, difference in differences.items():
                gap = record["metrics"][who][metric]["value"] - record["metrics"][other][metric]["value"]
                assert Difference.from_json(difference).value == pytest.approx(gap)


def test_the_other_extractor_is_in_the_table_only(record, files):
    ((label, found),) = record["also"].items()
    assert label.startswith("other@")
    assert set(found) == set(files)
    assert set(found["final"]) == {"kid", "fid", "precision", "recall"}
    assert {score["extractor"] for score in found["final"].values()} == {label}


def test_classes_have_names_and_rows(record, files):
    classes = record["classes"]
    assert set(classes) == {*files, "missing", "ceiling"}
    for who in files:
        assert [row["name"] for row in classes[who]] == ["bright", "dark"]
        assert [row["n"] for row in classes[who]] == [60, 60]
        assert [row["n_real"] for row in classes[who]] == [24, 24]
        accuracy = np.mean([row["accuracy"] for row in classes[who]])
        assert accuracy == pytest.approx(record["metrics"][who]["accuracy"]["value"])
        assert set(classes["missing"][who]) <= {"bright", "dark"}
    assert 0 <= classes["ceiling"] <= 1


def test_neighbours_are_beside_those_of_real_pictures(record):
    found = record["neighbours"]
    assert found["n"] == 120
    assert found["ratio"] == pytest.approx(found["median_distance"] / found["median_distance_held_out"])
    assert found["median_distance_held_out"] > 0


def test_the_record_is_json(record, tmp_path):
    write_json(tmp_path / "record.json", record)
    assert json.loads((tmp_path / "record.json").read_text()) == record


def test_the_same_judge_repeats_the_numbers_and_another_seed_does_not(context, files, record):
    again = final_judge(context).evaluate({"model": files["final"]})["model"].scores
    assert {metric: score.to_json() for metric, score in again.items()} == record["metrics"]["final"]
    (other,) = context.also
    again = final_judge(context, other).evaluate({"model": files["final"]})["model"].scores
    assert {metric: score.to_json() for metric, score in again.items()} == record["also"][other.label]["final"]
    others = final_judge(context, seed=9).evaluate({"model": files["final"]})["model"]
    assert others.primary.seeds == (9, Stream.HELD_OUT)
    assert others.primary.value != record["scores"]["final"]["value"]


def test_pictures_stand_beside_their_nearest_training_picture(context, files, tmp_path):
    write_neighbours(context, files["final"], tmp_path)
    with Image.open(tmp_path / NEIGHBOURS_FILE) as image:
        assert image.size == (8 * 16 * 2, 4 * 16 * 2)
        pixels = np.asarray(image)[::2, ::2]
    seen = {image.tobytes() for image in context.splits.seen.images}
    pair = pixels.reshape(4, 16, 8, 16).swapaxes(1, 2).reshape(32, 16, 16)
    assert all(shown.tobytes() in seen for shown in pair[1::2])
    assert not any(shown.tobytes() in seen for shown in pair[::2])


def test_budgets_are_judged_by_the_record(record):
    loose, tight = parse_budgets(["kid<=+100000", "accuracy>=-100pt"]), parse_budgets(["kid<=0.0001", "accuracy>=0.99"])
    assert missed_on_held_out(loose, record) == ()
    assert missed_on_held_out(tight, record) == tight
    without = {**record, "metrics": {}}
    assert missed_on_held_out(loose, without) == loose[1:], "a metric without a value does not hold"
