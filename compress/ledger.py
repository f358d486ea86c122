"""The steps of one compression: their files timed, judged against what was kept before, decided, and written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.files import write_json
from benchmarks.records import Ratio
from compress.export import AnyGenerator
from compress.measure import FP32, INT8, Bench, Timing, fastest
from compress.quality import Budget, missed_budgets
from compress.steps import BEFORE, FLOATS, REFERENCE, StepResult, decide, is_near, used
from compress.task import Evaluation, Task
from compress.variants import Judged

STEP_S = 2.0  # of paired timing a step: intervals of about half a percent
_AFTER = "after"


@dataclass(frozen=True)
class Kept:
    """What is kept so far: a generator, its float file, and the file that would ship (the same, or an int8 one)."""

    generator: AnyGenerator
    floats: Path
    file: Path
    precision: str = FP32


class Ledger:
    """Times, judges and records steps.

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
        self.task, self.bench, self.budgets = task, replace(bench, unfold=True), budgets
        self.step_s = STEP_S
        self.steps: list[StepResult] = []
        self.judged: list[Judged] = []
        self._reference, self.folder, self._on_step = reference, folder, on_step
        self._folders = 0

    def leave_integers_out(self) -> None:
        """From now on no int8 file is written, timed, or decides what is fast: none will ship."""
        self.bench = replace(self.bench, precisions=(FP32,))

    def new_folder(self, name: str) -> Path:
        """Return the folder of the next step, which it makes."""
        folder = self.folder / f"{self._folders:02d}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        self._folders += 1
        return folder

    def ratio(self, before: Path, after: Path, precision: str) -> Ratio:
        """Return the time of ``after``, which is of ``precision``, ÷ that of ``before``."""
        return self.bench.ratios(before, {precision: after}, self.step_s)[precision]

    def timing(self, before: Mapping[str, Path], after: Mapping[str, Path]) -> Timing:
        """Return the time of the fastest file of ``after`` ÷ that of the fastest of ``before``; both by precision."""
        return fastest(self.bench.ratios(self.bench.fastest_file(before, self.step_s / 2), after, self.step_s))

    def is_inside(self, file: Path) -> bool:
        """Return whether ``file`` is inside every budget."""
        return self._holds(self.task.evaluate({REFERENCE: self._reference, _AFTER: file}))

    def decide(
        self,
        name: str,
        after: Path,
        before: Path,
        ratio: Ratio,
        settings: dict[str, Any],
        cause: str = "",
        floats: Path | None = None,
    ) -> StepResult:
        """Judge ``after`` and return whether it is kept in place of ``before``, see ``compress.steps.decide``.

        Args:
            name: The step.
            after: Its file.
            before: What was kept before it.
            ratio: The time of ``after`` ÷ that of ``before``.
            settings: What was tried, for the result.
            cause: Why the measurement came out so, if known.
            floats: Of a quantization: the float file.
        """
        files = {REFERENCE: self._reference, BEFORE: before, _AFTER: after}
        found = self.task.evaluate(files if floats is None else files | {FLOATS: floats})
        precision = FP32 if floats is None else INT8
        judged = found[_AFTER], found[REFERENCE], self.budgets
        self.judged.append(
            Judged(name, after, precision, self._holds(found), found[_AFTER], is_near(*judged), used(*judged))
        )
        return decide(
            name,
            ratio_to_previous=ratio,
            found=found[_AFTER],
            reference=found[REFERENCE],
            budgets=self.budgets,
            floats=found.get(FLOATS),
            cause=cause,
            settings=settings,
        )

    def refuse(
        self, name: str, why: object, settings: Mapping[str, Any] | None = None, folder: Path | None = None
    ) -> None:
        """Record a step that ended before it could be measured."""
        self.record(StepResult(name, False, f"refused: {why}", settings=settings or {}), folder)

    def record(self, result: StepResult, folder: Path | None) -> None:
        """Write down what became of a step, and in its folder if it has one."""
        self.steps.append(result)
        if folder is not None:
            write_json(folder / "record.json", result.to_json())
        self._on_step(result)

    def _holds(self, found: Mapping[str, Evaluation]) -> bool:
        after, reference = found[_AFTER], found[REFERENCE]
        return not missed_budgets(self.budgets, after.scores, reference.scores, after.differences[REFERENCE])
