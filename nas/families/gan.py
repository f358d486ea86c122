"""The family ``gan``: unconditional generators, trained against a discriminator or distilled from one so trained.

The reference is the stock DCGAN (Radford et al. 2015, arXiv 1511.06434) with averaged weights, and twice the stock
learning rate for the generator (Heusel et al. 2017, arXiv 1706.08500: two time scales), which falls to zero in the last
40 % of its steps.
"""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.inputs import InputSpec
from nas.experiment import ReferenceConfig
from nas.families.adversary import Discriminator
from nas.families.base import DataShape
from nas.families.training import DcganFamily, TrainingOptions, check_square


class Options(TrainingOptions):
    """What the family can be told in the experiment file."""


@dataclass(frozen=True)
class Gan(DcganFamily):
    """The family for pictures of one shape."""

    name: str = "gan"
    factory: ClassVar[str] = "search_spaces.decoder:dcgan"

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """One latent vector, standard normal; or what the user's own reference takes."""
        return self.stock.specs or (self.latent,)

    def discriminator(self) -> Discriminator:
        """Return a new stock discriminator."""
        return Discriminator(self.image.channels, self.image.height, self.options.discriminator_width)


def make(options: Options, stock: ReferenceConfig, shape: DataShape) -> Gan:
    """Return the family for data of this shape.

    Raises:
        NasError: the pictures are not square with a side of 8, 16, 32 ... pixels.
    """
    check_square("gan", shape.image)
    return Gan(options, stock, shape.image, class_counts=shape.class_counts)
