"""Modules from the plans of the space ``decoder``. Weights come from torch's global random state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarks.inputs import InputSpec
from search_spaces.blocks import (
    ACTIVATIONS,
    OUTPUTS,
    Decoder,
    Layer,
    MapLayer,
    NearestLayer,
    ShuffleLayer,
    convolution,
    doubling_convolution,
    initialise_dcgan,
    initialise_scaled,
)
from search_spaces.decoder import ConvPlan, MlpPlan
from search_spaces.space import ImageShape, SearchSpaceError

MAX_PARAMETERS = 2**28
"""1 GiB of float32: more is a mistake in a file rather than a generator worth searching."""


def build_mlp(plan: MlpPlan, inputs: Sequence[InputSpec], image: ImageShape) -> Decoder:
    """Linear -> batch norm -> activation for every hidden layer, then Linear -> output, reshaped to (N, C, H, W)."""
    decoder = _assemble(lambda: _mlp_layers(plan, _latents(inputs), image), inputs, image)
    initialise_scaled(decoder)
    return decoder


def build_conv(plan: ConvPlan, inputs: Sequence[InputSpec], image: ImageShape) -> Decoder:
    """Stem, x2 stages with the blocks among them, and the layer that makes the image."""
    decoder = _assemble(lambda: [_stem(plan, _latents(inputs)), *_body(plan), _image_layer(plan, image)], inputs, image)
    (initialise_dcgan if _is_dcgan(plan) else initialise_scaled)(decoder)
    return decoder


def _assemble(layers: Callable[[], list[Layer]], inputs: Sequence[InputSpec], image: ImageShape) -> Decoder:
    """A decoder of ``layers()``, which are first counted without memory."""
    with torch.device("meta"):
        size = sum(parameter.numel() for layer in layers() for parameter in layer.parameters())
    if size > MAX_PARAMETERS:
        raise SearchSpaceError(
            f"a generator has at most {MAX_PARAMETERS} parameters, found {size}; use smaller widths, latents or images"
        )
    return Decoder(layers(), inputs, image)


def _mlp_layers(plan: MlpPlan, latents: int, image: ImageShape) -> list[Layer]:
    layers: list[Layer] = [
        Layer(nn.Linear(size, following, bias=False), nn.BatchNorm1d(following), ACTIVATIONS[plan.activation]())
        for size, following in itertools.pairwise((latents, *plan.hidden))
    ]
    pixels = nn.Linear(plan.hidden[-1], image.channels * image.height * image.width)
    return [*layers, MapLayer(pixels, None, OUTPUTS[plan.output](), image.height)]


def _latents(inputs: Sequence[InputSpec]) -> int:
    return sum(spec.shape[0] for spec in inputs)


def _is_dcgan(plan: ConvPlan) -> bool:
    """Whether DCGAN's own habits hold: its initial weights, and no bias in the last layer."""
    return plan.upsampling == "transposed" and plan.norm == "batch"


def _stem(plan: ConvPlan, latents: int) -> Layer:
    width, features = plan.widths[0], plan.widths[0] * plan.start**2
    norm = nn.BatchNorm2d(width) if plan.norm == "batch" else None
    linear = nn.Linear(latents, features, bias=norm is None)
    return MapLayer(linear, norm, ACTIVATIONS[plan.activation](), plan.start)


def _body(plan: ConvPlan) -> list[Layer]:
    """Everything between the stem and the layer that makes the image."""
    layers: list[Layer] = []
    for stage, width in enumerate(plan.widths):
        if stage:
            layers.append(_double(plan, plan.widths[stage - 1], width))
        if plan.start * 2**stage == plan.blocks_at:
            layers += [_block(plan, width) for _ in range(plan.blocks)]
    return layers


def _block(plan: ConvPlan, width: int) -> Layer:
    main = convolution(width, width, plan.kernel, bias=False)
    return Layer(main, nn.BatchNorm2d(width), ACTIVATIONS[plan.activation]())


def _double(plan: ConvPlan, width: int, following: int) -> Layer:
    """One x2 stage from ``width`` to ``following`` channels."""
    outputs = following * 4 if plan.upsampling.startswith("shuffle") else following
    norm, activation = nn.BatchNorm2d(outputs), ACTIVATIONS[plan.activation]()
    return _upsample(plan, width, outputs, 2, norm, activation, bias=False)


def _image_layer(plan: ConvPlan, image: ImageShape) -> Layer:
    outputs = image.channels * (plan.last_factor**2 if plan.upsampling.startswith("shuffle") else 1)
    activation = OUTPUTS[plan.output]()
    return _upsample(plan, plan.widths[-1], outputs, plan.last_factor, None, activation, bias=not _is_dcgan(plan))


def _upsample(
    plan: ConvPlan, inputs: int, outputs: int, factor: int, norm: nn.Module | None, activation: nn.Module, *, bias: bool
) -> Layer:
    """A layer that enlarges by ``factor`` (2, or 4 for a shuffle); ``outputs`` counts the convolution's channels."""
    if plan.upsampling == "transposed":
        return Layer(doubling_convolution(inputs, outputs, bias=bias), norm, activation)
    main = convolution(inputs, outputs, plan.kernel, bias=bias)
    if plan.upsampling == "nearest":
        return NearestLayer(main, norm, activation)
    return ShuffleLayer(main, norm, activation, factor)
