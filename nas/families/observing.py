"""The observer at work: it learns the data's classes, then says how far a student's pictures are from real ones."""

from functools import cached_property

import numpy as np
import torch
from torch.nn import functional
from torch.optim import Adam

from compress.devices import autocast
from compress.distill import Features, falling_rate
from compress.matching import Matching, describe
from nas.augment import shifted
from nas.families.adversary import Batch, Observer
from nas.families.base import Pictures

_RATE = 3e-3
_WARM_UP = 100  # steps in which the rate rises
_REAL = 4096  # pictures that students are matched to: features of so many stay in memory
_AT_ONCE = 256
_ROWS = 1000  # of them, for one step: more is slower and no better


class Observing:
    """An observer and the real pictures it looks at.

    Args:
        observer: Trained in place by ``learn``.
        data: What there is to see.
        conditional: Pictures are asked for by class, and must match class by class.
        features: Looks instead of the observer, which learns nothing where there is only one class.
    """

    def __init__(self, observer: Observer, data: Pictures, *, conditional: bool, features: Features) -> None:
        self.observer = observer.requires_grad_(False)
        self.optimizer = Adam(observer.parameters(), _RATE, fused=True)
        self._data, self._conditional = data, conditional
        self._classes = observer.head.out_channels
        self._features = observer.features if self._classes > 1 else features

    def learn(self, index: int, steps: int, rng: np.random.Generator, size: int) -> float:
        """Train the observer's step number ``index`` of ``steps`` on ``size`` pictures; return its loss."""
        if self._classes == 1:
            return 0.0
        self.optimizer.param_groups[0]["lr"] = _RATE * falling_rate(index, steps, min(_WARM_UP, steps // 2))
        rows = torch.from_numpy(rng.integers(0, len(self._data.images), size))
        moves = torch.Generator().manual_seed(int(rng.integers(2**62)))
        pictures = shifted(self._data.images[rows], moves).contiguous(memory_format=torch.channels_last)
        self.observer.train().requires_grad_(True)
        with autocast(pictures.device):
            scores = self.observer(pictures)
        loss = functional.cross_entropy(scores.float(), self._data.labels[rows])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.observer.eval().requires_grad_(False)
        return float(loss.detach())

    @cached_property
    def _matching(self) -> Matching:
        self.observer.eval()
        count = len(self._data.images)
        rows = torch.from_numpy(np.random.default_rng(0).permutation(count)[:_REAL])
        with torch.no_grad():
            parts = [describe(self._seen(self._data.images[some])) for some in torch.split(rows, _AT_ONCE)]
        real = [torch.cat(layers) for layers in zip(*parts, strict=True)]
        if not self._conditional:
            return Matching(real)
        return Matching(real, self._data.labels[rows], self._classes)

    def loss(self, drawn: Batch, rng: np.random.Generator) -> torch.Tensor:
        """Return how far what was ``drawn`` is from the real pictures, up to a constant; see ``Matching.loss``."""
        rows = torch.from_numpy(rng.integers(0, len(self._matching), _ROWS)).to(drawn.pictures.device)
        return self._matching.loss(describe(self._seen(drawn.pictures)), rows, drawn.classes)

    def _seen(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        with autocast(pictures.device):
            return list(self._features(pictures))
