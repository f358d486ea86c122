"""Files that are whole or not there, and readers that do not trust what they read.

Everything is written beside its destination and then renamed over it: whoever reads, at whatever moment, and
whatever was killed meanwhile, finds the old content or the new one.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.records import BenchmarkError

MAX_JSON_BYTES = 64 * 2**20


class FileError(BenchmarkError, ValueError):
    """A file that is missing, too large, damaged, or outside the folder it must stay in."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes ``path``'s place when the block ends without an error.

    For writers that take a path themselves (numpy, safetensors). It keeps the suffix, and folders above are made.
    After an error ``path`` is as it was, and nothing is left beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield beside
        _flush_to_disk(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with replacing(path) as beside:
        beside.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 with the line ends it has, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented JSON, whole or not at all.

    Raises:
        FileError: ``value`` holds a NaN, an infinity or a type that JSON does not know.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: only finite numbers, text, lists, mappings, true, false, null: {error}.") from error
    write_text(path, text + "\n")


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of ``path``.

    Raises:
        FileError: there is no such file, or it is larger than ``max_bytes``.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}.") from error
    if len(data) > max_bytes:
        raise FileError(f"{path}: at most {max_bytes:,} bytes are read, and it is larger. Is it the right file?")
    return data


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The JSON value in ``path``; NaN and infinities, which are not JSON, are refused.

    Raises:
        FileError: the file is missing, larger than ``max_bytes``, or not JSON; the message says where.
    """
    data = read_bytes(path, max_bytes)
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: is not JSON: {error}. Restore it, or delete it to have it made again.") from error


def sha256_bytes(data: bytes) -> str:
    """The SHA-256 of ``data``, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's content, read piece by piece.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}.") from error


def resolve_inside(root: Path, relative: str | Path) -> Path:
    """The absolute path of ``relative`` under ``root``, symbolic links followed.

    Raises:
        FileError: ``relative`` is absolute, leads out of ``root`` by ``..`` or by a link, or its links go in a circle.
    """
    text = str(relative)
    if not text or "\0" in text:
        raise FileError(f"a path inside {root} must be a name, not {text!r}.")
    try:
        base = Path(root).resolve()
        path = (base / text).resolve()
    except (OSError, RuntimeError) as error:  # links that lead to each other
        raise FileError(f"{text!r} inside {root} leads nowhere: {error}.") from error
    if Path(text).is_absolute() or not path.is_relative_to(base):
        raise FileError(f"{text!r} must be a relative path inside {base}, but leads to {path}. Copy the file there.")
    return path


def _flush_to_disk(path: Path) -> None:
    """Have the system write the content out before the rename, so that a power cut cannot leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
