"""What is lost with some channels, given back as far as a line can: the layers that read them read the others more.

Activations of a layer's channels go together, so those that are removed can be foretold from those that stay, by least
squares over all pixels of some pictures. The layer that reads them is linear, so what is foretold goes into its
weights: a matrix to be solved for each layer, and recovery begins much nearer to its goal. He et al. 2017
(arXiv:1707.06168, equation 4) fit the layer's outputs instead; fitting its inputs needs one Gram matrix whatever is
removed.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from compress.running import Array, run_module
from search_spaces.channels import ChannelGroup, Slice
from search_spaces.layers import is_depthwise

RIDGE = 1e-4  # of the mean square of each channel
FEWEST = 2  # pixels for each channel that stays: with fewer, what they foretell is chance
MOST = 2**13  # pixels of a batch that are looked at

_STOCK = (nn.Conv2d.forward, nn.ConvTranspose2d.forward, nn.Linear.forward)

Kept = Mapping[str, Sequence[int]]


def compensated(
    module: nn.Module, groups: Sequence[ChannelGroup], kept: Kept, inputs: Mapping[str, Array]
) -> nn.Module:
    """Return a copy of ``module`` in which channels that are not ``kept`` have gone into the weights of the others.

    What it draws is to be looked at after the others were removed.

    Args:
        module: Stays as it is.
        groups: Of ``module``.
        kept: Group name -> channels that stay, increasing; groups that are not named stay whole.
        inputs: Some hundred latents, (n, *shape) a name, that it draws from in eval mode.
    """
    changed = copy.deepcopy(module)
    for reader in _readers(module, [group for group in groups if group.name in kept], inputs):
        _fold(changed.get_submodule(reader.part.module), reader, list(kept[reader.group.name]))
    return changed


@dataclass
class _Reader:
    """A layer that reads a group's channels.

    Args:
        group: The group.
        part: Which indices of which layer.
        gram: Sums of products of what it reads, float64 (size + 1, size + 1); the last is the constant 1.
    """

    group: ChannelGroup
    part: Slice
    gram: torch.Tensor

    @property
    def pixels(self) -> int:
        """How many were looked at."""
        return int(self.gram[-1, -1])


def _readers(module: nn.Module, groups: Sequence[ChannelGroup], inputs: Mapping[str, Array]) -> list[_Reader]:
    """Return who reads these groups, having watched them while ``module`` draws; layers that were not called are no
    readers."""
    probe, found = copy.deepcopy(module), list[_Reader]()
    owners = Counter(id(tensor) for part in probe.modules() for tensor in part._parameters.values())
    for group in groups:
        for part in (part for part in group.slices if part.axis == "in"):
            layer = probe.get_submodule(part.module)
            if _is_linear(layer) and owners[id(layer.weight)] == 1:  # not tied to another's
                size = group.size + 1
                found.append(_Reader(group, part, torch.zeros(size, size, dtype=torch.float64)))
                layer.register_forward_pre_hook(_watch(found[-1]))
    run_module(probe, inputs)
    return [reader for reader in found if reader.pixels]


def _is_linear(layer: nn.Module) -> bool:
    """Whether ``layer`` is linear in its input, with a weight of its own that it takes as it is: a subclass may not."""
    kind = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not is_depthwise(layer)
    return kind and type(layer).forward in _STOCK and "weight" in layer._parameters


def _watch(reader: _Reader) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
    def watch(layer: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if not arguments:  # called by keyword
            return
        axis = -1 if isinstance(layer, nn.Linear) else -3
        own = arguments[0].detach().movedim(axis, 0)[reader.part.span(reader.group.size)]
        pixels = own.reshape(reader.group.size, -1)
        stride = -(-pixels.shape[1] // MOST) | 1  # odd, or it would see the same columns of every row
        some = pixels[:, ::stride].double().cpu()
        rows = torch.cat([some, torch.ones(1, some.shape[1], dtype=torch.float64)])
        reader.gram.add_(rows @ rows.T)

    return watch


def _fold(layer: nn.Module, reader: _Reader, kept: list[int]) -> None:
    """Add to the weights of ``kept``, and to the bias if there is one, what they foretell of the others."""
    size, repeat = reader.group.size, reader.part.repeat
    gone = sorted(set(range(size)) - set(kept))
    if not gone or reader.pixels < FEWEST * (len(kept) + 1):
        return
    has_bias = isinstance(layer.bias, nn.Parameter)
    told = _foretold(reader.gram / reader.pixels, [*kept, size] if has_bias else kept, gone)
    if not torch.isfinite(told).all():
        return
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    with torch.no_grad():
        by_input = weight if isinstance(layer, nn.ConvTranspose2d) else weight.transpose(0, 1)
        own = by_input[reader.part.span(size)]
        parts = own.double().cpu().reshape(size, repeat, -1)
        added = torch.einsum("kg,grx->krx", told, parts[gone])
        parts[kept] += added[: len(kept)]
        own.copy_(parts.reshape(own.shape))
        if isinstance(layer.bias, nn.Parameter):
            layer.bias.add_(_shift(layer, added[-1].reshape(repeat, *own.shape[1:])).to(layer.bias))


def _foretold(gram: torch.Tensor, known: list[int], gone: list[int]) -> torch.Tensor:
    """Return the least squares of ``gone`` by ``known``, (known, gone); the constant, if it is known, is not shrunk."""
    scale = gram.diagonal()[known].sqrt().clamp_min(1e-30)
    ridge = torch.diag(torch.tensor([RIDGE if index < len(gram) - 1 else 0.0 for index in known], dtype=gram.dtype))
    square = gram[known][:, known] / (scale[:, None] * scale[None, :]) + ridge
    solved: torch.Tensor = torch.linalg.solve(square, gram[known][:, gone] / scale[:, None]) / scale[:, None]
    return solved


def _shift(layer: nn.Module, added: torch.Tensor) -> torch.Tensor:
    """Return what ``added``, (repeat, out, *kernel), makes of ones, away from the edges, (out,)."""
    total = added.sum(dim=0).flatten(1).sum(dim=1) if added.ndim > 2 else added.sum(dim=0)
    if isinstance(layer, nn.ConvTranspose2d):
        total = total / (layer.stride[0] * layer.stride[1])  # each of so many pixels meets its own part of the kernel
    return total
