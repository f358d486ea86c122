"""A first look at somebody's pictures, of whatever form: how many, of which classes, how large, in which colours."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

from nas.data_arrays import Layout, PictureArray, default_size, near_size
from nas.data_folder import DataError, is_framed, open_picture, raise_problems, scan_folder
from nas.data_npz import Header, open_npz, read_headers
from nas.data_sources import Survey, check_enough, count_classes, open_array

_LOOKED_AT = 2000  # pictures of a folder, spread evenly; of the others the files are only counted
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
_CLASSES_SHOWN = 5


@dataclass(frozen=True)
class Look:
    """What was seen of somebody's pictures, and what follows for ``data``.

    Attributes:
        source: The key of ``data`` that names ``path``.
        path: The folder or file.
        survey: Pictures and classes.
        sizes: Their width and height, in words.
        size: To draw them at, in pixels.
        channels: 1 or 3.
        keys: Of an npz file whose arrays are called otherwise.
        remark: What else the user should know; may be empty.
    """

    source: Literal["folder", "npz", "idx"]
    path: Path
    survey: Survey
    sizes: str
    size: int
    channels: int
    keys: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""

    def __str__(self) -> str:
        found = self.survey
        pairs = list(zip(found.classes, found.counts, strict=True))
        shown = ", ".join(f"{name} {count:,}" for name, count in pairs[:_CLASSES_SHOWN])
        more = f" and {len(pairs) - _CLASSES_SHOWN} more" if len(pairs) > _CLASSES_SHOWN else ""
        classes = f"{len(pairs)} classes ({shown}{more})" if len(pairs) > 1 else "no classes"
        colour = "grey" if self.channels == 1 else "RGB"
        line = f"{self.path}: {found.count:,} pictures, {classes}, {self.sizes} pixels, {colour}"
        return "\n".join(printable(part) for part in (line, self.remark) if part)


def look_at(path: Path) -> Look:
    """See what there is in a folder of pictures, an npz file, or an idx file.

    Raises:
        DataError: it is none of these, is damaged, or holds too few pictures.
    """
    if not path.exists():
        raise DataError(f"there is nothing at {path}: give a folder of pictures, a .npz file or an idx file")
    look = _look_at_folder(path) if path.is_dir() else _look_at_file(path)
    check_enough(look.survey, f"{look.survey.count} in {path}")
    return look


def printable(text: str) -> str:
    """``text`` for people: a line break in a file's name must not end a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _look_at_folder(path: Path) -> Look:
    folder = scan_folder(path)
    pictures = folder.pictures[:: math.ceil(len(folder.pictures) / _LOOKED_AT)]
    sizes, grey, problems = [], 0, []
    for picture in pictures:
        try:
            with open_picture(picture.path) as image:
                sizes.append((image.width, image.height))
                grey += image.mode in _GREY_MODES
        except DataError as error:
            problems.append(str(error))
    raise_problems(path, problems)
    widths, heights = zip(*sizes, strict=True)
    shown = f"{widths[0]}x{heights[0]}" if len(set(sizes)) == 1 else _range(widths, heights)
    size = _good_size(Layout(len(sizes), round(median(heights)), round(median(widths)), 3))
    oblong = sum(width != height for width, height in sizes)
    part = f" (of {len(sizes):,} looked at)" if len(sizes) < len(folder.pictures) else ""
    remark = f"{oblong:,} are not square{part}: only their central square is used" if oblong else ""
    survey = count_classes([picture.label for picture in folder.pictures], folder.classes)
    return Look("folder", path, survey, shown, size, 1 if grey == len(sizes) else 3, remark=remark)


def _look_at_file(path: Path) -> Look:
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\3\4"
    if not is_zip:
        pictures = open_array(None, None, path, None)
        assert pictures is not None
        remark = "" if len(pictures.files) > 1 else "no file of labels lies beside it under MNIST's name"
        return _look_at_array("idx", path, pictures, {}, remark)
    keys = _guess_keys(read_headers(path))
    return _look_at_array("npz", path, open_npz(path, **keys), keys, "")


def _look_at_array(
    source: Literal["npz", "idx"], path: Path, pictures: PictureArray, keys: Mapping[str, str], remark: str
) -> Look:
    layout = pictures.layout
    size = _good_size(layout)
    if layout.width != layout.height and not is_framed(layout.height, layout.width, size):
        remark = "; ".join(filter(None, (remark, "they are not square: only their central square is used")))
    survey = count_classes(pictures.labels, pictures.classes)
    return Look(source, path, survey, f"{layout.width}x{layout.height}", size, layout.channels, keys, remark)


def _guess_keys(headers: Mapping[str, Header]) -> dict[str, str]:
    """What the arrays of an npz file are called, if not as usual: the most pictures, and whole numbers as many."""
    if "images" in headers:
        return {}
    pictures = [name for name, header in headers.items() if header.dtype == "uint8" and len(header.shape) in (3, 4)]
    if not pictures:
        return {}  # the reader says what is missing
    images = max(pictures, key=lambda name: headers[name].shape[0])
    count = headers[images].shape[0]
    labels = [
        name for name, header in headers.items() if header.dtype.kind in "iu" and header.shape in ((count,), (count, 1))
    ]
    return {"images": images, **({"labels": labels[0]} if len(labels) == 1 else {})}


def _good_size(layout: Layout) -> int:
    """The pictures' own size if it is 16, 32 or 64 (or framed to it), else 32 or 64."""
    try:
        own = default_size(layout)
    except DataError:
        own = 0
    return own if own in (16, 32, 64) else near_size(layout.height, layout.width)


def _range(widths: tuple[int, ...], heights: tuple[int, ...]) -> str:
    return f"{min(widths)}x{min(heights)} to {max(widths)}x{max(heights)}"
