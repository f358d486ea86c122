"""npz files: every layout that is right, and every one that is wrong, told before anything is unpacked."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data import ImageSet, load_images
from nas.data_folder import DataError
from nas.data_npz import open_npz
from nas.experiment import ArrayKeys, DataConfig


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, *, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def load(path: Path, cache: Path, **settings: Any) -> ImageSet:
    return load_images(DataConfig(npz=path, **settings), cache)


def rows_of(images: ImageSet) -> set[tuple[bytes, int]]:
    return {(image.tobytes(), int(label)) for image, label in zip(images.images, images.labels, strict=True)}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("layout", ["grey", "grey last", "last", "first"])
def test_layouts(tmp_path: Path, layout: str, compressed: bool):
    images, labels = draw(20, 3 if layout in ("last", "first") else 1, 16, 16), np.arange(20) % 3
    saved = {"grey": images[:, 0], "first": images}.get(layout, np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    path = save(tmp_path / "a.npz", compressed=compressed, images=saved, labels=labels)
    config = DataConfig(npz=path)
    assert (config.size, config.channels) == (16, images.shape[1]), "their own"
    loaded = load_images(config, tmp_path / "cache")
    assert loaded.images.shape == images.shape
    assert loaded.classes == ("0", "1", "2")
    assert rows_of(loaded) == {(image.tobytes(), label) for image, label in zip(images, labels, strict=True)}


def test_without_labels_there_is_one_class(tmp_path: Path):
    images = load(save(tmp_path / "a.npz", images=draw(9, 8, 8)), tmp_path / "cache")
    assert images.classes == ("all",)
    assert images.labels.tolist() == [0] * 9


def test_labels_are_numbered_anew_and_classes_named(tmp_path: Path):
    numbers = np.array([7, 30, 7, 30], np.uint8).reshape(4, 1)
    assert open_npz(save(tmp_path / "a.npz", images=draw(4, 8, 8), labels=numbers)).classes == ("7", "30")
    named = open_npz(save(tmp_path / "b.npz", images=draw(2, 8, 8), labels=[1, 0], classes=["cat", "dog"]))
    assert named.classes == ("cat", "dog")
    assert named.labels.tolist() == [1, 0]


def test_arrays_may_be_called_otherwise(tmp_path: Path):
    path = save(tmp_path / "mnist.npz", x_train=draw(6, 8, 8), y_train=np.arange(6) % 2, x_test=draw(2, 8, 8))
    keys = ArrayKeys(images="x_train", labels="y_train")
    assert len(load(path, tmp_path / "cache", keys=keys)) == 6
    with pytest.raises(DataError, match=r"has no array 'images'; found x_test, x_train, y_train.*data.keys: \{images"):
        open_npz(path)
    with pytest.raises(DataError, match="no array 'y'"):
        open_npz(path, images="x_train", labels="y")


def test_the_file_decides_what_is_cached(tmp_path: Path):
    images = draw(10, 8, 8)
    path = save(tmp_path / "a.npz", images=images, labels=np.arange(10) % 2)
    first = load(path, tmp_path / "cache")
    assert load(path, tmp_path / "cache").digest == first.digest
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 1
    save(path, images=images[::-1], labels=(np.arange(10) % 2)[::-1])
    assert load(path, tmp_path / "cache").digest == first.digest, "the order of rows leaves no trace"
    save(path, images=images, labels=np.arange(10) % 3)
    assert load(path, tmp_path / "cache").digest != first.digest
    assert load(path, tmp_path / "cache", channels=3).images.shape == (10, 3, 8, 8)


def test_other_sizes_are_cropped_and_resized(tmp_path: Path):
    wide = np.zeros((5, 16, 48), np.uint8)
    wide[:, :, 16:32] = 200
    images = load(save(tmp_path / "a.npz", images=wide), tmp_path / "cache", size=8)
    assert (images.images[..., 3:5] == 200).all(), "the middle; Lanczos sees a little beyond the crop"


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"images": np.array([draw(8, 8), draw(9, 9)], dtype=object)}, r"array 'images': holds Python objects.*stack"),
        ({"images": draw(5, 8, 8) / 255.0}, r"found float64: from 0 to 1: save \(images \* 255\)"),
        ({"images": draw(5, 8, 8) / 127.5 - 1}, r"float64: from -1 to 1: save \(\(images \+ 1\) \* 127.5\)"),
        ({"images": np.where(np.arange(5)[:, None, None] == 3, np.nan, draw(5, 8, 8))}, r"picture 3 holds NaN"),
        ({"images": np.zeros((2, 5000), np.float32)}, r"an array \(N, H, W\).*found 2x5000"),  # before a row is read
        ({"images": draw(5, 8, 8).astype(np.int64)}, r"found int64: save images.astype\('uint8'\)"),
        ({"images": draw(5, 8, 8, 2)}, r"1 channel \(grey\) or 3 \(RGB\).*found 5x8x8x2"),
        ({"images": draw(5, 8, 8, 4)}, r"found 5x8x8x4. Leave out transparency"),
        ({"images": draw(5, 64)}, r"an array \(N, H, W\).*found 5x64"),
        ({"images": draw(0, 8, 8)}, r"found 0x8x8"),
        ({"images": np.uint8(3)}, r"found one number"),
        ({"images": draw(1, 1, 5000)}, r"at most 4096 pixels a side; found 1x1x5000"),
        ({"images": np.asfortranarray(draw(5, 8, 8))}, r"Save numpy.ascontiguousarray\(images\)"),
        ({"labels": np.arange(4)}, r"array 'labels': there must be one label a picture; found 4 labels, 5 pictures"),
        ({"labels": np.array([0, 1, -1, 0, -3])}, r"whole numbers from 0; found -1 at row 2 and 1 more"),
        ({"labels": np.array([0, 1, np.nan, 0, 1])}, r"found nan at row 2"),
        ({"labels": np.array([0, 1, 0.5, 0, 1])}, r"found 0.5 at row 2"),
        ({"labels": np.eye(5, dtype=np.int64)}, r"one number a picture; found \(5, 5\). Save labels.argmax"),
        ({"labels": np.array(list("ababa"))}, r"labels are whole numbers; found the type <U1"),
        ({"labels": np.array([None] * 5)}, r"labels are whole numbers; found the type object"),
        ({"labels": np.arange(5), "classes": ["a", "b"]}, r"found label 2 at row 2, and only 2 names"),
        ({"labels": np.arange(5) % 2, "classes": ["a", "a"]}, r"names of classes are different"),
        ({"labels": np.arange(5) % 2, "classes": np.array([1, 2])}, r"names of classes are one row of text"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_array(tmp_path: Path, arrays: dict[str, Any], told: str):
    path = save(tmp_path / "wrong.npz", **{"images": draw(5, 8, 8), **arrays})
    with pytest.raises(DataError, match=rf"(?s)wrong\.npz.*{told}"):
        open_npz(path)


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\3\4 cut off"])
def test_what_is_no_npz_file(tmp_path: Path, content: bytes):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: is no npz file. Write one with numpy.savez"):
        open_npz(path)
    with pytest.raises(DataError, match=r"data\.npz must be a file; found a folder"):
        open_npz(tmp_path)


def header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def zipped(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("images.npy", content)
    return path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (header((100, 8, 8)) + bytes(10), r"takes 6,400 bytes; found 10"),
        (header((1, 8, 8)) + bytes(10_000), r"takes 64 bytes; found 10,000"),
        (header((10**7, 4096, 4096)), r"at most 10,000,000 pictures in 8 GiB; found 10000000x4096x4096"),
        (header((-5, -8, 8)), r"found -5x-8x8"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + bytes(200_000), r"is no array of numpy"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, r"is no array of numpy"),
        (b"\x93NUMPY\x09\x00", r"a header of version \(9, 0\)"),
        (b"\x80\x04pickle", r"is no array of numpy"),
    ],
)
def test_hostile_headers(tmp_path: Path, content: bytes, told: str):
    with pytest.raises(DataError, match=rf"bomb\.npz, array 'images'.*{told}"):
        open_npz(zipped(tmp_path / "bomb.npz", content))


def test_a_directory_that_announces_what_it_cannot_hold(tmp_path: Path):
    """The sizes in the zip's directory are lies: 4 GiB from a few hundred bytes."""
    path = zipped(tmp_path / "bomb.npz", header((1 << 16, 256, 255)) + bytes(100))
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    content[directory + 24 : directory + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"announces 4,294,967,294 bytes, and \d+ packed ones cannot hold them"):
        open_npz(path)


def test_other_packings_and_crowds_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="packed in a way that numpy does not write"):
        open_npz(zipped(tmp_path / "a.npz", header((1, 8, 8)) + bytes(64), zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        for index in range(1001):
            archive.writestr(f"{index}.npy", b"")
    with pytest.raises(DataError, match="at most 1000 arrays; found 1001"):
        open_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_content_is_found_before_it_is_used(tmp_path: Path, compressed: bool):
    path = save(tmp_path / "a.npz", compressed=compressed, images=draw(50, 8, 8))
    content = bytearray(path.read_bytes())
    content[1500] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: is damaged"):
        load(path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
