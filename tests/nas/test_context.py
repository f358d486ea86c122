"""What stages and workers share: built once from the run folder, the same in every process."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.inputs import InputSpec, draw_inputs
from compress.export import export_onnx
from nas import bank as bank_module
from nas.bank import BANK_FILE, write_bank
from nas.context import Context
from nas.errors import NasError
from nas.experiment import Experiment
from nas.folder import FolderError, RunFolder
from nas.quality import classifier
from nas.seeds import Stream

YAML = """\
data: {{folder: {pictures}, size: 16, channels: 1}}
family: {{name: gan, latent: 5}}
quality: {{samples: 60}}
target: {{batch: 3, threads: 2}}
export: {{opset: 19}}
seed: 6
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """240 of two classes: dark and bright noise."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, name in enumerate(("bright", "dark")):
        (root / name).mkdir()
        for index in range(120):
            pixels = rng.integers(0, 128, (16, 16)) + 127 * (1 - label)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index}.png")
    return root


@pytest.fixture(scope="module", autouse=True)
def surroundings(tmp_path_factory):
    """A cache of its own, and an extractor of a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEANGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(classifier, "EPOCHS", 1)
        patch.setattr(classifier, "LEAST_STEPS", 10)
        yield


def folder_of(pictures, path):
    (path / "e.yaml").write_text(YAML.format(pictures=pictures))
    return RunFolder.create(path / "run", Experiment.load(path / "e.yaml"))


@pytest.fixture(scope="module")
def context(pictures, tmp_path_factory):
    folder = folder_of(pictures, tmp_path_factory.mktemp("experiment"))
    return Context.build(Experiment.load(folder.experiment_file), folder)


def test_pictures_to_train_on_are_the_seen_ones(context):
    assert context.data.images.shape == (192, 1, 16, 16)
    assert context.data.images.dtype == torch.float32
    assert float(context.data.images.min()) >= -1
    assert float(context.data.images.max()) <= 1
    assert context.data is context.data, "converted once"


def test_family_and_space_are_those_asked_for(context):
    assert (context.family.name, context.space.name) == ("gan", "decoder")
    assert context.family.inputs[0].shape == (5,)
    assert (context.image.channels, context.image.height, context.image.width) == (1, 16, 16)


def test_the_bench_measures_the_target(context):
    bench = context.bench
    assert (bench.target.batch, bench.target.threads, bench.opset) == (3, 2, 19)
    assert bench.inputs == context.family.inputs
    assert bench.seed != bench.calibration_seed
    assert bench.precisions == ("fp32", "int8")


def test_without_quantization_the_bench_measures_float_files_only(make_context):
    assert make_context(compress={"quantize": False}).bench.precisions == ("fp32",)


def test_only_the_final_judge_sees_held_out_pictures(context):
    seen, held_out = context.judge(Stream.STEPS), context.judge(Stream.HELD_OUT, held_out=True)
    assert (len(seen.real), len(held_out.real)) == (192, 48)
    assert not {image.tobytes() for image in seen.real} & {image.tobytes() for image in held_out.real}
    assert (seen.samples, seen.seed) == (60, 6)


def test_judges_score_what_the_budgets_ask_for_and_the_last_one_everything(context):
    assert context.judge(Stream.STEPS).metrics == ("fid",)
    assert context.final_metrics(context.extractor) == ("fid", "kid", "precision", "recall")
    assert (
        context.judge(Stream.HELD_OUT, seed=8).latents()["z"].tobytes()
        != context.judge(Stream.HELD_OUT).latents()["z"].tobytes()
    )


def test_a_generator_with_a_label_is_judged_by_another_classifier(pictures, tmp_path):
    text = (
        YAML.format(pictures=pictures)
        .replace("name: gan", "name: cgan")
        .replace("seed: 6", "seed: 6\nspace: class_decoder")
        .replace("{samples: 60}", "{samples: 60, budget: [kid<=+1, accuracy>=-1pt]}")
    )
    (tmp_path / "e.yaml").write_text(text)
    folder = RunFolder.create(tmp_path / "run", Experiment.load(tmp_path / "e.yaml"))
    context = Context.build(Experiment.load(folder.experiment_file), folder)
    judge = context.judge(Stream.STEPS)
    assert (judge.metrics, judge.label_input) == (("kid", "accuracy"), "label")
    assert context.final_metrics(context.extractor) == ("kid", "accuracy", "fid", "precision", "recall")
    np.testing.assert_array_equal(judge.labels, context.splits.seen.labels)
    assert judge.labeller.digest != context.extractor.digest


def wide(path, features):
    """Write an extractor of random features of 16 x 16 pixels."""
    torch.manual_seed(0)
    module = torch.nn.Conv2d(1, features, 16)
    module.inputs = (InputSpec("pixels", (1, 16, 16), "float32", {"kind": "normal"}),)
    module.forward = lambda pixels: torch.nn.Conv2d.forward(module, pixels)
    export_onnx(module, path)


def test_a_fid_of_more_features_than_pictures_is_refused_and_a_kid_is_not(pictures, tmp_path):
    wide(tmp_path / "wide.onnx", 300)
    for budget, fine in (("fid<=+1", False), ("kid<=+1", True)):
        text = YAML.format(pictures=pictures).replace("{samples: 60}", f"{{extractor: wide.onnx, budget: {budget}}}")
        (tmp_path / "e.yaml").write_text(text)
        experiment = Experiment.load(tmp_path / "e.yaml")
        if fine:
            context = Context.build(experiment, RunFolder(tmp_path / "run"))
            assert context.extractor.label.startswith("wide@")
            assert context.final_metrics(context.extractor) == ("kid", "precision", "recall")
        else:
            with pytest.raises(NasError, match=r"(?s)line 3.*features \(300 of wide\); held out are 48"):
                Context.build(experiment, RunFolder(tmp_path / "run"))


def test_a_reference_that_was_scored_otherwise_is_not_gone_on_with(pictures, tmp_path):
    folder = folder_of(pictures, tmp_path)
    context = Context.build(Experiment.load(folder.experiment_file), folder)
    context.check_scored_alike()
    label = context.extractor.label
    folder.finish("reference", {"quality_seen": {"metric": "fid", "extractor": label}})
    context.check_scored_alike()
    folder.finish("reference", {"quality_seen": {"metric": "fid", "extractor": "classifier@feed"}})
    with pytest.raises(FolderError, match=rf"scored by fid \(classifier@feed\), and now it would be fid \({label}\)"):
        context.check_scored_alike()


def test_judges_are_kept_by_stream(context):
    assert context.judge_of(Stream.RUNG) is context.judge_of(Stream.RUNG)
    assert context.judge_of(Stream.RUNG) is not context.judge_of(Stream.CHOICE)
    assert (context.judge_of(Stream.RUNG).latents()["z"] != context.judge_of(Stream.CHOICE).latents()["z"]).any()


def test_inputs_follow_from_seed_and_stream(context):
    found = context.inputs(Stream.GRID, 7)
    np.testing.assert_array_equal(found["z"], draw_inputs(context.family.inputs, 7, (6, Stream.GRID))["z"])
    np.testing.assert_array_equal(found["z"][:4], context.inputs(Stream.GRID, 4)["z"])


def test_a_worker_sees_what_the_driver_sees(context):
    """Read from the folder alone; the extractor comes from the cache, with the same hash."""
    worker = Context.of_folder(context.folder.path)
    assert worker is Context.of_folder(context.folder.path)
    assert worker.experiment == context.experiment
    assert worker.extractor == context.extractor
    assert torch.equal(worker.data.images, context.data.images)


def test_without_a_reference_there_is_no_teacher(context):
    with pytest.raises(FolderError, match=r"no finished reference: run `leangen search"):
        _ = context.teacher


def test_the_teacher_is_read_from_the_references_folder(pictures, tmp_path):
    """The bank's inputs are drawn again, those that the pictures were drawn from."""
    folder = folder_of(pictures, tmp_path)
    context = Context.build(Experiment.load(folder.experiment_file), folder)
    drawn = np.zeros((9, 1, 16, 16), np.float16)
    folder.finish("reference", {})
    write_bank(folder.path / "reference" / BANK_FILE, drawn)
    teacher = context.teacher
    assert teacher.folder == folder.path / "reference"
    np.testing.assert_array_equal(teacher.bank.inputs["z"], context.inputs(Stream.BANK, 9)["z"])
    assert teacher.bank.pictures.shape == drawn.shape
    assert bank_module.bank_size((1, 16, 16)) > 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: gan", "name: gam"), r"families are cgan, gan; found 'gam'"),
        (("latent: 5", "latnet: 5"), r"latnet.*did you mean 'latent'"),
        (("size: 16", "size: 24"), r"line 1.*power of two from 8 pixels, got 24x24"),
        (("folder: ", "folder: no/"), r"line 1.*data\.folder must be a folder; found nothing at .*relative to"),
        (("{batch: 3, threads: 2}", "{device: cuda}"), r"line 4.*no CUDAExecutionProvider"),
        (
            ("{samples: 60}", "{extractor: incep}"),
            r"line 3.*extractors are classifier, efficientnet-lite0, .*found 'incep'",
        ),
        (("{samples: 60}", "{extractor: no.onnx}"), r"line 3.*the extractor .*/no\.onnx cannot be used"),
        (("{samples: 60}", "{also: [incep]}"), r"line 3.*quality\.also: extractors are .*found 'incep'"),
        (
            ("seed: 6", "space: decodr"),
            r"line 6.*spaces are class_decoder, decoder; found 'decodr'.*did you mean 'decoder'",
        ),
        (("seed: 6", "space: {name: decoder, widht: 3}"), r"line 6.*widht"),
        (("{samples: 60}", "{budget: 'recall>=-1pt'}"), r"line 3.*must be one of fid or kid; found recall: write"),
        (
            ("{samples: 60}", "{budget: [kid<=+1, accuracy>=-1pt]}"),
            r"line 3.*gan are asked for none: leave accuracy>=-1pt out of quality\.budget, or take family: cgan",
        ),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_trained(pictures, tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(classifier, "train_classifier", None)
    (tmp_path / "e.yaml").write_text(YAML.format(pictures=pictures).replace(*change))
    with pytest.raises(NasError, match=f"(?s){message}"):
        Context.build(Experiment.load(tmp_path / "e.yaml"), RunFolder(tmp_path / "run"))
