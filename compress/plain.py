"""Plain JSON: what origins, edits and settings are made of, and the only thing read from a stranger's folder."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.records import BenchmarkError
from compress.errors import CompressError
from search_spaces.space import SearchSpaceError


def canonical_json(value: object) -> str:
    """Return ``value`` as JSON with sorted keys and no spaces.

    Raises:
        CompressError: it holds NaN, an infinity, a type that JSON does not know, or is nested too deeply.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CompressError(
            f"Only finite numbers, text, lists and objects can be recorded as JSON: {error}."
        ) from error


def require_list(name: str, value: object) -> list[Any]:
    """Return ``value`` if it is a list, else raise a ``CompressError`` that calls it ``name``."""
    if not isinstance(value, list):
        raise CompressError(f"{name} must be a list, found {reprlib.repr(value)}. Correct it.")
    return value


def plain_json(name: str, value: object) -> dict[str, Any]:
    """Return a deep copy of a mapping as JSON gives it back: tuples are lists, keys are text."""
    if not isinstance(value, Mapping):
        raise CompressError(f"The {name} must be a JSON object, found {reprlib.repr(value)}. Correct it.")
    plain = json.loads(canonical_json(dict(value)))
    assert isinstance(plain, dict)
    return plain


@contextmanager
def as_compress_error() -> Iterator[None]:
    """Errors of the rooms below become ours: they say already what to do."""
    try:
        yield
    except (SearchSpaceError, BenchmarkError) as error:
        raise CompressError(str(error)) from error
