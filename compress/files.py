"""The files that ship: float and int8, written by the careful exporter, and the proof that they draw the same."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.runtimes.onnx import generate, optimised_operators
from compress.diverging import first_divergence
from compress.errors import CompressError
from compress.export import AnyGenerator, Parity, compare_images, export_onnx, identity
from compress.generator import Generator
from compress.measure import FP32, INT8, calibration_inputs
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from compress.running import Array, run_module

PARITY_LIMIT = 1e-3  # of pixels in [-1, 1], float file against torch: an eighth of a grey level


def write_files(
    generator: AnyGenerator,
    folder: Path,
    *,
    opset: int,
    calibration_seed: tuple[int, ...],
    metadata: Mapping[str, str],
) -> dict[str, Path]:
    """Write ``model.onnx`` and, if the last edit is a quantization, ``model.int8.onnx``; return them by precision.

    Both exporters write the float file, and the one whose graph has fewer nodes when it runs is kept: the careful one
    where they are equal.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {FP32: folder / "model.onnx"}
    last = [QuantizeSettings.of_edit(edit) for edit in generator.edits if edit.kind == "quantize"]
    named = any(settings.exclude for settings in last)
    _write_float(generator.unquantized(), files[FP32], opset, metadata, as_compressed=named)
    for settings in last:
        files[INT8] = folder / "model.int8.onnx"
        rows = calibration_inputs(generator.inputs, calibration_seed)
        quantize(files[FP32], files[INT8], inputs=rows, settings=settings, metadata=identity(generator))
    return files


def _write_float(
    generator: AnyGenerator, path: Path, opset: int, metadata: Mapping[str, str], *, as_compressed: bool
) -> None:
    """Write the float file: the smaller graph of the two exporters', if the second can export this at all.

    ``as_compressed`` by the exporter of the steps: nodes left in float go by its names.
    """
    export_onnx(generator, path, opset=opset, fast=True, metadata=metadata)
    if as_compressed or not isinstance(generator, Generator):
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as aside:
        careful = Path(aside) / "model.onnx"
        with suppress(CompressError):
            export_onnx(generator, careful, opset=opset, fast=False, metadata=metadata)
        if careful.is_file() and _nodes(careful) <= _nodes(path):
            careful.replace(path)


def prove(
    generator: AnyGenerator, files: Mapping[str, Path], inputs: Mapping[str, Array], half_range: float = 1.0
) -> dict[str, Parity]:
    """Return by precision how far each file is from torch, or from the file that was given, on the same ``inputs``.

    Raises:
        CompressError: the float file differs by more than ``PARITY_LIMIT`` of half of the pictures' range.
    """
    found, source = {}, draw(generator, inputs)
    for name, path in files.items():
        found[name] = compare_images(source, generate(path, dict(inputs)))
        if name == FP32 and not found[name].max_abs <= PARITY_LIMIT * half_range:
            raise CompressError(
                f"{path} does not draw what it was made from: pixels differ by up to {found[name].max_abs:.2g}, "
                f"{PARITY_LIMIT * half_range:.2g} is allowed (worst: latent {found[name].worst} of the parity stream)"
                f"{_where(generator, path, inputs, found[name].worst)}; please report this with origin.json"
            )
    return found


def _where(generator: AnyGenerator, path: Path, inputs: Mapping[str, Array], worst: int) -> str:
    if not isinstance(generator, Generator):
        return ""
    row = {name: values[worst : worst + 1] for name, values in inputs.items()}
    return f": {first_divergence(generator.module, path, row)}"


def draw(generator: AnyGenerator, inputs: Mapping[str, Array]) -> Array:
    """Return what the generator itself draws, (n, C, H, W): torch its module, onnxruntime the file that was given."""
    if isinstance(generator, Generator):
        return run_module(generator.module, inputs)
    return generate(generator.file, dict(inputs))


def worst_pairs(
    generator: AnyGenerator, files: Mapping[str, Path], inputs: Mapping[str, Array], proofs: Mapping[str, Parity]
) -> list[tuple[Array, Array]]:
    """Return for each of ``proofs`` the pictures (C, H, W) of its worst latent: the source's, and the file's."""
    pairs = []
    for name, proof in proofs.items():
        row = {key: values[proof.worst : proof.worst + 1] for key, values in inputs.items()}
        pairs.append((draw(generator, row)[0], generate(files[name], row)[0]))
    return pairs


def _nodes(path: Path) -> int:
    return sum(optimised_operators(path).values())
