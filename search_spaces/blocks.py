"""Parts of a decoder in a row: weighted operations with their norm, activation and change of resolution.

The order inside a layer is the one onnxruntime 1.31 fuses on a CPU, seen in its optimised graphs: norm and activation
directly behind the convolution, and before a depth-to-space rather than after it (also tanh and clip of the image).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from search_spaces.channels import ChannelGroup, Slice
from search_spaces.norms import ClassShift, ConditionalNorm, norm_slices

if TYPE_CHECKING:
    from collections.abc import Callable

LEAK = 0.2
"""Slope of leaky_relu below 0, from DCGAN (Radford et al. 2015, arXiv:1511.06434, section 3)."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, LEAK),
    "hardswish": nn.Hardswish,
}
OUTPUTS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "hardtanh": nn.Hardtanh}
"""What maps the last layer to [-1, 1]."""


class Part(nn.Module):
    """One module of the row: (N, C_in, H, W) or (N, F_in) in, the same kind out. Says which channels live where.

    ``adds`` tells that the outgoing channels are the incoming ones plus something: they live and die together.
    """

    adds = False

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """The outgoing maps or features; ``label`` (N,) is there in a decoder with classes, and only there."""
        raise NotImplementedError

    @property
    def channels(self) -> int:
        """Outgoing channels."""
        raise NotImplementedError

    def reads(self, name: str) -> tuple[Slice, ...]:
        """What each incoming channel owns in this part, which is called ``name``."""
        raise NotImplementedError

    def makes(self, name: str) -> tuple[Slice, ...]:
        """What each outgoing channel owns in it, in the order of execution."""
        raise NotImplementedError

    def inner(self, name: str) -> tuple[ChannelGroup, ...]:  # noqa: ARG002 - for parts that have some
        """Groups that live inside it."""
        return ()


class Layer(Part):
    """main -> norm -> activation.

    ``repeat`` is the number of outputs of ``main`` that make one outgoing channel.
    """

    repeat: int = 1

    def __init__(self, main: nn.Module, norm: nn.Module | None, activation: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.norm = norm
        self.activation = activation

    def finish(self, x: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        """Activation of the norm (if there is one) of ``x``."""
        if isinstance(self.norm, ConditionalNorm | ClassShift):
            x = self.norm(x, label)
        elif self.norm is not None:
            x = self.norm(x)
        activated: torch.Tensor = self.activation(x)
        return activated

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Part``."""
        return self.finish(self.main(x), label)

    @property
    def channels(self) -> int:
        """Outgoing channels."""
        outputs = self.main.out_features if isinstance(self.main, nn.Linear) else self.main.out_channels
        assert isinstance(outputs, int)
        return outputs // self.repeat

    def reads(self, name: str) -> tuple[Slice, ...]:
        """See ``Part``."""
        return (Slice(f"{name}.main", "in"),)

    def makes(self, name: str) -> tuple[Slice, ...]:
        """See ``Part``."""
        return (Slice(f"{name}.main", "out", self.repeat), *norm_slices(f"{name}.norm", self.norm, self.channels))


class MapLayer(Layer):
    """Linear, then features become maps: (N, F) -> (N, C, side, side).

    A norm counts C channels, as in DCGAN, and so stands behind the reshape with the activation, where onnxruntime
    fuses neither. Without a norm the activation stands before the reshape and fuses with the matrix product.
    """

    main: nn.Linear

    def __init__(self, main: nn.Linear, norm: nn.Module | None, activation: nn.Module, side: int) -> None:
        super().__init__(main, norm, activation)
        self.side = side
        self.repeat = side * side

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Part``."""
        features = self.main(x)
        if self.norm is None:
            return self.to_maps(self.activation(features))
        return self.finish(self.to_maps(features), label)

    def to_maps(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C * side²) -> (N, C, side, side); C is read from the layer: right after pruning, and static in a file."""
        return features.reshape(-1, self.channels, self.side, self.side)


class ResizeLayer(Layer):
    """Resize by 2 ("nearest" or "bilinear"), then a convolution at the higher resolution: -> (N, C', 2H, 2W)."""

    def __init__(self, main: nn.Conv2d, norm: nn.Module | None, activation: nn.Module, mode: str) -> None:
        super().__init__(main, norm, activation)
        self.resize = nn.Upsample(scale_factor=2, mode=mode)

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Part``."""
        return self.finish(self.main(self.resize(x)), label)


class ShuffleLayer(Layer):
    """A convolution to C' * r² channels, then depth-to-space by r: (N, C, H, W) -> (N, C', rH, rW)."""

    def __init__(self, main: nn.Conv2d, norm: nn.Module | None, activation: nn.Module, factor: int) -> None:
        super().__init__(main, norm, activation)
        self.shuffle = nn.PixelShuffle(factor)
        self.repeat = factor * factor

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Part``."""
        maps: torch.Tensor = self.shuffle(self.finish(self.main(x), label))
        return maps


class SeparableLayer(Layer):
    """A depthwise convolution, then one of 1 x 1 pixels; nothing between the two.

    Chollet 2017 (arXiv:1610.02357, section 4.7) found that an activation between them harms; it also means that the
    depthwise one needs no norm.
    """

    def __init__(self, depthwise: nn.Conv2d, main: nn.Conv2d, norm: nn.Module | None, activation: nn.Module) -> None:
        super().__init__(main, norm, activation)
        self.depthwise = depthwise

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Part``."""
        return self.finish(self.main(self.depthwise(x)), label)

    def reads(self, name: str) -> tuple[Slice, ...]:
        """See ``Part``; the depthwise convolution carries the incoming channels through."""
        return (Slice(f"{name}.depthwise", "out"), *super().reads(name))


class ResidualBlock(Part):
    """activation(x + second(first(x))): He et al. 2016 (arXiv:1512.03385, figure 2), no shape changes.

    Args:
        first: Convolution, norm, activation; its channels are the block's own.
        second: Convolution and norm; its activation does nothing.
        activation: Of the sum.
    """

    adds = True

    def __init__(self, first: Layer, second: Layer, activation: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.activation = activation

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """See ``Part``."""
        activated: torch.Tensor = self.activation(x + self.second(self.first(x, label), label))
        return activated

    @property
    def channels(self) -> int:
        """Outgoing channels."""
        return self.second.channels

    def reads(self, name: str) -> tuple[Slice, ...]:
        """See ``Part``."""
        return self.first.reads(f"{name}.first")

    def makes(self, name: str) -> tuple[Slice, ...]:
        """See ``Part``."""
        return self.second.makes(f"{name}.second")

    def inner(self, name: str) -> tuple[ChannelGroup, ...]:
        """The channels between its two convolutions."""
        own = f"{name}.first"
        slices = (*self.first.makes(own), *self.second.reads(f"{name}.second"))
        return (ChannelGroup(own, self.first.channels, slices),)


def convolution(channels_in: int, channels_out: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    """A convolution that keeps the resolution; ``kernel`` is odd."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)


def depthwise_convolution(channels: int, kernel: int) -> nn.Conv2d:
    """One filter per channel, resolution kept; ``kernel`` is odd."""
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False)


def doubling_convolution(channels_in: int, channels_out: int, *, bias: bool) -> nn.ConvTranspose2d:
    """DCGAN's transposed convolution, which doubles the resolution: 4x4, stride 2, padding 1."""
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=bias)
