"""One generator in, the fastest file of it that keeps its quality out, or the truth that nothing helped.

from compress import compress, Generator, OnnxGenerator
result = compress(OnnxGenerator.load("model.onnx"), budget="distance<=0.05")
result.save("out")
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.inputs import covering_rows, draw_inputs
from benchmarks.records import BenchmarkError, Target
from compress.errors import CompressError
from compress.export import AnyGenerator, Parity
from compress.files import draw, prove, worst_pairs, write_files
from compress.generator import Generator
from compress.ledger import Ledger
from compress.measure import FP32, Bench
from compress.onnx_generator import OnnxGenerator
from compress.planner import Compressed, Recipe, run_recipe
from compress.prior_task import DISTANCE, PriorTask, distance_to
from compress.quality import Budget, parse_budgets
from compress.steps import StepResult
from compress.task import Task
from compress.variants import FASTEST

DEFAULT_BUDGET = "distance<=0.05"
"""Root mean square 0.05 of pixels in [-1, 1]: 32 decibels."""
_SHARE = 0.75
_RECOVERIES = 5  # about as many are tried
RECOVERING = "recovering"
_PARITY_ROWS = 64
_TRIED_ROWS = 4
_PRUNING_SHARE = 0.7  # of the minutes: the rest is for quantization and the final measurement


@dataclass(frozen=True)
class Result:
    """What compression found.

    Args:
        reference: The files of the generator as it was given, by precision; quality was compared with the float one.
        kept: Generator, file, precision, and every step with its reason.
        task: What judged.
        bench: What timed.
        budgets: What had to hold.
        given: The generator as it was given.
        half_range: Of its pictures: 1 where they fill [-1, 1].
        folder: Where all of it lies; files of single steps in ``compressed/``.
    """

    reference: Mapping[str, Path]
    kept: Compressed
    task: Task
    bench: Bench
    budgets: tuple[Budget, ...]
    given: AnyGenerator
    half_range: float
    folder: Path

    @property
    def helped(self) -> bool:
        """Whether any step was kept; if not, the generator ships as it was."""
        return any(step.kept for step in self.kept.steps)

    def undone(self) -> Result:
        """Return the result of keeping nothing: the generator as it was given, with the steps that were tried."""
        others = tuple(one for one in self.kept.variants if FASTEST not in one.roles)
        kept = Compressed(self.given, self.reference[FP32], FP32, self.kept.steps, others)
        return replace(self, kept=kept)

    def save(self, folder: Path | str | None = None, metadata: Mapping[str, str] | None = None) -> Saved:
        """Write ``reference/``, ``compressed/`` and ``export/`` into ``folder`` and return what ships.

        Args:
            folder: Default: the folder that compression worked in, where the first two are already.
            metadata: Keys and values for the exported float file.

        Raises:
            CompressError: the exported float file draws something else.
        """
        target = Path(folder or self.folder)
        if target.absolute() != self.folder.absolute():
            shutil.copytree(self.folder, target, dirs_exist_ok=True)
        generator = self.kept.generator
        generator.save(target / "compressed" / "kept")
        files = write_files(
            generator,
            target / "export",
            opset=self.bench.opset,
            calibration_seed=self.bench.calibration_seed,
            metadata=metadata or {},
        )
        rows = draw_inputs(self.bench.inputs, covering_rows(self.bench.inputs, _PARITY_ROWS), (*self.bench.seed, 1))
        proofs = prove(generator, files, rows, self.half_range)
        return Saved(files, self.kept.precision, proofs, worst_pairs(generator, files, rows, proofs))


@dataclass(frozen=True)
class Saved:
    """What ``Result.save`` wrote.

    Args:
        files: By precision.
        precision: Of the one that ships.
        parity: How far each is from its source, over many latents.
        worst: The pictures (C, H, W) of the worst of these, file by file: the source's and the file's.
    """

    files: Mapping[str, Path]
    precision: str
    parity: Mapping[str, Parity]
    worst: Sequence[tuple[np.ndarray, np.ndarray]] = ()

    @property
    def shipped(self) -> Path:
        """The file that ships."""
        return self.files[self.precision]


def compress(
    generator: AnyGenerator,
    *,
    task: Task | None = None,
    budget: str | Sequence[str] = DEFAULT_BUDGET,
    target: Target | None = None,
    recipe: Recipe | Literal["auto"] = "auto",
    minutes: float = 10.0,
    folder: Path | None = None,
    seed: int = 0,
    on_step: Callable[[StepResult], None] = lambda _: None,
) -> Result:
    """Return the fastest variant of ``generator`` that was found inside ``budget``; the given one stays as it is.

    Tried are cleaning up (of a file), pruning with recovery (of a module), and int8: per tensor, per channel, with
    transposed convolutions written as convolutions, in part where all of it is too much. A step is kept if it is
    measurably faster inside the budget; every step tells why it was kept or refused.

    Args:
        generator: A ``Generator`` of a module, or an ``OnnxGenerator`` of a file.
        task: Judges files and recovers pruned generators. Default: the distance of pictures from those of the given
            generator, and distillation from it.
        budget: One or several, all of which must hold: ``fid<=+5%``, ``accuracy>=-1pt``, ``distance<=0.05``.
        target: Where it will run; its precision is ignored, as every one is tried.
        recipe: What is tried; "auto": removes three quarters of the channels and looks from there for how many can go.
        minutes: About how long it may take: no further share is pruned, nor recovers again, after 70 % of them, and
            after all of them nobody looks any longer for a part that can be int8. Final measurements come on top.
        folder: Gets the files of every step; default: a temporary one, until ``Result.save``. The same call with the
            same folder goes on with a recovery that was cut short, from the checkpoints in ``recovering/`` there.
        seed: Of everything drawn.
        on_step: Hears of each decision.

    Raises:
        CompressError: the generator cannot be run, draws no finite pictures (N, C, H, W), or other ones for the same
            inputs; a budget is outside the grammar.
    """
    budgets = parse_budgets(budget)
    bench = Bench(target or Target(), generator.inputs, seed=(seed, 9), calibration_seed=(seed, 7))
    check_batch(generator, bench.target.batch)
    half_range = check_generator(generator, seed)
    root = Path(folder or tempfile.mkdtemp(prefix="leangen-compress-"))
    if folder is None:
        weakref.finalize(bench, shutil.rmtree, root, ignore_errors=True)  # the result holds the bench
    (root / "reference").mkdir(parents=True, exist_ok=True)
    generator.save(root / "reference")
    reference = bench.variants(generator, root / "reference")
    keep = folder / RECOVERING if folder else None
    judge = task or own_task(generator, reference[FP32], minutes=minutes, seed=seed, keep=keep)
    ledger = Ledger(judge, bench, budgets, reference=reference[FP32], folder=root / "compressed", on_step=on_step)
    chosen = auto_recipe(generator, minutes) if recipe == "auto" else recipe
    chosen = replace(chosen, minutes=min(chosen.minutes, minutes))
    kept = run_recipe(ledger, generator, chosen)
    return Result(reference, kept, judge, bench, budgets, generator, half_range, root)


def own_task(
    generator: AnyGenerator, reference: Path, *, minutes: float, seed: int, keep: Path | None = None
) -> PriorTask:
    """Return the task that judges by the distance to ``reference``, and recovers by distillation from ``generator``.

    Recoveries that were cut short go on from the checkpoints in ``keep``.
    """
    half_range = check_generator(generator, seed)
    module = generator.module if isinstance(generator, Generator) else None
    seconds = 60 * minutes * _PRUNING_SHARE / _RECOVERIES
    return PriorTask(
        generator.inputs,
        {DISTANCE: distance_to(reference, half_range)},
        teacher=module,
        seed=(seed, 5),
        recover_s=seconds,
        keep=keep,
    )


def auto_recipe(generator: AnyGenerator, minutes: float) -> Recipe:
    """Return what is tried by default."""
    if not isinstance(generator, Generator):
        return Recipe(prune_ratios=())
    return Recipe((_SHARE,), multiple=None, adapt=True, prune_minutes=_PRUNING_SHARE * minutes)


def check_batch(generator: AnyGenerator, batch: int) -> None:
    """Raise a CompressError if ``generator`` is a file with another fixed batch than ``batch``."""
    if isinstance(generator, OnnxGenerator) and (fixed := generator.batch) not in (None, batch):
        raise CompressError(
            f"{generator.file} takes {fixed} pictures a call and no other number: set the target's batch to {fixed} "
            f"(--batch {fixed}), or export it with a dynamic batch axis."
        )


def check_generator(generator: AnyGenerator, seed: int = 0) -> float:
    """Return half of the range of its pictures (1 if all are alike); they must be finite, and follow from the inputs.

    Raises:
        CompressError: they are not; says what was found.
    """
    rows = draw_inputs(generator.inputs, _TRIED_ROWS, (seed, 3))
    try:
        first, again = (draw(generator, rows) for _ in range(2))
    except BenchmarkError as error:
        raise CompressError(str(error)) from error
    except CompressError:
        raise
    except Exception as error:  # a stranger's code may raise anything
        told = ", ".join(f"{name} {values.shape} {values.dtype}" for name, values in rows.items())
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CompressError(f"The generator cannot draw from {told}: {reason}. Correct its inputs.") from error
    if first.ndim != 4 or len(first) != _TRIED_ROWS:
        raise CompressError(
            f"A generator returns pictures (N, C, H, W), found {first.shape} for N = {_TRIED_ROWS}. "
            "Correct its forward."
        )
    if not np.isfinite(first).all():
        raise CompressError("The generator draws NaN or infinity. Look at its weights.")
    if not np.array_equal(first, again):
        raise CompressError(
            "The generator draws other pictures for the same inputs, so nothing can be compared with them. Make its "
            "noise an input."
        )
    return float(np.ptp(first.astype(np.float64))) / 2 or 1.0
