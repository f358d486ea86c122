"""Pictures in an idx file, MNIST's own format, plain or gzipped: header and length are checked before any room is made.

The format is described at http://yann.lecun.com/exdb/mnist/: two zero bytes, a type, the number of dimensions, their
lengths as four big-endian bytes each, then the numbers.
"""

import gzip
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from nas.data_arrays import (
    MAX_LABEL_BYTES,
    Layout,
    PictureArray,
    check_can_unpack,
    damage_named,
    named_labels,
    open_file,
)
from nas.data_folder import DataError

_GZIP = b"\x1f\x8b"
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class Header:
    """What an idx file says of itself."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @property
    def offset(self) -> int:
        """Where the numbers begin."""
        return 4 + 4 * len(self.shape)

    @property
    def content_bytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def open_idx(path: Path, labels: Path | None = None) -> PictureArray:
    """The pictures of the idx file at ``path``; nothing but its header and the labels is read.

    Args:
        path: An idx file of bytes (N, H, W), or (N, H, W, C).
        labels: An idx file of whole numbers (N,). By default the one that lies beside it under MNIST's name, see
            ``labels_beside``; without one all pictures are of one class.

    Raises:
        DataError: a file is missing, no idx file, shorter or longer than its header says, or of the wrong type.
    """
    header = _read_header(path, "data.idx")
    if header.dtype != np.uint8:
        raise DataError(f"{path}: pictures are bytes, type 0x08 of the idx format; found {header.dtype}. Save uint8")
    layout = Layout.of(header.shape, str(path))
    labels = labels or labels_beside(path)
    numbers = None if labels is None else _read_labels(labels)
    indices, classes = named_labels(numbers, layout.count, None, str(labels or path))
    files = (path,) if labels is None else (path, labels)
    return PictureArray(path, layout, indices, classes, files, lambda: _content(path, header.offset))


def labels_beside(path: Path) -> Path | None:
    """The file of labels that belongs to ``train-images-idx3-ubyte.gz`` by MNIST's naming, gzipped or not, if there."""
    name = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    if name == path.name.removesuffix(".gz"):
        return None
    candidates = (path.with_name(name), path.with_name(f"{name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _read_labels(path: Path) -> np.ndarray:
    header = _read_header(path, "data.labels")
    if header.content_bytes > MAX_LABEL_BYTES:
        raise DataError(f"{path}: has at most {MAX_LABEL_BYTES:,} bytes of labels; found {header.content_bytes:,}")
    with damage_named(path), _content(path, header.offset) as stream:
        content = stream.read(header.content_bytes + 1)
    if len(content) != header.content_bytes:
        raise DataError(f"{path}: {_announced(header)}; found {_amount(content, header)}. Copy or save it anew")
    return np.frombuffer(content, header.dtype).reshape(header.shape)


def _read_header(path: Path, key: str) -> Header:
    """The header of ``path``; a plain file has exactly the length that it announces."""
    with damage_named(path), open_file(path, key) as file:
        packed = file.read(2) == _GZIP
    with damage_named(path), _content(path, 0) as stream:
        start = stream.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES or not 1 <= start[3] <= _MAX_DIMENSIONS:
            raise DataError(
                f"{path}: is no idx file: its first bytes are {start.hex(' ') or 'missing'}. Is it the right one?"
            )
        lengths = stream.read(4 * start[3])
        if len(lengths) < 4 * start[3]:
            raise DataError(f"{path}: ends inside its header. Copy or save it anew")
    header = Header(np.dtype(_TYPES[start[2]]), struct.unpack(f">{start[3]}I", lengths))
    length = path.stat().st_size
    if packed:
        check_can_unpack(header.content_bytes, length, str(path))
    elif length - header.offset != header.content_bytes:
        raise DataError(f"{path}: {_announced(header)}; found {length - header.offset:,}. Copy or save it anew")
    return header


def _announced(header: Header) -> str:
    shape = "x".join(str(length) for length in header.shape)
    return f"announces {shape} numbers, {header.content_bytes:,} bytes"


def _amount(content: bytes, header: Header) -> str:
    return "more" if len(content) > header.content_bytes else f"{len(content):,}"


@contextmanager
def _content(path: Path, offset: int) -> Iterator[BinaryIO]:
    """The numbers of an idx file; a gzipped one is unpacked as it is read."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        if not packed:
            file.seek(offset)
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            unpacked.read(offset)
            yield cast(BinaryIO, unpacked)
