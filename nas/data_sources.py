"""Which reader opens what ``data`` names, and what can be known of the pictures before any is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.data_arrays import Layout, PictureArray, default_size
from nas.data_folder import DataError, scan_folder
from nas.data_idx import open_idx
from nas.data_npz import open_npz

if TYPE_CHECKING:
    from nas.experiment import ArrayKeys, DataConfig

__all__ = ["Survey", "check_enough", "count_classes", "default_size", "open_array", "own_layout", "survey"]

MINIMUM_IMAGES = 200  # below it, 40 held-out pictures say nothing about quality
MINIMUM_PER_CLASS = 5  # one in five is held out

_MNIST_5K = {str(digit): 500 for digit in range(10)}


@dataclass(frozen=True)
class Survey:
    """How many pictures of which classes there are; copies of one picture count here."""

    counts: tuple[int, ...]
    classes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Of all classes."""
        return sum(self.counts)


def survey(data: "DataConfig") -> Survey:
    """Count the pictures that ``data`` names, without reading one: folders are listed, of arrays the labels are read.

    Raises:
        DataError: they are not there, too few, or cannot be used, as far as that can be seen.
    """
    found, path = _survey(data), data.folder or data.npz or data.idx
    check_enough(found, f"{found.count} in {path}")
    return found


def count_classes(labels: Sequence[int] | np.ndarray, classes: tuple[str, ...]) -> Survey:
    """The survey of pictures with these labels, indices into ``classes``."""
    return Survey(tuple(np.bincount(labels, minlength=len(classes)).tolist()), classes)


def check_enough(pictures: Survey, found: str) -> None:
    """Raise DataError if a fifth of these, held out, could not judge a result; ``found`` says how many there are."""
    if pictures.count < MINIMUM_IMAGES:
        raise DataError(
            f"a data set needs at least {MINIMUM_IMAGES} different pictures, because a fifth is held out to judge the "
            f"result on; found {found}. Add pictures"
        )
    pairs = zip(pictures.classes, pictures.counts, strict=True)
    small = [f"{name} ({count})" for name, count in pairs if count < MINIMUM_PER_CLASS]
    if small:
        raise DataError(
            f"a class needs at least {MINIMUM_PER_CLASS} different pictures, so that one can be held out; found "
            f"{', '.join(small[:10])}{f' and {len(small) - 10} more' if len(small) > 10 else ''}. Add pictures to them "
            "or remove them"
        )


def open_array(
    npz: Path | None, keys: "ArrayKeys | None", idx: Path | None, labels: Path | None
) -> PictureArray | None:
    """The pictures in one of these files, not yet read; None if there is neither. Raises DataError."""
    if npz is not None:
        return open_npz(npz, **({} if keys is None else keys.model_dump()))
    return None if idx is None else open_idx(idx, labels)


def own_layout(values: Mapping[str, Any]) -> Layout | None:
    """The layout of the array that ``values``, the other keys of ``data``, name; None if it cannot be read."""
    try:
        pictures = open_array(*(values.get(key) for key in ("npz", "keys", "idx", "labels")))
    except DataError:
        return None
    return None if pictures is None else pictures.layout


def _survey(data: "DataConfig") -> Survey:
    if data.folder is not None:
        folder = scan_folder(data.folder)
        return count_classes([picture.label for picture in folder.pictures], folder.classes)
    pictures = open_array(data.npz, data.keys, data.idx, data.labels)
    if pictures is not None:
        return count_classes(pictures.labels, pictures.classes)
    return Survey(tuple(_MNIST_5K.values()), tuple(_MNIST_5K))
