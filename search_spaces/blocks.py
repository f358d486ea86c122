"""Layers of a decoder: one weighted operation each, with its norm, activation and change of resolution.

The order inside a layer is the one onnxruntime 1.31 fuses on a CPU, seen in its optimised graphs: norm and activation
directly behind the convolution, and before a depth-to-space rather than after it (also tanh and clip of the image).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.channels import ChannelGroup, Slice
from search_spaces.space import ImageShape, SearchSpaceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.inputs import InputSpec

LEAK = 0.2
"""Slope of leaky_relu below 0, from DCGAN (Radford et al. 2015, arXiv:1511.06434, section 3)."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, LEAK),
    "hardswish": nn.Hardswish,
}
OUTPUTS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "hardtanh": nn.Hardtanh}
"""What maps the last layer to [-1, 1]."""


class Layer(nn.Module):
    """main -> norm -> activation; (N, C_in, H, W) or (N, F_in) in, the same kind out.

    ``repeat`` is the number of outputs of ``main`` that make one outgoing channel.
    """

    repeat: int = 1

    def __init__(self, main: nn.Module, norm: nn.Module | None, activation: nn.Module) -> None:
        super().__init__()
        self.main = main
        self.norm = norm
        self.activation = activation

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Activation of the norm (if there is one) of ``x``."""
        normed: torch.Tensor = x if self.norm is None else self.norm(x)
        activated: torch.Tensor = self.activation(normed)
        return activated

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.normalise(self.main(x))


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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        features = self.main(x)
        return self.to_maps(self.activation(features)) if self.norm is None else self.normalise(self.to_maps(features))

    def to_maps(self, features: torch.Tensor) -> torch.Tensor:
        """(N, C * side²) -> (N, C, side, side); C is read from the layer: right after pruning, and static in a file."""
        return features.reshape(-1, self.main.out_features // self.repeat, self.side, self.side)


class NearestLayer(Layer):
    """Nearest-neighbour resize by 2, then a convolution at the higher resolution: (N, C, H, W) -> (N, C', 2H, 2W)."""

    def __init__(self, main: nn.Conv2d, norm: nn.Module | None, activation: nn.Module) -> None:
        super().__init__(main, norm, activation)
        self.resize = nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.normalise(self.main(self.resize(x)))


class ShuffleLayer(Layer):
    """A convolution to C' * r² channels, then depth-to-space by r: (N, C, H, W) -> (N, C', rH, rW)."""

    def __init__(self, main: nn.Conv2d, norm: nn.Module | None, activation: nn.Module, factor: int) -> None:
        super().__init__(main, norm, activation)
        self.shuffle = nn.PixelShuffle(factor)
        self.repeat = factor * factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        maps: torch.Tensor = self.shuffle(self.normalise(self.main(x)))
        return maps


def convolution(channels_in: int, channels_out: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    """A convolution that keeps the resolution; ``kernel`` is odd."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)


def doubling_convolution(channels_in: int, channels_out: int, *, bias: bool) -> nn.ConvTranspose2d:
    """DCGAN's transposed convolution, which doubles the resolution: 4x4, stride 2, padding 1."""
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=bias)


class Decoder(nn.Module):
    """Latent vectors -> images: layers in a row, so that every group of channels has one producer and one consumer.

    Args:
        layers: The first reads the concatenated latents, the last makes the image with values in [-1, 1].
        inputs: Named real-valued vectors, concatenated in this order.
        image: Shape of one image.
    """

    def __init__(self, layers: Sequence[Layer], inputs: Sequence[InputSpec], image: ImageShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.inputs = tuple(inputs)
        self.image = image

    def forward(self, **named: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) float32 in [-1, 1] from one (N, k) float32 tensor per input, by name.

        Raises:
            SearchSpaceError: the names are not exactly those of ``inputs``.
        """
        names = [spec.name for spec in self.inputs]
        if set(named) != set(names):
            raise SearchSpaceError(f"the inputs are {names}, found {sorted(named)}; pass each by its name")
        x = named[names[0]] if len(names) == 1 else torch.cat([named[name] for name in names], dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        """One group per pair of neighbouring layers, read from the layers as they are (pruned or not).

        Latents and image channels are in no group: their numbers are given from outside.
        """
        layers = [(f"layers.{index}", layer) for index, layer in enumerate(self.layers) if isinstance(layer, Layer)]
        return tuple(_group(name, layer, following) for (name, layer), (following, _) in itertools.pairwise(layers))


def _group(name: str, producer: Layer, consumer: str) -> ChannelGroup:
    outputs = producer.main.out_features if isinstance(producer.main, nn.Linear) else producer.main.out_channels
    assert isinstance(outputs, int)
    size = outputs // producer.repeat
    slices = [Slice(f"{name}.main", "out", producer.repeat)]
    if isinstance(producer.norm, _BatchNorm):
        slices.append(Slice(f"{name}.norm", "out", producer.norm.num_features // size))
    return ChannelGroup(name, size, (*slices, Slice(f"{consumer}.main", "in")))


def initialise_dcgan(decoder: Decoder) -> None:
    """Weights N(0, 0.02), norm scales N(1, 0.02), all else 0: DCGAN (arXiv:1511.06434, section 4)."""
    for module in decoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _BatchNorm):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def initialise_scaled(decoder: Decoder) -> None:
    """Weights N(0, gain² / fan_in), biases 0: signals keep their size through the layers, also where there is no norm.

    He et al. 2015 (arXiv:1502.01852, equation 10). We differ in counting the inputs that really reach an output:
    a transposed convolution's kernel is spread over stride² output positions.
    """
    for layer in decoder.layers:
        assert isinstance(layer, Layer)
        main = layer.main
        assert isinstance(main, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        nn.init.normal_(main.weight, 0.0, _gain(layer.activation) / math.sqrt(_fan_in(main)))
        if main.bias is not None:
            nn.init.zeros_(main.bias)


def _fan_in(main: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> float:
    if isinstance(main, nn.Linear):
        return float(main.in_features)
    spread = math.prod(main.stride) if isinstance(main, nn.ConvTranspose2d) else 1
    return main.in_channels * math.prod(main.kernel_size) / spread


def _gain(activation: nn.Module) -> float:
    """1 / sqrt(E[f(x)²]) for x ~ N(0, 1); 0.5 for an output, so that tanh and clip start in their linear range."""
    if isinstance(activation, nn.LeakyReLU):
        return math.sqrt(2 / (1 + LEAK**2))
    if isinstance(activation, nn.Hardswish):
        return 1.7367  # by quadrature: 2e6 quantile midpoints
    return math.sqrt(2) if isinstance(activation, nn.ReLU) else 0.5
