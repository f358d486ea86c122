"""``leangen init``: what it says of pictures of every kind, and that what it writes can be run."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from nas.checks import check
from nas.cli import app
from nas.data import load_images
from nas.experiment import Experiment
from nas.quality.extractors import EXTRACTORS


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def init(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["init", *(str(argument) for argument in arguments)])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folder(path: Path, classes: dict[str, int], height: int = 28, width: int = 28, channels: int = 3) -> Path:
    for name, count in classes.items():
        (path / name).mkdir(parents=True, exist_ok=True)
        for index, pixels in enumerate(draw(count, height, width, channels)):
            Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path / name / f"{index}.png")
    return path


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def loaded(path: str | Path) -> Experiment:
    experiment = Experiment.load(path)
    if experiment.quality.extractor in EXTRACTORS:
        check(experiment)
    return experiment


def test_folder(here: Path):
    folder(here / "my pets", {"cat": 110, "dog": 100}, height=70, width=90)
    result = init("my pets")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (
        "my pets: 210 pictures, 2 classes (cat 110, dog 100), 90x70 pixels, RGB\n"
        "210 are not square: only their central square is used\n"
        "my-pets.yaml: written; 64x64 pixels, family gan. Next:\n"
        "  leangen run my-pets.yaml --dry-run\n"
        "  leangen run my-pets.yaml\n"
    )
    experiment = loaded("my-pets.yaml")
    assert (experiment.name, experiment.data.size, experiment.data.channels) == ("my-pets", 64, 3)
    assert experiment.data.folder == here / "my pets"
    assert (experiment.quality.extractor, experiment.family.name, experiment.space.name) == (
        "classifier",
        "gan",
        "decoder",
    )
    assert experiment.search.minutes == 20, "four times the pixels of examples/mnist.yaml, four times its minutes"


def test_every_key_is_explained_like_the_example(here: Path):
    """The template lists what examples/mnist.yaml lists, and each scalar has a comment near it."""
    import yaml

    init(folder(here / "pets", {"cat": 100, "dog": 100}, channels=1))
    written = yaml.safe_load((here / "pets.yaml").read_text())
    example = yaml.safe_load((Path(__file__).parents[3] / "examples" / "mnist.yaml").read_text())
    for section in ("reference", "quality", "compress", "export"):
        assert set(written[section]) == set(example[section])
    assert set(written) == set(example)
    lines = [line for line in (here / "pets.yaml").read_text().splitlines() if line.startswith("  ") and ": " in line]
    assert sum("#" in line for line in lines) >= 20


def test_npz_with_arrays_of_other_names(here: Path):
    np.savez(
        here / "mnist.npz",
        x_train=draw(300, 28, 28),
        y_train=np.arange(300) % 4,
        x_test=draw(50, 28, 28),
        y_test=np.arange(50) % 4,
    )
    result = init("mnist.npz", "--minutes", 2.5)
    assert result.stdout.startswith("mnist.npz: 300 pictures, 4 classes (0 75, 1 75, 2 75, 3 75), 28x28 pixels, grey\n")
    experiment = loaded("mnist.yaml")
    assert (experiment.data.size, experiment.data.channels, experiment.search.minutes) == (32, 1, 2.5)
    assert len(load_images(experiment.data, here / "cache")) == 300


def test_idx_beside_another_folder(here: Path):
    """The path is written relative to the YAML, wherever that is."""
    (here / "data").mkdir()
    packed = here / "data" / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(idx(draw(240, 28, 28))))
    (here / "data" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(240, dtype=np.uint8) % 3)))
    result = init("data/train-images-idx3-ubyte.gz", "--out", "experiments/digits.yaml")
    assert result.exit_code == 0, result.stderr
    assert '"../data/train-images-idx3-ubyte.gz"' in (here / "experiments" / "digits.yaml").read_text()
    experiment = loaded(here / "experiments" / "digits.yaml")
    assert (experiment.name, experiment.data.idx) == ("digits", packed)


def test_without_classes_another_extractor_is_chosen(here: Path):
    pytest.importorskip("efficientnet_lite_pytorch", reason="pip install 'leangen[efficientnet]'")
    packed = here / "pictures.idx"
    packed.write_bytes(idx(draw(240, 40, 40)))
    result = init(packed)
    assert "240 pictures, no classes, 40x40 pixels, grey\nno file of labels" in result.stdout
    experiment = loaded("pictures.idx.yaml")
    assert (experiment.quality.extractor, experiment.data.size) == ("efficientnet-lite0", 32)
    assert experiment.quality.budget == ("kid<=+10%",), "240 pictures are too few for a FID of 1,280 features"
    result = init(packed, "--family", "cgan", "--force")
    assert result.exit_code == 2
    assert "has no classes: give labels" in result.stderr


def test_conditional_family(here: Path):
    np.savez(here / "a.npz", images=draw(240, 32, 32, 3), labels=np.arange(240) % 2)
    result = init("a.npz", "--family", "cgan")
    assert result.exit_code == 0, result.stderr
    experiment = loaded("a.yaml")
    assert (experiment.family.name, experiment.space.name) == ("cgan", "class_decoder")
    result = init("a.npz", "--family", "vqgan", "--force")
    assert (result.exit_code, result.stderr) == (2, "error: --family is one of gan, cgan; found 'vqgan'\n")


def test_nothing_is_overwritten_without_force(here: Path):
    np.savez(here / "a.npz", images=draw(240, 32, 32), labels=np.arange(240) % 2)
    (here / "a.yaml").write_text("mine")
    result = init("a.npz")
    assert result.exit_code == 2
    assert "a.yaml is there already: name another one, or give --force" in result.stderr
    assert (here / "a.yaml").read_text() == "mine"
    assert init("a.npz", "--force").exit_code == 0
    assert loaded("a.yaml").name == "a"
    assert "is a folder: name a file" in init("a.npz", "--out", here, "--force").stderr


@pytest.mark.parametrize(
    "name", ["a\nfamily: evil", "2e4", "~root", 'quo"te: {x}', "näme 🙂", "#x", "- a", "back\\slash"]
)
def test_hostile_names_stay_names(here: Path, name: str):
    """A line break cannot end the comment; numbers and homes are quoted."""
    folder(here / name, {"x: [": 100, "b\nseed: 7": 100}, channels=1)
    result = init(here / name, "--out", "e.yaml")
    assert result.exit_code == 0, result.stderr
    experiment = loaded("e.yaml")
    assert experiment.data.folder == here / name
    assert (experiment.family.name, experiment.seed) == ("gan", 0)
    result = init(here / name)
    assert result.exit_code == 0, result.stderr
    (own,) = set(here.glob("*.yaml")) - {here / "e.yaml"}
    assert loaded(own).name == own.stem


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda here: here / "none", "there is nothing at"),
        (lambda here: folder(here / "few", {"a": 3, "b": 3}), "at least 200 different pictures.*found 6 in"),
        (lambda here: (here / "text.npz", (here / "text.npz").write_text("x"))[0], "is no idx file"),
    ],
)
def test_what_cannot_be_used(here: Path, make: Any, told: str):
    import re

    result = init(make(here))
    assert result.exit_code == 2
    assert re.search(told, result.stderr)
    assert not list(here.glob("*.yaml"))


def test_damaged_pictures_are_listed(here: Path):
    pets = folder(here / "pets", {"cat": 100, "dog": 100})
    (pets / "cat" / "7.png").write_bytes(b"")
    (pets / "dog" / "9.png").write_bytes(b"GIF89a")
    result = init(pets)
    assert result.exit_code == 2
    assert "2 of the files" in result.stderr
    assert "cat/7.png: is no PNG" in result.stderr


@pytest.mark.slow
def test_what_is_written_can_be_planned(here: Path):
    """A dry run times a few steps of training."""
    np.savez(here / "a.npz", images=draw(240, 16, 16), labels=np.arange(240) % 2)
    init("a.npz")
    result = CliRunner().invoke(app, ["run", "a.yaml", "--dry-run"])
    assert result.exit_code == 0, result.stderr
    assert "at most 32 candidates" in result.stdout
