"""What a genotype means in numbers: plans of decoders, with every width and every stage decided for one image size.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.space import Genotype, ImageShape, SearchSpaceError

if TYPE_CHECKING:
    from benchmarks.inputs import InputSpec

_MAX_LATENTS = 65536


@dataclass(frozen=True)
class ConvPlan:
    """A convolutional decoder: a stem that makes maps, x2 stages with blocks among them, and a layer for the image.

    Args:
        start: Pixels (side) of the first maps.
        widths: Channels of the first maps, then of the maps after each x2 stage but the image.
        blocks: How many blocks follow at each of these resolutions; as many numbers as ``widths``.
        block: "plain", "residual" or "separable".
        kernel: Pixels of the blocks' convolutions.
        early: Upsampling of the x2 stages: "transposed", "nearest", "bilinear" or "shuffle2".
        last: Upsampling by the layer that makes the image: one of these, or "shuffle4" for one by 4.
        rank: Numbers that the inputs are reduced to before the stem; 0 = none.
        mapping: Features of a hidden layer before the stem (Karras et al. 2019, arXiv 1812.04948); 0 = none.
        norm: "batch": behind the stem and every convolution; "convs": not behind the stem.
    """

    start: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    block: str
    kernel: int
    early: str
    early_kernel: int
    last: str
    last_kernel: int
    rank: int
    mapping: int
    norm: str
    activation: str
    output: str

    @property
    def is_dcgan(self) -> bool:
        """Whether this is the stock DCGAN but for its widths: then its initial weights and lack of biases hold too."""
        plain = not any(self.blocks) and not self.rank and not self.mapping and self.norm == "batch"
        return plain and self.early == self.last == "transposed" and self.activation == "relu"


@dataclass(frozen=True)
class MlpPlan:
    """Linear layers of ``hidden`` features with batch norm, then one to all pixels."""

    hidden: tuple[int, ...]
    activation: str
    output: str


@dataclass(frozen=True)
class ClassPlan:
    """Where and how a class enters a decoder.

    Args:
        label: Name of the input that holds the class, int (N,).
        classes: How many there are; labels count from 0.
        embedding: Numbers per class that are appended to the latents; 0 = none.
        shift: Whether each class has a bias of its own for every feature of the stem.
        stem: Whether the norm behind the stem has a scale and a shift per class.
        blocks: The same for the norms of the blocks at the first resolution.
        stages: The same for all norms behind those.
    """

    label: str
    classes: int
    embedding: int = 0
    shift: bool = False
    stem: bool = False
    blocks: bool = False
    stages: bool = False


def conv_plan(genotype: Genotype, image: ImageShape) -> ConvPlan:
    """The plan of a canonical ``genotype`` with body "conv" for ``image``.

    A resolution that the genotype has no width for (it has three at most, as 32 pixels need) halves the width before
    it; settings of resolutions that the image does not reach are without effect.

    Raises:
        SearchSpaceError: the image is not square, or not a power of two above ``start``.
    """
    knobs: dict[str, Any] = dict(genotype)
    start, last = knobs["start"], knobs["last"]
    by_last = 2 if last == "shuffle4" else 1
    stages = doublings(image, start, smallest=by_last) - by_last
    widths = [knobs["width"]]
    for stage in range(2, stages + 2):
        widths.append(knobs.get(f"width{stage}", halved(widths[-1])))
    blocks = [knobs["blocks"], *(knobs.get(f"blocks{stage}", 0) for stage in range(2, stages + 2))]
    last_kernel = knobs.get("last_kernel", 3)
    return ConvPlan(
        start=start,
        widths=tuple(widths),
        blocks=tuple(blocks),
        block=knobs.get("block", "plain"),
        kernel=knobs.get("kernel", 3),
        early=knobs.get("early", "shuffle2" if last == "shuffle4" else last),
        early_kernel=knobs.get("early_kernel", last_kernel),
        last=last,
        last_kernel=last_kernel,
        rank=knobs["rank"],
        mapping=knobs.get("mapping", 0),
        norm=knobs.get("norm", "batch"),
        activation=knobs["activation"],
        output=knobs["output"],
    )


def mlp_plan(genotype: Genotype, image: ImageShape) -> MlpPlan:
    """The plan of a canonical ``genotype`` with body "mlp".

    Raises:
        SearchSpaceError: the image is not square.
    """
    square_side(image)
    knobs: dict[str, Any] = dict(genotype)
    return MlpPlan((knobs["hidden"],) * knobs["layers"], knobs["activation"], knobs["output"])


def dcgan_plan(widths: Sequence[int], start: int) -> ConvPlan:
    """The stock DCGAN (arXiv:1511.06434) with these widths, from maps of ``start`` pixels."""
    return ConvPlan(
        start=start,
        widths=tuple(widths),
        blocks=(0,) * len(widths),
        block="plain",
        kernel=3,
        early="transposed",
        early_kernel=3,
        last="transposed",
        last_kernel=3,
        rank=0,
        mapping=0,
        norm="batch",
        activation="relu",
        output="tanh",
    )


def halved(width: int) -> int:
    """Half of ``width`` to the nearest multiple of 8 (halves go up), at least 8."""
    return max(8, 8 * int(width / 16 + 0.5))


def square_side(image: ImageShape) -> int:
    """Pixels along one side of ``image``.

    Raises:
        SearchSpaceError: it is not square.
    """
    if image.height != image.width:
        raise SearchSpaceError(
            f"images of this space are square, found {image.height} x {image.width}; pad or crop them"
        )
    return image.height


def doublings(image: ImageShape, start: int, *, smallest: int) -> int:
    """The k with side = start * 2^k.

    Raises:
        SearchSpaceError: there is none, or it is below ``smallest``.
    """
    side = square_side(image)
    found = (side // start).bit_length() - 1
    if start << max(found, 0) != side or found < smallest:
        raise SearchSpaceError(
            f"from {start} pixels the image side must be {start} * 2^k with k >= {smallest} "
            f"({', '.join(str(start << k) for k in range(smallest, smallest + 4))} ...), found {side}; "
            "resize the images, or choose another start or last upsampling"
        )
    return found


def check_vectors(space: str, inputs: Sequence[InputSpec]) -> None:
    """Raise ``SearchSpaceError`` unless ``inputs`` are distinct float32 vectors with 1 to 65536 numbers in all."""
    for spec in inputs:
        if spec.dtype != "float32" or len(spec.shape) != 1:
            raise SearchSpaceError(
                f"space {space!r} takes real-valued vectors only (float32, shape (k,)), found input {spec.name!r} "
                f"with dtype {spec.dtype} and shape {tuple(spec.shape)}; leave it out or use a space that embeds it"
            )
    names = [spec.name for spec in inputs]
    if len(set(names)) < len(names):
        raise SearchSpaceError(f"every input has a name of its own, found {names}; rename one")
    size = sum(spec.shape[0] for spec in inputs)
    if not 1 <= size <= _MAX_LATENTS:
        raise SearchSpaceError(
            f"space {space!r} needs 1 to {_MAX_LATENTS} latents in all, found {size}; change the inputs' shapes"
        )
