"""What is known of pictures before any is read, and the experiment's own lines about it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas.checks import check
from nas.data import image_set, load_images, split
from nas.data_folder import DataError
from nas.data_sources import Survey, check_enough, survey
from nas.experiment import ArrayKeys, DataConfig, Experiment, ExperimentError


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def npz(folder: Path, count: int = 240, side: int = 28, **arrays: Any) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "a.npz", **{"images": draw(count, side, side), "labels": np.arange(count) % 3, **arrays})
    return folder / "a.npz"


def experiment(folder: Path, text: str) -> Experiment:
    (folder / "e.yaml").write_text(text)
    return Experiment.load(folder / "e.yaml")


def test_every_source_is_counted(tmp_path: Path):
    for label in ("a", "b"):
        (tmp_path / "pics" / label).mkdir(parents=True)
        for index in range(100 if label == "a" else 120):
            (tmp_path / "pics" / label / f"{index}.png").write_bytes(b"is not opened")
    assert survey(DataConfig(folder=tmp_path / "pics")) == Survey((100, 120), ("a", "b"))
    assert survey(DataConfig(npz=npz(tmp_path))) == Survey((80, 80, 80), ("0", "1", "2"))
    assert survey(DataConfig(name="mnist-5k")).counts == (500,) * 10


def test_the_same_pictures_are_the_same_set_wherever_they_lie(tmp_path: Path):
    """A folder, an npz file and the arrays themselves: one digest, one split."""
    images, labels = draw(240, 16, 16), np.arange(240) % 2
    for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "pics" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "pics" / str(label) / f"{index}.png")
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    folder = load_images(DataConfig(folder=tmp_path / "pics", size=16, channels=1), tmp_path / "cache")
    arrays = load_images(DataConfig(npz=tmp_path / "a.npz"), tmp_path / "cache")
    assert folder.digest == arrays.digest == image_set(images[:, None], labels, "01").digest
    assert split(folder).held_out.digest == split(arrays).held_out.digest
    limited = load_images(DataConfig(npz=tmp_path / "a.npz", limit=200), tmp_path / "cache")
    assert limited.counts == (100, 100)


def test_too_few_are_refused():
    with pytest.raises(DataError, match=r"at least 200 different pictures.*found 1 in there"):
        check_enough(Survey((1,), ("all",)), "1 in there")
    many = Survey((300, *[1] * 12), tuple("abcdefghijklm"))
    with pytest.raises(DataError, match=r"at least 5 different pictures.*found b \(1\).* and 2 more. Add pictures"):
        check_enough(many, "")


@pytest.mark.parametrize(("side", "size"), [(8, 8), (28, 32), (30, 32), (64, 64), (7, 8)])
def test_the_default_size_is_the_pictures_own(tmp_path: Path, side: int, size: int):
    assert DataConfig(npz=npz(tmp_path, side=side, count=3)).size == size


@pytest.mark.parametrize(("shape", "advice"), [((3, 40, 40), 32), ((3, 100, 80), 64), ((3, 32, 64), 32)])
def test_other_sizes_must_be_given(tmp_path: Path, shape: tuple[int, ...], advice: int):
    np.savez(tmp_path / "a.npz", images=draw(*shape))
    with pytest.raises(ExperimentError, match=rf"line 1: data\.size: must be given.*x{shape[1]}: write size: {advice}"):
        experiment(tmp_path, "data: {npz: a.npz}\n")
    assert experiment(tmp_path, "data: {npz: a.npz, size: 32}\n").data.channels == 1


def test_a_written_experiment_asks_for_the_same(tmp_path: Path):
    """The size is written out, so that it can be loaded when the pictures are elsewhere."""
    npz(tmp_path, digits=draw(240, 32, 32, 3))
    loaded = experiment(tmp_path, "data: {npz: a.npz, keys: {images: digits}}\n")
    assert loaded.data == DataConfig(npz=tmp_path / "a.npz", keys=ArrayKeys(images="digits"), size=32, channels=3)
    (tmp_path / "a.npz").unlink()
    assert experiment(tmp_path, loaded.to_yaml()).digest() == loaded.digest()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("{npz: a.npz, idx: b}", "needs either 'name'.* and not both"),
        ("{idx: a, keys: {images: x}}", "no use for 'keys' without 'npz': leave it out"),
        ("{folder: a, labels: x}", "no use for 'labels' without 'idx': leave it out"),
        ("{npz: a.npz, keys: {image: x}}", "no key 'data.keys.image'; did you mean 'images'"),
        ("{npz: 3}", r"data\.npz must be a path"),
    ],
)
def test_keys_that_do_not_belong(tmp_path: Path, data: str, told: str):
    with pytest.raises(ExperimentError, match=told):
        experiment(tmp_path, f"data: {data}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: 1\ndata:\n  npz: none.npz\n", r"line 3: data\.npz must be a file; found nothing at .*none.npz"),
        ("data:\n  size: 32\n  idx: none\n", r"line 3: data\.idx must be a file; found nothing"),
        (
            "data:\n  folder: ~nobody-of-that-name\n",
            r"line 2: data\.folder must be a folder; found nothing at .*/~nobody",
        ),
        ("data:\n  npz: text.npz\n", r"line 2: .*text\.npz: is no npz file"),
        ("data:\n  npz: few.npz\n", r"line 2: .*at least 200 different pictures.*found 1 in .*few\.npz"),
        ("data:\n  folder: empty\n", r"line 2: .*empty: holds no PNG"),
        (
            "data: {npz: plain.npz}\nquality: {extractor: classifier}\n",
            r"line 2: the extractor 'classifier'.*found only 'all' in .*plain\.npz. "
            r"Set quality.extractor: efficientnet-lite0",
        ),
        ("data: {npz: plain.npz}\n", r"quality.extractor: efficientnet-lite0"),
        ("data: {npz: plain.npz}\nquality: {extractor: efficientnet-lite0, also: [classifier]}\n", r"line 2: .*'all'"),
        ("data: {npz: a.npz, size: 24}\n", r"line 1: .*power of two from 8 pixels, got 24x24"),
    ],
)
def test_what_cannot_be_used_is_said_before_any_picture_is_read(tmp_path: Path, text: str, told: str):
    npz(tmp_path)
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "few.npz", images=draw(1, 32, 32), labels=[0])
    np.savez(tmp_path / "plain.npz", images=draw(240, 32, 32))
    with pytest.raises(ExperimentError, match=f"(?s)e.yaml.*{told}"):
        check(experiment(tmp_path, text))


def test_good_pictures_pass(tmp_path: Path):
    npz(tmp_path)
    check(experiment(tmp_path, "data: {npz: a.npz}\n"))
