"""What a generator is fed: named inputs, and how to draw them.

The same specs stand in the experiment, in ``origin.json`` and in the metadata of the ONNX file, and everything that
needs inputs (training, calibration, timing, parity, a deployed program) draws them here.

A *prior* is JSON, one of::

    {"kind": "normal"}                                   standard normal
    {"kind": "uniform", "low": -1.0, "high": 1.0}        from low (included) to high
    {"kind": "integers", "low": 0, "high": 9}            both ends included; may have "weights", one a value
    {"kind": "bank", "file": "text.npz", "array": "t"}   rows of a stored array, (rows, *shape)
"""

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.files import FileError, resolve_inside
from benchmarks.records import BenchmarkError

Array = npt.NDArray[Any]

METADATA_KEY = "leangen.inputs"  # in the ONNX file's metadata: the JSON list of specs
DTYPES = ("float32", "float64", "float16", "int32", "int64", "bool")
MAX_RANK = 8
MAX_ELEMENTS = 2**28  # of one row of one input; 1 GiB in float32
MAX_BANK_BYTES = 2**32  # of the arrays in a bank, uncompressed

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_PRIOR_KEYS: Mapping[str, tuple[str, ...]] = {
    "normal": (),
    "uniform": ("low", "high"),
    "integers": ("low", "high"),
    "bank": ("file", "array"),
}
_OPTIONAL_KEYS: Mapping[str, tuple[str, ...]] = {"integers": ("weights",)}
MAX_WEIGHTS = 2**20
MAX_COVERING = 2**14  # rows; rarer classes than one in six thousand may be missed
_GOLDEN = (math.sqrt(5) - 1) / 2


class InputError(BenchmarkError, ValueError):
    """An input specification that breaks a rule, or a bank that does not fit it."""


@dataclass(frozen=True)
class InputSpec:
    """One named input of a generator.

    Args:
        name: Letters, digits and ``_ . : -``; also the name of ``forward``'s argument and of the ONNX input.
        shape: Without the batch axis, which is always first and dynamic: z ``(100,)``, a label ``()``.
        dtype: One of ``DTYPES``.
        prior: Where values come from, see above. Normal and uniform are for floats, integers for integers and bool.

    Raises:
        InputError: one of these rules is broken.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    prior: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "shape", _checked_shape(self.name, self.shape))
        if self.dtype not in DTYPES:
            raise InputError(f"input {self.name!r}: dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}.")
        object.__setattr__(self, "prior", _checked_prior(self.name, self.dtype, self.prior))

    def to_json(self) -> dict[str, Any]:
        """The spec in plain JSON types."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, "prior": dict(self.prior)}

    @classmethod
    def from_json(cls, value: Any) -> "InputSpec":
        """The spec that ``to_json`` wrote.

        Raises:
            InputError: ``value`` is not a mapping with exactly the four fields, or a field breaks its rule.
        """
        fields = {"name", "shape", "dtype", "prior"}
        if not isinstance(value, Mapping) or set(value) != fields:
            raise InputError(f"an input is a mapping of {', '.join(sorted(fields))}, not {_short(value)}.")
        return cls(value["name"], value["shape"], value["dtype"], value["prior"])


def dump_specs(specs: Sequence[InputSpec]) -> str:
    """The specs as the JSON text that belongs under ``METADATA_KEY``."""
    return json.dumps([spec.to_json() for spec in specs])


def load_specs(text: str) -> tuple[InputSpec, ...]:
    """The specs in the JSON text of ``dump_specs``.

    Raises:
        InputError: the text is not JSON, not a list, or a spec breaks a rule.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"inputs must be a JSON list of specifications, but the text is not JSON: {error}.") from error
    if not isinstance(values, list) or not values:
        raise InputError(f"inputs must be a JSON list of at least one specification, not {_short(values)}.")
    specs = tuple(InputSpec.from_json(value) for value in values)
    _check_distinct(specs)
    return specs


def draw_inputs(
    specs: Sequence[InputSpec], n: int, seed: int | Sequence[int], *, root: Path | None = None
) -> dict[str, Array]:
    """``n`` rows of every input, ``{name: (n, *shape)}``, the same for the same seed (and version of numpy).

    Each input has its own stream, made of the seed and its name: adding an input changes no other, and the first
    rows of a longer draw are the shorter draw. Inputs of one bank file share their row numbers, which are drawn
    with replacement. A single integer a row (a label) is drawn evenly: see ``_draw_integers``.

    Args:
        specs: Distinct names.
        n: Rows, 0 or more.
        seed: One whole number or several, e.g. (experiment's seed, step).
        root: The folder that bank files are looked for in, and confined to.

    Raises:
        InputError: a bank is missing, too large or does not fit its spec; two inputs have the same name; n < 0.
    """
    if n < 0:
        raise InputError(f"the number of rows to draw must be 0 or more, not {n}.")
    _check_distinct(specs)
    banks = _open_banks(specs, root)
    drawn = {}
    for spec in specs:
        if spec.prior["kind"] == "bank":
            rows = banks[spec.name]
            picks = _stream(seed, "bank", spec.prior["file"]).integers(0, len(rows), n)
            drawn[spec.name] = rows[picks].astype(spec.dtype, copy=False)
        else:
            drawn[spec.name] = _DRAW[spec.prior["kind"]](spec, n, _stream(seed, "input", spec.name))
    return drawn


def _draw_normal(spec: InputSpec, n: int, rng: np.random.Generator) -> Array:
    values = rng.standard_normal((n, *spec.shape), dtype=_working_dtype(spec))
    return values.astype(spec.dtype, copy=False)


def _draw_uniform(spec: InputSpec, n: int, rng: np.random.Generator) -> Array:
    low, high = spec.prior["low"], spec.prior["high"]
    values: Array = low + (high - low) * rng.random((n, *spec.shape), dtype=_working_dtype(spec))
    drawn: Array = values.astype(spec.dtype, copy=False)
    return drawn


def _draw_integers(spec: InputSpec, n: int, rng: np.random.Generator) -> Array:
    """Whole numbers, always drawn as int64, so that a narrower dtype sees the same.

    One number a row is drawn from the sequence (u + i * golden ratio) mod 1 with a random u, through the inverse of
    the cumulative weights: every value has its probability, and its count in n rows is within a few of n times that,
    so that scores, banks and calibration see every class (additive recurrence, Weyl 1916; by the three-gap theorem no
    value of a share above 2.62 / n is missed).
    """
    low, high, weights = spec.prior["low"], spec.prior["high"], spec.prior.get("weights")
    if spec.shape or (weights is None and high - low >= MAX_WEIGHTS):
        free: Array = rng.integers(low, high, (n, *spec.shape), dtype=np.int64, endpoint=True)
        return free.astype(spec.dtype, copy=False)
    places = (rng.random() + np.arange(n) * _GOLDEN) % 1.0
    shares = np.cumsum(np.ones(high - low + 1) if weights is None else np.asarray(weights, np.float64))
    values: Array = low + np.minimum(np.searchsorted(shares / shares[-1], places, side="right"), high - low)
    return values.astype(spec.dtype, copy=False)


def covering_rows(specs: Sequence[InputSpec], n: int) -> int:
    """Return ``n``, or more where a draw of n rows could miss a value of a weighted or whole-number input (a class)."""
    wanted = n
    for spec in specs:
        if spec.prior["kind"] == "integers" and not spec.shape and spec.prior["high"] - spec.prior["low"] < MAX_WEIGHTS:
            weights = spec.prior.get("weights") or [1.0] * (spec.prior["high"] - spec.prior["low"] + 1)
            rarest = min(weight for weight in weights if weight > 0) / sum(weights)
            wanted = max(wanted, min(math.ceil(2.62 / rarest), MAX_COVERING))
    return wanted


_DRAW: Mapping[str, Callable[[InputSpec, int, np.random.Generator], Array]] = {
    "normal": _draw_normal,
    "uniform": _draw_uniform,
    "integers": _draw_integers,
}


def _working_dtype(spec: InputSpec) -> type[np.float32] | type[np.float64]:
    return np.float64 if spec.dtype == "float64" else np.float32


def _stream(seed: int | Sequence[int], kind: str, name: str) -> np.random.Generator:
    """The random generator of one input: seeded with a hash, so that (1,) and (1, 0) or "a" and "b" never meet."""
    seeds = [int(seed)] if isinstance(seed, int | np.integer) else [int(part) for part in seed]
    digest = hashlib.sha256(json.dumps([seeds, kind, name]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _open_banks(specs: Sequence[InputSpec], root: Path | None) -> dict[str, Array]:
    """The stored array of every bank input; arrays of one file have the same number of rows."""
    arrays: dict[str, Array] = {}
    rows: dict[str, int] = {}
    for spec in (spec for spec in specs if spec.prior["kind"] == "bank"):
        if root is None:
            raise InputError(f"input {spec.name!r} comes from a bank, so the folder of the bank (root) must be given.")
        path = resolve_inside(root, spec.prior["file"])
        array = _bank_array(spec, path)
        if rows.setdefault(str(path), len(array)) != len(array):
            raise InputError(f"{path}: the arrays of a bank have one row each per draw, but their lengths differ.")
        arrays[spec.name] = array
    return arrays


def _bank_array(spec: InputSpec, path: Path) -> Array:
    try:
        status = path.stat()
    except OSError as error:
        raise FileError(f"{path}: the bank of input {spec.name!r} cannot be read: {error.strerror}.") from error
    array = _load_array(path, spec.prior["array"], (status.st_mtime_ns, status.st_size))
    if array.shape[1:] != spec.shape or not len(array):
        raise InputError(f"{path}: array {spec.prior['array']!r} must be (rows, *{spec.shape}), not {array.shape}.")
    if not np.can_cast(array.dtype, spec.dtype, "safe"):
        raise InputError(
            f"{path}: array {spec.prior['array']!r} is {array.dtype}, which does not fit {spec.dtype}. "
            f"Store it with astype({spec.dtype!r})."
        )
    return array


@lru_cache(maxsize=8)
def _load_array(path: Path, name: str, _stamp: tuple[int, int]) -> Array:
    """One array of a .npz file, read-only; kept, because training draws from it at every step.

    The stamp (time of change, size) is there so that a changed file is read again.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > MAX_BANK_BYTES:
            raise FileError(f"{path}: a bank holds at most {MAX_BANK_BYTES:,} bytes, this one {total:,}.")
        with np.load(path, allow_pickle=False) as bank:
            if name not in bank.files:
                raise InputError(f"{path}: has no array {name!r}, but {', '.join(bank.files) or 'none'}.")
            array: Array = bank[name]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, BenchmarkError):
            raise
        raise FileError(f"{path}: a bank is a .npz file of plain arrays; this one cannot be read: {error}.") from error
    if not array.ndim:
        raise InputError(f"{path}: array {name!r} must have a row axis, but is a single value.")
    array.flags.writeable = False
    return array


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"an input's name is 1 to 128 letters, digits or _ . : - (not first: . : -), not {name!r}.")


def _check_distinct(specs: Sequence[InputSpec]) -> None:
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"every input needs a name of its own, but {', '.join(twice)} occurs more than once.")


def _checked_shape(name: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not all(_is_int(size) for size in shape):
        raise InputError(f"input {name!r}: shape is a list of whole numbers, without the batch, not {_short(shape)}.")
    sizes = tuple(int(size) for size in shape)
    if len(sizes) > MAX_RANK or any(size < 1 for size in sizes) or math.prod(sizes) > MAX_ELEMENTS:
        raise InputError(
            f"input {name!r}: shape must have at most {MAX_RANK} axes, each of at least 1, "
            f"and {MAX_ELEMENTS:,} elements in all, not {sizes}."
        )
    return sizes


def _checked_prior(name: str, dtype: str, prior: object) -> dict[str, Any]:
    kind = prior.get("kind") if isinstance(prior, Mapping) else None
    if not isinstance(prior, Mapping) or not isinstance(kind, str) or kind not in _PRIOR_KEYS:
        raise InputError(f"input {name!r}: the prior's kind must be one of {', '.join(_PRIOR_KEYS)}: {_short(prior)}.")
    keys = {"kind", *_PRIOR_KEYS[kind]}
    if set(prior) - set(_OPTIONAL_KEYS.get(kind, ())) != keys:
        raise InputError(f"input {name!r}: a {kind} prior has exactly {', '.join(sorted(keys))}, not {_short(prior)}.")
    if kind in ("normal", "uniform") and not dtype.startswith("float"):
        raise InputError(f"input {name!r}: a {kind} prior needs a float dtype, not {dtype}. Use integers or a bank.")
    if kind == "uniform":
        _check_uniform(name, dtype, prior)
    if kind == "integers":
        _check_integers(name, dtype, prior)
    if kind == "bank" and not all(isinstance(prior[key], str) and prior[key] for key in ("file", "array")):
        raise InputError(f"input {name!r}: a bank's file and array are names, not {_short(prior)}.")
    return dict(prior)


def _check_uniform(name: str, dtype: str, prior: Mapping[str, Any]) -> None:
    low, high = prior["low"], prior["high"]
    largest = float(np.finfo(dtype).max)
    if not all(_is_int(end) or isinstance(end, float) for end in (low, high)) or not -largest <= low < high <= largest:
        raise InputError(f"input {name!r}: low must be below high, both finite in {dtype}, not {low!r} and {high!r}.")


def _check_integers(name: str, dtype: str, prior: Mapping[str, Any]) -> None:
    low, high = prior["low"], prior["high"]
    if dtype.startswith("float"):
        raise InputError(f"input {name!r}: an integers prior needs an integer dtype or bool, not {dtype}.")
    least, largest = (0, 1) if dtype == "bool" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if not (_is_int(low) and _is_int(high)) or not least <= low <= high <= largest:
        raise InputError(f"input {name!r}: low <= high, whole and within {dtype}, not {low!r} and {high!r}.")
    if "weights" in prior:
        _check_weights(name, prior["weights"], high - low + 1)


def _check_weights(name: str, weights: object, values: int) -> None:
    listed = isinstance(weights, list | tuple) and len(weights) == values <= MAX_WEIGHTS
    if not listed or not all((_is_int(w) or isinstance(w, float)) and 0 <= w < math.inf for w in weights):  # type: ignore[attr-defined]
        raise InputError(
            f"input {name!r}: weights are a list of one number from 0 for each of the {values:,} values (at most "
            f"{MAX_WEIGHTS:,}), not {_short(weights)}."
        )
    if not sum(weights) > 0:  # type: ignore[call-overload]
        raise InputError(f"input {name!r}: at least one weight must be above 0.")


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
