"""The family ``gan``: unconditional generators, trained against a discriminator or distilled from one so trained.

The reference is the stock DCGAN (Radford et al. 2015, arXiv 1511.06434) with averaged weights, and twice the stock
learning rate for the generator (Heusel et al. 2017, arXiv 1706.08500: two time scales), which falls to zero in the last
40 % of its steps.
"""

from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.inputs import InputSpec
from compress.generator import Generator
from nas.experiment import ReferenceConfig
from nas.families.adversary import Discriminator
from nas.families.base import DataShape, Pictures, Schedule, Teacher
from nas.families.training import AdversarialTrainer, TrainingOptions, check_square
from search_spaces.decoder import dcgan_widths
from search_spaces.space import ImageShape


class Options(TrainingOptions):
    """What the family can be told in the experiment file."""


@dataclass(frozen=True)
class Gan:
    """The family for pictures of one shape."""

    options: Options
    stock: ReferenceConfig
    image: ImageShape
    name: str = "gan"
    label: str | None = None

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """One latent vector, standard normal; or what the user's own reference takes."""
        return self.stock.specs or (InputSpec("z", (self.options.latent,), "float32", {"kind": "normal"}),)

    def reference(self, seed: int) -> Generator:
        """Return the stock DCGAN of width ``reference.width``, untrained."""
        return self.narrowed(1.0, seed)

    def narrowed(self, factor: float, seed: int) -> Generator:
        """Return the stock DCGAN with every width times ``factor``, untrained."""
        arguments = {
            "widths": list(dcgan_widths(self.image, ngf=self.stock.width, scale=factor)),
            "inputs": [spec.to_json() for spec in self.inputs],
            "image": [self.image.channels, self.image.height, self.image.width],
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Generator.from_factory("search_spaces.decoder:dcgan", arguments, self.inputs)

    def trainer(
        self, module: nn.Module, schedule: Schedule, *, data: Pictures, teacher: Teacher | None, seed: int
    ) -> AdversarialTrainer:
        """Return the training of ``module`` at step 0; see ``nas.families.base.Family``."""
        return AdversarialTrainer(
            module,
            schedule,
            inputs=self.inputs,
            label=None,
            options=self.options,
            discriminator=self._discriminator,
            data=data,
            teacher=teacher,
            seed=seed,
        )

    def _discriminator(self) -> Discriminator:
        return Discriminator(self.image.channels, self.image.height, self.options.discriminator_width)


def make(options: Options, stock: ReferenceConfig, shape: DataShape) -> Gan:
    """Return the family for data of this shape.

    Raises:
        NasError: the pictures are not square with a side of 8, 16, 32 ... pixels.
    """
    check_square("gan", shape.image)
    return Gan(options, stock, shape.image)
