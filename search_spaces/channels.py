"""Channels that live and die together, and how to take some of them out of a module.

A group says, for one set of channels, which indices of which layers belong to each: the layer that makes them, the
norms that scale them, the layers that read them. Pruning by groups is exact where a tracer guesses: a linear layer
that is reshaped into feature maps, a convolution before a depth-to-space.
"""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from search_spaces.free import FreeParameter, Layer, layer_at
from search_spaces.layers import Axis, axis_size, has_rule, mask_statistics, slice_layer, sliced_tensors
from search_spaces.space import SearchSpaceError, nearest


@dataclass(frozen=True)
class Slice:
    """One axis of one layer: channel ``c`` owns the ``repeat`` indices from ``offset + c * repeat`` on.

    Args:
        module: Dotted path inside the generator, of a layer or of a parameter that belongs to none.
        axis: "out" for what a layer makes, "in" for what it reads. Norms, a class's tables and depthwise
            convolutions, which carry channels through, are cut along "out".
        repeat: Indices per channel: side² for a linear layer that is reshaped to maps, r² before a PixelShuffle(r),
            what a group of a GroupNorm has, which can only go as a whole.
        offset: Where the group begins on an axis that it shares, as behind a concatenation. None: the whole axis is
            the group's, and its size is checked.
    """

    module: str
    axis: Axis
    repeat: int = 1
    offset: int | None = None

    def span(self, size: int) -> slice:
        """Indices that ``size`` channels own."""
        start = self.offset or 0
        return slice(start, start + size * self.repeat)


@dataclass(frozen=True)
class ChannelGroup:
    """``size`` channels that can only be removed everywhere at once.

    ``slices`` stand in the order of execution: a producer (out) before what scales its channels (out) and before its
    consumers (in). Of several producers, whose channels are added, each stands before its own norm.
    """

    name: str
    size: int
    slices: tuple[Slice, ...]


@runtime_checkable
class HasChannelGroups(Protocol):
    """A module that knows its groups; they are read from its layers as they are now, pruned or not."""

    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        """Groups in the order of execution."""


def keep_channels(
    module: nn.Module, kept: Mapping[str, Sequence[int]], groups: Sequence[ChannelGroup] | None = None
) -> None:
    """Remove every channel that is not listed, in place: weights, buffers and the layers' own size attributes.

    Everything is checked before anything is changed.

    Args:
        module: Where the groups touch it, made of the layers that ``axis_size`` knows.
        kept: Group name -> channels to keep, increasing. Groups that are not named stay whole.
        groups: Default: ``module.channel_groups()``.

    Raises:
        SearchSpaceError: an unknown group; no channel, an unsorted or a missing one; a layer that cannot be sliced;
            two groups that own the same index.
    """
    for cut in _plan_cuts(module, kept, groups):
        slice_layer(cut.layer, cut.axis, cut.kept.nonzero().flatten())


def zero_channels(
    module: nn.Module, kept: Mapping[str, Sequence[int]], groups: Sequence[ChannelGroup] | None = None
) -> None:
    """Silence, in place and without changing a shape, every channel that ``keep_channels`` would remove.

    The producers' weights and biases and the scales and shifts of norms, also those of every class, become 0. The
    output in eval mode then equals that of the pruned module, provided that the activations map 0 to 0. A layer norm
    takes mean and variance over the channels that stay from then on, as the pruned one does (loading weights does not
    undo that).

    Raises:
        SearchSpaceError: as ``keep_channels``.
    """
    for cut in _plan_cuts(module, kept, groups):
        if cut.axis == "in":
            continue
        removed = (~cut.kept).nonzero().flatten()
        if isinstance(cut.layer, nn.LayerNorm):
            mask_statistics(cut.layer, cut.kept)
            continue
        with torch.no_grad():
            for name, dimension in sliced_tensors(cut.layer, "out").items():
                if name in {"weight", "bias"}:
                    tensor = getattr(cut.layer, name)
                    tensor.index_fill_(dimension, removed.to(tensor.device), 0.0)


@dataclass(frozen=True)
class _Cut:
    """What becomes of one axis of one layer, bool (axis size,) each; on the CPU even where modules are made on meta."""

    layer: Layer
    axis: Axis
    kept: torch.Tensor
    owned: torch.Tensor


def _plan_cuts(
    module: nn.Module, kept: Mapping[str, Sequence[int]], groups: Sequence[ChannelGroup] | None
) -> list[_Cut]:
    """One cut for every axis that a named group touches, checked against the module as it is."""
    by_name = {group.name: group for group in (_own_groups(module) if groups is None else groups)}
    cuts: dict[tuple[Layer, Axis], _Cut] = {}
    for name, channels in kept.items():
        if name not in by_name:
            raise SearchSpaceError(
                f"channel groups are {', '.join(by_name) or 'none'}; found {name!r}; "
                f"correct the name{nearest(name, tuple(by_name))}"
            )
        group = by_name[name]
        _check_channels(group, channels)
        for part in group.slices:
            layer = _find_layer(module, group, part)
            cut = cuts.setdefault((layer, part.axis), _whole(layer, part.axis))
            _mark(cut, group, part, channels)
    for cut in cuts.values():
        _check_norm(cut)
    return list(cuts.values())


def _whole(layer: Layer, axis: Axis) -> _Cut:
    size = axis_size(layer, axis)
    kept = torch.ones(size, dtype=torch.bool, device="cpu")
    return _Cut(layer, axis, kept, torch.zeros_like(kept))


def _mark(cut: _Cut, group: ChannelGroup, part: Slice, channels: Sequence[int]) -> None:
    """Enter one slice into ``cut``."""
    span = part.span(group.size)
    if cut.owned[span].any():
        raise SearchSpaceError(
            f"group {group.name!r}: indices {span.start} to {span.stop - 1} of {part.module}.{part.axis} are owned "
            "by another slice too; let every index belong to one channel"
        )
    cut.owned[span] = True
    rows = torch.zeros(group.size, dtype=torch.bool, device="cpu")
    rows[list(channels)] = True
    cut.kept[span] = rows.repeat_interleave(part.repeat)


def _own_groups(module: nn.Module) -> tuple[ChannelGroup, ...]:
    if isinstance(module, HasChannelGroups):
        return module.channel_groups()
    raise SearchSpaceError(
        f"pruning by channels needs channel_groups(), which {type(module).__name__} lacks; pass `groups` yourself"
    )


def _check_channels(group: ChannelGroup, channels: Sequence[int]) -> None:
    whole = all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c < group.size for c in channels)
    if not whole or not channels or any(a >= b for a, b in itertools.pairwise(channels)):
        raise SearchSpaceError(
            f"group {group.name!r} keeps at least one channel, increasing, from 0 to {group.size - 1}; "
            f"found {reprlib.repr(list(channels))}; correct the list"
        )


def _find_layer(module: nn.Module, group: ChannelGroup, part: Slice) -> Layer:
    try:
        layer = layer_at(module, part.module)
    except AttributeError as error:
        raise SearchSpaceError(
            f"group {group.name!r} names the layer {part.module!r}, which is not there; correct the group"
        ) from error
    if isinstance(layer, FreeParameter) and has_rule(layer.owner):
        raise SearchSpaceError(
            f"group {group.name!r} names {part.module!r}, which belongs to a layer; name the layer instead"
        )
    size, wanted = axis_size(layer, part.axis), group.size * part.repeat
    if part.offset is None and size != wanted:
        raise SearchSpaceError(
            f"group {group.name!r}: {part.module}.{part.axis} must have {group.size} x {part.repeat} indices, "
            f"found {size}; correct the group"
        )
    if part.offset is not None and not 0 <= part.offset <= size - wanted:
        raise SearchSpaceError(
            f"group {group.name!r}: {part.module}.{part.axis} must have {group.size} x {part.repeat} indices from "
            f"{part.offset} on, found {size} in all; correct the group"
        )
    return layer


def _check_norm(cut: _Cut) -> None:
    """Raise if a group norm would lose a part of a group: what is left of it would have another mean."""
    if isinstance(cut.layer, nn.GroupNorm):
        groups = cut.kept.reshape(cut.layer.num_groups, -1)
        if not (groups.all(dim=1) == groups.any(dim=1)).all():
            raise SearchSpaceError(
                f"{cut.layer} loses whole groups of {groups.shape[1]} channels or none; let them be one channel of the "
                "channel group"
            )
