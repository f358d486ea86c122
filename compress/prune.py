"""Structured pruning by channel groups: of a module that says which channels live and die together, or of a stranger,
whose groups are traced.

Removing a channel behind batch normalisation is the same as silencing it, so the pruned module's output must equal
that of the old module with those channels at zero. ``assert_pruned_is_masked`` checks it on real inputs.
"""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from compress.edits import groups_to_json
from compress.errors import CompressError
from compress.generator import Edit, Generator
from compress.running import Array, run_module
from compress.tracing import traced_groups
from search_spaces.channels import ChannelGroup, HasChannelGroups, Slice, axis_size, is_depthwise, zero_channels
from search_spaces.norms import ConditionalNorm
from search_spaces.space import SearchSpaceError

Importance = Literal["weight", "output"]


def prune(
    generator: Generator,
    ratio: float,
    *,
    multiple: int = 8,
    importance: Importance = "weight",
    inputs: Mapping[str, Array] | None = None,
) -> Generator:
    """Return ``generator`` without the least important ``ratio`` of the channels of every group, not yet recovered.

    Args:
        generator: Its module declares ``channel_groups()``, or they are traced on ``inputs``. Stays as it is.
        ratio: Share to remove, above 0 and below 1. Widths are rounded to a multiple, see ``kept_count``.
        multiple: Kernels like widths that are multiples of 8 (16 for int8).
        importance: How channels are ranked, see ``rank_channels``.
        inputs: A few latents, (n, *shape) a name. Needed to rank by "output" and to trace; if given, pruned = masked is
            asserted.

    Raises:
        CompressError: the module declares no groups and none can be traced, ``ratio`` or ``multiple`` is out of
            range, no group is wide enough to lose a channel, or the pruned module differs from the masked one.
    """
    groups = channel_groups(generator.module, inputs)
    counts = {group.name: kept_count(group.size, ratio, in_units(multiple, group)) for group in groups}
    if all(counts[group.name] == group.size for group in groups):
        sizes = ", ".join(f"{group.name} {group.size}" for group in groups)
        raise CompressError(
            f"Removing {ratio:.0%} in multiples of {multiple} leaves every width as it is ({sizes}). "
            "Take a larger ratio or a smaller multiple."
        )
    ranks = rank_channels(generator.module, groups, inputs, by=importance)
    kept = {
        group.name: best_channels(ranks[group.name], counts[group.name])
        for group in groups
        if counts[group.name] < group.size
    }
    cut = [group for group in groups if group.name in kept]
    traced = {} if declared_groups(generator.module) else {"groups": groups_to_json(cut)}
    pruned = generator.with_edit(Edit("prune", {"kept": kept} | traced))
    if inputs is not None:
        assert_pruned_is_masked(generator.module, pruned.module, kept, inputs, groups=groups)
    return pruned


def declared_groups(module: nn.Module) -> tuple[ChannelGroup, ...]:
    """Return the groups that ``module`` declares, perhaps none."""
    return module.channel_groups() if isinstance(module, HasChannelGroups) else ()


def channel_groups(module: nn.Module, inputs: Mapping[str, Array] | None = None) -> tuple[ChannelGroup, ...]:
    """Return the groups that ``module`` declares, or else those that can be traced on ``inputs``.

    Raises:
        CompressError: there are none.
    """
    if declared := declared_groups(module):
        return declared
    found = "nothing says which channels can go together"
    if inputs is not None:
        traced = traced_groups(module, inputs)
        if traced.groups:
            return traced.groups
        reasons = "; ".join(f"{name}: {why}" if name else why for name, why in traced.left_alone.items())
        found = f"they were traced, and none was found ({textwrap.shorten(reasons, 500) or 'it has no layers'})"
    raise CompressError(
        f"{type(module).__name__} declares no channel groups, and {found}. Give it a method channel_groups() (see "
        f"search_spaces.channels), {'' if inputs else 'pass inputs to trace them, '}or leave pruning out of the recipe."
    )


def kept_count(size: int, ratio: float, multiple: int) -> int:
    """Return how many of ``size`` channels stay: ``size * (1 - ratio)`` to the nearest multiple, halves up.

    At least one multiple stays, or all of them if there are no more than that.

    Raises:
        CompressError: ``ratio`` is not between 0 and 1, or ``multiple`` is below 1.
    """
    if not 0 < ratio < 1:
        raise CompressError(
            f"A pruning ratio lies between 0 and 1, both excluded, found {ratio}. 0.25 removes a quarter."
        )
    if multiple < 1:
        raise CompressError(f"Widths are rounded to a multiple of at least 1, found {multiple}. 8 suits most kernels.")
    nearest = multiple * int(size * (1 - ratio) / multiple + 0.5)
    return min(size, max(multiple, nearest))


def in_units(multiple: int, group: ChannelGroup) -> int:
    """Return the multiple for a group whose channels are several everywhere, as those of a group norm are.

    So many of these make a multiple of channels; where the group has fewer, as many as make at least that many.
    """
    unit = min(part.repeat for part in group.slices)
    exact = multiple // math.gcd(multiple, unit)
    return exact if exact < group.size else math.ceil(multiple / unit)


def best_channels(importance: Array, count: int) -> list[int]:
    """Return the ``count`` most important channels, increasing; of equal ones those with the lower index."""
    order = np.argsort(-importance, kind="stable")[:count]
    return sorted(int(channel) for channel in order)


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

    Raises:
        CompressError: ranking by "output" without ``inputs``.
    """
    if by == "weight":
        return {group.name: _folded_norms(module, group) for group in groups}
    if inputs is None:
        raise CompressError(
            "Ranking by output change needs latents to draw, found none. Pass inputs, or rank by weight."
        )
    return _output_changes(module, groups, inputs)


def assert_pruned_is_masked(
    before: nn.Module,
    after: nn.Module,
    kept: Mapping[str, Sequence[int]],
    inputs: Mapping[str, Array],
    tolerance: float = 1e-5,
    *,
    groups: Sequence[ChannelGroup] | None = None,
) -> float:
    """Return the largest difference between ``after`` and ``before`` with the removed channels silenced.

    Silenced: weights and biases of the layers that make them, scale and shift of their norms. Both are run in eval
    mode, before any recovery. ``groups`` default to those that ``before`` declares.

    Raises:
        CompressError: their images differ in shape or by more than ``tolerance`` (images are in [-1, 1]); so do a
            norm over channels that stay and channels that go, and an activation that does not map 0 to 0.
    """
    masked = copy.deepcopy(before)
    _silence(masked, kept, groups)
    wanted, found = run_module(masked, inputs), run_module(after, inputs)
    difference = float(np.abs(wanted - found).max()) if wanted.shape == found.shape else np.inf
    if not difference <= tolerance:
        raise CompressError(
            f"A pruned module must draw what the masked one draws, but they differ by {difference:.3g} "
            f"(allowed {tolerance:.3g}). Look for a norm over several channels, or an activation with f(0) != 0."
        )
    return difference


def _silence(
    module: nn.Module, kept: Mapping[str, Sequence[int]], groups: Sequence[ChannelGroup] | None = None
) -> None:
    try:
        zero_channels(module, kept, groups)
    except SearchSpaceError as error:
        raise CompressError(f"These channels cannot be masked: {error}") from error


def _folded_norms(module: nn.Module, group: ChannelGroup) -> Array:
    """Return sqrt(sum over producers of (norm of its weights * scale of what follows it)²); (size,)."""
    total = torch.zeros(group.size, dtype=torch.float64)
    squares, scales = torch.zeros_like(total), torch.ones_like(total)  # of the producer at hand
    for at, part in enumerate(part for part in group.slices if part.axis == "out"):
        layer = module.get_submodule(part.module)
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


def _weight_squares(layer: nn.Module) -> torch.Tensor:
    """Return the sum of squares of the weights that make each index along "out", float64 (indices,)."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    rows = weight.detach().double().cpu()
    rows = rows.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d | nn.Embedding) else rows
    return rows.flatten(1).square().sum(dim=1)


def _carried_scale(module: nn.Module, part: Slice) -> torch.Tensor | None:
    """Return how much a layer that carries channels through scales each index, float64; None for a producer.

    A norm as ``_norm_scale``; a depthwise convolution by the norm of its filter; the scales per class of a
    conditional norm by their root mean square. Its shifts per class are left out, as a norm's shift is.
    """
    layer = module.get_submodule(part.module)
    if isinstance(layer, _BatchNorm | _InstanceNorm | nn.GroupNorm):
        return _norm_scale(layer)
    if isinstance(layer, nn.PReLU):
        return torch.ones(layer.num_parameters, dtype=torch.float64)
    if is_depthwise(layer):
        assert isinstance(layer, nn.Conv2d)
        return _weight_squares(layer).sqrt()
    if isinstance(layer, nn.Embedding):
        owner = module.get_submodule(part.module.rpartition(".")[0])
        table = layer.weight.detach().double().cpu()
        is_scale = isinstance(owner, ConditionalNorm) and layer is owner.gamma
        return table.square().mean(dim=0).sqrt() if is_scale else torch.ones(table.shape[1], dtype=torch.float64)
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
    probe = copy.deepcopy(module)
    changes: dict[str, Array] = {}
    for group in groups:
        changes[group.name] = np.zeros(group.size)
        for channel in range(group.size if group.size > 1 else 0):
            _silence(probe, {group.name: [c for c in range(group.size) if c != channel]}, groups)
            changes[group.name][channel] = np.mean((run_module(probe, inputs) - whole) ** 2)
            probe.load_state_dict(module.state_dict())
    return changes
