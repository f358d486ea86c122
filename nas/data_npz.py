"""Pictures in an npz file: the zip's directory and the arrays' headers are checked before anything is unpacked."""

import io
import math
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from nas.data_arrays import (
    MAX_ARRAY_BYTES,
    MAX_LABEL_BYTES,
    Layout,
    PictureArray,
    check_can_unpack,
    damage_named,
    named_labels,
    open_file,
)
from nas.data_folder import DataError

_MAX_MEMBERS = 1000
_LONGEST_NAME = 100  # characters of a class's name
_LONGEST_HEADER = 1 << 16  # bytes; numpy itself reads no more than 10,000
# What numpy's parser of headers raises on text that is none.
_NO_HEADER = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class Header:
    """What an array of the file says of itself; ``offset`` is where its content begins in the unpacked member."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[np.generic]
    offset: int
    size: int  # bytes, unpacked, with the header

    @property
    def content_bytes(self) -> int:
        """Bytes that the shape asks for."""
        return math.prod(self.shape) * self.dtype.itemsize


def open_npz(
    path: Path, *, images: str = "images", labels: str | None = None, classes: str | None = None
) -> PictureArray:
    """The pictures of the npz file at ``path``; nothing but headers, labels and names is read.

    Args:
        path: The file.
        images: The array of pictures: uint8 (N, H, W), (N, H, W, C) or (N, C, H, W).
        labels: The array of labels (N,), whole numbers; by default ``labels`` if there is one.
        classes: The array of class names; by default ``classes`` if there is one.

    Raises:
        DataError: no such file or array, wrong type, shape or labels, an array larger than it may be.
    """
    headers = read_headers(path)
    layout = _layout(path, images, headers)
    numbers = _optional(path, labels, "labels", headers)
    names = _optional(path, classes, "classes", headers)
    indices, named = named_labels(
        None if numbers is None else _read_labels(path, numbers, headers[numbers]),
        layout.count,
        None if names is None or numbers is None else _read_names(path, names, headers[names]),
        f"{path}, array {numbers!r}",
    )
    offset = headers[images].offset
    return PictureArray(path, layout, indices, named, (path,), lambda: _member(path, images, offset))


def read_headers(path: Path) -> Mapping[str, Header]:
    """The header of every array in the npz file at ``path``. Raises DataError if it is no npz file."""
    with damage_named(path), open_file(path, "data.npz") as file:
        if not zipfile.is_zipfile(file):
            raise DataError(f"{path}: is no npz file. Write one with numpy.savez(path, images=images, labels=labels)")
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise DataError(
                    f"{path}: has at most {_MAX_MEMBERS} arrays; found {len(members)}. Is it the right file?"
                )
            return {info.filename.removesuffix(".npy"): _read_header(path, archive, info) for info in members}


def _read_header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    where = f"{path}, array {info.filename.removesuffix('.npy')!r}"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
        raise DataError(f"{where}: is packed in a way that numpy does not write. Save it anew with numpy.savez")
    check_can_unpack(info.file_size, info.compress_size, where)
    with archive.open(info) as packed:
        member = io.BytesIO(packed.read(_LONGEST_HEADER))
        try:
            version = np.lib.format.read_magic(member)
            if version not in _READERS:
                raise DataError(f"{where}: has a header of version {version}. Save it anew with numpy.savez")
            shape, fortran_order, dtype = _READERS[version](member)
            offset = member.tell()
        except DataError:
            raise
        except _NO_HEADER as error:
            reason = str(error).partition("\n")[0]
            raise DataError(f"{where}: is no array of numpy ({reason}). Save it anew with numpy.savez") from error
    return Header(shape, fortran_order, dtype, offset, info.file_size)


def _layout(path: Path, name: str, headers: Mapping[str, Header]) -> Layout:
    header, where = _find(path, name, "images", headers), f"{path}, array {name!r}"
    if header.dtype.hasobject:
        raise DataError(
            f"{where}: holds Python objects, as numpy makes of pictures of different sizes. Bring them to one size and "
            "save numpy.stack(images)"
        )
    if header.dtype != np.uint8:
        found = _describe(path, name, header) if header.dtype.kind == "f" else f"save {name}.astype('uint8')"
        raise DataError(f"{where}: pictures are uint8, 0 to 255; found {header.dtype}: {found}")
    if header.fortran_order and len(header.shape) > 1:
        raise DataError(f"{where}: lies column by column in the file. Save numpy.ascontiguousarray({name})")
    layout = Layout.of(header.shape, where)
    _check_bytes(header, MAX_ARRAY_BYTES, where)
    return layout


def _describe(path: Path, name: str, header: Header) -> str:
    """What the numbers of an array of floats look like, and so how to make pictures of them."""
    Layout.of(header.shape, f"{path}, array {name!r}")  # before a row is read: it may be as large as the file says
    _check_bytes(header, MAX_ARRAY_BYTES, f"{path}, array {name!r}")
    low, high = math.inf, -math.inf
    row_bytes = header.content_bytes // max(header.shape[0], 1) if header.shape else 0
    with damage_named(path), _member(path, name, header.offset) as stream:
        for row in range(header.shape[0] if row_bytes and not header.fortran_order else 0):
            values = np.frombuffer(stream.read(row_bytes), header.dtype)
            if not np.isfinite(values).all():
                return f"and picture {row} holds NaN or infinity. Correct it, then save uint8"
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if 0 <= low <= high <= 1:
        return f"from {low:g} to {high:g}: save ({name} * 255).round().astype('uint8')"
    if -1 <= low <= high <= 1:
        return f"from {low:g} to {high:g}: save (({name} + 1) * 127.5).round().astype('uint8')"
    return f"from {low:g} to {high:g}: bring them to 0 to 255 and save .round().astype('uint8')"


def _read_labels(path: Path, name: str, header: Header) -> np.ndarray:
    where = f"{path}, array {name!r}"
    if header.dtype.kind not in "iufb":
        raise DataError(f"{where}: labels are whole numbers; found the type {header.dtype}")
    return _read_small(path, name, header)


def _read_names(path: Path, name: str, header: Header) -> tuple[str, ...]:
    where = f"{path}, array {name!r}"
    if header.dtype.kind != "U" or len(header.shape) != 1 or header.dtype.itemsize > 4 * _LONGEST_NAME:
        raise DataError(
            f"{where}: the names of classes are one row of text, at most {_LONGEST_NAME} characters each; found "
            f"{header.dtype} {header.shape}. Save numpy.array(['cat', 'dog'])"
        )
    return tuple(_read_small(path, name, header).tolist())


def _read_small(path: Path, name: str, header: Header) -> np.ndarray:
    """An array of labels or names, whole."""
    _check_bytes(header, MAX_LABEL_BYTES, f"{path}, array {name!r}")
    with damage_named(path), _member(path, name, header.offset) as stream:
        content = stream.read(header.content_bytes + 1)
        values = np.frombuffer(content, header.dtype)
        return values.reshape(header.shape, order="F" if header.fortran_order else "C")


def _check_bytes(header: Header, limit: int, where: str) -> None:
    """Raise DataError unless the shape, what the zip's directory announces, and the limit agree."""
    if any(length < 0 for length in header.shape) or header.content_bytes != header.size - header.offset:
        raise DataError(
            f"{where}: a shape of {header.shape} takes {header.content_bytes:,} bytes; found "
            f"{header.size - header.offset:,}. Save it anew with numpy.savez"
        )
    if header.content_bytes > limit:
        raise DataError(f"{where}: has at most {limit:,} bytes unpacked; found {header.content_bytes:,}. Save less")


def _optional(path: Path, name: str | None, default: str, headers: Mapping[str, Header]) -> str | None:
    """The name of an array that may be missing, unless it was asked for by name."""
    if name is None:
        return default if default in headers else None
    _find(path, name, default, headers)
    return name


def _find(path: Path, name: str, role: str, headers: Mapping[str, Header]) -> Header:
    if name not in headers:
        there = ", ".join(sorted(headers)[:20]) or "none"
        raise DataError(
            f"{path}: has no array {name!r}; found {there}. Say which it is with data.keys: {{{role}: NAME}}"
        )
    return headers[name]


@contextmanager
def _member(path: Path, name: str, offset: int) -> Iterator[BinaryIO]:
    """The array ``name``, opened at its content. A zip never yields more than its directory announces."""
    with zipfile.ZipFile(path) as archive:
        there = archive.namelist()
        with archive.open(f"{name}.npy" if f"{name}.npy" in there else name) as member:
            member.read(offset)
            yield cast(BinaryIO, member)
