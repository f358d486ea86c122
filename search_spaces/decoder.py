"""The space ``decoder``: latent vectors -> square images, from the stock DCGAN to a small MLP.

Values and conditions come from measurements in onnxruntime on a CPU (one thread, batch 1 and 32): convolutions at low
resolution with one large depth-to-space at the end were fastest per quality, transposed convolutions cannot run in
int8 at all, and below 30 µs the number of nodes counts rather than the arithmetic.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.space import Choice, Genotype, ImageShape, SearchSpace, SearchSpaceError

if TYPE_CHECKING:  # torch is imported once something is built
    from torch import nn

    from benchmarks.inputs import InputSpec
    from search_spaces.blocks import Decoder

_CONV = {"body": ("conv",)}
_MLP = {"body": ("mlp",)}
_BY_TWO = ("transposed", "nearest", "shuffle2")
_MAX_DCGAN_WIDTH, _MAX_DCGAN_STAGES, _MAX_LATENTS = 8192, 10, 65536


@dataclass(frozen=True)
class ConvPlan:
    """A convolutional decoder with every number decided.

    Args:
        start: Pixels (side) of the first maps.
        widths: Channels of the first maps, then of the maps after each x2 stage but the image.
        last_factor: Upsampling by the stage that makes the image: 2, or 4 for one large depth-to-space.
        blocks_at: Pixels (side) at which the ``blocks`` extra convolutions stand.
    """

    start: int
    widths: tuple[int, ...]
    last_factor: int
    upsampling: str
    blocks: int
    blocks_at: int
    kernel: int
    activation: str
    norm: str
    output: str


@dataclass(frozen=True)
class MlpPlan:
    """Linear layers of ``hidden`` features with batch norm, then one to all pixels."""

    hidden: tuple[int, ...]
    activation: str
    output: str


def build_decoder(genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> nn.Module:
    """The generator of a canonical ``genotype``; see ``DECODER``.

    Raises:
        SearchSpaceError: an input is no real-valued vector, or the image is not one this genotype can reach.
    """
    from search_spaces import assembly

    check_inputs(inputs)
    if genotype["body"] == "mlp":
        return assembly.build_mlp(_mlp_plan(genotype, image), inputs, image)
    return assembly.build_conv(_conv_plan(genotype, image), inputs, image)


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
    check_inputs(specs)
    fits = all(isinstance(w, int) and not isinstance(w, bool) and 1 <= w <= _MAX_DCGAN_WIDTH for w in widths)
    if not fits or not 1 <= len(widths) <= _MAX_DCGAN_STAGES:
        raise SearchSpaceError(
            f"widths are 1 to {_MAX_DCGAN_STAGES} integers from 1 to {_MAX_DCGAN_WIDTH}, "
            f"found {reprlib.repr(widths)}; write for example [256, 128, 64]"
        )
    side, factor = _side(image), 2 ** len(widths)
    if side % factor:
        raise SearchSpaceError(
            f"{len(widths)} widths need an image side that is a multiple of {factor}, found {side}; change one of them"
        )
    plan = ConvPlan(side // factor, tuple(widths), 2, "transposed", 0, 0, 3, "relu", "batch", "tanh")
    return assembly.build_conv(plan, specs, image)


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
    stages = _doublings(image, 4, smallest=1)
    return tuple(max(1, round(scale * ngf * 2**stage)) for stage in reversed(range(stages)))


def _mlp_plan(genotype: Mapping[str, Any], image: ImageShape) -> MlpPlan:
    _side(image)
    return MlpPlan((genotype["hidden"],) * genotype["layers"], genotype["activation"], genotype["output"])


def _conv_plan(genotype: Mapping[str, Any], image: ImageShape) -> ConvPlan:
    start, upsampling, blocks = genotype["start"], genotype["upsampling"], genotype["blocks"]
    last_doublings = 2 if upsampling == "shuffle4" else 1
    stages = _doublings(image, start, smallest=last_doublings) - last_doublings
    blocks_at = genotype.get("blocks_at", start)
    if blocks and blocks_at > start * 2**stages:
        raise SearchSpaceError(
            f"blocks_at must be a resolution before the last stage ({start * 2**stages} pixels here), "
            f"found {blocks_at}; choose blocks_at {start}"
        )
    taper = genotype.get("taper", 1.0)
    return ConvPlan(
        start=start,
        widths=tuple(_multiple_of_8(genotype["width"] * taper**stage) for stage in range(stages + 1)),
        last_factor=2**last_doublings,
        upsampling=upsampling,
        blocks=blocks,
        blocks_at=blocks_at,
        kernel=genotype.get("kernel", 3),
        activation=genotype["activation"],
        norm=genotype["norm"],
        output=genotype["output"],
    )


def _multiple_of_8(width: float) -> int:
    """The nearest multiple of 8 (halves go up), at least 8."""
    return max(8, 8 * int(width / 8 + 0.5))


def _side(image: ImageShape) -> int:
    if image.height != image.width:
        raise SearchSpaceError(
            f"images of this space are square, found {image.height} x {image.width}; pad or crop them"
        )
    return image.height


def _doublings(image: ImageShape, start: int, *, smallest: int) -> int:
    """The k with side = start * 2^k."""
    side = _side(image)
    doublings = (side // start).bit_length() - 1
    if start << max(doublings, 0) != side or doublings < smallest:
        raise SearchSpaceError(
            f"from {start} pixels the image side must be {start} * 2^k with k >= {smallest} "
            f"({', '.join(str(start << k) for k in range(smallest, smallest + 4))} ...), found {side}; "
            "resize the images, or choose another start or upsampling"
        )
    return doublings


def check_inputs(inputs: Sequence[InputSpec]) -> None:
    """Raise ``SearchSpaceError`` unless ``inputs`` are distinct float32 vectors with 1 to 65536 numbers in all."""
    for spec in inputs:
        if spec.dtype != "float32" or len(spec.shape) != 1:
            raise SearchSpaceError(
                f"space 'decoder' takes real-valued vectors only (float32, shape (k,)), found input {spec.name!r} "
                f"with dtype {spec.dtype} and shape {tuple(spec.shape)}; leave it out or use a space that embeds it"
            )
    names = [spec.name for spec in inputs]
    if len(set(names)) < len(names):
        raise SearchSpaceError(f"every input has a name of its own, found {names}; rename one")
    size = sum(spec.shape[0] for spec in inputs)
    if not 1 <= size <= _MAX_LATENTS:
        raise SearchSpaceError(
            f"space 'decoder' needs 1 to {_MAX_LATENTS} latents in all, found {size}; change the inputs' shapes"
        )


_ALWAYS_BY_TWO = {**_CONV, "upsampling": _BY_TWO}

DECODER = SearchSpace(
    name="decoder",
    description="latent vectors -> square images: convolutional decoders, the stock DCGAN among them, and small MLPs",
    knobs={
        "body": Choice(("conv", "mlp"), why="an MLP is the fastest there is and the first to lose quality"),
        "hidden": Choice((128, 256, 512), unit="features", when=_MLP, why="weights are read once per call"),
        "layers": Choice((1, 2), unit="hidden layers", when=_MLP),
        "start": Choice((4, 8), unit="pixels", when=_CONV, why="side of the first maps; 8 saves a stage and its nodes"),
        "width": Choice(
            (16, 24, 32, 40, 48, 64, 96, 128, 192, 256),
            unit="channels",
            when=_CONV,
            why="of the first maps; kernels want multiples of 8, int8 kernels of 16",
        ),
        "upsampling": Choice(
            ("transposed", "nearest", "shuffle2", "shuffle4"),
            when=_CONV,
            why="shuffle4 computes the image at a quarter of its side; transposed has no int8 kernel in onnxruntime",
        ),
        "taper": Choice(
            (0.5, 1.0),
            unit="times the width per x2 stage",
            when=(_ALWAYS_BY_TWO, {**_CONV, "start": (4,)}),
            why="0.5 as in DCGAN; rounded to a multiple of 8; shuffle4 from 8 to 32 pixels has no stage to taper",
        ),
        "blocks": Choice(
            (0, 1, 2, 3, 4),
            unit="convolutions",
            when=_CONV,
            why="depth at low resolution costs little and pays most in quality",
        ),
        "blocks_at": Choice(
            (4, 8), unit="pixels", when={**_CONV, "start": (4,), "blocks": (1, 2, 3, 4)}, why="side of their maps"
        ),
        "kernel": Choice(
            (3, 5),
            unit="pixels",
            when=({**_CONV, "upsampling": ("nearest", "shuffle2", "shuffle4")}, {**_CONV, "blocks": (1, 2, 3, 4)}),
            why="of every convolution but the transposed ones, which are 4 x 4",
        ),
        # There is no "none": of the convolutional decoders without norms that were tried on small discs (L2, Adam at
        # 2e-3 to 1e-4, 150 to 400 steps, all four upsamplings) every one ended at the blank image, those with norms
        # did not; and a norm behind a convolution is free once it is folded into the weights.
        "norm": Choice(
            ("batch", "convs"),
            when=_CONV,
            why="batch norm after every layer as in DCGAN, or after convolutions only, which saves a node",
        ),
        "activation": Choice(("relu", "leaky_relu", "hardswish"), why="relu fuses with every kernel"),
        "output": Choice(("tanh", "hardtanh"), why="what maps to [-1, 1]; hardtanh is a clip"),
    },
    build=build_decoder,
    named={
        "dcgan64": {
            "body": "conv",
            "start": 4,
            "width": 256,
            "upsampling": "transposed",
            "taper": 0.5,
            "blocks": 0,
            "norm": "batch",
            "activation": "relu",
            "output": "tanh",
        },
    },
)
