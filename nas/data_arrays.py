"""Pictures that lie in one array in a file (npz, idx): layout and labels checked first, then read picture by picture.

No array is ever held whole, so a file may be larger than memory; what its header announces is checked before any room
is made for it, and what it holds beyond that is refused.
"""

import gzip
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from PIL import Image

from benchmarks.files import sha256_file
from nas.data_folder import FITTING, PADDING, UNLABELED, DataError, empty_images, fit, say_cropped
from nas.progress import Progress

MAX_ARRAY_BYTES = 8 << 30  # unpacked; it passes through memory a picture at a time
MAX_LABEL_BYTES = 64 << 20
_MAX_PICTURES = 10_000_000
_SIDES = range(1, 4097)  # pixels
_DENSEST = 1032  # bytes that one byte of deflate can unpack to, see https://zlib.net/zlib_tech.html
_MAX_CLASSES = 10_000


@dataclass(frozen=True)
class Layout:
    """How ``count`` pictures of uint8 lie in an array: (N, H, W), (N, H, W, C) or (N, C, H, W)."""

    count: int
    height: int
    width: int
    channels: int
    channels_first: bool = False

    @property
    def picture_bytes(self) -> int:
        """Bytes of one picture."""
        return self.height * self.width * self.channels

    @classmethod
    def of(cls, shape: Sequence[int], where: str) -> "Layout":
        """The layout of an array of this shape; ``where`` begins the message.

        Raises:
            DataError: it holds no pictures, pictures of 2 or 4 channels, or far too many.
        """
        shown = "x".join(str(length) for length in shape)
        if len(shape) not in (3, 4) or not all(length > 0 for length in shape):
            raise DataError(
                f"{where}: pictures are an array (N, H, W), (N, H, W, C) or (N, C, H, W); found {shown or 'one number'}"
            )
        if math.prod(shape) > MAX_ARRAY_BYTES or shape[0] > _MAX_PICTURES:
            raise DataError(
                f"{where}: there are at most {_MAX_PICTURES:,} pictures in {MAX_ARRAY_BYTES >> 30} GiB; found {shown}. "
                "Save smaller pictures, or fewer"
            )
        layout = cls._of_checked(tuple(shape))
        if layout is None:
            raise DataError(
                f"{where}: a picture has 1 channel (grey) or 3 (RGB), first or last; found {shown}. "
                "Leave out transparency, for example with images[..., :3]"
            )
        if layout.height not in _SIDES or layout.width not in _SIDES:
            raise DataError(
                f"{where}: a picture has at most {_SIDES[-1]} pixels a side; found {shown}. Make them smaller"
            )
        return layout

    @classmethod
    def _of_checked(cls, shape: tuple[int, ...]) -> "Layout | None":
        if len(shape) == 3:
            return cls(*shape, channels=1)
        count, a, b, c = shape
        if c in (1, 3):
            return cls(count, a, b, c)
        return cls(count, b, c, a, channels_first=True) if a in (1, 3) else None


@dataclass(frozen=True, eq=False)
class PictureArray:
    """The pictures of one file, not yet read.

    Attributes:
        path: The file, for messages.
        layout: Of its array.
        labels: (N,) int64, indices into ``classes``.
        classes: Names.
        files: All files that this depends on.
        open: Opens the array at its first picture.
    """

    path: Path
    layout: Layout
    labels: np.ndarray
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    open: Callable[[], AbstractContextManager[BinaryIO]]

    def key(self, size: int, channels: int, recipe: str) -> str:
        """64 hex digits of all that the decoded arrays depend on; ``recipe`` is how the file was asked to be read."""
        parts = ["arrays", FITTING, size, channels, PIL.__version__, recipe, *map(sha256_file, self.files)]
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def decode_array(
    pictures: PictureArray, size: int, channels: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images (N, C, H, W) uint8, labels (N,) int64 and class names; each picture as ``nas.data_folder.fit`` says.

    Raises:
        DataError: the file ends early, holds more than it announced, or is damaged; or is too much for memory.
    """
    count, cropped = pictures.layout.count, 0
    images = empty_images(count, size, channels)
    progress.start("pictures", count, "pictures")
    for index, picture in enumerate(_read_pictures(pictures)):
        images[index], was_cropped = fit(picture, size, channels)
        cropped += was_cropped
        progress.update("pictures", index + 1)
    progress.finish("pictures")
    say_cropped(cropped, count, progress)
    return images, pictures.labels, pictures.classes


def _read_pictures(pictures: PictureArray) -> Iterator[Image.Image]:
    layout = pictures.layout
    shape = (layout.height, layout.width, layout.channels)
    with damage_named(pictures.path), pictures.open() as stream:
        for index in range(layout.count):
            content = stream.read(layout.picture_bytes)
            if len(content) < layout.picture_bytes:
                raise DataError(f"{pictures.path}: ends inside picture {index} of {layout.count}. Copy or save it anew")
            pixels = np.frombuffer(content, np.uint8)
            if layout.channels_first:
                pixels = pixels.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
            upright = np.ascontiguousarray(pixels.reshape(shape))
            yield Image.fromarray(upright[..., 0] if layout.channels == 1 else upright)
        if stream.read(1):  # also has the checksum of a compressed file compared
            raise DataError(
                f"{pictures.path}: holds more than the {layout.count} pictures that it announces. Save it anew"
            )


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what readers of files raise into a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except (zlib.error, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: is damaged ({error}). Copy or save it anew") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def check_can_unpack(announced: int, packed: int, where: str) -> None:
    """Raise DataError if ``packed`` bytes cannot possibly unpack to as many as they announce."""
    if announced > _DENSEST * packed + 64:
        raise DataError(
            f"{where}: announces {announced:,} bytes, and {packed:,} packed ones cannot hold them. Save it anew"
        )


def open_file(path: Path, key: str) -> BinaryIO:
    """The file at ``path``, opened; ``key`` is what the experiment calls it. Raises DataError if it is none."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "something else" if path.exists() else "nothing"
        raise DataError(f"{key} must be a file; found {found} at {path}. It is relative to the experiment file")
    return path.open("rb")


def named_labels(
    labels: np.ndarray | None, count: int, names: Sequence[str] | None, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (N,) int64 that are indices into the class names, and those names.

    Args:
        labels: As they are in the file; None if there are none: all pictures are of one class, ``all``.
        count: Of the pictures.
        names: Of the classes 0, 1, ...; None: classes are called by their numbers.
        where: The file and the array, to begin messages with.

    Raises:
        DataError: not ``count`` whole numbers from 0, or a label without a name.
    """
    if labels is None:
        return np.zeros(count, np.int64), (UNLABELED,)
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{where}: labels are one number a picture; found {labels.shape}. Save labels.argmax(axis=1)")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where}: labels are whole numbers; found {_not_whole(labels)}. Save labels.astype('int64')")
    if len(labels) != count:
        raise DataError(f"{where}: there must be one label a picture; found {len(labels)} labels, {count} pictures")
    wrong = np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int64).max))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}: labels are whole numbers from 0; found {labels[row]} at row {row}"
            f"{f' and {len(wrong) - 1} more' if len(wrong) > 1 else ''}. Correct them, or leave these pictures out"
        )
    return _by_number(labels, where) if names is None else _by_name(labels, names, where)


def _by_number(labels: np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    values, indices = np.unique(labels, return_inverse=True)
    if len(values) > _MAX_CLASSES:
        raise DataError(f"{where}: there are at most {_MAX_CLASSES:,} classes; found {len(values):,} different labels")
    return indices.astype(np.int64), tuple(str(value) for value in values)


def _by_name(labels: np.ndarray, names: Sequence[str], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    if len(set(names)) != len(names) or not all(names):
        raise DataError(f"{where}: the names of classes are different and not empty; found {list(names[:10])}")
    unnamed = np.flatnonzero(labels >= len(names))
    if len(unnamed):
        row = int(unnamed[0])
        raise DataError(
            f"{where}: found label {labels[row]} at row {row}, and only {len(names)} names of classes (0 to "
            f"{len(names) - 1}). Name every class"
        )
    return labels.astype(np.int64), tuple(names)


def _not_whole(labels: np.ndarray) -> str:
    if labels.dtype.kind == "f":
        wrong = np.flatnonzero(~(np.isfinite(labels) & (labels == np.floor(labels))))
        if len(wrong):
            return f"{labels[wrong[0]]} at row {wrong[0]}"
    return f"the type {labels.dtype}"


def default_size(layout: Layout) -> int:
    """The side that these pictures have without being resized: their own, or the power of two they are framed to.

    Raises:
        DataError: they are of no such size; says which to ask for.
    """
    longer, shorter = max(layout.height, layout.width), min(layout.height, layout.width)
    power = max(8, 1 << (longer - 1).bit_length())
    if shorter >= power - PADDING and power <= 1024:
        return power
    raise DataError(
        f"must be given for pictures whose side is not 8, 16, 32, 64 ... pixels (or at most {PADDING} less); found "
        f"{layout.width}x{layout.height}: write size: {near_size(layout.height, layout.width)}"
    )


def near_size(height: int, width: int) -> int:
    """32 or 64, whichever the shorter side is nearer to as a ratio."""
    return 32 if min(height, width) < math.sqrt(32 * 64) else 64
