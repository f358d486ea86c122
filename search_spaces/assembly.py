"""Modules from plans. Weights come from torch's global random state."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from benchmarks.inputs import InputSpec
from search_spaces.blocks import (
    ACTIVATIONS,
    OUTPUTS,
    Layer,
    MapLayer,
    Part,
    ResidualBlock,
    ResizeLayer,
    SeparableLayer,
    ShuffleLayer,
    convolution,
    depthwise_convolution,
    doubling_convolution,
)
from search_spaces.initial import initialise_dcgan, initialise_scaled
from search_spaces.network import Decoder
from search_spaces.norms import ClassShift, ConditionalNorm
from search_spaces.plans import ClassPlan, ConvPlan, MlpPlan
from search_spaces.space import ImageShape, SearchSpaceError

MAX_PARAMETERS = 2**28
"""1 GiB of float32: more is a mistake in a file rather than a generator worth searching."""

_Place = Literal["stem", "blocks", "stages"]


def build_mlp(
    plan: MlpPlan, inputs: Sequence[InputSpec], image: ImageShape, classes: ClassPlan | None = None
) -> Decoder:
    """Linear -> batch norm -> activation for every hidden layer, then Linear -> output, reshaped to (N, C, H, W)."""
    decoder = _assemble(lambda: _mlp_layers(plan, _latents(inputs, classes), image, classes), inputs, image, classes)
    initialise_scaled(decoder)
    return decoder


def build_conv(
    plan: ConvPlan, inputs: Sequence[InputSpec], image: ImageShape, classes: ClassPlan | None = None
) -> Decoder:
    """Stem, x2 stages with the blocks among them, and the layer that makes the image."""
    parts = _Parts(plan, classes)
    decoder = _assemble(lambda: parts.all(_latents(inputs, classes), image), inputs, image, classes)
    (initialise_dcgan if plan.is_dcgan else initialise_scaled)(decoder)
    return decoder


def _assemble(
    layers: Callable[[], Sequence[Part]], inputs: Sequence[InputSpec], image: ImageShape, classes: ClassPlan | None
) -> Decoder:
    """A decoder of ``layers()``, which are first counted without memory."""

    def make() -> Decoder:
        if classes is None:
            return Decoder(layers(), inputs, image)
        embedding = nn.Embedding(classes.classes, classes.embedding) if classes.embedding else None
        return Decoder(layers(), inputs, image, classes.label, embedding)

    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in make().parameters())
    if size > MAX_PARAMETERS:
        raise SearchSpaceError(
            f"a generator has at most {MAX_PARAMETERS} parameters, found {size}; use smaller widths, latents or images"
        )
    return make()


def _latents(inputs: Sequence[InputSpec], classes: ClassPlan | None) -> int:
    """Numbers that the first layer reads."""
    label, embedding = (classes.label, classes.embedding) if classes else ("", 0)
    return embedding + sum(spec.shape[0] for spec in inputs if spec.name != label)


def _mlp_layers(plan: MlpPlan, latents: int, image: ImageShape, classes: ClassPlan | None) -> list[Part]:
    layers: list[Part] = []
    for index, (size, following) in enumerate(itertools.pairwise((latents, *plan.hidden))):
        norm = _norm(following, classes, "stages" if index else "stem", nn.BatchNorm1d)
        if classes and classes.shift and not index:
            norm = ClassShift(nn.BatchNorm1d(following), classes.classes, following, side=0)
        layers.append(Layer(nn.Linear(size, following, bias=False), norm, ACTIVATIONS[plan.activation]()))
    pixels = nn.Linear(plan.hidden[-1], image.channels * image.height * image.width)
    return [*layers, MapLayer(pixels, None, OUTPUTS[plan.output](), image.height)]


def _norm(
    channels: int, classes: ClassPlan | None, place: _Place, kind: type[nn.BatchNorm1d | nn.BatchNorm2d]
) -> nn.Module:
    """Batch norm at ``place``, with a scale and shift per class if the class enters there."""
    if classes and getattr(classes, place):
        return ConditionalNorm(kind(channels, affine=False), classes.classes)
    return kind(channels)


@dataclass(frozen=True)
class _Parts:
    """The parts of a convolutional decoder, made one after another in the order of execution."""

    plan: ConvPlan
    classes: ClassPlan | None

    def all(self, latents: int, image: ImageShape) -> list[Part]:
        """Every part, from ``latents`` numbers to the image."""
        plan, parts = self.plan, list[Part]()
        if plan.rank:
            parts.append(Layer(nn.Linear(latents, plan.rank, bias=False), None, nn.Identity()))
        if plan.mapping:
            parts.append(Layer(nn.Linear(latents, plan.mapping), None, self._activation()))
        parts.append(self._stem(plan.mapping or plan.rank or latents))
        for stage, width in enumerate(plan.widths):
            if stage:
                parts.append(self._double(plan.widths[stage - 1], width))
            place: _Place = "stages" if stage else "blocks"
            parts += [self._block(width, place) for _ in range(plan.blocks[stage])]
        parts.append(self._image(image))
        return parts

    def _stem(self, latents: int) -> Layer:
        plan, classes = self.plan, self.classes
        width, features = plan.widths[0], plan.widths[0] * plan.start**2
        shift = classes if classes and classes.shift else None
        norm: nn.Module | None = None
        if plan.norm == "batch":
            norm = _norm(width, classes, "stem", nn.BatchNorm2d)
        linear = nn.Linear(latents, features, bias=norm is None and not shift)
        if shift:
            assert norm is None or isinstance(norm, nn.BatchNorm2d)
            norm = ClassShift(norm, shift.classes, features, plan.start)
        return MapLayer(linear, norm, self._activation(), plan.start)

    def _double(self, width: int, following: int) -> Layer:
        """One x2 stage from ``width`` to ``following`` channels."""
        early = self.plan.early
        outputs = following * 4 if early == "shuffle2" else following
        norm = _norm(outputs, self.classes, "stages", nn.BatchNorm2d)
        return _upsample(early, width, outputs, self.plan.early_kernel, norm, self._activation(), bias=False)

    def _block(self, width: int, place: _Place) -> Part:
        plan = self.plan
        if plan.block == "residual":
            first = Layer(self._convolution(width), self._block_norm(width, place), self._activation())
            second = Layer(self._convolution(width), self._block_norm(width, place), nn.Identity())
            return ResidualBlock(first, second, self._activation())
        if plan.block == "separable":
            depthwise, main = depthwise_convolution(width, plan.kernel), convolution(width, width, 1, bias=False)
            return SeparableLayer(depthwise, main, self._block_norm(width, place), self._activation())
        return Layer(self._convolution(width), self._block_norm(width, place), self._activation())

    def _image(self, image: ImageShape) -> Layer:
        plan = self.plan
        factor = {"shuffle2": 2, "shuffle4": 4}.get(plan.last, 1)
        outputs, output = image.channels * factor**2, OUTPUTS[plan.output]()
        bias = not plan.is_dcgan
        return _upsample(plan.last, plan.widths[-1], outputs, plan.last_kernel, None, output, bias=bias)

    def _convolution(self, width: int) -> nn.Conv2d:
        return convolution(width, width, self.plan.kernel, bias=False)

    def _block_norm(self, width: int, place: _Place) -> nn.Module:
        return _norm(width, self.classes, place, nn.BatchNorm2d)

    def _activation(self) -> nn.Module:
        return ACTIVATIONS[self.plan.activation]()


def _upsample(
    kind: str, inputs: int, outputs: int, kernel: int, norm: nn.Module | None, activation: nn.Module, *, bias: bool
) -> Layer:
    """A layer that enlarges by 2, or by 4 if ``kind`` is "shuffle4"; ``outputs`` counts the convolution's channels."""
    if kind == "transposed":
        return Layer(doubling_convolution(inputs, outputs, bias=bias), norm, activation)
    main = convolution(inputs, outputs, kernel, bias=bias)
    if kind in ("nearest", "bilinear"):
        return ResizeLayer(main, norm, activation, kind)
    return ShuffleLayer(main, norm, activation, 4 if kind == "shuffle4" else 2)
