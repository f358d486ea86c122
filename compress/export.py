"""From a module with named inputs to one self-contained ONNX file, and the proof that both draw the same images."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from torch.jit._trace import TracerWarning

from benchmarks.files import write_bytes
from benchmarks.inputs import METADATA_KEY, InputSpec, dump_specs
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.onnx import generate
from compress.errors import CompressError
from compress.generator import Generator
from compress.onnx_generator import OnnxGenerator
from compress.rewrite import fold_batch_norm
from compress.running import Array, count_rows, evaluating, run_module

OUTPUT_NAME = "image"
MIN_PARITY_LATENTS = 64
_BATCH_AXIS = "batch"
_SAME = 1e-3  # of pixels in [-1, 1]
_TRACED_BATCH = 2  # not 1: a batch of one hides a forgotten batch axis


AnyGenerator = Generator | OnnxGenerator


def export_onnx(
    generator: AnyGenerator | nn.Module,
    path: Path,
    *,
    opset: int = 20,
    fast: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write ``generator`` as one ONNX file: named inputs, output "image", dynamic batch axis, static (C, H, W).

    Batch normalisation is folded into the weights where that is exact (``rewrite.fold_batch_norm``), the graph is
    checked, and the metadata say what the file is: ``leangen.inputs`` (JSON list of input specs) always,
    ``leangen.origin``, ``leangen.edits`` and ``leangen.id`` for a ``Generator``, and what ``metadata`` adds
    (``leangen.scores`` ...). The module is left as it was.

    Args:
        generator: A ``Generator``, or a module with ``.inputs`` whose forward takes them by name and returns
            (N, C, H, W) float32. Of an ``OnnxGenerator`` the float file is written, whatever the two options below.
        path: The file; written whole or not at all.
        opset: ONNX operator set.
        fast: The TorchScript exporter, about 50 ms, for candidates; False: the dynamo exporter and onnxslim, about
            2 s, for what ships. The first makes way to the second where it made a number of a size (``len(z)``). Both
            give the same optimised graph for the spaces of this project.
        metadata: More keys and values.

    Raises:
        CompressError: the module cannot be exported, or the file fails ``onnx.checker``.
    """
    if isinstance(generator, OnnxGenerator):
        generator.export(path, identity(generator) | dict(metadata or {}))
        return
    module = generator.module if isinstance(generator, Generator) else generator
    specs = _input_specs(generator)
    model = _trace(module, specs, opset=opset, fast=fast)
    if any(node.op_type == "Shape" for node in model.graph.node):  # sizes that forward() read hide what can be folded
        model = _slim(model)
    model = fold_batch_norm(model)
    if not fast:
        model = _slim(model)
    entries = {METADATA_KEY: dump_specs(specs)}
    if isinstance(generator, Generator):
        entries |= identity(generator)
    _set_metadata(model, entries | dict(metadata or {}))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CompressError(f"The exported graph is not valid ONNX: {error}. Try fast={not fast}.") from error
    write_bytes(Path(path), model.SerializeToString())


def identity(generator: AnyGenerator) -> dict[str, str]:
    """Return the metadata that say which generator a file is."""
    return {
        "leangen.origin": json.dumps(generator.origin.to_json()),
        "leangen.edits": json.dumps([edit.to_json() for edit in generator.edits]),
        "leangen.id": generator.id,
    }


@dataclass(frozen=True, slots=True)
class Parity:
    """How far onnxruntime is from torch over ``n`` latents.

    Args:
        max_abs: Largest absolute difference of any pixel (images are in [-1, 1]).
        psnr_db: 10 log10(2² / MSE) over all pixels, the range being 2; infinite if the two agree exactly.
        n: Latents compared.
        worst: Index of the latent with the largest difference.
    """

    max_abs: float
    psnr_db: float
    n: int
    worst: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; an infinite PSNR becomes null."""
        psnr = self.psnr_db if np.isfinite(self.psnr_db) else None
        return {"max_abs": self.max_abs, "psnr_db": psnr, "n": self.n, "worst": self.worst}


def parity(module: nn.Module, onnx_path: Path, inputs: Mapping[str, Array]) -> Parity:
    """Compare torch and onnxruntime on the same ``inputs``, one array (n, *shape) a name, n at least 64.

    Raises:
        CompressError: fewer than 64 latents, other shapes on the two sides, or a value that is not finite.
    """
    n = count_rows(inputs)
    if n < MIN_PARITY_LATENTS:
        raise CompressError(f"Parity needs at least {MIN_PARITY_LATENTS} latents, found {n}. Draw more inputs.")
    expected = run_module(module, inputs)
    found = generate(Path(onnx_path), dict(inputs))
    return compare_images(expected, found)


def compare_images(expected: Array, found: Array) -> Parity:
    """Return the ``Parity`` of two batches (n, C, H, W).

    Raises:
        CompressError: the shapes differ, or a value is not finite.
    """
    if expected.shape != found.shape:
        raise CompressError(
            f"Both runtimes must give the same shape, torch {expected.shape}, ONNX {found.shape}. Export again."
        )
    if not (np.isfinite(expected).all() and np.isfinite(found).all()):
        raise CompressError("Images must be finite, found NaN or infinity. Check the weights of the generator.")
    error = np.abs(expected.astype(np.float64) - found)
    per_latent = error.reshape(len(error), -1).max(axis=1)
    mse = float(np.mean(error**2))
    psnr = float(10 * np.log10(4 / mse)) if mse > 0 else float("inf")
    return Parity(float(per_latent.max()), psnr, len(error), int(per_latent.argmax()))


class _Positional(nn.Module):
    """Calls a module by keyword with positional arguments: both exporters name inputs by position."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *arguments: torch.Tensor) -> Any:
        return self.module(**dict(zip(self.names, arguments, strict=True)))


def _trace(module: nn.Module, specs: Sequence[InputSpec], *, opset: int, fast: bool) -> onnx.ModelProto:
    """Run the exporter; the graph has the input names of ``specs`` and a static image shape.

    A file of the quick exporter that took a number for a size (``len(z)``) draws other pictures, or none, at another
    batch: then the careful one is asked.
    """
    rows = _example(specs)
    wrapper = _Positional(module, tuple(rows))
    arguments = tuple(rows.values())
    with evaluating(wrapper), torch.no_grad(), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")  # deprecations inside torch's exporters, several per call, go nowhere
        shape = tuple(wrapper(*arguments).shape)
        if len(shape) != 4 or shape[0] != _TRACED_BATCH:
            raise CompressError(
                f"A generator returns (N, C, H, W), found {shape} for N = {_TRACED_BATCH}. Correct its forward."
            )
        try:
            model = (_torchscript if fast else _dynamo)(wrapper, arguments, opset)
            warned = fast and any(issubclass(one.category, TracerWarning) for one in told)
            if warned and not _draws_other_batches(model, wrapper, specs):
                model = _dynamo(wrapper, arguments, opset)
        except Exception as error:  # the exporters raise dozens of unrelated types
            raise CompressError(f"torch could not export this module: {error}. Try fast={not fast}.") from error
    _name_axes(model, shape)
    return model


def _example(specs: Sequence[InputSpec]) -> dict[str, torch.Tensor]:
    """Return rows of zeros for every input: enough to trace with, and bank files need not be there."""
    return {s.name: torch.from_numpy(np.zeros((_TRACED_BATCH, *s.shape), dtype=s.dtype)) for s in specs}


def _draws_other_batches(model: onnx.ModelProto, wrapper: _Positional, specs: Sequence[InputSpec]) -> bool:
    """Return whether the graph draws what torch draws with another number of rows than it was traced with."""
    count, rng = _TRACED_BATCH + 1, np.random.default_rng(0)
    rows = {s.name: np.zeros((count, *s.shape), dtype=s.dtype) for s in specs}
    rows |= {name: rng.normal(size=a.shape).astype(a.dtype) for name, a in rows.items() if a.dtype.kind == "f"}
    wanted = wrapper(*map(torch.from_numpy, rows.values())).numpy()
    try:
        found = generate(model.SerializeToString(), rows)
    except BenchmarkError:
        return False
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, atol=_SAME))


def _torchscript(wrapper: _Positional, arguments: tuple[torch.Tensor, ...], opset: int) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="leangen-export-") as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            wrapper,
            arguments,
            path,
            dynamo=False,
            opset_version=opset,
            input_names=list(wrapper.names),
            output_names=[OUTPUT_NAME],
            dynamic_axes={name: {0: _BATCH_AXIS} for name in (*wrapper.names, OUTPUT_NAME)},
        )
        return onnx.load_model(path)


def _dynamo(wrapper: _Positional, arguments: tuple[torch.Tensor, ...], opset: int) -> onnx.ModelProto:
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # torch writes tracebacks of what it raises, and that torchvision is not installed
    try:
        program = torch.onnx.export(
            _captured(wrapper, arguments),
            (),
            dynamo=True,
            opset_version=opset,
            input_names=list(wrapper.names),
            output_names=[OUTPUT_NAME],
            external_data=False,
            verbose=False,
        )
    finally:
        logging.disable(disabled)
    assert program is not None
    return program.model_proto


def _captured(wrapper: _Positional, arguments: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """Return the program of any batch: by running Python, or where that makes numbers of sizes, by reading bytecode.

    (Left to itself, ``torch.onnx.export`` goes on to a draft in which the batch is the traced one.)
    """
    batch = torch.export.Dim(_BATCH_AXIS)
    shapes = (tuple({0: batch} for _ in arguments),)  # of the one variadic parameter
    try:
        return torch.export.export(wrapper, arguments, dynamic_shapes=shapes, strict=False)
    except Exception:  # noqa: BLE001  of many types; what the other way raises is told
        return torch.export.export(wrapper, arguments, dynamic_shapes=shapes, strict=True)


def _name_axes(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    """Call the batch axis of inputs and output by one name, and write the image's own axes as numbers."""
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = _BATCH_AXIS
    output = model.graph.output[0].type.tensor_type.shape
    for axis, size in zip(output.dim[1:], shape[1:], strict=True):
        axis.dim_value = size


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model after onnxslim, which removes what a runtime would fold anyway."""
    import onnxslim

    slimmed = onnxslim.slim(model)
    assert isinstance(slimmed, onnx.ModelProto)
    return slimmed


def _set_metadata(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(entries))


def _input_specs(generator: Generator | nn.Module) -> tuple[InputSpec, ...]:
    specs = tuple(getattr(generator, "inputs", ()))
    if not specs or not all(isinstance(spec, InputSpec) for spec in specs):
        raise CompressError(
            f"{type(generator).__name__} does not say what it takes. Give it `.inputs`, a tuple of InputSpec, "
            "or wrap it: Generator.from_factory(...)."
        )
    return specs
