"""The planner: tries compression steps one after the other on one generator and keeps those that help.

Order: prune with recovery, then quantize, which is always last. Each step is measured on exported files, in pairs with
what was kept before it, and judged against the reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.files import write_json
from benchmarks.inputs import draw_inputs
from compress.errors import CompressError
from compress.export import export_onnx
from compress.generator import Generator
from compress.measure import FP32, INT8, Bench, calibration_inputs, fastest
from compress.prune import prune
from compress.quality import Budget
from compress.quantize import quantize
from compress.steps import BEFORE, REFERENCE, StepResult, decide
from compress.task import Task

STEP_S = 2.0  # of paired timing a step: intervals of about half a percent
_MASK_ROWS = 16


@dataclass(frozen=True)
class Recipe:
    """What is tried.

    Args:
        prune_ratios: Shares of the channels to remove, each tried on what was kept before.
        quantize: Try int8, per tensor and per channel.
    """

    prune_ratios: tuple[float, ...] = (0.25,)
    quantize: bool = True


@dataclass(frozen=True)
class Compressed:
    """What compression kept: the generator, the file that ships, its precision, and every step with its reason."""

    generator: Generator
    file: Path
    precision: str
    steps: tuple[StepResult, ...]


@dataclass(frozen=True)
class _Variant:
    """What is kept so far: a generator, its float file, and the file that would ship (the same, or an int8 one)."""

    generator: Generator
    floats: Path
    file: Path
    precision: str = FP32


class Planner:
    """Compresses one generator; ``run`` it once.

    Args:
        task: Scores files and recovers pruned generators.
        bench: Times files.
        budgets: How much quality may be lost; all must hold, the first is of the primary metric.
        reference: ONNX file that quality is compared with.
        folder: Gets one folder a step, ``00-start``, ``01-prune`` ...
        on_step: Hears of each decision.
    """

    def __init__(
        self,
        task: Task,
        bench: Bench,
        budgets: Sequence[Budget],
        *,
        reference: Path,
        folder: Path,
        on_step: Callable[[StepResult], None] = lambda _: None,
    ) -> None:
        self._task, self._bench, self._budgets = task, bench, budgets
        self._reference, self._folder, self._on_step = reference, folder, on_step
        self._steps: list[StepResult] = []
        self._folders = 0

    def run(self, generator: Generator, recipe: Recipe) -> Compressed:
        """Return what is left of ``generator`` after every step of ``recipe`` was tried."""
        if not recipe.quantize:
            self._bench = replace(self._bench, precisions=(FP32,))
        folder = self._new_folder("start")
        generator.save(folder)
        file = folder / "model.onnx"
        export_onnx(generator, file, opset=self._bench.opset)
        current = _Variant(generator, file, file)
        for share in recipe.prune_ratios:
            current = self._try_pruning(current, share)
        if recipe.quantize:
            for per_channel in (False, True):
                current = self._try_quantization(current, per_channel)
        return Compressed(current.generator, current.file, current.precision, tuple(self._steps))

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / f"{self._folders:02d}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        self._folders += 1
        return folder

    def _try_pruning(self, current: _Variant, share: float) -> _Variant:
        name, settings = f"prune {share:.0%}", {"ratio": share}
        rows = draw_inputs(current.generator.inputs, _MASK_ROWS, self._bench.calibration_seed)
        try:
            pruned = prune(current.generator, share, inputs=rows)
        except CompressError as error:
            self._record(StepResult(name, False, f"refused: {error}", settings=settings), None)
            return current
        folder = self._new_folder(f"prune-{share:.0%}".rstrip("%"))
        pruned.save(folder)
        recovered = self._task.recover(pruned, folder)
        recovered.save(folder)  # whatever the task left there: the folder holds what its files were exported from
        files = self._bench.variants(recovered, folder)
        # int8 comes last and may change what is fast, so the faster variant of each side is compared.
        before = self._bench.fastest_file(self._bench.variants(current.generator, current.file.parent), STEP_S / 2)
        timing = fastest(self._bench.ratios(before, files, STEP_S))
        result = self._decide(name, files[FP32], current.file, timing.ratio, settings | {"timed": timing.precision})
        self._record(result, folder)
        return _Variant(recovered, files[FP32], files[FP32]) if result.kept else current

    def _try_quantization(self, current: _Variant, per_channel: bool) -> _Variant:
        kind = "per channel" if per_channel else "per tensor"
        name = f"quantize {kind}"
        folder = self._new_folder(name.replace(" ", "-"))
        file = folder / "model.int8.onnx"
        rows = calibration_inputs(current.generator.inputs, self._bench.calibration_seed)
        settings: dict[str, Any] = {"per_channel": per_channel}
        try:
            record = quantize(current.floats, file, inputs=rows, per_channel=per_channel)
        except CompressError as error:
            self._record(StepResult(name, False, f"refused: {error}", settings=settings), folder)
            return current
        ratio = self._bench.ratios(current.file, {INT8: file}, STEP_S)[INT8]
        settings = settings | {"operators": dict(record.operators)}
        result = self._decide(name, file, current.file, ratio, settings, record.cause)
        self._record(result, folder)
        if not result.kept:
            return current
        edit = record.edit(self._bench.calibration_seed)
        return _Variant(current.generator.unquantized().with_edit(edit), current.floats, file, INT8)

    def _decide(
        self, name: str, after: Path, before: Path, ratio: Any, settings: dict[str, Any], cause: str = ""
    ) -> StepResult:
        evaluations = self._task.evaluate({REFERENCE: self._reference, BEFORE: before, "after": after})
        return decide(
            name,
            ratio_to_previous=ratio,
            found=evaluations["after"],
            reference=evaluations[REFERENCE],
            budgets=self._budgets,
            cause=cause,
            settings=settings,
        )

    def _record(self, result: StepResult, folder: Path | None) -> None:
        self._steps.append(result)
        if folder is not None:
            write_json(folder / "record.json", result.to_json())
        self._on_step(result)
