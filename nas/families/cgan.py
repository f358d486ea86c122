"""The family ``cgan``: class-conditional generators; the label is a second named input.

The reference is the stock DCGAN with the class embedded beside z and in every norm (conditional batch norm, de Vries et
al. 2017, arXiv 1707.00683), trained against a projection discriminator (Miyato & Koyama 2018, arXiv 1802.05637) with
mode seeking (Mao et al. 2019, arXiv 1903.05628), without which every class collapsed to one picture.
"""

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.inputs import InputSpec
from nas.errors import NasError
from nas.experiment import ReferenceConfig
from nas.families.adversary import ProjectionDiscriminator
from nas.families.base import DataShape
from nas.families.training import DcganFamily, TrainingOptions, check_square

LABEL = "label"


class Options(TrainingOptions):
    """What the family can be told in the experiment file."""


@dataclass(frozen=True)
class ConditionalGan(DcganFamily):
    """The family for pictures of one shape and classes of these sizes."""

    name: str = "cgan"
    factory: ClassVar[str] = "search_spaces.class_decoder:conditional_dcgan"

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """A latent vector and a class, which is drawn as often as the data shows it; or the user's own inputs."""
        if self.stock.specs:
            return self.stock.specs
        prior: dict[str, object] = {"kind": "integers", "low": 0, "high": len(self.class_counts) - 1}
        if len(set(self.class_counts)) > 1:
            prior["weights"] = list(self.class_counts)
        assert self.label is not None
        return (self.latent, InputSpec(self.label, (), "int64", prior))

    def discriminator(self) -> ProjectionDiscriminator:
        """Return a new discriminator that is told the classes."""
        width, classes = self.options.discriminator_width, len(self.class_counts)
        return ProjectionDiscriminator(self.image.channels, self.image.height, width, classes)


def make(options: Options, stock: ReferenceConfig, shape: DataShape) -> ConditionalGan:
    """Return the family for data of this shape.

    Raises:
        NasError: the pictures are not square with a side of 8, 16, 32 ... pixels, there is only one class, or the
            user's own reference has no input for the class.
    """
    check_square("cgan", shape.image)
    classes = len(shape.class_counts)
    if classes < 2:
        raise NasError("family cgan draws pictures by class and needs two classes or more: use family gan instead")
    return ConditionalGan(options, stock, shape.image, _label(stock, classes), shape.class_counts)


def _label(stock: ReferenceConfig, classes: int) -> str:
    """Return the name of the input that says which class to draw."""
    if not stock.specs:
        return LABEL
    fitting = [
        spec.name
        for spec in stock.specs
        if spec.prior["kind"] == "integers"
        and not spec.shape
        and (spec.prior["low"], spec.prior["high"]) == (0, classes - 1)
    ]
    if len(fitting) != 1:
        raise NasError(
            f"family cgan needs one input in reference.inputs that says which of the {classes} classes to draw: shape "
            f"[], dtype int64, prior {{kind: integers, low: 0, high: {classes - 1}}}; found {len(fitting)}"
        )
    return fitting[0]
