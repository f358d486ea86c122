"""What a worker does: one job (JSON) in, one result (JSON) out, tensors by path.

``measure``: build a candidate untrained, export it, time it in pairs with the reference's fastest file.
``train``: bring a generator from the checkpoint it has to a step of its schedule, save it, score it.
"""

import errno
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.files import write_bytes
from benchmarks.memory import own_peak_mib
from compress.checkpoint import CheckpointError
from compress.generator import Generator, Origin
from compress.running import run_module
from nas.context import Context
from nas.errors import NasError
from nas.executors import Job, Result
from nas.families.base import Phase, Schedule, Trainer
from nas.pictures import grid_png
from nas.seeds import Stream

CHECKPOINT_S = 15.0
PROGRESS_FILE = "progress"
SAMPLES_FILE = "samples.png"  # beside every generator that is scored: what it draws of the latents of the grid


class DiskFullError(NasError):
    """A worker could not write: the run ends here, and goes on once there is room."""


def evaluate(job: Job) -> Result:
    """Do ``job`` and return its result; a job that fails returns its error, so that one candidate ends no search."""
    began = time.monotonic()
    kinds: dict[str, Callable[[Job], Result]] = {"measure": _measure, "train": _train}
    try:
        result = kinds[job["kind"]](job)
    except Exception as error:  # noqa: BLE001 - whatever a candidate does wrong is that candidate's result
        result = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        if is_disk_full(error):
            result["disk_full"] = True
    return {**result, "seconds": round(time.monotonic() - began, 3), "peak_mib": own_peak_mib()}


def measure_job(
    context: Context, generator: Generator, reference: Path, seconds: float, limit: float | None = None
) -> Job:
    """Return the job that times ``generator`` untrained against ``reference``.

    What lies far above ``limit``, the highest ratio that matters, is timed only for a moment.
    """
    return {
        "kind": "measure",
        "run": str(context.folder.path),
        "origin": generator.origin.to_json(),
        "reference": str(reference),
        "seconds": seconds,
        "limit": limit,
    }


def train_job(
    context: Context,
    out: Path,
    schedule: Schedule,
    *,
    until: int,
    origin: Origin | None = None,
    start: Path | None = None,
    stream: Stream | None = None,
) -> Job:
    """Return the job that trains up to step ``until`` of ``schedule``, into the folder ``out``.

    Args:
        context: The run.
        out: Gets the averaged generator, the checkpoint and the progress.
        schedule: All phases, also those beyond ``until``: they decide learning rates.
        until: Steps, counted from the schedule's start.
        origin: A new generator's; its first weights follow from the experiment's seed.
        start: Or the folder of a generator to go on from.
        stream: Latents of the score; no score when ``None``.
    """
    return {
        "kind": "train",
        "run": str(context.folder.path),
        "out": str(out),
        "schedule": [asdict(phase) for phase in schedule],
        "until": until,
        "origin": origin.to_json() if origin else None,
        "start": str(start) if start else None,
        "stream": int(stream) if stream else None,
    }


def _build(job: Job, seed: int) -> Generator:
    if job.get("start"):
        return Generator.load(Path(job["start"]))
    origin = Origin.from_json(job["origin"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Generator(origin, (), origin.build())


def _measure(job: Job) -> Result:
    context = Context.of_folder(Path(job["run"]))
    generator = _build(job, context.experiment.seed)
    limit = math.inf if job["limit"] is None else job["limit"]
    timing = context.bench.time_untrained(generator, Path(job["reference"]), job["seconds"], give_up_above=limit)
    return {"ratio": timing.to_json(), "macs": timing.macs}


def _train(job: Job) -> Result:
    context = Context.of_folder(Path(job["run"]))
    out, seed = Path(job["out"]), context.experiment.seed
    schedule = tuple(Phase(**phase) for phase in job["schedule"])
    generator = _build(job, seed)
    trainer = context.family.trainer(generator.module, schedule, data=context.data, teacher=context.teacher, seed=seed)
    # By id: a pruning that is done again after a kill may keep other channels, and then starts anew.
    checkpoint = out / f"checkpoint-{generator.id}.safetensors"
    note = _go_on(trainer, checkpoint)
    since = trainer.step
    trainer.run(job["until"], Saver(trainer.save, checkpoint))
    out.mkdir(parents=True, exist_ok=True)
    trainer.save(checkpoint)
    replace(generator, module=trainer.average).save(out)
    result: Result = {"steps": trainer.step, "since": since, "note": note}
    if job["stream"] is not None:
        inputs, columns = context.grid(rows=4)
        write_bytes(out / SAMPLES_FILE, grid_png(run_module(trainer.average, inputs), columns))
        judge = context.judge_of(Stream(job["stream"]))
        score, complaint = judge.score(lambda inputs: run_module(trainer.average, inputs, batch=250))
        result |= {"quality": score.to_json(), "complaint": complaint}
    return result


def _go_on(trainer: Trainer, checkpoint: Path) -> str | None:
    """Load ``checkpoint`` if there is one; a damaged one is set aside, and what happened is returned.

    The training then begins anew and ends where it would have ended: nobody could do more about it, and to fail the
    candidate would cost more. (The reference, which takes the longest, asks instead: see ``nas.reference``.)
    """
    if not checkpoint.is_file():
        return None
    try:
        trainer.load(checkpoint)
    except CheckpointError as error:
        checkpoint.replace(checkpoint.with_suffix(".damaged"))
        return f"trained from the start again: {error}"
    return None


class Saver:
    """Saves a checkpoint every so often, and leaves the number of finished steps where the driver looks for it."""

    def __init__(self, save: Callable[[Path], None], path: Path) -> None:
        self._save, self._path = save, path
        self._saved = self._told = time.monotonic()

    def __call__(self, step: int) -> None:
        """Hear that ``step`` steps are finished."""
        now = time.monotonic()
        if now - self._told >= 1.0:
            self._told = now
            self._path.parent.mkdir(parents=True, exist_ok=True)
            (self._path.parent / PROGRESS_FILE).write_text(str(step))
        if now - self._saved >= CHECKPOINT_S:
            self._saved = now
            self._save(self._path)


def read_progress(out: Path) -> int:
    """Return the steps that the job training into ``out`` last told of; 0 before it told any."""
    try:
        return int((out / PROGRESS_FILE).read_text())
    except (OSError, ValueError):
        return 0


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether ``error``, or what it came from, is a file that found no more room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def error_of(result: dict[str, Any]) -> str | None:
    """Return why the job of ``result`` failed, or ``None``.

    Raises:
        DiskFullError: it found no more room. That is no fault of a candidate, and would fail every one after it.
    """
    if result.get("disk_full"):
        raise DiskFullError(
            f"the disk is full ({result['error']}): free some space, then run the same command; "
            "what is finished is kept"
        )
    return result.get("error") or result.get("complaint")
