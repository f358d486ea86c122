"""A folder of pictures as arrays: every file is checked, and named when it is wrong, before any work begins."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

from nas.errors import NasError
from nas.progress import Progress

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # no other decoder sees a file, whatever it is called
_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})  # 8 bits or fewer
_MAX_FILE_BYTES = 64 << 20
_MAX_SET_BYTES = 2 << 30  # decoded; an experiment's processes have 2 GiB each
_PROBLEMS_SHOWN = 10


class DataError(NasError):
    """A data set cannot be used as it is; the message names the file and says what to do."""


@dataclass(frozen=True)
class Picture:
    """One file of a class, and the hash of its bytes."""

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of a folder, sorted by class and file name; ``classes`` are the sub-folders' names, sorted."""

    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]

    def key(self, size: int, channels: int) -> str:
        """64 hex digits of all that the decoded arrays depend on."""
        recipe = hashlib.sha256(f"folder 1 {size} {channels} {PIL.__version__}".encode())
        for picture in self.pictures:
            recipe.update(f"\n{picture.sha256} {picture.label}".encode())
        recipe.update("\n".join(self.classes).encode())
        return recipe.hexdigest()


def scan_folder(folder: Path) -> PictureFolder:
    """List and hash the pictures (PNG, JPEG, WebP, BMP) in the sub-folders of ``folder``; hidden names are left out.

    Raises:
        DataError: no folder, fewer than two classes, a class without pictures, pictures outside the classes, a
            folder inside a class, a link that leaves ``folder``, a file over 64 MiB. All that is wrong is listed.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise DataError(f"data.folder must be a folder; found {'a file' if root.exists() else 'nothing'} at {folder}")
    classes = [path for path in _visible(root) if path.is_dir()]
    loose = [path.name for path in _visible(root) if path.suffix.lower() in SUFFIXES]
    if len(classes) < 2:
        raise DataError(
            f"data.folder needs at least two classes, one sub-folder each; found {len(classes)} sub-folders and "
            f"{len(loose)} loose pictures in {folder}. Sort the pictures into sub-folders by what they show: quality "
            "is measured with a classifier that learns to tell the classes apart"
        )
    problems = [f"{name}: lies beside the classes; move it into one of them" for name in loose]
    pictures: list[Picture] = []
    for label, path in enumerate(classes):
        found = list(_scan_class(root, path, label, problems))
        if not found and _is_inside(path, root):
            problems.append(f"{path.name}: holds no {_formats()} picture; add some or remove the folder")
        pictures += found
    _raise_problems(folder, problems)
    return PictureFolder(tuple(pictures), tuple(path.name for path in classes))


def decode_folder(
    folder: PictureFolder, size: int, channels: int, progress: Progress
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images (N, C, H, W) uint8, labels (N,) int64 and class names; ``size`` is H = W, ``channels`` is 1 or 3.

    A picture is turned upright (EXIF), laid on white where it is transparent, cropped to the central square, and
    resized with Lanczos.

    Raises:
        DataError: files that cannot be decoded, listed by name; or too many for memory.
    """
    count = len(folder.pictures)
    if count * channels * size * size > _MAX_SET_BYTES:
        raise DataError(
            f"a decoded data set takes at most 2 GiB; found {count} pictures of {channels}x{size}x{size} bytes. "
            "Lower data.size or use fewer pictures"
        )
    images = np.empty((count, channels, size, size), np.uint8)
    problems: list[str] = []
    progress.start("pictures", count, "pictures")
    for index, picture in enumerate(folder.pictures):
        try:
            images[index] = decode(picture.path, size, channels)
        except DataError as error:
            problems.append(str(error))
        progress.update("pictures", index + 1)
    progress.finish("pictures")
    _raise_problems(Path(), problems)
    labels = np.array([picture.label for picture in folder.pictures], np.int64)
    return images, labels, folder.classes


def decode(path: Path, size: int, channels: int) -> np.ndarray:
    """The picture at ``path`` as (C, H, W) uint8; raises DataError with the file's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.mode not in _MODES:
                    raise DataError(f"{path}: a picture has 8 bits a channel; found mode {image.mode}. Save it as RGB")
                pixels = _fit(image, size, channels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(f"{path}: a picture has at most {limit} pixels; this has more. Make it smaller") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: is no {_formats()} picture, whatever its name says. Remove or convert it") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders raise on damaged files
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be decoded ({error}). Remove it or save it anew") from error
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)


def _fit(image: Image.Image, size: int, channels: int) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA"))
    plain = upright.convert("L" if channels == 1 else "RGB")
    return np.asarray(ImageOps.fit(plain, (size, size), method=Image.Resampling.LANCZOS), np.uint8)


def _scan_class(root: Path, folder: Path, label: int, problems: list[str]) -> Iterator[Picture]:
    if not _is_inside(folder, root):
        problems.append(f"{folder.name}: is a link that leaves the folder; copy the pictures instead")
        return
    for path in _visible(folder):
        problem = _file_problem(path, root)
        if problem:
            problems.append(f"{path.relative_to(root)}: {problem}")
        elif path.suffix.lower() in SUFFIXES:
            with path.open("rb") as file:
                yield Picture(path, label, hashlib.file_digest(file, "sha256").hexdigest())


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


def _raise_problems(folder: Path, problems: Sequence[str]) -> None:
    if not problems:
        return
    shown = "".join(f"\n  {problem}" for problem in problems[:_PROBLEMS_SHOWN])
    rest = len(problems) - _PROBLEMS_SHOWN
    more = f"\n  and {rest} more" if rest > 0 else ""
    where = f" in {folder}" if folder.parts else ""
    raise DataError(f"{len(problems)} of the files{where} cannot be used:{shown}{more}")
