"""Training for everybody but ourselves: the schedules that our file had, and no less processor time.

Ours was trained like every finalist, and distilled and fine-tuned once more for each pruning that was kept. A rival
gets the same schedules in the same order. Where its steps are cheaper than ours, it gets as many more of them as make
its processor time equal, so that it has at least as many steps *and* at least as many processor-seconds.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.files import read_json, write_json
from compress.generator import Generator
from examples.studies.proof.layout import ProofError
from nas import compressing
from nas.context import Context
from nas.families.base import Phase, Schedule, total_steps
from nas.finalists import final_schedule
from nas.worker import error_of, evaluate, train_job

_TIMED_STEPS = 30
_UNTIMED_STEPS = 5  # the first ones allocate
_RECORD = "trained.json"


def our_schedules(context: Context) -> list[Schedule]:
    """Return what our file was trained with: a finalist's schedule, then one recovery for each kept pruning."""
    steps = context.folder.need(compressing.FOLDER, "leangen compress")["steps"]
    kept = sum(step["kept"] and step["name"].startswith("prune") for step in steps)
    recovery = compressing.recovery_schedule(context.experiment)
    return [final_schedule(context), *([recovery] * kept if recovery else [])]


def our_generator(context: Context) -> Generator:
    """Return the generator that our file was exported from."""
    return Generator.load(context.folder.path / compressing.FOLDER / "kept")


def train_like_ours(context: Context, generator: Generator, schedules: Sequence[Schedule], out: Path) -> Generator:
    """Return ``generator`` after ``schedules``, stretched as above; what is in ``out`` already is not done again."""
    plan = _plan(context, generator, schedules, out / "plan.json")
    start = out / "0-start"
    if not (start / "weights.safetensors").is_file():
        generator.save(start)
    for number, phases in enumerate(plan["schedules"], start=1):
        schedule = tuple(Phase(**phase) for phase in phases)
        folder = out / f"{number}-trained"
        if not (folder / _RECORD).is_file():
            _train(context, schedule, start, folder)
        start = folder
    return Generator.load(start)


def training_of(out: Path) -> dict[str, Any]:
    """Return how what lies in ``out`` was trained: steps by phase, processor-seconds, and what ours took.

    Ours are those of the same steps, from a few of them timed beside the rival's.
    """
    plan = read_json(out / "plan.json")
    spent = [read_json(path)["cpu_s"] for path in sorted(out.glob(f"*/{_RECORD}"))]
    measured = None not in spent
    return {
        "stretched": round(plan["stretched"], 3),
        "schedules": plan["schedules"],
        "cpu_s": round(sum(spent) if measured else plan["cpu_s"], 1),
        "ours_cpu_s": plan["ours_cpu_s"],
    }


def _plan(context: Context, generator: Generator, schedules: Sequence[Schedule], path: Path) -> dict[str, Any]:
    """Return the stretched schedules; kept, because they were decided by the clock."""
    if not path.is_file():
        ours = _seconds(context, our_generator(context).unquantized(), schedules)
        theirs = _seconds(context, generator, schedules)
        stretched = max(1.0, ours / theirs) if theirs else 1.0
        longer = [[_stretch(phase, stretched) for phase in schedule] for schedule in schedules]
        cost = {"ours_cpu_s": round(ours, 1), "cpu_s": round(theirs * stretched, 1)}
        write_json(path, {"stretched": stretched, "schedules": longer, **cost})
    return dict(read_json(path))


def _stretch(phase: Phase, factor: float) -> dict[str, Any]:
    return {"kind": phase.kind, "steps": round(phase.steps * factor)}


def _seconds(context: Context, generator: Generator, schedules: Sequence[Schedule]) -> float:
    """Return the processor-seconds that ``schedules`` take this generator, from a few steps of each kind of phase."""
    steps: dict[Any, int] = {}
    for phase in (phase for schedule in schedules for phase in schedule):
        steps[phase.kind] = steps.get(phase.kind, 0) + phase.steps
    return sum(count * _step_seconds(context, generator, kind) for kind, count in steps.items())


def _step_seconds(context: Context, generator: Generator, kind: Any) -> float:
    """Return the processor-seconds of one step of a phase, past the steps in which only a discriminator learns."""
    resting = getattr(getattr(context.family, "options", None), "finetune_warm_up", 0) if kind == "finetune" else 0
    warm = _UNTIMED_STEPS + resting
    schedule = (Phase(kind, warm + _TIMED_STEPS),)
    copy = replace(generator, module=generator.build())
    copy.module.load_state_dict(generator.module.state_dict())
    seed = context.experiment.seed
    trainer = context.family.trainer(copy.module, schedule, data=context.data, teacher=context.teacher, seed=seed)
    trainer.run(warm)
    began = time.process_time()
    trainer.run(warm + _TIMED_STEPS)
    return (time.process_time() - began) / _TIMED_STEPS


def _train(context: Context, schedule: Schedule, start: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    total = total_steps(schedule)
    job = train_job(context, folder, schedule, until=total, start=start)
    began = time.process_time()
    result = evaluate(job)
    spent = time.process_time() - began
    error = error_of(result)
    if error is not None:
        raise ProofError(f"the rival in {folder.parent} could not be trained: {error}")
    done = result["steps"] - result["since"]  # the rest was done before a restart, at the same price
    write_json(folder / _RECORD, {"steps": total, "cpu_s": spent * total / done if done > total / 10 else None})
