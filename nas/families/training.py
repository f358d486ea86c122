"""What the families ``gan`` and ``cgan`` share: narrowed stock generators, adversarial training, distillation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.optim import Adam

from benchmarks.inputs import InputSpec, draw_inputs
from compress.checkpoint import load_checkpoint, save_checkpoint
from compress.devices import autocast, place
from compress.distill import Distiller, DistillSettings
from compress.generator import Generator
from nas.errors import NasError
from nas.experiment import ReferenceConfig
from nas.families.adversary import BETAS, Batch, Discriminator, Observer, discriminator_step, generator_loss
from nas.families.base import OnStep, Phase, Pictures, Schedule, SizeError, Teacher, TrainingError, locate
from nas.families.observing import Observing
from nas.seeds import Stream
from search_spaces.decoder import dcgan_widths
from search_spaces.space import ImageShape

DISCRIMINATOR_FILE = "discriminator.safetensors"
OBSERVER_FILE = "observer.safetensors"
_DISTILLING = ("distill", "features")  # kinds of phases
_TAUGHT = (*_DISTILLING, "finetune", "match")
_SAME = 1e-5  # keeps the loss finite where all pictures are the same
_DECAY_SHARE = 0.4  # of an adversarial phase: the rate falls to zero over its last steps


class TrainingOptions(BaseModel):
    """What a family that trains so can be told in the experiment file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    latent: int = Field(100, ge=1, le=4096, description="Length of the latent vector z")
    batch_size: int = Field(64, ge=4, le=4096, description="Pictures of one training step")
    discriminator_width: int = Field(64, ge=8, le=1024, description="Channels of the discriminator's first layer")
    generator_rate: float = Field(4e-4, gt=0, le=1, description="Learning rate of an adversarial generator")
    discriminator_rate: float = Field(2e-4, gt=0, le=1, description="Learning rate of the discriminator")
    diversity: float = Field(
        0.1, ge=0, le=100, description="Weight of mode seeking where pictures are asked for by class; 0 = none"
    )
    distill_features: float = Field(
        3.0, ge=0, le=1000, description="Weight of the reference discriminator's features in search.final_features"
    )
    distill_rate: float = Field(2e-3, gt=0, le=1, description="Learning rate of a distilled generator")
    finetune_rate: float = Field(2e-4, gt=0, le=1, description="Learning rate of adversarial fine-tuning")
    finetune_warm_up: int = Field(60, ge=0, le=100_000, description="Steps in which only the discriminator learns")
    finetune_pull: float = Field(
        4.0, ge=0, le=1000, description="Weight of the distance to the teacher in it, and in search.final_match"
    )
    match_rate: float = Field(3e-4, gt=0, le=1, description="Learning rate of search.final_match")
    match_weight: float = Field(8.0, ge=0, le=1000, description="Weight of the distance to real pictures in it")


def check_square(name: str, image: ImageShape) -> None:
    """Raise SizeError unless the pictures are square with a side of 8, 16, 32 ... pixels."""
    if image.height != image.width or image.height < 8 or image.height & (image.height - 1):
        raise SizeError(
            f"family {name} draws square pictures with a side that is a power of two from 8 pixels, got "
            f"{image.height}x{image.width}: set data.size to 32 or 64"
        )


@dataclass(frozen=True)
class DcganFamily:
    """What ``gan`` and ``cgan`` have in common: a stock DCGAN of some kind, narrowed at will, and one way to train.

    Args:
        options: Of the training.
        stock: Of the reference.
        image: Shape of the pictures.
        label: Name of the input that says which class to draw, or ``None``.
        class_counts: Training pictures of each class of the data.
    """

    options: TrainingOptions
    stock: ReferenceConfig
    image: ImageShape
    label: str | None = None
    class_counts: tuple[int, ...] = ()
    factory: ClassVar[str]  # package.module:function(widths, inputs, image)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What every generator of the family takes."""
        raise NotImplementedError

    def discriminator(self) -> Discriminator:
        """Return a new discriminator, from torch's global random state."""
        raise NotImplementedError

    def observer(self) -> Observer:
        """Return a new observer of the data's classes, from torch's global random state."""
        width, classes = self.options.discriminator_width, max(len(self.class_counts), 1)
        return Observer(self.image.channels, self.image.height, width, classes)

    @property
    def latent(self) -> InputSpec:
        """The latent vector z, standard normal."""
        return InputSpec("z", (self.options.latent,), "float32", {"kind": "normal"})

    def reference(self, seed: int) -> Generator:
        """Return the stock generator of width ``reference.width``, untrained."""
        return self.narrowed(1.0, seed)

    def narrowed(self, factor: float, seed: int) -> Generator:
        """Return the stock generator with every width times ``factor``, untrained."""
        arguments = {
            "widths": list(dcgan_widths(self.image, ngf=self.stock.width, scale=factor)),
            "inputs": [spec.to_json() for spec in self.inputs],
            "image": [self.image.channels, self.image.height, self.image.width],
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Generator.from_factory(self.factory, arguments, self.inputs)

    def trainer(
        self, module: nn.Module, schedule: Schedule, *, data: Pictures, teacher: Teacher | None, seed: int
    ) -> "AdversarialTrainer":
        """Return the training of ``module`` at step 0; see ``nas.families.base.Family``."""
        return AdversarialTrainer(self, module, schedule, data=data, teacher=teacher, seed=seed)


class AdversarialTrainer:
    """One generator in training; see ``nas.families.base.Trainer`` for its life.

    Args:
        family: What the generator takes, rates and weights, and its discriminator.
        module: The generator, trained in place.
        schedule: Its phases.
        data: What is trained on.
        teacher: For phases that learn from the reference.
        seed: Everything random follows from it and the step.
    """

    def __init__(
        self,
        family: DcganFamily,
        module: nn.Module,
        schedule: Schedule,
        *,
        data: Pictures,
        teacher: Teacher | None,
        seed: int,
    ) -> None:
        self.step = 0
        self._family, self._specs, self._label, self._options = family, family.inputs, family.label, family.options
        self._schedule, self._data, self._seed = schedule, data, seed
        self._device = data.images.device
        self._bank = teacher.bank if teacher else None
        if teacher is None and any(phase.kind in _TAUGHT for phase in schedule):
            raise NasError("distillation and fine-tuning need a trained reference to learn from, and there is none")
        self._discriminator = self._new_discriminator(teacher)
        self._judge = self._new_discriminator(teacher).eval().requires_grad_(False)
        self._distiller = self._new_distiller(place(module, self._device))
        self._observing = Observing(
            self._new_observer(teacher), data, conditional=self._label is not None, features=self._judge.features
        )
        self._generator_optimizer = Adam(self.student.parameters(), self._options.generator_rate, BETAS, fused=True)
        self._discriminator_optimizer = Adam(
            self._discriminator.parameters(), self._options.discriminator_rate, BETAS, fused=True
        )

    @property
    def student(self) -> nn.Module:
        """The generator as it stands after the latest step."""
        return self._distiller.student

    @property
    def average(self) -> nn.Module:
        """The averaged weights."""
        return self._distiller.average.module

    def _new_discriminator(self, teacher: Teacher | None) -> Discriminator:
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            discriminator = self._family.discriminator()
        if teacher is not None:
            load_checkpoint(teacher.folder / DISCRIMINATOR_FILE, {"discriminator": discriminator})
        place(discriminator, self._device)
        return discriminator

    def _new_observer(self, teacher: Teacher | None) -> Observer:
        with torch.random.fork_rng():
            torch.manual_seed(self._seed + 1)  # other weights than the discriminator's
            observer = self._family.observer()
        if teacher is not None and self._has("match"):
            load_checkpoint(teacher.folder / OBSERVER_FILE, {"observer": observer})
        place(observer, self._device)
        return observer

    def _has(self, kind: str) -> bool:
        return any(phase.kind == kind for phase in self._schedule)

    def _new_distiller(self, student: nn.Module) -> Distiller:
        horizon = max(sum(phase.steps for phase in self._schedule if phase.kind in _DISTILLING), 1)
        options = self._options
        settings = DistillSettings(learning_rate=options.distill_rate, feature_weight=options.distill_features)
        return Distiller(student, horizon=horizon, features=self._judge.features, settings=settings)

    def run(self, until: int, on_step: OnStep | None = None) -> None:
        """Train up to step ``until``; calls ``on_step`` with the number of finished steps after each."""
        while self.step < until:
            phase, index = locate(self._schedule, self.step)
            if phase.kind in _DISTILLING:
                loss = self._distill_step(phase, index)
            elif phase.kind == "finetune":
                loss = self._finetune_step(index, phase.steps)
            elif phase.kind == "match":
                loss = self._match_step(index, phase.steps)
            elif phase.kind == "observe":
                loss = self._observing.learn(index, phase.steps, self._rng(2), self._options.batch_size)
            elif phase.kind == "critic":
                loss = self._critic_step(index, phase.steps)
            else:
                loss = self._adversarial_step(index, phase.steps)
            if not np.isfinite(loss):
                raise TrainingError(
                    f"diverged: the loss is {loss} at step {self.step} ({phase.kind}); a lower learning rate in "
                    "`family` helps, or a space without the choice at fault"
                )
            self.step += 1
            if on_step is not None:
                on_step(self.step)

    def _distill_step(self, phase: Phase, index: int) -> float:
        """One learning rate falls over both phases of a distillation."""
        before = self._schedule[: self._schedule.index(phase)]
        index += sum(one.steps for one in before if one.kind in _DISTILLING)
        return self._distiller.step(index, *self._taught(), features=phase.kind == "features")

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, Stream.TRAIN, self.step, *purpose))

    def _inputs(self) -> dict[str, torch.Tensor]:
        stream = (self._seed, Stream.TRAIN, self.step)
        drawn = draw_inputs(self._specs, self._options.batch_size, stream)
        return {name: torch.from_numpy(values).to(self._device) for name, values in drawn.items()}

    def _taught(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        assert self._bank is not None
        inputs, pictures = self._bank.batch(self._rng(), self._options.batch_size)
        return {name: values.to(self._device) for name, values in inputs.items()}, pictures.to(self._device)

    def _real(self) -> Batch:
        rows = torch.from_numpy(self._rng(1).integers(0, len(self._data.images), self._options.batch_size))
        pictures = self._data.images[rows].contiguous(memory_format=torch.channels_last)
        return Batch(pictures, self._data.labels[rows] if self._label else None)

    def _drawn(self, inputs: Mapping[str, torch.Tensor]) -> Batch:
        """Return what the student draws, with gradients."""
        self.student.train()
        with autocast(self._device):
            pictures = self.student(**inputs)
        return Batch(pictures, inputs[self._label] if self._label else None)

    def _adversarial_step(self, index: int, steps: int) -> float:
        self._set_rates(self._options.generator_rate, index, steps)
        inputs = self._inputs()
        if self._label and self._options.diversity:
            half = len(inputs[self._label]) // 2
            inputs[self._label][-half:] = inputs[self._label][:half]
        drawn = self._drawn(inputs)
        loss = discriminator_step(self._discriminator, self._discriminator_optimizer, self._real(), drawn)
        return float(loss) + self._generator_step(self._fooling(drawn) + self._sameness(inputs, drawn.pictures))

    def _sameness(self, inputs: Mapping[str, torch.Tensor], pictures: torch.Tensor) -> torch.Tensor | float:
        """Return ``diversity`` / (mean distance of two pictures of one class / mean distance of their latents).

        A conditional generator easily draws one picture a class, whatever its latents: the discriminator sees few
        pictures of a class at once. Mode seeking, Mao et al. 2019 (arXiv 1903.05628), equation 3, its inverse.
        """
        if not (self._label and self._options.diversity):
            return 0.0
        half = len(pictures) // 2
        latents = [values for values in inputs.values() if values.is_floating_point()]
        moved = torch.cat([(values[:half] - values[-half:]).abs().flatten(1) for values in latents], dim=1).mean()
        changed = (pictures[:half].float() - pictures[-half:].float()).abs().mean()
        return self._options.diversity / (changed / moved + _SAME)

    def _finetune_step(self, index: int, steps: int) -> float:
        """First only the discriminator learns (it knows the teacher, not this student), then both."""
        self._set_rates(self._options.finetune_rate, index, steps)
        inputs, wanted = self._taught()
        drawn = self._drawn(inputs)
        loss = discriminator_step(self._discriminator, self._discriminator_optimizer, self._real(), drawn)
        if index < self._options.finetune_warm_up:
            return float(loss)
        pull = self._options.finetune_pull * (drawn.pictures.float() - wanted).square().mean()
        return float(loss) + self._generator_step(self._fooling(drawn) + pull)

    def _match_step(self, index: int, steps: int) -> float:
        """Draw what real pictures are like, as a whole, and stay near what the teacher draws, picture by picture.

        The average begins anew: one that still remembers the student before takes twice the steps.
        """
        self._set_rates(self._options.match_rate, index, steps)
        inputs, wanted = self._taught()
        drawn = self._drawn(inputs)
        pull = self._options.finetune_pull * (drawn.pictures.float() - wanted).square().mean()
        away = self._options.match_weight * self._observing.loss(drawn, self._rng(3))
        return self._generator_step(away + pull, averaged=index)

    def _critic_step(self, index: int, steps: int) -> float:
        self._set_rates(0.0, index, steps)
        with torch.no_grad():
            self.student.eval()
            inputs = self._inputs()
            drawn = Batch(self.student(**inputs), inputs[self._label] if self._label else None)
        return float(discriminator_step(self._discriminator, self._discriminator_optimizer, self._real(), drawn))

    def _fooling(self, drawn: Batch) -> torch.Tensor:
        with autocast(self._device):
            return generator_loss(self._discriminator(*drawn))

    def _generator_step(self, loss: torch.Tensor, averaged: int | None = None) -> float:
        """Train the student; ``averaged``: steps its average goes back, all of them unless given."""
        self._generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._generator_optimizer.step()
        self._distiller.average.update(self.student, self.step if averaged is None else averaged)
        return float(loss.detach())

    def _set_rates(self, rate: float, index: int, steps: int) -> None:
        factor = min(1.0, (steps - index) / (_DECAY_SHARE * steps))
        self._generator_optimizer.param_groups[0]["lr"] = rate * factor
        self._discriminator_optimizer.param_groups[0]["lr"] = self._options.discriminator_rate * factor

    def _state(self) -> tuple[dict[str, nn.Module], dict[str, Any]]:
        modules = {"student": self.student, "average": self.average, "discriminator": self._discriminator}
        optimizers = {
            "distill": self._distiller.optimizer,
            "generator": self._generator_optimizer,
            "discriminator": self._discriminator_optimizer,
        }
        if self._has("observe"):
            modules["observer"], optimizers["observer"] = self._observing.observer, self._observing.optimizer
        return modules, optimizers

    def save(self, path: Path) -> None:
        """Write modules, optimizers and step to ``path``, atomically."""
        save_checkpoint(path, self.step, *self._state())

    def load(self, path: Path) -> None:
        """Go on from the checkpoint at ``path``."""
        self.step = load_checkpoint(path, *self._state())

    def keep(self, folder: Path) -> None:
        """Leave the discriminator and the observer in ``folder``: students learn from both."""
        save_checkpoint(folder / DISCRIMINATOR_FILE, self.step, {"discriminator": self._discriminator})
        save_checkpoint(folder / OBSERVER_FILE, self.step, {"observer": self._observing.observer})
