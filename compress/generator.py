"""A generator is origin + edits + weights.

The *origin* says where the module came from: a genotype of a search space, a factory with JSON arguments, or a bare
ONNX file. The *edits* are what was done to it since, in order and replayable. The weights are safetensors. The three
rebuild any module, pruned or rewritten, ours or a stranger's, without unpickling anything; the id is a hash of the
first two.

    generator = Generator.from_genotype("decoder", genotype, inputs, image)
    generator = prune(generator, 0.25)           # a new generator with one more edit
    generator.save(folder); same = Generator.load(folder)
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import json
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import nn

from benchmarks.files import read_json, resolve_inside, sha256_bytes, write_bytes, write_json
from benchmarks.inputs import InputSpec
from benchmarks.records import BenchmarkError
from compress.errors import CompressError
from search_spaces import get_space
from search_spaces.channels import keep_channels
from search_spaces.space import Genotype, ImageShape, SearchSpaceError

ORIGIN_FILE, EDITS_FILE, WEIGHTS_FILE = "origin.json", "edits.json", "weights.safetensors"
MAX_ORIGIN_BYTES = 2**20
MAX_EDITS_BYTES = 2**24
MAX_EDITS = 256

TRUSTED_PACKAGES = ("search_spaces",)
"""Factories defined here are called without ``trust_code``: they build modules from JSON and touch no file."""

_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Origin:
    """Where a module came from; made by ``of_genotype``, ``of_factory`` or ``of_onnx``, which fill what their kind has.

    Args:
        kind: Which of the fields below count.
        space: "genotype": name of the search space.
        genotype: "genotype": in canonical form.
        image: "genotype": shape of one image.
        factory: "factory": ``package.module:function``, called with ``arguments``.
        arguments: "factory": plain JSON. A function with a parameter ``inputs`` gets the inputs as JSON besides.
        inputs: All but "onnx": what the generator takes.
        sha256: "onnx": of the file. There is no module to build.

    Raises:
        CompressError: a field of this kind is missing or malformed.
    """

    kind: Literal["genotype", "factory", "onnx"]
    space: str = ""
    genotype: Genotype = field(default_factory=dict)
    image: ImageShape | None = None
    factory: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[InputSpec, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.kind == "factory" and not (isinstance(self.factory, str) and _FACTORY.fullmatch(self.factory)):
            raise CompressError(f"A factory is written package.module:function, found {reprlib.repr(self.factory)}.")
        if self.kind == "onnx" and not (isinstance(self.sha256, str) and _SHA256.fullmatch(self.sha256)):
            raise CompressError(f"A sha256 is 64 hexadecimal digits, found {reprlib.repr(self.sha256)}.")
        if self.kind != "onnx" and not self.inputs:
            raise CompressError("A generator has at least one named input, found none. Give its input specs.")
        object.__setattr__(self, "arguments", _plain_json("arguments", self.arguments))

    @classmethod
    def of_genotype(cls, space: str, genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> Origin:
        """Return the origin of a genotype, which is validated and made canonical by its space."""
        if not isinstance(space, str):
            raise CompressError(f"A space is named by a text, found {reprlib.repr(space)}. Correct it.")
        with _as_compress_error():
            canonical = get_space(space).validate(genotype)
        return cls("genotype", space=space, genotype=canonical, inputs=tuple(inputs), image=image)

    @classmethod
    def of_factory(cls, factory: str, arguments: Mapping[str, Any], inputs: Sequence[InputSpec]) -> Origin:
        """Return the origin of what ``package.module:function`` returns for these arguments."""
        return cls("factory", factory=factory, arguments=arguments, inputs=tuple(inputs))

    @classmethod
    def of_onnx(cls, sha256: str) -> Origin:
        """Return the origin of a bare ONNX file."""
        return cls("onnx", sha256=sha256)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of this kind as plain JSON types."""
        if self.kind == "onnx":
            return {"kind": self.kind, "sha256": self.sha256}
        inputs = [spec.to_json() for spec in self.inputs]
        if self.kind == "factory":
            return {"kind": self.kind, "factory": self.factory, "arguments": dict(self.arguments), "inputs": inputs}
        assert self.image is not None
        image = self.image.to_json()
        return {
            "kind": self.kind,
            "space": self.space,
            "genotype": dict(self.genotype),
            "inputs": inputs,
            "image": image,
        }

    @classmethod
    def from_json(cls, data: object) -> Origin:
        """Read what ``to_json`` wrote; nothing is imported or built.

        Raises:
            CompressError: an unknown kind, a missing or surplus field, or a value that breaks its rule.
        """
        fields = {
            "genotype": {"kind", "space", "genotype", "inputs", "image"},
            "factory": {"kind", "factory", "arguments", "inputs"},
            "onnx": {"kind", "sha256"},
        }
        kind = data.get("kind") if isinstance(data, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(kind, str) or kind not in fields:
            raise CompressError(
                f"An origin's kind is one of {', '.join(fields)}, found {reprlib.repr(kind)}. Correct it."
            )
        if set(data) != fields[kind]:
            wanted, found = ", ".join(sorted(fields[kind])), reprlib.repr(sorted(map(str, data)))
            raise CompressError(f"An origin of kind {kind} has exactly the fields {wanted}; found {found}. Correct it.")
        if kind == "onnx":
            return cls.of_onnx(data["sha256"])
        with _as_compress_error():
            inputs = [InputSpec.from_json(spec) for spec in _list("inputs", data["inputs"])]
            if kind == "factory":
                return cls.of_factory(data["factory"], data["arguments"], inputs)
            return cls.of_genotype(data["space"], data["genotype"], inputs, ImageShape.from_json(data["image"]))

    def build(self, *, trust_code: bool = False) -> nn.Module:
        """Return a new module with the random weights of torch's global state.

        Raises:
            CompressError: a factory outside ``TRUSTED_PACKAGES`` without ``trust_code``, one that cannot be imported
                or called or returns no module, inputs that the space does not take, or a bare ONNX file.
        """
        if self.kind == "onnx":
            raise CompressError("A bare ONNX file has no module to rebuild. Keep the file itself, or give a factory.")
        if self.kind == "factory":
            return _call_factory(self, trust_code)
        assert self.image is not None
        with _as_compress_error():
            return get_space(self.space).build(self.genotype, self.inputs, self.image)


@dataclass(frozen=True)
class Edit:
    """One recorded change of a module: a key of ``EDITS`` and its settings, plain JSON.

    Raises:
        CompressError: an unknown kind, or settings that are not a JSON object.
    """

    kind: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in EDITS:
            raise CompressError(f"Kinds of edits are {', '.join(EDITS)}; found {reprlib.repr(self.kind)}. Correct it.")
        object.__setattr__(self, "settings", _plain_json(f"settings of the edit {self.kind}", self.settings))

    def to_json(self) -> dict[str, Any]:
        """Return ``{"kind", "settings"}``."""
        return {"kind": self.kind, "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, data: object) -> Edit:
        """Read what ``to_json`` wrote.

        Raises:
            CompressError: it is no such object, or a field breaks its rule.
        """
        if not isinstance(data, Mapping) or set(data) != {"kind", "settings"}:
            raise CompressError(f"An edit is an object with kind and settings, found {reprlib.repr(data)}. Correct it.")
        return cls(data["kind"], data["settings"])


EditFunction = Callable[[nn.Module, Mapping[str, Any]], nn.Module]
"""Applies an edit, in place or not, and returns the edited module; settings may come from a hostile file."""


def _apply_prune(module: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Keep the channels in ``{"kept": {group: [indices]}}``."""
    kept = settings.get("kept")
    if set(settings) != {"kept"} or not isinstance(kept, dict) or not all(isinstance(v, list) for v in kept.values()):
        raise CompressError(f"The edit prune is {{'kept': {{group: [indices]}}}}, found {reprlib.repr(settings)}.")
    keep_channels(module, kept)
    return module


_QUANTIZE_SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "target": str,
    "per_channel": bool,
    "calibration_seed": (int, list),
    "calibration_rows": int,
    "exclude": list,
}


def _apply_quantize(module: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Return the module as it is: quantization is applied to the exported graph (``quantize.quantize``)."""
    for name, kind in _QUANTIZE_SETTINGS.items():
        if not isinstance(settings.get(name), kind):
            raise CompressError(f"The edit quantize lacks a proper {name!r}, found {reprlib.repr(settings.get(name))}.")
    if surplus := set(settings) - set(_QUANTIZE_SETTINGS):
        raise CompressError(f"The edit quantize has {', '.join(_QUANTIZE_SETTINGS)}; remove {sorted(surplus)}.")
    return module


EDITS: dict[str, EditFunction] = {"prune": _apply_prune, "quantize": _apply_quantize}
"""Kind -> function. Register a further kind here before a file that uses it is read."""


@dataclass(frozen=True, eq=False)
class Generator:
    """A module and how it came to be. The module's weights may be trained further; its shape changes by edits only.

    Args:
        origin: Where the module came from.
        edits: What was done to it since, in order.
        module: The result; forward(**named inputs) -> (N, C, H, W) float32 in [-1, 1].
    """

    origin: Origin
    edits: tuple[Edit, ...]
    module: nn.Module

    @classmethod
    def from_genotype(
        cls, space_name: str, genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape
    ) -> Generator:
        """Return the untrained generator of a genotype.

        Raises:
            CompressError: no such space, not one of its genotypes, or inputs or an image that it cannot take.
        """
        origin = Origin.of_genotype(space_name, genotype, inputs, image)
        return cls(origin, (), origin.build())

    @classmethod
    def from_factory(
        cls, factory: str, arguments: Mapping[str, Any], inputs: Sequence[InputSpec], *, trust_code: bool = False
    ) -> Generator:
        """Return what ``package.module:function`` makes; see ``Origin.build`` for the errors."""
        origin = Origin.of_factory(factory, arguments, inputs)
        return cls(origin, (), origin.build(trust_code=trust_code))

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of origin and edits; weights do not count."""
        return generator_id(self.origin, self.edits)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What the generator takes."""
        return self.origin.inputs

    def build(self) -> nn.Module:
        """Return a new module of the same shape with new random weights: the origin, and the edits again."""
        # The factory has run in this process already, so it was trusted when this generator was made.
        return apply_edits(self.origin.build(trust_code=True), self.edits)

    def with_edit(self, edit: Edit) -> Generator:
        """Return a generator with one more edit, applied to a copy; this one stays as it is.

        Raises:
            CompressError: the edit does not fit, or follows a quantization, which is always the last.
        """
        _check_order((*self.edits, edit))
        return Generator(self.origin, (*self.edits, edit), apply_edits(copy.deepcopy(self.module), [edit]))

    def save(self, folder: Path) -> None:
        """Write ``origin.json``, ``edits.json`` and ``weights.safetensors``; each whole or not at all.

        The weights are written last: a folder that was cut short has new JSON beside old weights, which ``load``
        refuses unless they fit.
        """
        # Cloned: safetensors refuses tensors that share memory (tied weights), and loading fills both anyway.
        state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in self.module.state_dict().items()}
        write_json(Path(folder) / ORIGIN_FILE, self.origin.to_json())
        write_json(Path(folder) / EDITS_FILE, [edit.to_json() for edit in self.edits])
        write_bytes(Path(folder) / WEIGHTS_FILE, safetensors.torch.save(state))

    @classmethod
    def load(cls, folder: Path, trust_code: bool = False) -> Generator:
        """Rebuild the generator that ``save`` wrote, on the CPU.

        The folder may be hostile: sizes are limited, no code outside ``TRUSTED_PACKAGES`` is imported, and unless
        such code was asked for, nothing of a size that the weights file itself does not have is allocated.

        Args:
            folder: What ``save`` wrote.
            trust_code: Import and call a factory that ``origin.json`` names, wherever it lies.

        Raises:
            CompressError: a file is missing, damaged, or does not fit the others; names the file and the remedy.
        """
        folder = Path(folder)
        with _about(folder / ORIGIN_FILE):
            origin = Origin.from_json(_read(folder, ORIGIN_FILE, MAX_ORIGIN_BYTES))
        with _about(folder / EDITS_FILE):
            edits = read_edits(_read(folder, EDITS_FILE, MAX_EDITS_BYTES))
        with _about(folder / WEIGHTS_FILE), _as_compress_error():
            weights = resolve_inside(folder, WEIGHTS_FILE)
            if _is_own(origin):
                with torch.device("meta"):  # shapes only: what the JSON asks for must be in the weights file first
                    _check_weights(weights, _rebuilt(folder, origin, edits, trust_code=False))
            with torch.random.fork_rng(devices=()):  # loading must not move the caller's random numbers
                module = _rebuilt(folder, origin, edits, trust_code=trust_code)
            _check_weights(weights, module)
            module.load_state_dict(safetensors.torch.load_file(weights), strict=True)
        return cls(origin, edits, module)


def generator_id(origin: Origin, edits: Iterable[Edit]) -> str:
    """Return twelve hexadecimal digits of the SHA-256 of the canonical JSON of origin and edits."""
    return sha256_bytes(canonical_json([origin.to_json(), [edit.to_json() for edit in edits]]).encode())[:12]


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


def apply_edits(module: nn.Module, edits: Iterable[Edit]) -> nn.Module:
    """Return ``module`` after these edits, in order; it may have been changed in place.

    Raises:
        CompressError: an edit does not fit the module.
    """
    for edit in edits:
        try:
            module = EDITS[edit.kind](module, edit.settings)
        except SearchSpaceError as error:
            raise CompressError(f"The edit {edit.kind} does not fit this generator: {error}") from error
    return module


def read_edits(data: object) -> tuple[Edit, ...]:
    """Return the edits in a JSON list; nothing is applied.

    Raises:
        CompressError: no list, more than ``MAX_EDITS``, a malformed edit, or one after a quantization.
    """
    values = _list("edits", data)
    if len(values) > MAX_EDITS:
        raise CompressError(f"A generator has at most {MAX_EDITS} edits, found {len(values)}. Is it the right file?")
    edits = tuple(Edit.from_json(value) for value in values)
    _check_order(edits)
    return edits


def _check_order(edits: Sequence[Edit]) -> None:
    late = [edit.kind for before, edit in itertools.pairwise(edits) if before.kind == "quantize"]
    if late:
        raise CompressError(f"Quantization is the last edit, found {late[0]} behind it. Edit first, then quantize.")


def _is_own(origin: Origin) -> bool:
    """Whether building this origin runs our own code only."""
    return origin.kind != "factory" or re.split("[.:]", origin.factory)[0] in TRUSTED_PACKAGES


def _call_factory(origin: Origin, trust_code: bool) -> nn.Module:
    own = _is_own(origin)
    if not (own or trust_code):
        raise CompressError(
            f"The factory {origin.factory} is code that would be imported and run. "
            "If you trust it, pass --trust-code (trust_code=True)."
        )
    path, _, name = origin.factory.partition(":")
    try:
        function = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError) as error:
        raise CompressError(
            f"The factory {origin.factory} cannot be imported: {error}. Is it on PYTHONPATH?"
        ) from error
    # Our modules import others: a name in them need not be a function of ours.
    if own and not (inspect.isfunction(function) and function.__module__ == path):
        raise CompressError(
            f"{origin.factory} is not a function defined in {path}. Name the factory where it is defined."
        )
    arguments = dict(origin.arguments)
    try:
        if "inputs" in inspect.signature(function).parameters and "inputs" not in arguments:
            arguments["inputs"] = [spec.to_json() for spec in origin.inputs]
        module = function(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CompressError(f"The factory {origin.factory} refused its arguments: {error}.") from error
    if not isinstance(module, nn.Module):
        raise CompressError(f"A factory returns a torch module, {origin.factory} returned {type(module).__name__}.")
    return module


def _rebuilt(folder: Path, origin: Origin, edits: tuple[Edit, ...], *, trust_code: bool) -> nn.Module:
    with _about(folder / ORIGIN_FILE):
        module = origin.build(trust_code=trust_code)
    with _about(folder / EDITS_FILE):
        return apply_edits(module, edits)


_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def _check_weights(path: Path, module: nn.Module) -> None:
    """Compare names, shapes and types with the file's header, before a tensor is read."""
    expected = {name: (tuple(t.shape), _DTYPES.get(t.dtype, str(t.dtype))) for name, t in module.state_dict().items()}
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  it is not a dict
            found = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise CompressError(f"It is not a readable safetensors file: {error}. Restore it or train again.") from error
    if missing := sorted(set(expected) - set(found)):
        raise CompressError(f"It lacks {len(missing)} tensors, the first is {missing[0]!r}. Restore it or train again.")
    if surplus := sorted(set(found) - set(expected)):
        raise CompressError(
            f"It has {len(surplus)} tensors too many, the first is {surplus[0]!r}. Is it the right file?"
        )
    for name, wanted in expected.items():
        if found[name] != wanted:
            raise CompressError(
                f"The tensor {name!r} must be {wanted[1]} {wanted[0]} after origin and edits, found {found[name][1]} "
                f"{found[name][0]}. The three files belong together: restore all of them."
            )


def _read(folder: Path, name: str, max_bytes: int) -> Any:
    with _as_compress_error():
        return read_json(resolve_inside(folder, name), max_bytes)


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise CompressError(f"{name} must be a list, found {reprlib.repr(value)}. Correct it.")
    return value


def _plain_json(name: str, value: object) -> dict[str, Any]:
    """Return a deep copy of a mapping as JSON gives it back: tuples are lists, keys are text."""
    if not isinstance(value, Mapping):
        raise CompressError(f"The {name} must be a JSON object, found {reprlib.repr(value)}. Correct it.")
    plain = json.loads(canonical_json(dict(value)))
    assert isinstance(plain, dict)
    return plain


@contextmanager
def _as_compress_error() -> Iterator[None]:
    """Errors of the rooms below become ours: they say already what to do."""
    try:
        yield
    except (SearchSpaceError, BenchmarkError) as error:
        raise CompressError(str(error)) from error


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Begin messages with the file they are about, once."""
    try:
        yield
    except CompressError as error:
        text = str(error)
        raise CompressError(text if str(path.parent) in text else f"{path}: {text}") from error
