"""What a family is: how one kind of generator learns, is narrowed, and is drawn from.

The life of a training: ``family.trainer(...)`` makes it at step 0; ``load`` takes it to where a checkpoint left it;
``run(until)`` brings it to a step of its schedule; ``average`` is the generator that counts; ``save`` keeps all of it.
Randomness follows from the seed and the number of the step alone, so that a training that was cut and resumed ends
where an uncut one ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from benchmarks.inputs import InputSpec
from compress.generator import Generator
from nas.bank import Bank
from nas.errors import NasError
from search_spaces.space import ImageShape

PhaseKind = Literal["adversarial", "distill", "features", "finetune", "match", "critic", "observe"]
OnStep = Callable[[int], None]


class TrainingError(NasError):
    """A training that cannot go on: it diverged."""


class SizeError(NasError):
    """Pictures of a size that a family cannot draw."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Part of a schedule: ``adversarial`` from scratch, ``distill`` from the reference, ``finetune`` against data.

    ``features`` goes on distilling, and also compares what the reference's discriminator sees in the pictures: a step
    takes about three times as long, and pays once pixels alone have brought a student near its teacher.

    ``match`` makes the student's pictures, taken together, like the real ones, to an observer that ``observe`` trained:
    distillation alone ends at the teacher, and this begins where it ends.

    ``critic`` trains only what a later ``finetune`` needs of the reference's training, while the generator rests: for a
    reference that was trained elsewhere.
    """

    kind: PhaseKind
    steps: int


Schedule = tuple[Phase, ...]


def total_steps(schedule: Schedule) -> int:
    """Return the steps of all phases together."""
    return sum(phase.steps for phase in schedule)


def locate(schedule: Schedule, step: int) -> tuple[Phase, int]:
    """Return the phase that ``step`` (from 0) lies in, and its index within that phase."""
    index = step
    for phase in schedule:
        if index < phase.steps:
            return phase, index
        index -= phase.steps
    raise ValueError(f"step {step} lies beyond the schedule's last, {total_steps(schedule) - 1}")


@dataclass(frozen=True, slots=True)
class DataShape:
    """What a family is told of the data: the shape of a picture, and how many training pictures each class has."""

    image: ImageShape
    class_counts: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is trained on: ``images`` ``(N, C, H, W)``, float32 in [-1, 1], and ``labels`` ``(N,)``, int64."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Teacher:
    """The trained reference as its students see it: pictures it drew, and the folder its own training left."""

    bank: Bank
    folder: Path


class Trainer(Protocol):
    """One generator in training."""

    step: int

    @property
    def average(self) -> nn.Module:
        """The averaged weights: the generator that is scored and saved."""

    def run(self, until: int, on_step: OnStep | None = None) -> None:
        """Train up to step ``until`` of the schedule. Raises TrainingError when losses stop being numbers."""

    def save(self, path: Path) -> None:
        """Write a checkpoint, atomically."""

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same schedule and generator."""

    def keep(self, folder: Path) -> None:
        """Leave in ``folder`` what a later student of this generator needs besides the generator itself."""


class Family(Protocol):
    """How one kind of generator learns."""

    name: str

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What every generator of this family takes."""

    @property
    def label(self) -> str | None:
        """Name of the input that says which class of the data to draw; ``None`` where there is no such input."""

    def reference(self, seed: int) -> Generator:
        """Return the family's stock generator, untrained."""

    def narrowed(self, factor: float, seed: int) -> Generator:
        """Return the stock generator with every width times ``factor`` (at least one channel), untrained."""

    def trainer(
        self, module: nn.Module, schedule: Schedule, *, data: Pictures, teacher: Teacher | None, seed: int
    ) -> Trainer:
        """Return the training of ``module`` on ``data`` at step 0.

        Raises:
            NasError: a phase needs a teacher, and there is none.
        """
