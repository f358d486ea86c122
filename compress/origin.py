"""Where a generator came from: a genotype, a factory with JSON arguments, or a bare ONNX file."""

from __future__ import annotations

import importlib
import inspect
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from benchmarks.inputs import InputSpec
from compress.errors import CompressError
from compress.plain import as_compress_error, plain_json, require_list
from search_spaces import get_space
from search_spaces.space import Genotype, ImageShape

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
        object.__setattr__(self, "arguments", plain_json("arguments", self.arguments))

    @classmethod
    def of_genotype(cls, space: str, genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> Origin:
        """Return the origin of a genotype, which is validated and made canonical by its space."""
        if not isinstance(space, str):
            raise CompressError(f"A space is named by a text, found {reprlib.repr(space)}. Correct it.")
        with as_compress_error():
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
        with as_compress_error():
            inputs = [InputSpec.from_json(spec) for spec in require_list("inputs", data["inputs"])]
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
        with as_compress_error():
            return get_space(self.space).build(self.genotype, self.inputs, self.image)


def is_own(origin: Origin) -> bool:
    """Whether building this origin runs our own code only."""
    return origin.kind != "factory" or re.split("[.:]", origin.factory)[0] in TRUSTED_PACKAGES


def _call_factory(origin: Origin, trust_code: bool) -> nn.Module:
    own = is_own(origin)
    if not (own or trust_code):
        raise CompressError(
            f"The factory {origin.factory} is code that would be imported and run. "
            "If you trust it, pass --trust-code (trust_code=True)."
        )
    path, _, name = origin.factory.partition(":")
    try:
        function = getattr(importlib.import_module(path), name)
    except Exception as error:  # a stranger's code may raise anything
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
    except Exception as error:  # a stranger's code may raise anything
        raise CompressError(
            f"The factory {origin.factory} refused its arguments: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(module, nn.Module):
        raise CompressError(f"A factory returns a torch module, {origin.factory} returned {type(module).__name__}.")
    return module
