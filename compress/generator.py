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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from benchmarks.files import read_json, resolve_inside, sha256_bytes, write_bytes, write_json
from benchmarks.inputs import InputSpec
from compress.edits import EDITS, Edit, apply_edits, check_order, read_edits
from compress.errors import CompressError
from compress.origin import Origin, is_own
from compress.plain import as_compress_error, canonical_json
from search_spaces.space import Genotype, ImageShape

__all__ = ["EDITS", "Edit", "Generator", "Origin", "apply_edits", "generator_id"]

ORIGIN_FILE, EDITS_FILE, WEIGHTS_FILE = "origin.json", "edits.json", "weights.safetensors"
MAX_ORIGIN_BYTES = 2**20
MAX_EDITS_BYTES = 2**24


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
        check_order((*self.edits, edit))
        return Generator(self.origin, (*self.edits, edit), apply_edits(copy.deepcopy(self.module), [edit]))

    def unquantized(self) -> Generator:
        """Return the generator of the float file: this one without its quantization, which changes no module."""
        return replace(self, edits=tuple(edit for edit in self.edits if edit.kind != "quantize"))

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
        with _about(folder / WEIGHTS_FILE), as_compress_error():
            weights = resolve_inside(folder, WEIGHTS_FILE)
            if is_own(origin):
                with torch.device("meta"):  # shapes only: what the JSON asks for must be in the weights file first
                    _check_weights(weights, _rebuilt(folder, origin, edits, trust_code=False))
            with torch.random.fork_rng(devices=()):  # loading must not move the caller's random numbers
                module = _rebuilt(folder, origin, edits, trust_code=trust_code)
            load_weights(weights, module)
        return cls(origin, edits, module)


def generator_id(origin: Origin, edits: Iterable[Edit]) -> str:
    """Return twelve hexadecimal digits of the SHA-256 of the canonical JSON of origin and edits."""
    return sha256_bytes(canonical_json([origin.to_json(), [edit.to_json() for edit in edits]]).encode())[:12]


def load_weights(path: Path, module: nn.Module) -> None:
    """Fill ``module`` with the tensors of a safetensors file.

    Raises:
        CompressError: names, shapes or types differ; without the file's name. Nothing is read then.
    """
    _check_weights(path, module)
    module.load_state_dict(safetensors.torch.load_file(path), strict=True)


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
    with as_compress_error():
        return read_json(resolve_inside(folder, name), max_bytes)


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """Begin messages with the file they are about, once."""
    try:
        yield
    except CompressError as error:
        text = str(error)
        raise CompressError(text if str(path.parent) in text else f"{path}: {text}") from error
