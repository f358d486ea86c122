"""Latency of a generator: every variant that may ship is exported, and timed in turns with another file."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.cost import count_cost
from benchmarks.inputs import InputSpec, covering_rows, draw_inputs
from benchmarks.paired import measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.records import Ratio, Target
from benchmarks.runtimes.onnx import OnnxRunner
from benchmarks.statistics import ratio
from compress.errors import CompressError
from compress.export import AnyGenerator, export_onnx
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings

FP32, INT8 = "fp32", "int8"
PRECISIONS = (FP32, INT8)
FIRST_LOOK_S = 0.1
CALIBRATION_ROWS = 64  # ranges of a generator's activations have settled by then


@dataclass(frozen=True, slots=True)
class Timing:
    """A variant's precision, and the paired ratio of its time to that of what it was timed against.

    ``macs`` are the multiply-accumulates of one picture, where they were counted.
    """

    precision: str
    ratio: Ratio
    macs: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what records hold."""
        return {"value": self.ratio.value, "ci95": list(self.ratio.ci95), "precision": self.precision}


@dataclass(frozen=True)
class Bench:
    """How latency is measured in one project: the target, and seeds for what is drawn.

    Args:
        target: Where files run; its ``precision`` is ignored, as every variant is tried.
        inputs: What generators take.
        seed: Of timing inputs and of the order of turns.
        calibration_seed: Of the rows that activations are calibrated on.
        opset: Of exported files.
        precisions: What may ship. Nothing is fast through a file that never ships: without int8 here no int8 is timed.
        unfold: Int8 files have their transposed convolutions unfolded, as compression would. The reference's own
            files are not: they are what one has without us.
    """

    target: Target
    inputs: tuple[InputSpec, ...]
    seed: tuple[int, ...]
    calibration_seed: tuple[int, ...]
    opset: int = 20
    precisions: tuple[str, ...] = PRECISIONS
    unfold: bool = False

    def at_batch(self, batch: int) -> "Bench":
        """Return the same for another batch."""
        return replace(self, target=replace(self.target, batch=batch))

    def runner(self, path: Path) -> OnnxRunner:
        """Return ``path`` ready to be timed as the target runs it."""
        values = draw_inputs(self.inputs, self.target.batch, self.seed)
        return OnnxRunner(path, values, threads=self.target.threads, device=self.target.device)

    def ratios(self, against: Path, files: Mapping[str, Path], seconds: float) -> dict[str, Ratio]:
        """Return the paired ratio of each of ``files`` to ``against``, all timed in turns for ``seconds`` together."""
        runners = {name: self.runner(path) for name, path in files.items()}
        samples = measure_interleaved(
            {"": self.runner(against), **runners},
            seconds=seconds,
            seed=sum(self.seed) % 2**32,
            probe=probe_for(self.target.threads),
        )
        return {name: ratio(samples[""], samples[name]) for name in files}

    def variants(self, generator: AnyGenerator, folder: Path) -> dict[str, Path]:
        """Write ``model.onnx`` and, if int8 may ship, ``model.int8.onnx`` to ``folder``; return them by precision."""
        files = {FP32: folder / "model.onnx"}
        export_onnx(generator, files[FP32], opset=self.opset)
        if INT8 not in self.precisions:
            return files
        files[INT8] = folder / "model.int8.onnx"
        rows = calibration_inputs(generator.inputs, self.calibration_seed)
        try:
            quantize(files[FP32], files[INT8], inputs=rows, settings=QuantizeSettings(unfold=self.unfold))
        except CompressError:  # a generator that cannot be int8 has one variant
            del files[INT8]
        return files

    def fastest_file(self, files: Mapping[str, Path], seconds: float) -> Path:
        """Return the fastest of ``files``, which are by precision; one alone is not timed."""
        others = {name: path for name, path in files.items() if name != FP32}
        if not others:
            return files[FP32]
        best = fastest(self.ratios(files[FP32], others, seconds))
        return files[best.precision if best.ratio.value < 1 else FP32]

    def time_untrained(
        self, generator: AnyGenerator, against: Path, seconds: float, give_up_above: float = math.inf
    ) -> Timing:
        """Return the timing of the fastest variant of ``generator``: weights do not change it, none need training.

        Args:
            generator: Untrained, or not.
            against: The file whose time is 1.
            seconds: Of paired timing.
            give_up_above: A ratio; where a first look of ``FIRST_LOOK_S`` lies above it with its whole interval, that
                look is returned.
        """
        with tempfile.TemporaryDirectory(prefix="leangen-measure-") as folder:
            files = self.variants(generator, Path(folder))
            macs = count_cost(files[FP32]).macs
            if seconds > FIRST_LOOK_S and math.isfinite(give_up_above):
                look = fastest(self.ratios(against, files, FIRST_LOOK_S))
                if look.ratio.ci95[0] > give_up_above:
                    return replace(look, macs=macs)
            return replace(fastest(self.ratios(against, files, seconds)), macs=macs)


def calibration_inputs(specs: tuple[InputSpec, ...], seed: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Return the rows that activations are calibrated on: every class among them."""
    return draw_inputs(specs, covering_rows(specs, CALIBRATION_ROWS), seed)


def fastest(ratios: Mapping[str, Ratio]) -> Timing:
    """Return the fastest of ``ratios``, which are by precision."""
    precision = min(ratios, key=lambda name: ratios[name].value)
    return Timing(precision, ratios[precision])
