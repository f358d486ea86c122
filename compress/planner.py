"""The planner: tries compression steps one after the other on one generator and keeps those that help.

Order: clean up (of a bare file), prune with recovery, then quantize, which is always last; where all in int8 costs too
much, the largest part of it that does not. Each step is measured on exported files, in pairs with what was kept before
it, and judged against the reference.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.files import write_json
from benchmarks.graph import load_model
from benchmarks.inputs import draw_inputs
from benchmarks.records import Ratio
from compress.edits import Edit
from compress.errors import CompressError
from compress.export import AnyGenerator, export_onnx
from compress.generator import Generator
from compress.measure import FP32, INT8, Bench, calibration_inputs, fastest
from compress.onnx_generator import OnnxGenerator
from compress.placement import place
from compress.prune import prune
from compress.quality import Budget, missed_budgets
from compress.quantize import QuantizeRecord, quantize
from compress.quantize_settings import QuantizeSettings
from compress.steps import BEFORE, FLOATS, REFERENCE, StepResult, decide
from compress.subpixel import count_transposed
from compress.task import Evaluation, Task
from compress.variants import Judged, Variant, choose, measured

STEP_S = 2.0  # of paired timing a step: intervals of about half a percent
SMALLEST_SHARE = 0.1
_PRUNE_ROWS = 1024
_AFTER = "after"


@dataclass(frozen=True)
class Recipe:
    """What is tried.

    Args:
        prune_ratios: Shares of the channels to remove, each tried on what was kept before.
        quantize: Try int8, per tensor and per channel.
        multiple: Widths of pruned layers are multiples of it.
        adapt: Go on with the first share as long as it is kept, and with half of it when it is refused, down to
            ``SMALLEST_SHARE``; the others do not count.
        prune_minutes: Begin no further share after so long.
        minutes: Give up looking for the part that can be int8 after so long.
    """

    prune_ratios: tuple[float, ...] = (0.25,)
    quantize: bool = True
    multiple: int = 8
    adapt: bool = False
    prune_minutes: float = math.inf
    minutes: float = math.inf


@dataclass(frozen=True)
class Compressed:
    """What compression kept: the generator, the file that ships, its precision, and every step with its reason.

    ``variants`` are what could be taken instead (``compress.variants``); what ships is among them if a step was kept.
    """

    generator: AnyGenerator
    file: Path
    precision: str
    steps: tuple[StepResult, ...]
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class _Variant:
    """What is kept so far: a generator, its float file, and the file that would ship (the same, or an int8 one)."""

    generator: AnyGenerator
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
        self._task, self._bench, self._budgets = task, replace(bench, unfold=True), budgets
        self._reference, self._folder, self._on_step = reference, folder, on_step
        self._steps: list[StepResult] = []
        self._judged: list[Judged] = []
        self._folders, self._until = 0, math.inf

    def run(self, generator: AnyGenerator, recipe: Recipe) -> Compressed:
        """Return what is left of ``generator`` after every step of ``recipe`` was tried."""
        self._until = time.monotonic() + 60 * recipe.minutes
        if not recipe.quantize:
            self._bench = replace(self._bench, precisions=(FP32,))
        folder = self._new_folder("start")
        generator.save(folder)
        file = folder / "model.onnx"
        export_onnx(generator, file, opset=self._bench.opset)
        current = _Variant(generator, file, file)
        if isinstance(generator, OnnxGenerator):
            current = self._try_cleaning(current)
        current = self._try_shares(current, recipe)
        if recipe.quantize:
            current = self._try_integers(current)
        variants = measured(choose(self._judged, current.file, file), file, self._bench)
        return Compressed(current.generator, current.file, current.precision, tuple(self._steps), variants)

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / f"{self._folders:02d}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        self._folders += 1
        return folder

    def _try_cleaning(self, current: _Variant) -> _Variant:
        name, folder = "clean up", self._new_folder("clean-up")
        cleaned = current.generator.with_edit(Edit("clean", {}))
        try:
            export_onnx(cleaned, folder / "model.onnx", opset=self._bench.opset)
        except CompressError as error:
            self._record(StepResult(name, False, f"refused: {error}"), folder)
            return current
        cleaned.save(folder)
        ratio = self._ratio(current.file, folder / "model.onnx", FP32)
        result = self._decide(name, folder / "model.onnx", current.file, ratio, {})
        self._record(result, folder)
        return _Variant(cleaned, folder / "model.onnx", folder / "model.onnx") if result.kept else current

    def _try_shares(self, current: _Variant, recipe: Recipe) -> _Variant:
        begun, shares = time.monotonic(), list(recipe.prune_ratios)
        while shares:
            share = shares.pop(0)
            name = f"prune {share:.0%}"
            if time.monotonic() - begun > 60 * recipe.prune_minutes:
                self._record(StepResult(name, False, "refused: no time is left", settings={"ratio": share}), None)
                break
            if not isinstance(current.generator, Generator):
                why = "refused: an ONNX file has no module that could be trained after it: give the module's factory"
                self._record(StepResult(name, False, why, settings={"ratio": share}), None)
                break
            before = current
            current = self._try_pruning(before, current.generator, share, recipe.multiple)
            if recipe.adapt:
                share = share if current is not before else share / 2
                shares = [share] if share >= SMALLEST_SHARE else []
        return current

    def _try_pruning(self, current: _Variant, generator: Generator, share: float, multiple: int) -> _Variant:
        name, settings = f"prune {share:.0%}", {"ratio": share}
        rows = draw_inputs(generator.inputs, _PRUNE_ROWS, self._bench.calibration_seed)
        try:
            pruned = prune(generator, share, inputs=rows, multiple=multiple, compensate=True)
        except CompressError as error:
            self._record(StepResult(name, False, f"refused: {error}", settings=settings), None)
            return current
        folder = self._new_folder(f"prune-{share:.0%}".rstrip("%"))
        pruned.save(folder)
        recovered = self._task.recover(pruned, folder)
        recovered.save(folder)  # whatever the task left there: the folder holds what its files were exported from
        files = self._bench.variants(recovered, folder)
        # int8 comes last and may change what is fast, so the faster variant of each side is compared.
        before = self._bench.fastest_file(self._bench.variants(generator, current.file.parent), STEP_S / 2)
        timing = fastest(self._bench.ratios(before, files, STEP_S))
        result = self._decide(name, files[FP32], current.file, timing.ratio, settings | {"timed": timing.precision})
        self._record(result, folder)
        return _Variant(recovered, files[FP32], files[FP32]) if result.kept else current

    def _try_integers(self, current: _Variant) -> _Variant:
        """Try every way of quantizing all; in part the fastest one outside the budget, if what is kept is slower."""
        reached, too_bad = 1.0, dict[QuantizeSettings, float]()  # of the time of the float file
        for settings in ways(current.floats):
            before = current
            current, ratio = self._try_quantization(before, settings)
            if current is not before and ratio is not None:
                reached *= ratio.value
            elif ratio is not None and ratio.ci95[1] < 1:
                too_bad[settings] = reached * ratio.value
        best = min(too_bad, key=lambda settings: too_bad[settings], default=None)
        return self._try_placement(current, best) if best is not None and too_bad[best] < reached else current

    def _try_quantization(self, current: _Variant, settings: QuantizeSettings) -> tuple[_Variant, Ratio | None]:
        name = f"quantize {settings.name}"
        folder = self._new_folder(name.replace(",", "").replace(" ", "-"))
        file = folder / "model.int8.onnx"
        rows = calibration_inputs(current.generator.inputs, self._bench.calibration_seed)
        try:
            record = quantize(current.floats, file, inputs=rows, settings=settings)
        except CompressError as error:
            self._record(StepResult(name, False, f"refused: {error}", settings=settings.to_json()), folder)
            return current, None
        ratio = self._ratio(current.file, file, INT8)
        told = {**settings.to_json(), "operators": dict(record.operators)}
        result = self._decide(name, file, current.file, ratio, told, record.cause, current.floats)
        self._record(result, folder)
        return (self._quantized(current, record, file) if result.kept else current), ratio

    def _try_placement(self, current: _Variant, settings: QuantizeSettings) -> _Variant:
        name, folder = f"quantize {settings.name} in part", self._new_folder("quantize-in-part")
        file = folder / "model.int8.onnx"
        rows = calibration_inputs(current.generator.inputs, self._bench.calibration_seed)
        try:
            found = place(
                current.floats, file, settings=settings, inputs=rows, is_inside=self._is_inside, until=self._until
            )
        except CompressError as error:
            self._record(StepResult(name, False, f"refused: {error}", settings=settings.to_json()), folder)
            return current
        if found is None:
            why = f"refused: already the least harmful node in int8 is outside {self._budgets[0].text}"
            self._record(StepResult(name, False, why, settings=settings.to_json()), folder)
            return current
        told = {
            **found.record.settings.to_json(),
            "operators": dict(found.record.operators),
            "nodes": found.nodes,
            "evaluations": found.evaluations + 1,
        }
        ratio = self._ratio(current.file, file, INT8)
        result = self._decide(name, file, current.file, ratio, told, found.record.cause, current.floats)
        self._record(result, folder)
        return self._quantized(current, found.record, file) if result.kept else current

    def _quantized(self, current: _Variant, record: QuantizeRecord, file: Path) -> _Variant:
        edit = record.settings.edit(self._bench.calibration_seed, record.rows)
        return _Variant(current.generator.unquantized().with_edit(edit), current.floats, file, INT8)

    def _ratio(self, before: Path, after: Path, precision: str) -> Ratio:
        return self._bench.ratios(before, {precision: after}, STEP_S)[precision]

    def _is_inside(self, file: Path) -> bool:
        found = self._task.evaluate({REFERENCE: self._reference, _AFTER: file})
        return self._holds(found)

    def _holds(self, found: Mapping[str, Evaluation]) -> bool:
        after, reference = found[_AFTER], found[REFERENCE]
        return not missed_budgets(self._budgets, after.scores, reference.scores, after.differences[REFERENCE])

    def _decide(
        self,
        name: str,
        after: Path,
        before: Path,
        ratio: Ratio,
        settings: dict[str, Any],
        cause: str = "",
        floats: Path | None = None,
    ) -> StepResult:
        files = {REFERENCE: self._reference, BEFORE: before, _AFTER: after}
        found = self._task.evaluate(files if floats is None else files | {FLOATS: floats})
        precision = FP32 if floats is None else INT8
        self._judged.append(Judged(name, after, precision, self._holds(found), found[_AFTER]))
        return decide(
            name,
            ratio_to_previous=ratio,
            found=found[_AFTER],
            reference=found[REFERENCE],
            budgets=self._budgets,
            floats=found.get(FLOATS),
            cause=cause,
            settings=settings,
        )

    def _record(self, result: StepResult, folder: Path | None) -> None:
        self._steps.append(result)
        if folder is not None:
            write_json(folder / "record.json", result.to_json())
        self._on_step(result)


def ways(floats: Path) -> Iterator[QuantizeSettings]:
    """Yield every way of quantizing a whole graph: unfolded only where there is something to unfold."""
    transposed = count_transposed(load_model(floats).proto)
    yield QuantizeSettings()
    if transposed:
        yield QuantizeSettings(unfold=True)
    yield QuantizeSettings(per_channel=True, unfold=bool(transposed))
