"""How much each channel counts, by four measures: of the weights that make it, or of what the pictures make of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from compress.errors import CompressError
from compress.running import Array, evaluating, run_module
from search_spaces.channels import ChannelGroup, Slice, zero_channels
from search_spaces.free import FreeParameter, Layer, layer_at
from search_spaces.layers import axis_size, is_depthwise
from search_spaces.norms import ConditionalNorm
from search_spaces.space import SearchSpaceError

Importance = Literal["weight", "output", "taylor", "latent"]
PROBES = 16  # random directions in the space of pictures, or in that of latents
STEP = 0.5  # of a latent, in standard deviations of a normal one
_BATCH = 16


def rank_channels(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    inputs: Mapping[str, Array] | None = None,
    *,
    by: Importance = "weight",
) -> dict[str, Array]:
    """Return the importance of every channel, float64 (size,) a group: larger is more important.

    "weight": the L2 norm of the weights that make the channel, times |gamma| / sqrt(running variance + epsilon) of
    its batch normalisation: the norm of the layer after folding. Li et al. 2017 (arXiv:1608.08710) rank by the L1
    norm of the filter alone; without the second factor channels that the norm nearly switches off would stay. Of
    several producers, whose channels are added, the squares of these norms add up.

    "output": the mean square change of the images when that channel alone is silenced; one pass over ``inputs`` a
    channel, and what happens behind the layer counts too.

    "taylor": the same to first order, in ``PROBES`` passes over ``inputs`` whatever the number of channels: with a
    gate of 1 on the channel, the mean square of the derivative of the pictures by that gate. Molchanov et al. 2019
    (arXiv:1906.10771) take the derivative of a loss, which has none where a generator is its own teacher; here random
    signs on the pixels stand in for it (Hutchinson's estimate of the squared norm).

    "latent": how much the channel has to do with what changes in a picture when its latent does: the mean absolute
    derivative by the gate of |G(z + step) - G(z)|, over ``PROBES`` random steps. After Chung et al. 2024
    (arXiv:2403.13548), who take the gradient of the filter's weights, and steps along principal components.

    Raises:
        CompressError: no such ranking; by anything but "weight" without ``inputs``; by "latent" where no input is a
            float; by a derivative that is not finite.
    """
    if by not in get_args(Importance):
        raise CompressError(f"Channels are ranked by {', '.join(get_args(Importance))}; found {by!r}. Correct it.")
    if by == "weight":
        return {group.name: _folded_norms(module, group) for group in groups}
    if inputs is None:
        raise CompressError(f"Ranking by {by} needs latents to draw, found none. Pass inputs, or rank by weight.")
    if by == "output":
        return _output_changes(module, groups, inputs)
    return _derivatives(module, groups, inputs, by)


def silence(module: nn.Module, kept: Mapping[str, Sequence[int]], groups: Sequence[ChannelGroup] | None = None) -> None:
    """Silence in place every channel that is not ``kept``. Raises a CompressError if that cannot be done."""
    try:
        zero_channels(module, kept, groups)
    except SearchSpaceError as error:
        raise CompressError(f"These channels cannot be masked: {error}") from error


def _folded_norms(module: nn.Module, group: ChannelGroup) -> Array:
    """Return sqrt(sum over producers of (norm of its weights * scale of what follows it)²); (size,)."""
    total = torch.zeros(group.size, dtype=torch.float64)
    squares, scales = torch.zeros_like(total), torch.ones_like(total)  # of the producer at hand
    for at, part in enumerate(_made(module, group)):
        layer = layer_at(module, part.module)
        span = part.span(group.size)
        makes = at == 0 and isinstance(layer, nn.Embedding)  # a table further on shifts or scales, for each class
        scale = None if makes else _carried_scale(module, part)
        if scale is not None:
            scales = scales * scale[span].reshape(group.size, part.repeat).mean(dim=1)
            continue
        total += squares * scales.square()
        rows = _weight_squares(layer)[span]
        squares, scales = rows.reshape(group.size, part.repeat).sum(dim=1), torch.ones_like(total)
    return np.asarray((total + squares * scales.square()).sqrt().numpy())


def _made(module: nn.Module, group: ChannelGroup) -> list[Slice]:
    """Return the slices of producers and of what scales behind them.

    A layer norm stands beside the stream it reads; a free parameter may be added or multiplied, and counts where no
    layer makes the channels.
    """
    layers = {part: layer_at(module, part.module) for part in group.slices if part.axis == "out"}
    made = [part for part, layer in layers.items() if not isinstance(layer, nn.LayerNorm)]
    others = [part for part in made if not isinstance(layers[part], FreeParameter)]
    if any(_carried_scale(module, part) is None for part in others) or isinstance(layers[made[0]], nn.Embedding):
        return others
    first = next((part for part in made if part not in others), None)
    return others if first is None else [first, *others]


def _weight_squares(layer: Layer) -> torch.Tensor:
    """Return the sum of squares of the weights that make each index along "out", float64 (indices,)."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    rows = weight.detach().double().cpu().movedim(_axis_of_made(layer), 0)
    return rows.reshape(len(rows), -1).square().sum(dim=1)


def _axis_of_made(layer: Layer) -> int:
    """Return the axis of a producer's weight along which lies what it makes."""
    if isinstance(layer, FreeParameter):
        return layer.axis
    return int(isinstance(layer, nn.ConvTranspose2d | nn.Embedding))


def _carried_scale(module: nn.Module, part: Slice) -> torch.Tensor | None:
    """Return how much a layer that carries channels through scales each index, float64; None for a producer.

    A norm as ``_norm_scale``; a depthwise convolution by the norm of its filter; the scales per class of a
    conditional norm by their root mean square. Its shifts per class are left out, as a norm's shift is.
    """
    layer = layer_at(module, part.module)
    if isinstance(layer, _BatchNorm | _InstanceNorm | nn.GroupNorm):
        return _norm_scale(layer)
    if isinstance(layer, nn.PReLU):
        return torch.ones(layer.num_parameters, dtype=torch.float64)
    if is_depthwise(layer):
        assert isinstance(layer, nn.Conv2d)
        return _weight_squares(layer).sqrt()
    if isinstance(layer, nn.Embedding):
        table = layer.weight.detach().double().cpu()
        if _is_scale(module, part.module):
            return table.square().mean(dim=0).sqrt()
        return torch.ones(table.shape[1], dtype=torch.float64)
    return None


def _norm_scale(norm: _BatchNorm | _InstanceNorm | nn.GroupNorm) -> torch.Tensor:
    """Return |gamma| / sqrt(running variance + epsilon), float64 (features,); 1 for what a norm has not."""
    scale = torch.ones(axis_size(norm, "out"), dtype=torch.float64)
    if norm.weight is not None:
        scale = norm.weight.detach().double().cpu().abs()
    if not isinstance(norm, nn.GroupNorm) and norm.running_var is not None:
        scale = scale / (norm.running_var.detach().double().cpu() + norm.eps).sqrt()
    return scale


def _output_changes(module: nn.Module, groups: Sequence[ChannelGroup], inputs: Mapping[str, Array]) -> dict[str, Array]:
    whole = run_module(module, inputs)
    changes: dict[str, Array] = {}
    for group in groups:
        changes[group.name] = np.zeros(group.size)
        for channel in range(group.size if group.size > 1 else 0):
            probe = copy.deepcopy(module)
            silence(probe, {group.name: [c for c in range(group.size) if c != channel]}, groups)
            changes[group.name][channel] = np.mean((run_module(probe, inputs) - whole) ** 2)
    return changes


def _derivatives(
    module: nn.Module, groups: Sequence[ChannelGroup], inputs: Mapping[str, Array], by: Importance
) -> dict[str, Array]:
    """Return the mean of what ``PROBES`` random directions say, float64 (size,) a group."""
    if by == "latent" and not any(values.dtype.kind == "f" for values in inputs.values()):
        raise CompressError("Ranking by latent needs an input of floats that can be moved. Rank by weight or output.")
    probe = copy.deepcopy(module)
    for tensor in probe.parameters():
        tensor.requires_grad_(tensor.is_floating_point())
    device = next((tensor.device for tensor in probe.parameters()), torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)
    rows = {name: torch.tensor(values[:_BATCH], device=device) for name, values in inputs.items()}
    found = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in groups}
    with evaluating(probe), torch.enable_grad():
        for _ in range(PROBES):
            probe.zero_grad(set_to_none=True)
            loss = _projected(probe, rows, rng) if by == "taylor" else _moved(probe, rows, rng)
            loss.backward()  # type: ignore[no-untyped-call]
            for group in groups:
                slope = _by_gate(probe, group)
                found[group.name] += (slope.square() if by == "taylor" else slope.abs()) / PROBES
    if not all(torch.isfinite(values).all() for values in found.values()):
        raise CompressError(f"Ranking by {by} met NaN or infinity. Look at the weights, or rank by weight.")
    return {name: np.asarray(values.numpy()) for name, values in found.items()}


def _projected(module: nn.Module, rows: Mapping[str, torch.Tensor], rng: torch.Generator) -> torch.Tensor:
    """Return the pictures times random signs, so scaled that its expected square is a mean over pixels."""
    drawn: torch.Tensor = module(**rows)
    signs = torch.randint(0, 2, drawn.shape, generator=rng).to(drawn) * 2 - 1
    loss: torch.Tensor = (drawn * signs).sum() / drawn.numel() ** 0.5
    return loss


def _moved(module: nn.Module, rows: Mapping[str, torch.Tensor], rng: torch.Generator) -> torch.Tensor:
    """Return the mean absolute change of the pictures after a random step of every float input."""
    moved = {
        name: values + STEP * torch.randn(values.shape, generator=rng).to(values)
        for name, values in rows.items()
        if values.is_floating_point()
    }
    change: torch.Tensor = (module(**{**rows, **moved}) - module(**rows)).abs().mean()
    return change


def _by_gate(module: nn.Module, group: ChannelGroup) -> torch.Tensor:
    """Return the derivative by a gate on each channel, float64 (size,), from the gradients in ``module``.

    A gate behind a layer y = w x + b has the derivative w dL/dw + b dL/db. Where several layers follow each other, it
    stands behind the last; where several producers are added, on each of them.
    """
    total, slopes = (torch.zeros(group.size, dtype=torch.float64) for _ in range(2))
    for at, part in enumerate(_made(module, group)):
        layer = layer_at(module, part.module)
        here = _weight_slopes(layer, part.span(group.size), group.size)
        if here is None:
            continue
        if at and isinstance(layer, nn.Embedding) and not _is_scale(module, part.module):
            slopes = slopes + here  # a shift of each class
            continue
        if at == 0 or _carried_scale(module, part) is None:
            total = total + slopes  # of the producer before
        slopes = here
    return total + slopes


def _weight_slopes(layer: Layer, span: slice, size: int) -> torch.Tensor | None:
    """Return the sum of tensor times gradient over what each of ``size`` channels owns; None if there is nothing."""
    if isinstance(layer, nn.PReLU):  # its weight is no scale
        return None
    found = None
    for name in ("weight", "bias"):
        tensor = getattr(layer, name, None)
        if not isinstance(tensor, nn.Parameter) or tensor.grad is None:
            continue
        product = (tensor * tensor.grad).detach().double().cpu()
        if name == "weight":
            product = product.movedim(_axis_of_made(layer), 0)
        rows = product.reshape(len(product), -1).sum(dim=1)[span].reshape(size, -1).sum(dim=1)
        found = rows if found is None else found + rows
    return found


def _is_scale(module: nn.Module, path: str) -> bool:
    """Whether the table ``path`` holds the scales of a conditional norm."""
    owner = module.get_submodule(path.rpartition(".")[0])
    return isinstance(owner, ConditionalNorm) and module.get_submodule(path) is owner.gamma
