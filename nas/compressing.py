"""The stage that compresses the winner, while the baseline trains beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.inputs import InputSpec
from compress.generator import Generator
from compress.ledger import Ledger
from compress.planner import Compressed, Recipe, run_recipe
from compress.steps import StepResult
from compress.task import Evaluation
from nas.baseline import Baseline
from nas.context import Context
from nas.errors import NasError
from nas.executors import Executor, result_of
from nas.experiment import Experiment
from nas.families.base import Schedule, total_steps
from nas.finalists import schedule_of
from nas.folder import Record
from nas.foresight import foreseen
from nas.progress import Progress
from nas.seeds import Stream
from nas.worker import error_of, train_job

FOLDER = "compressed"
_MEASURE_S = 1.0  # of paired timing of the winner's files


@dataclass(frozen=True)
class RunTask:
    """The ``compress.task.Task`` of a run: scored on ``seen`` with latents of its own, recovered by distillation."""

    context: Context
    executor: Executor

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What generators take."""
        return self.context.family.inputs

    def evaluate(self, files: Mapping[str, Path]) -> Mapping[str, Evaluation]:
        """Score files on the same latents, with paired differences whose intervals are as wide as in the end."""
        return foreseen(self.context.judge_of(Stream.STEPS).evaluate(files), self.context.splits)

    def recover(self, generator: Generator, folder: Path) -> Generator:
        """Distil the generator in ``folder`` for ``compress.recover`` steps, then fine-tune it like a finalist."""
        schedule = recovery_schedule(self.context.experiment)
        if not schedule:
            return generator
        job = train_job(self.context, folder, schedule, until=total_steps(schedule), start=folder)
        log, subject = self.context.folder.log, f"{FOLDER}/{folder.name}"
        log.started(job, subject)
        result = result_of(self.executor.submit(job))
        error = error_of(result)
        log.finished(job, subject, result, "failed" if error else "done", note=error)
        if error is not None:
            raise NasError(f"recovery after pruning failed: {error}")
        return Generator.load(folder)


def recovery_schedule(experiment: Experiment) -> Schedule:
    """Return how a pruned generator recovers: like a finalist, distilled as long as it says; empty for not at all."""
    if experiment.compress.recover == 0:
        return ()
    return schedule_of(experiment.search.model_copy(update={"final_distill": experiment.compress.recover}))


def compress_winner(context: Context, winner: Path, reference: Path, executor: Executor, progress: Progress) -> Record:
    """Compress the generator in the folder ``winner`` and train the baseline; return the record of what was kept."""
    record = context.folder.record(FOLDER)
    if record is not None:
        return record
    config = context.experiment.compress
    recipe = Recipe(config.prune_ratios if config.prune else (), config.quantize, multiple=None)
    folder = context.folder.path / FOLDER
    generator = Generator.load(winner)
    done = list[StepResult]()
    total = len(recipe.prune_ratios) + 2 * recipe.quantize + 1
    progress.start("compress", total, "steps")

    def on_step(step: StepResult) -> None:
        done.append(step)
        progress.update("compress", len(done), f"{step.name} {step.reason}")

    baseline = Baseline(context, executor)
    baseline.begin(context.bench.fastest_file(context.bench.variants(generator, winner), _MEASURE_S))
    ledger = Ledger(
        RunTask(context, executor),
        context.bench,
        context.experiment.quality.budgets,
        reference=reference,
        folder=folder,
        on_step=on_step,
    )
    kept = run_recipe(ledger, generator, recipe)
    kept.generator.save(folder / "kept")
    baseline.finish(kept.file)
    progress.finish("compress", f"{sum(step.kept for step in done)} of {len(done)} steps kept")
    return context.folder.finish(FOLDER, record_of(kept, context.folder.path))


def record_of(kept: Compressed, root: Path) -> Record:
    """Return the record of what compression kept; its files lie below the run folder ``root``."""
    return {
        "id": kept.generator.id,
        "file": kept.file.relative_to(root).as_posix(),
        "precision": kept.precision,
        "steps": [step.to_json() for step in kept.steps],
        "variants": [one.to_json() | {"file": one.file.relative_to(root).as_posix()} for one in kept.variants],
    }
