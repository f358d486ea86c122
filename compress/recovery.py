"""Recovery of a stranger's damaged generator by distillation on the prior; one that was cut short goes on.

Steps are counted beforehand, from the time that a few take, since the learning rate has to fall to nothing at the end.
The count is kept beside the checkpoint: what goes on keeps to it, on a slower machine too.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.files import read_json, sha256_bytes, write_json
from benchmarks.inputs import InputSpec, draw_inputs
from compress.checkpoint import digest, load_checkpoint, save_checkpoint
from compress.distill import Distiller
from compress.errors import CompressError
from compress.generator import Generator
from compress.running import evaluating

KEEP_EVERY_S = 15.0
_WARM_STEPS = 3
_MAX_STEPS = 20_000

Learn = Callable[[Distiller, int], None]


def recover(
    generator: Generator,
    teacher: nn.Module,
    *,
    inputs: tuple[InputSpec, ...],
    seconds: float,
    batch: int,
    seed: tuple[int, ...],
    keep: Path | None = None,
) -> Generator:
    """Return ``generator`` with the average weights of a student that was distilled from ``teacher``.

    Args:
        generator: Where the student starts; its module is trained in place.
        teacher: Draws from the same inputs.
        inputs: What both take.
        seconds: About how long it may take.
        batch: Rows a step.
        seed: Of the rows; those of a step are its own.
        keep: Folder of checkpoints. The same call with the same weights goes on from its own, or is finished at once.

    Raises:
        CompressError: the loss is not finite, or a checkpoint is damaged.
    """

    def learn(student: Distiller, step: int) -> None:
        drawn = draw_inputs(inputs, batch, (*seed, 1, step))
        rows = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in drawn.items()}
        with torch.no_grad():
            wanted = teacher(**rows).float()
        loss = student.step(step, rows, wanted)
        if not math.isfinite(loss):
            raise CompressError(f"Recovery diverged at step {step}: the loss is {loss}. Is the teacher finite?")

    asked = {
        "start": [generator.id, _digest(generator.module)],
        "teacher": _digest(teacher),
        "inputs": [spec.to_json() for spec in inputs],
        "seconds": seconds,
        "batch": batch,
        "seed": list(seed),
    }
    place = keep / sha256_bytes(json.dumps(asked).encode())[:16] if keep else None
    with evaluating(teacher):
        horizon = _horizon(generator, learn, seconds, place)
        student = Distiller(generator.module, horizon=horizon)
        _train(student, learn, horizon, place)
    return replace(generator, module=student.average.module.eval().requires_grad_(True))


def _digest(module: nn.Module) -> str:
    return digest({name: value.detach().cpu() for name, value in module.state_dict().items()})


def _horizon(generator: Generator, learn: Learn, seconds: float, place: Path | None) -> int:
    """Return how many steps fit into ``seconds``, or what was decided before."""
    plan = place.with_suffix(".json") if place else None
    if plan and plan.is_file():
        return _planned(plan)
    trial = Distiller(generator.build(), horizon=_WARM_STEPS + 1)
    learn(trial, 0)
    begun = time.monotonic()
    for step in range(1, _WARM_STEPS + 1):
        learn(trial, step)
    each = (time.monotonic() - begun) / _WARM_STEPS
    steps = max(1, min(_MAX_STEPS, int(seconds / max(each, 1e-6))))
    if plan:
        write_json(plan, {"steps": steps, "seconds": seconds})
    return steps


def _planned(plan: Path) -> int:
    """Return the steps in a plan of ours. Raises a CompressError if it holds none, or too many."""
    kept = read_json(plan)
    steps = kept.get("steps") if isinstance(kept, dict) else None
    if not isinstance(steps, int) or not 1 <= steps <= _MAX_STEPS:
        raise CompressError(f"{plan} must say 1 to {_MAX_STEPS:,} steps. Delete its folder to train anew.")
    return steps


def _train(student: Distiller, learn: Learn, horizon: int, place: Path | None) -> None:
    """Do all steps, or those that are left; a checkpoint is written now and then, and at the end."""
    modules = {"student": student.student, "average": student.average.module}
    optimizers = {"student": student.optimizer}
    file = place.with_suffix(".safetensors") if place else None
    first = load_checkpoint(file, modules, optimizers) if file and file.is_file() else 0
    kept = time.monotonic()
    for step in range(first, horizon):
        learn(student, step)
        if file and (step + 1 == horizon or time.monotonic() - kept > KEEP_EVERY_S):
            save_checkpoint(file, step + 1, modules, optimizers)
            kept = time.monotonic()
