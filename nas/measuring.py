"""Latency of generators: every variant that may ship is exported, and timed in pairs with the reference's fastest file."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.paired import measure_interleaved
from benchmarks.records import Ratio
from benchmarks.runtimes.onnx import OnnxRunner
from benchmarks.statistics import ratio, summarize
from compress.export import export_onnx
from compress.generator import Generator
from compress.quantize import quantize
from nas.experiment import TargetConfig
from nas.seeds import Stream

Inputs = Mapping[str, NDArray[np.generic]]

CALIBRATION = 64  # pictures; ranges of a candidate's activations settle well below that
FP32, INT8 = "fp32", "int8"


@dataclass(frozen=True, slots=True)
class Timing:
    """A variant's paired ratio to the reference's fastest own file, and its precision."""

    precision: str
    ratio: Ratio

    def to_json(self) -> dict[str, Any]:
        """Return what records hold."""
        return {"value": self.ratio.value, "ci95": list(self.ratio.ci95), "precision": self.precision}


def calibration(inputs: tuple[InputSpec, ...], seed: int, n: int = CALIBRATION) -> dict[str, NDArray[np.generic]]:
    """Return the inputs that activations are calibrated on, drawn from their priors."""
    return draw_inputs(inputs, n, (seed, Stream.CALIBRATION))


def export_variants(generator: Generator, folder: Path, seed: int, *, opset: int, fast: bool = True) -> dict[str, Path]:
    """Write ``model.onnx`` and ``model.int8.onnx`` of ``generator`` to ``folder`` and return them by precision."""
    files = {FP32: folder / "model.onnx", INT8: folder / "model.int8.onnx"}
    export_onnx(generator, files[FP32], opset=opset, fast=fast)
    samples = calibration(generator.inputs, seed)
    quantize(files[FP32], files[INT8], inputs=samples, per_channel=False, target="onnxruntime")
    return files


def runner(path: Path, inputs: tuple[InputSpec, ...], target: TargetConfig, seed: int, batch: int | None = None) -> OnnxRunner:
    """Return a runner of ``path`` as the target will run it."""
    values = draw_inputs(inputs, batch or target.batch, (seed, Stream.TIMING))
    return OnnxRunner(path, values, threads=target.threads, device=target.device)


def time_against(
    reference: Path, files: Mapping[str, Path], inputs: tuple[InputSpec, ...], target: TargetConfig,
    *, seconds: float, seed: int,
) -> dict[str, Ratio]:
    """Return the paired ratio of each file to ``reference``, all timed in turns for ``seconds`` together."""
    runners = {name: runner(path, inputs, target, seed) for name, path in files.items()}
    samples = measure_interleaved({"": runner(reference, inputs, target, seed), **runners}, seconds=seconds, seed=seed)
    return {name: ratio(samples[""], samples[name]) for name in files}


def fastest(ratios: Mapping[str, Ratio]) -> Timing:
    """Return the fastest of ``ratios`` by precision."""
    precision = min(ratios, key=lambda name: ratios[name].value)
    return Timing(precision, ratios[precision])


def time_untrained(generator: Generator, reference: Path, target: TargetConfig, *, seed: int, seconds: float, opset: int) -> Timing:
    """Return the timing of the fastest variant of ``generator``; weights do not change it, so none need be trained."""
    with tempfile.TemporaryDirectory(prefix="leangen-measure-") as name:
        files = export_variants(generator, Path(name), seed, opset=opset)
        return fastest(time_against(reference, files, generator.inputs, target, seconds=seconds, seed=seed))


def latency_ms(path: Path, inputs: tuple[InputSpec, ...], target: TargetConfig, *, seconds: float, seed: int) -> float:
    """Return the median milliseconds of one call of ``path``."""
    samples = measure_interleaved({"": runner(path, inputs, target, seed)}, seconds=seconds, seed=seed)
    return 1e3 * summarize(samples[""]).median.value
