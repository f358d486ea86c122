"""A folder of pictures as arrays: every file is checked, and named when it is wrong, before any work begins.

``fit`` is how any picture, from a folder or from an array, comes to the size and channels that are asked for.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from benchmarks.files import sha256_file
from nas.errors import NasError
from nas.progress import Progress

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # no other decoder sees a file, whatever it is called
_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})  # 8 bits or fewer
_MAX_FILE_BYTES = 64 << 20
_MAX_SET_BYTES = 2 << 30  # decoded; an experiment's processes have 2 GiB each
_PROBLEMS_SHOWN = 10
FITTING = 2  # the version of ``fit``: cached sets of another one are made anew
UNLABELED = "all"  # the one class of pictures that nobody sorted
PADDING = 4  # pixels: a picture smaller by no more is framed, not resized (28 -> 32, as is customary for MNIST)


class DataError(NasError):
    """A data set cannot be used as it is; the message names the file and says what to do."""


@dataclass(frozen=True)
class Picture:
    """One file of a class."""

    path: Path
    label: int


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of a folder, sorted by class and file name; ``classes`` are the sub-folders' names, sorted.

    Pictures in no sub-folder are of one class, ``all``.
    """

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]

    def key(self, size: int, channels: int) -> str:
        """64 hex digits of all that the decoded arrays depend on; reads every file."""
        recipe = hashlib.sha256(f"folder {FITTING} {size} {channels} {PIL.__version__}".encode())
        for picture in self.pictures:
            recipe.update(f"\n{sha256_file(picture.path)} {picture.label}".encode())
        recipe.update("\n".join(self.classes).encode())
        return recipe.hexdigest()


def scan_folder(folder: Path) -> PictureFolder:
    """List the pictures (PNG, JPEG, WebP, BMP) of ``folder``, a sub-folder a class; hidden names are left out.

    Opens no picture. Without sub-folders all pictures are of one class.

    Raises:
        DataError: no folder, no pictures, a class without pictures, pictures beside classes, a folder inside a class,
            a link that leaves ``folder``, a file over 64 MiB. All that is wrong is listed.
    """
    root = folder.resolve()
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise DataError(
            f"data.folder must be a folder; found {found} at {folder}. It is relative to the experiment file"
        )
    classes = [path for path in _visible(root) if path.is_dir()]
    loose = [path.name for path in _visible(root) if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not classes and not loose:
        raise DataError(f"{folder}: holds no {_formats()} picture. Put the pictures there, one sub-folder per class")
    problems = [f"{name}: lies beside the classes; move it into one of them" for name in loose if classes]
    pictures: list[Picture] = []
    for label, path in enumerate(classes or [root]):
        problems_before = len(problems)
        of_class = list(_scan_class(root, path, label, problems))
        if not of_class and len(problems) == problems_before:
            problems.append(f"{path.name}: holds no {_formats()} picture; add some or remove the folder")
        pictures += of_class
    raise_problems(folder, problems)
    return PictureFolder(tuple(pictures), tuple(path.name for path in classes) or (UNLABELED,))


def decode_folder(
    folder: PictureFolder, size: int, channels: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images (N, C, H, W) uint8, labels (N,) int64 and class names; ``size`` is H = W, ``channels`` is 1 or 3.

    A picture is turned upright (EXIF), laid on white where it is transparent, and then as ``fit`` says.

    Raises:
        DataError: files that cannot be decoded, listed by name; or too many for memory.
    """
    count, cropped = len(folder.pictures), 0
    images = empty_images(count, size, channels)
    problems: list[str] = []
    progress.start("pictures", count, "pictures")
    for index, picture in enumerate(folder.pictures):
        try:
            images[index], was_cropped = decode(picture.path, size, channels)
            cropped += was_cropped
        except DataError as error:
            problems.append(str(error))
        progress.update("pictures", index + 1)
    progress.finish("pictures")
    raise_problems(Path(), problems)
    say_cropped(cropped, count, progress)
    labels = np.array([picture.label for picture in folder.pictures], np.int64)
    return images, labels, folder.classes


class Fitted(NamedTuple):
    """A picture (C, H, W) uint8 of the size asked for; ``cropped`` if it was not square."""

    pixels: np.ndarray
    cropped: bool


def fit(image: Image.Image, size: int, channels: int) -> Fitted:
    """``image`` at ``size`` x ``size`` pixels, grey (1 channel) or RGB (3).

    One that is at most 4 pixels smaller each way is framed, in the colour of its corners, or if they differ with its
    edge pixels repeated. Any other is cropped to its central square and resized with Lanczos.
    """
    plain = image.convert("L" if channels == 1 else "RGB")
    framed = is_framed(image.height, image.width, size)
    if framed:
        fitted = _framed(np.asarray(plain, np.uint8).reshape(image.height, image.width, channels), size)
    else:
        fitted = np.asarray(ImageOps.fit(plain, (size, size), method=Image.Resampling.LANCZOS), np.uint8)
    pixels = fitted.reshape(size, size, channels).transpose(2, 0, 1)
    return Fitted(pixels, cropped=not framed and image.width != image.height)


def is_framed(height: int, width: int, size: int) -> bool:
    """Whether ``fit`` frames such a picture, so that none of its pixels is lost or changed."""
    return all(0 <= size - side <= PADDING for side in (height, width))


def empty_images(count: int, size: int, channels: int) -> np.ndarray:
    """Room for ``count`` images (N, C, H, W) uint8. Raises DataError where that is more than 2 GiB."""
    if count * channels * size * size > _MAX_SET_BYTES:
        raise DataError(
            f"a decoded data set takes at most 2 GiB; found {count} pictures of {channels}x{size}x{size} bytes. "
            "Lower data.size or use fewer pictures"
        )
    return np.empty((count, channels, size, size), np.uint8)


def say_cropped(cropped: int, count: int, progress: Progress) -> None:
    """Tell that pictures lost their margins, if some did."""
    if cropped:
        progress.say(f"{cropped} of {count} pictures are not square: only their central square is used")


def decode(path: Path, size: int, channels: int) -> Fitted:
    """The picture at ``path``, fitted; raises DataError with the file's name."""
    with open_picture(path) as image:
        return fit(_plain(image), size, channels)


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """The picture at ``path``, its header read; whatever is wrong with it is a DataError with the file's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.mode not in _MODES:
                    raise DataError(f"{path}: a picture has 8 bits a channel; found mode {image.mode}. Save it as RGB")
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(f"{path}: a picture has at most {limit} pixels; this has more. Make it smaller") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: is no {_formats()} picture, whatever its name says. Remove or convert it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise on damaged files
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be decoded ({error}). Remove it or save it anew") from error


def _plain(image: Image.Image) -> Image.Image:
    """``image`` upright, and without transparency."""
    upright = ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        return upright
    white = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(white, upright.convert("RGBA"))


def _framed(pixels: np.ndarray, size: int) -> np.ndarray:
    """``pixels`` (H, W, C) in the middle of ``size`` x ``size``."""
    rows, columns = size - pixels.shape[0], size - pixels.shape[1]
    frame = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    if (corners != corners[0]).any():
        return np.pad(pixels, frame, mode="edge")
    canvas = np.empty((size, size, pixels.shape[2]), np.uint8)
    canvas[:] = corners[0]
    canvas[rows // 2 : rows // 2 + pixels.shape[0], columns // 2 : columns // 2 + pixels.shape[1]] = pixels
    return canvas


def _scan_class(root: Path, folder: Path, label: int, problems: list[str]) -> Iterator[Picture]:
    if not _is_inside(folder, root):
        problems.append(f"{folder.name}: is a link that leaves the folder; copy the pictures instead")
        return
    for path in _visible(folder):
        problem = _file_problem(path, root)
        if problem:
            problems.append(f"{path.relative_to(root)}: {problem}")
        elif path.suffix.lower() in SUFFIXES:
            yield Picture(path, label)


def _file_problem(path: Path, root: Path) -> str | None:
    if not _is_inside(path, root):
        return "is a link that leaves the folder; copy the picture instead"
    if path.is_dir():
        return "is a folder inside a class; a class has only pictures"
    if path.suffix.lower() not in SUFFIXES:
        return None
    if not path.is_file():
        return "is not a regular file; remove it"
    if path.stat().st_size > _MAX_FILE_BYTES:
        return f"has more than {_MAX_FILE_BYTES >> 20} MiB; make it smaller"
    return None


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root)


def _formats() -> str:
    return ", ".join(_FORMATS[:-1]) + f" or {_FORMATS[-1]}"


def raise_problems(folder: Path, problems: Sequence[str]) -> None:
    """Raise DataError that lists the first ten of ``problems``, if there are any."""
    if not problems:
        return
    shown = "".join(f"\n  {problem}" for problem in problems[:_PROBLEMS_SHOWN])
    rest = len(problems) - _PROBLEMS_SHOWN
    more = f"\n  and {rest} more" if rest > 0 else ""
    where = f" in {folder}" if folder.parts else ""
    raise DataError(f"{len(problems)} of the files{where} cannot be used:{shown}{more}")
