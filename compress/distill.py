"""Distillation: a student learns to draw what its teacher draws from the same inputs.

The loss is squared, not absolute: on sparse pictures the median is the blank picture, and an L1 student sits on it for
half a minute. Learning rate falls to nothing over the horizon, and the student that counts is the average of its
weights. (Measured for this project; see docs/architecture.md, "What was measured".)
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Adam

from compress.devices import autocast

Inputs = Mapping[str, torch.Tensor]
Features = Callable[[torch.Tensor], Sequence[torch.Tensor]]


@dataclass(frozen=True, slots=True)
class DistillSettings:
    """How a student is distilled."""

    learning_rate: float = 2e-3
    pixel_weight: float = 4.0
    feature_weight: float = 3.0
    warm_up: int = 20  # steps in which the rate rises


class WeightAverage:
    """The exponential moving average of a module's weights and statistics, short at first and longer later.

    decay(t) = min(longest, (t + 1) / (t + 20)), so that early averages forget the random start.
    """

    def __init__(self, module: nn.Module, longest: float = 0.998) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._longest = longest

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in ``module`` after its step number ``step`` (from 0)."""
        decay = min(self._longest, (step + 1) / (step + 20))
        for average, value in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if average.dtype.is_floating_point:
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


def falling_rate(step: int, horizon: int, warm_up: int) -> float:
    """Return the factor on the learning rate at ``step`` (from 0): up over ``warm_up`` steps, then linearly to zero."""
    return min((step + 1) / (warm_up + 1), (horizon - step) / max(horizon - warm_up, 1), 1.0)


def distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, features: Features | None, settings: DistillSettings
) -> torch.Tensor:
    """Return ``pixel_weight`` * mean squared error + ``feature_weight`` * mean over layers of |f_s - f_t| / |f_t|.

    Args:
        student: Pictures ``(N, C, H, W)`` with gradients.
        teacher: Pictures of the same inputs, without.
        features: Gives a list of feature maps for a batch of pictures; ``None`` leaves that term out.
        settings: The weights.
    """
    loss = settings.pixel_weight * (student - teacher).square().mean()
    if features is None:
        return loss
    with torch.no_grad(), autocast(teacher.device):
        wanted = features(teacher)
    with autocast(student.device):
        found = features(student)
    gaps = [(f.float() - w.float()).abs().mean() / w.float().abs().mean() for f, w in zip(found, wanted, strict=True)]
    return loss + settings.feature_weight * torch.stack(gaps).mean()


class Distiller:
    """A student on its way to its teacher: ``step`` it, read ``average`` for the student that counts.

    Args:
        student: Trained in place.
        features: See ``distillation_loss``.
        horizon: Steps after which the learning rate has fallen to zero.
        settings: Rates and weights.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        horizon: int,
        features: Features | None = None,
        settings: DistillSettings | None = None,
    ) -> None:
        self.settings = settings or DistillSettings()
        self.student = student
        self.average = WeightAverage(student)
        self.optimizer = Adam(student.parameters(), self.settings.learning_rate, fused=True)
        self._features = features
        self._horizon = horizon

    def step(self, index: int, inputs: Inputs, wanted: torch.Tensor, *, features: bool = False) -> float:
        """Do step number ``index`` (from 0) on one batch and return its loss.

        Args:
            index: Of the step; decides the learning rate.
            inputs: Named tensors ``(N, ...)``.
            wanted: What the teacher draws from them, ``(N, C, H, W)`` float32.
            features: Compare features too, if there are any.
        """
        rate = self.settings.learning_rate * falling_rate(index, self._horizon, self.settings.warm_up)
        self.optimizer.param_groups[0]["lr"] = rate
        self.student.train()
        with autocast(wanted.device):
            drawn = self.student(**inputs).float()
        loss = distillation_loss(drawn, wanted, self._features if features else None, self.settings)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.average.update(self.student, index)
        return float(loss.detach())
