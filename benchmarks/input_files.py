"""Inputs from a file: for models that are timed on data of the user's own choice."""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from benchmarks.files import FileError
from benchmarks.graph import ModelError, Port
from benchmarks.inputs import MAX_BANK_BYTES, InputError, InputSpec
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.ports import by_name, check_inputs

Array = npt.NDArray[Any]

_SUFFIX = ".npy"
_NUMBERS = "biuf"  # numpy's kinds of booleans, integers and floats
_ADVICE = "Write it with numpy.savez(path, name=array, ...)."

# What reading a damaged or hostile .npz file raises; tokenize: numpy reads headers of Python 2 so.
_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
    tokenize.TokenError,
)


class _Header(NamedTuple):
    """What a file says of an array in it."""

    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"


def load_inputs(path: Path, specs: Sequence[InputSpec | Port] | None = None) -> dict[str, Array]:
    """The arrays of a .npz file (``numpy.savez(path, z=z, label=label)``), ``{name: (rows, *shape)}``.

    Names, shapes, dtypes and sizes are checked by the file's headers before an array is read; the values are not.

    Args:
        path: One array for each input, under its name.
        specs: What the model takes: its ``InputSpec``s, or the ports of its graph where nothing else is known of it.
            None leaves it to the runner whether names, shapes and dtypes fit.

    Raises:
        FileError: the file cannot be read, is no .npz file of plain arrays, or holds more than ``MAX_BANK_BYTES``.
        InputError: its arrays are not those that the model takes, or their numbers of rows differ.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, path)
            headers = {name: _read_header(archive, entry) for name, entry in entries.items()}
            if specs is not None:
                _check(by_name(_port(spec) for spec in specs), headers, path)
            return {name: _read_array(archive, entry, headers[name].dtype) for name, entry in entries.items()}
    except BenchmarkError:
        raise
    except _DAMAGED as error:
        raise FileError(f"{path}: cannot be read as a .npz file of plain arrays: {error}. {_ADVICE}") from error


def _port(spec: InputSpec | Port) -> Port:
    return spec if isinstance(spec, Port) else Port(spec.name, spec.dtype, (None, *spec.shape))


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays in the file by name, if it is not too large."""
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > MAX_BANK_BYTES:
        raise FileError(f"{path}: inputs may have at most {MAX_BANK_BYTES:,} bytes, these have {total:,}.")
    odd = [member.filename for member in members if not member.filename.endswith(_SUFFIX)]
    entries = {member.filename.removesuffix(_SUFFIX): member for member in members}
    if odd or len(entries) != len(members):
        raise FileError(f"{path}: holds {', '.join(odd) or 'a name twice'}, which is no array. {_ADVICE}")
    return entries


def _read_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Header:
    """What the file says of an array; its size is as told, so that reading it takes no more memory than that."""
    with archive.open(entry) as member:
        version = npy.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{entry.filename} has the format {version}, which plain arrays do not need")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(member)
        content = entry.file_size - member.tell()
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"{entry.filename} is {dtype}, but inputs are numbers or booleans")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != content:
        raise ValueError(f"{entry.filename} has {content:,} bytes of content, which is not {dtype} {shape}")
    return _Header(shape, dtype.newbyteorder("="))


def _check(ports: dict[str, Port], headers: dict[str, _Header], path: Path) -> None:
    if set(headers) != set(ports):
        found = ", ".join(headers) or "none"
        raise InputError(f"{path}: must hold the arrays {', '.join(ports)}, one for each input, but holds {found}.")
    try:
        check_inputs(ports, headers, str(path))
    except ModelError as error:
        raise InputError(str(error)) from error


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, dtype: "np.dtype[Any]") -> Array:
    with archive.open(entry) as member:
        stored: Array = npy.read_array(member, allow_pickle=False)
    return np.ascontiguousarray(stored, dtype=dtype)
