"""The space ``decoder``: latent vectors -> square images, from the stock DCGAN to a small MLP.

Values and conditions come from measurements in onnxruntime on a CPU (one thread, batch 1 and 32): convolutions at low
resolution with one large depth-to-space at the end were fastest per quality, transposed convolutions cannot run in
int8 at all, and below 30 µs the number of nodes counts rather than the arithmetic.

Odds lean towards what is fast: where every choice is drawn equally often, hardly any network but an MLP is fifteen
times as fast as the stock one, and a search would learn little from its first proposals.
`examples/studies/time_space.py` times random genotypes.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.outline import Operator, outline_conv, outline_mlp
from search_spaces.plans import ConvPlan, check_vectors, conv_plan, dcgan_plan, doublings, mlp_plan, square_side
from search_spaces.space import Choice, Condition, Genotype, ImageShape, SearchSpace, SearchSpaceError

if TYPE_CHECKING:  # torch is imported once something is built
    from torch import nn

    from benchmarks.inputs import InputSpec
    from search_spaces.network import Decoder

_MAX_DCGAN_WIDTH, _MAX_DCGAN_STAGES = 8192, 10

_CONV: Condition = {"body": ("conv",)}
MLP: Condition = {"body": ("mlp",)}
_BY_TWO = ("transposed", "nearest", "bilinear", "shuffle2")
_WITH_KERNEL = ("nearest", "bilinear", "shuffle2", "shuffle4")
_THREE_STAGES: Condition = {"start": (4,), "last": _BY_TWO}
EARLY_STAGES: tuple[Condition, ...] = ({"start": (4,)}, {"start": (8,), "last": _BY_TWO})
"""When there is an x2 stage before the last layer, in images of 32 pixels."""

_BLOCKS = (0, 1, 2, 3, 4)
_ANY_BLOCK: tuple[Condition, ...] = ({"blocks": (1, 2, 3, 4)}, {"blocks2": (1, 2, 3)}, {"blocks3": (1, 2)})

STEM: dict[str, Choice] = {
    "body": Choice(("conv", "mlp"), why="an MLP is the fastest there is and the first to lose quality", odds=(60, 1)),
    "hidden": Choice((64, 128, 256, 512), unit="features", when=MLP, why="weights are read once per call"),
    "layers": Choice((1, 2, 3), unit="hidden layers", when=MLP, why="each is one more node"),
    "rank": Choice(
        (0, 8, 16, 32),
        unit="numbers",
        when=_CONV,
        why="the inputs are first reduced to so many: fewer weights to read, one more node; 0 = they are not",
        odds=(6, 1, 1, 1),
    ),
    "mapping": Choice(
        (0, 32, 64, 128, 256),
        unit="features",
        when={"body": ("conv",), "rank": (0,)},
        why="a hidden layer between inputs and maps, as StyleGAN's mapping network: what is drawn is decided before "
        "any map is, for the price of a small matrix; 0 = none",
        odds=(1, 1, 2, 3, 1),
    ),
    "start": Choice((4, 8), unit="pixels", when=_CONV, why="side of the first maps; 8 saves a stage and its nodes"),
    "width": Choice(
        (16, 24, 32, 40, 48, 64, 96, 128, 192, 256),
        unit="channels",
        when=_CONV,
        why="of the first maps; kernels want multiples of 8, int8 kernels of 16",
        odds=(4, 4, 4, 4, 4, 4, 2, 2, 1, 1),
    ),
}
STAGES: dict[str, Choice] = {
    "last": Choice(
        (*_BY_TWO, "shuffle4"),
        when=_CONV,
        why="upsampling that makes the image; shuffle4 (depth-to-space) computes it at a quarter of its side; "
        "transposed has no int8 kernel in onnxruntime",
        odds=(1, 1, 1, 2, 5),
    ),
    "last_kernel": Choice(
        (1, 3, 5),
        unit="pixels",
        when={"last": _WITH_KERNEL},
        why="of the convolution that makes the image; a transposed one is 4 x 4",
        odds=(1, 3, 1),
    ),
    "early": Choice(
        _BY_TWO,
        when=EARLY_STAGES,
        why="upsampling of the x2 stages before the last: two from 4 pixels, one from 8, and one less before "
        "shuffle4 (in images of 32 pixels)",
        odds=(1, 1, 1, 2),
    ),
    "early_kernel": Choice(
        (1, 3, 5),
        unit="pixels",
        when={"early": ("nearest", "bilinear", "shuffle2")},
        why="of their convolutions",
        odds=(2, 3, 1),
    ),
    "width2": Choice(
        (8, 16, 24, 32, 40, 48, 64, 96, 128),
        unit="channels",
        when=EARLY_STAGES,
        why="of the maps after the first x2 stage",
        odds=(3, 3, 3, 3, 2, 2, 2, 1, 1),
    ),
    "width3": Choice(
        (8, 16, 24, 32, 48, 64),
        unit="channels",
        when=_THREE_STAGES,
        why="after the second; each further one, in images above 32 pixels, halves the width",
        odds=(3, 3, 2, 2, 1, 1),
    ),
}
BLOCKS: dict[str, Choice] = {
    "blocks": Choice(
        _BLOCKS,
        unit="blocks",
        when=_CONV,
        why="at the first resolution: depth there costs little and pays most in quality",
        odds=(2, 3, 3, 2, 1),
    ),
    "blocks2": Choice(
        (0, 1, 2, 3), unit="blocks", when=EARLY_STAGES, why="after the first x2 stage", odds=(4, 3, 2, 1)
    ),
    "blocks3": Choice((0, 1, 2), unit="blocks", when=_THREE_STAGES, why="after the second", odds=(4, 2, 1)),
    "block": Choice(
        ("plain", "residual", "separable"),
        when=_ANY_BLOCK,
        why="plain: one convolution; residual: two with a skip around them; separable: a depthwise and a 1 x 1 one, "
        "fewer operations but one more node",
        odds=(2, 1, 1),
    ),
    "kernel": Choice((3, 5), unit="pixels", when=_ANY_BLOCK, why="of the blocks' convolutions", odds=(3, 1)),
}
# There is no "none": of the convolutional decoders without norms that were tried on small discs (L2, Adam at
# 2e-3 to 1e-4, 150 to 400 steps, all four upsamplings) every one ended at the blank image, those with norms
# did not; and a norm behind a convolution is free once it is folded into the weights.
NORM = Choice(
    ("batch", "convs"),
    when=_CONV,
    why="batch norm after every layer as in DCGAN, or after convolutions only, which saves a node",
)
FUNCTIONS: dict[str, Choice] = {
    "activation": Choice(("relu", "leaky_relu", "hardswish"), why="relu fuses with every kernel", odds=(2, 1, 1)),
    "output": Choice(("tanh", "hardtanh"), why="what maps to [-1, 1]; hardtanh is a clip"),
}
DCGAN64: dict[str, Any] = {
    "body": "conv",
    "rank": 0,
    "mapping": 0,
    "start": 4,
    "width": 256,
    "last": "transposed",
    "early": "transposed",
    "width2": 128,
    "width3": 64,
    "blocks": 0,
    "blocks2": 0,
    "blocks3": 0,
    "norm": "batch",
    "activation": "relu",
    "output": "tanh",
}


def build_decoder(genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> nn.Module:
    """The generator of a canonical ``genotype``; see ``DECODER``.

    Raises:
        SearchSpaceError: an input is no real-valued vector, or the image is not one this genotype can reach.
    """
    from search_spaces import assembly

    check_vectors("decoder", inputs)
    if genotype["body"] == "mlp":
        return assembly.build_mlp(mlp_plan(genotype, image), inputs, image)
    return assembly.build_conv(conv_plan(genotype, image), inputs, image)


def outline_decoder(genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> tuple[Operator, ...]:
    """What ``build_decoder`` would compute; raises as it does."""
    check_vectors("decoder", inputs)
    if genotype["body"] == "mlp":
        return outline_mlp(mlp_plan(genotype, image), inputs, image)
    return outline_conv(conv_plan(genotype, image), inputs, image)


def dcgan(widths: Sequence[int], inputs: Sequence[Any], image: Any) -> Decoder:
    """A DCGAN generator (arXiv:1511.06434) of any widths: the stock one, or one narrowed evenly.

    Args:
        widths: Channels of the maps before each transposed convolution; ``(256, 128, 64)`` at 32 pixels is the stock.
        inputs: ``InputSpec``s or their JSON objects.
        image: ``ImageShape``, its JSON object, or ``[channels, height, width]``; square, side = start * 2^len(widths).

    Raises:
        SearchSpaceError: widths are not 1 to 10 integers from 1 to 8192, or the side is no such multiple.
    """
    from benchmarks.inputs import InputSpec
    from search_spaces import assembly

    image = ImageShape.from_json(image)
    specs = tuple(spec if isinstance(spec, InputSpec) else InputSpec.from_json(spec) for spec in inputs)
    check_vectors("decoder", specs)
    return assembly.build_conv(stock_plan(widths, image), specs, image)


def stock_plan(widths: Sequence[int], image: ImageShape) -> ConvPlan:
    """The plan of a DCGAN with ``widths``, which may come from a file.

    Raises:
        SearchSpaceError: as ``dcgan``.
    """
    fits = all(isinstance(w, int) and not isinstance(w, bool) and 1 <= w <= _MAX_DCGAN_WIDTH for w in widths)
    if not fits or not 1 <= len(widths) <= _MAX_DCGAN_STAGES:
        raise SearchSpaceError(
            f"widths are 1 to {_MAX_DCGAN_STAGES} integers from 1 to {_MAX_DCGAN_WIDTH}, "
            f"found {reprlib.repr(widths)}; write for example [256, 128, 64]"
        )
    side, factor = square_side(image), 2 ** len(widths)
    if side % factor:
        raise SearchSpaceError(
            f"{len(widths)} widths need an image side that is a multiple of {factor}, found {side}; change one of them"
        )
    return dcgan_plan(widths, side // factor)


def dcgan_widths(image: ImageShape, *, ngf: int = 64, scale: float = 1.0) -> tuple[int, ...]:
    """Widths of the stock DCGAN for ``image``: maps from 4 pixels, doubling; ``ngf`` channels before the last stage.

    Args:
        image: Square, side 4 * 2^k with k >= 1.
        ngf: Channels of the widest maps in pixels; each stage towards 4 pixels doubles them.
        scale: Factor on every width (rounded, at least 1): narrows the whole network evenly.

    Raises:
        SearchSpaceError: the side is no such multiple, or ``scale`` is not above 0.
    """
    if not scale > 0:
        raise SearchSpaceError(f"scale must be above 0, found {scale}; 1.0 is the stock DCGAN")
    stages = doublings(image, 4, smallest=1)
    return tuple(max(1, round(scale * ngf * 2**stage)) for stage in reversed(range(stages)))


DECODER = SearchSpace(
    name="decoder",
    description="latent vectors -> square images: convolutional decoders, the stock DCGAN among them, and small MLPs",
    knobs={**STEM, **STAGES, **BLOCKS, "norm": NORM, **FUNCTIONS},
    build=build_decoder,
    outline=outline_decoder,
    named={"dcgan64": DCGAN64},
)
