"""Channels that live and die together, and how to take some of them out of a module.

A group says, for one set of channels, which indices of which layers belong to each: the layer that makes them, the
norms that scale them, the layers that read them. Pruning by groups is exact where a tracer guesses: a linear layer
that is reshaped into feature maps, a convolution before a depth-to-space.
"""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from search_spaces.free import FreeParameter, Layer, layer_at
from search_spaces.space import SearchSpaceError, nearest

Axis = Literal["out", "in"]


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
        _slice_layer(cut.layer, cut.axis, cut.kept.nonzero().flatten())


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
            _mask_statistics(cut.layer, cut.kept)
            continue
        with torch.no_grad():
            for name, dimension in _tensors(cut.layer, "out").items():
                if name in {"weight", "bias"}:
                    tensor = getattr(cut.layer, name)
                    tensor.index_fill_(dimension, removed.to(tensor.device), 0.0)


class _MaskedLayerNorm(nn.LayerNorm):
    """A layer norm of the kept channels (the last axis of x) alone; the others become 0."""

    kept: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.kept.to(x.device)
        weight, bias = (None if tensor is None else tensor[own] for tensor in (self.weight, self.bias))
        made = torch.zeros_like(x)
        made[..., own] = functional.layer_norm(x[..., own], (int(own.sum()),), weight, bias, self.eps)
        return made


def _mask_statistics(layer: nn.LayerNorm, kept: torch.Tensor) -> None:
    if isinstance(layer, _MaskedLayerNorm):
        layer.kept = layer.kept & kept
        return
    layer.__class__ = _MaskedLayerNorm
    assert isinstance(layer, _MaskedLayerNorm)
    layer.kept = kept


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


def is_depthwise(layer: Layer) -> bool:
    """Whether ``layer`` is a convolution with one filter per channel, which carries the channels through."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def _sizes(layer: Layer) -> dict[Axis, str]:
    """Axis -> name of the attribute that holds its size; refuses layers that cannot be sliced."""
    if isinstance(layer, FreeParameter):
        return {"out": "size"}
    if is_depthwise(layer):
        return {"out": "out_channels"}
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        if layer.groups != 1:
            raise SearchSpaceError(
                f"only ungrouped and depthwise convolutions can be sliced, found groups={layer.groups} in {layer}; "
                "leave this layer out of the groups"
            )
        return {"out": "out_channels", "in": "in_channels"}
    if isinstance(layer, nn.Linear):
        return {"out": "out_features", "in": "in_features"}
    if isinstance(layer, _BatchNorm | _InstanceNorm):
        return {"out": "num_features"}
    if isinstance(layer, nn.GroupNorm):
        return {"out": "num_channels"}
    stock = type(layer).forward in (nn.LayerNorm.forward, _MaskedLayerNorm.forward)  # others know of no mask
    if isinstance(layer, nn.LayerNorm) and stock and len(layer.normalized_shape) == 1:
        return {"out": "normalized_shape"}
    if isinstance(layer, nn.Embedding):
        return {"out": "embedding_dim"}
    if isinstance(layer, nn.PReLU):
        return {"out": "num_parameters"}
    raise SearchSpaceError(
        "only Conv2d, ConvTranspose2d, Linear, BatchNorm, InstanceNorm, GroupNorm, LayerNorm of one axis, Embedding "
        f"and PReLU can be sliced, found {type(layer).__name__}; leave this layer out of the groups"
    )


def free_parameters(module: nn.Module) -> Iterator[tuple[str, FreeParameter]]:
    """Yield path and view of every float parameter that belongs to no layer for which there is a rule."""
    for prefix, owner in module.named_modules():
        if not has_rule(owner):
            for name, parameter in owner.named_parameters(recurse=False):
                if parameter.is_floating_point():
                    yield f"{prefix}.{name}".removeprefix("."), FreeParameter(owner, name)


def has_rule(layer: Layer) -> bool:
    """Whether layers of this kind can be sliced."""
    try:
        return bool(_sizes(layer))
    except SearchSpaceError:
        return False


def axis_size(layer: Layer, axis: Axis) -> int:
    """Indices along one axis of a layer.

    Raises:
        SearchSpaceError: a layer that cannot be sliced, or not along this axis.
    """
    sizes = _sizes(layer)
    if axis not in sizes:
        raise SearchSpaceError(f"{type(layer).__name__} has no axis {axis!r}; use {' or '.join(sizes)}")
    size = getattr(layer, sizes[axis])
    size = size[0] if isinstance(layer, nn.LayerNorm) else size
    assert isinstance(size, int)
    return size


def _tensors(layer: Layer, axis: Axis) -> dict[str, int]:
    """Name of each tensor of ``layer`` that has ``axis`` -> the dimension along which it lies."""
    if isinstance(layer, FreeParameter):
        return {"weight": layer.axis}
    if isinstance(layer, _BatchNorm | _InstanceNorm):
        names = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), 0)
    elif isinstance(layer, nn.GroupNorm | nn.LayerNorm):
        names = {"weight": 0, "bias": 0}
    elif isinstance(layer, nn.Embedding):
        names = {"weight": 1}
    elif isinstance(layer, nn.PReLU):
        names = {"weight": 0}
    else:
        transposed = isinstance(layer, nn.ConvTranspose2d)
        names = {"weight": int(transposed == (axis == "out"))}
        if axis == "out":
            names["bias"] = 0
    return {name: dimension for name, dimension in names.items() if getattr(layer, name) is not None}


def _check_norm(cut: _Cut) -> None:
    """Raise if a group norm would lose a part of a group: what is left of it would have another mean."""
    if isinstance(cut.layer, nn.GroupNorm):
        groups = cut.kept.reshape(cut.layer.num_groups, -1)
        if not (groups.all(dim=1) == groups.any(dim=1)).all():
            raise SearchSpaceError(
                f"{cut.layer} loses whole groups of {groups.shape[1]} channels or none; let them be one channel of the "
                "channel group"
            )


def _slice_layer(layer: Layer, axis: Axis, index: torch.Tensor) -> None:
    if isinstance(layer, FreeParameter):
        layer.keep(index)
        return
    for name, dimension in _tensors(layer, axis).items():
        tensor: Any = getattr(layer, name)
        short = tensor.detach().index_select(dimension, index.to(tensor.device)).contiguous()
        trainable = isinstance(tensor, nn.Parameter)
        setattr(layer, name, nn.Parameter(short, requires_grad=tensor.requires_grad) if trainable else short)
    if isinstance(layer, _MaskedLayerNorm):
        layer.kept = layer.kept[index.cpu()]
    if isinstance(layer, nn.GroupNorm):
        layer.num_groups = len(index) * layer.num_groups // layer.num_channels
    sizes = ("out_channels", "in_channels", "groups") if is_depthwise(layer) else (_sizes(layer)[axis],)
    for size in sizes:
        setattr(layer, size, (len(index),) if isinstance(layer, nn.LayerNorm) else len(index))
