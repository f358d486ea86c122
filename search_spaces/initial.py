"""How a decoder's weights start. They are drawn from torch's global random state."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.blocks import LEAK, Layer, ResidualBlock, SeparableLayer
from search_spaces.network import Decoder
from search_spaces.norms import ClassShift, ConditionalNorm

SHIFT_STD = 0.5
"""Of a class's own bias at the stem: half of what the latents contribute."""


def initialise_dcgan(decoder: Decoder) -> None:
    """Weights N(0, 0.02), norm scales N(1, 0.02), all else 0: DCGAN (arXiv:1511.06434, section 4).

    The class's tables, which it does not have, start as their modules made them.
    """
    for module in decoder.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, _BatchNorm) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def initialise_scaled(decoder: Decoder) -> None:
    """Weights N(0, gain² / fan_in), biases 0: signals keep their size through the layers, also where there is no norm.

    He et al. 2015 (arXiv:1502.01852, equation 10). We differ in counting the inputs that really reach an output:
    a transposed convolution's kernel is spread over stride² output positions.

    Each of L residual branches is scaled by 1 / sqrt(L), so that their sum stays near 1 at any depth (Hayou et al.
    2021, arXiv:2010.12859): by the scale of its last norm, which it may unlearn, not by a node of its own.
    """
    for module in decoder.modules():
        if isinstance(module, Layer):
            _initialise_layer(module)
        elif isinstance(module, ClassShift):
            nn.init.normal_(module.table.weight, 0.0, SHIFT_STD)
    branches = [module.second for module in decoder.modules() if isinstance(module, ResidualBlock)]
    for branch in branches:
        norm = branch.norm.gamma if isinstance(branch.norm, ConditionalNorm) else branch.norm
        assert isinstance(norm, nn.Embedding | nn.BatchNorm2d)
        nn.init.constant_(norm.weight, 1 / math.sqrt(len(branches)))


def _initialise_layer(layer: Layer) -> None:
    main = layer.main
    assert isinstance(main, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    nn.init.normal_(main.weight, 0.0, _gain(layer.activation) / math.sqrt(_fan_in(main)))
    if main.bias is not None:
        nn.init.zeros_(main.bias)
    if isinstance(layer, SeparableLayer):
        nn.init.normal_(layer.depthwise.weight, 0.0, 1 / math.sqrt(_fan_in(layer.depthwise)))


def _fan_in(main: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> float:
    if isinstance(main, nn.Linear):
        return float(main.in_features)
    spread = math.prod(main.stride) if isinstance(main, nn.ConvTranspose2d) else 1
    return main.in_channels // main.groups * math.prod(main.kernel_size) / spread


def _gain(activation: nn.Module) -> float:
    """1 / sqrt(E[f(x)²]) for x ~ N(0, 1); 0.5 for an output, so that tanh and clip start in their linear range."""
    if isinstance(activation, nn.Tanh | nn.Hardtanh):
        return 0.5
    if isinstance(activation, nn.LeakyReLU):
        return math.sqrt(2 / (1 + LEAK**2))
    if isinstance(activation, nn.Hardswish):
        return 1.7367  # by quadrature: 2e6 quantile midpoints
    return math.sqrt(2) if isinstance(activation, nn.ReLU) else 1.0
