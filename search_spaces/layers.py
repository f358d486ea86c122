"""How layers lose channels: which kinds can, along which axis of which tensor; and a layer norm that is masked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from search_spaces.free import FreeParameter, Layer
from search_spaces.space import SearchSpaceError

Axis = Literal["out", "in"]


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


def sliced_tensors(layer: Layer, axis: Axis) -> dict[str, int]:
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


def slice_layer(layer: Layer, axis: Axis, index: torch.Tensor) -> None:
    """Leave the indices ``index``, int64 (kept,), of one axis, in place: tensors and the size attributes."""
    if isinstance(layer, FreeParameter):
        layer.keep(index)
        return
    for name, dimension in sliced_tensors(layer, axis).items():
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


class _MaskedLayerNorm(nn.LayerNorm):
    """A layer norm of the kept channels (the last axis of x) alone; the others become 0."""

    kept: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = self.kept.to(x.device)
        weight, bias = (None if tensor is None else tensor[own] for tensor in (self.weight, self.bias))
        made = torch.zeros_like(x)
        made[..., own] = functional.layer_norm(x[..., own], (int(own.sum()),), weight, bias, self.eps)
        return made


def mask_statistics(layer: nn.LayerNorm, kept: torch.Tensor) -> None:
    """Let ``layer``, in place, take mean and variance over the channels ``kept``, bool (size,), alone."""
    if isinstance(layer, _MaskedLayerNorm):
        layer.kept = layer.kept & kept
        return
    layer.__class__ = _MaskedLayerNorm
    assert isinstance(layer, _MaskedLayerNorm)
    layer.kept = kept
