"""Channel groups of a module that declares none: traced, then each proved by pruning it.

    traced = traced_groups(module, {"z": latents})
    keep_channels(module, {"layers.0": [0, 2, 5]}, traced.groups)

A group is returned only if removing some of its channels draws what silencing them draws, with the module's own
weights and with random ones. So a wrong trace costs a chance to prune, never a picture.
"""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from compress.edits import MAX_SLICES
from compress.errors import CompressError
from compress.graph import Index, Links, makes_channels, trace_links, why_unsliceable
from compress.running import Array, run_module
from search_spaces.channels import ChannelGroup, Slice, keep_channels, zero_channels
from search_spaces.free import FreeParameter, layer_at
from search_spaces.layers import Axis, axis_size, free_parameters, has_rule

TOLERANCE = 1e-5
TRACED_ROWS, PROVED_ROWS = 2, 8
WHOLE_MODULE = ""


@dataclass(frozen=True)
class TracedGroups:
    """What tracing found.

    Args:
        groups: Proved one by one, in the order of execution.
        left_alone: Dotted path of every other convolution, linear layer and table, of layers that cannot be cut and of
            parameters that belong to no layer -> why; ``WHOLE_MODULE`` -> why a module could not be traced at all.
    """

    groups: tuple[ChannelGroup, ...]
    left_alone: Mapping[str, str]


def traced_groups(module: nn.Module, inputs: Mapping[str, Array]) -> TracedGroups:
    """Return the channels of ``module`` that live and die together, as far as they can be found and proved.

    Args:
        module: forward(**named inputs) -> (N, C, H, W); any. Stays as it is.
        inputs: A few rows, (n, *shape) a name; at most ``PROVED_ROWS`` of them are used.
    """
    rows = {name: array[:PROVED_ROWS] for name, array in inputs.items()}
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    try:
        links = trace_links(module, {k: torch.tensor(v[:TRACED_ROWS], device=device) for k, v in rows.items()})
        proof = _Proof.of(module, rows)
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything; it is then left alone
        return TracedGroups((), MappingProxyType({WHOLE_MODULE: f"it cannot be traced: {_short(error)}"}))
    groups: list[ChannelGroup] = []
    left_alone: dict[str, str] = {}
    for channels, why in _alike(links):
        try:
            group = _as_group(module, channels, why, links.order)
            if any(group.name == other.name for other in groups):
                raise CompressError(f"it has several groups of channels, and {group.name} names one already")
            proof.check(group)
            groups.append(group)
        except CompressError as error:
            left_alone |= dict.fromkeys(_makers(module, (i.layer for i in channels[0] if i.axis == "out")), str(error))
    groups.sort(key=lambda group: links.order.index(group.slices[0].module))
    return TracedGroups(tuple(groups), MappingProxyType(_complete(left_alone, module, groups, links)))


def _makers(module: nn.Module, names: Iterable[str]) -> list[str]:
    return [name for name in names if makes_channels(layer_at(module, name))]


def _alike(links: Links) -> list[tuple[list[tuple[Index, ...]], str]]:
    """Return the channels that run through the same layers, together, and what speaks against them."""
    found: dict[tuple[frozenset[tuple[str, Axis]], str], list[tuple[Index, ...]]] = {}
    for channel, why in zip(links.channels, links.obstacles, strict=True):
        if channel:
            found.setdefault((frozenset((index.layer, index.axis) for index in channel), why), []).append(channel)
    return [(channels, why) for (_, why), channels in found.items()]


def _as_group(module: nn.Module, channels: list[tuple[Index, ...]], why: str, order: Sequence[str]) -> ChannelGroup:
    """Return the group of these channels; each is sorted, so all begin in the same layer.

    Raises:
        CompressError: ``why`` it cannot be one.
    """
    if why or len(channels) < 2:
        raise CompressError(why or "all that it makes is one channel")
    rows: dict[tuple[str, Axis], list[list[int]]] = {}
    for channel in sorted(channels, key=lambda channel: channel[0].at):
        own: dict[tuple[str, Axis], list[int]] = {}
        for index in channel:
            own.setdefault((index.layer, index.axis), []).append(index.at)
        for place, at in own.items():
            rows.setdefault(place, []).append(at)
    places = sorted(rows, key=lambda place: (order.index(place[0]), place[1] == "in"))
    slices = tuple(part for place in places for part in _slices(module, *place, rows[place]))
    if len(slices) > MAX_SLICES:
        raise CompressError(f"its channels lie in {len(slices):,} places, more than {MAX_SLICES:,}")
    makers = _makers(module, (part.module for part in slices if part.axis == "out"))
    if not makers:
        raise CompressError("no layer makes these channels")
    named = [name for name in makers if not isinstance(layer_at(module, name), FreeParameter)]
    return ChannelGroup((named or makers)[0], len(channels), slices)


def _slices(module: nn.Module, layer: str, axis: Axis, rows: list[list[int]]) -> Iterator[Slice]:
    """Yield one slice for each run of neighbours among the indices that a channel owns; ``rows`` has a list a channel.

    Raises:
        CompressError: the channels do not follow each other in every run.
    """
    first = rows[0]
    starts = [at for at in first if at - 1 not in first]
    ends = [at + 1 for at in first if at + 1 not in first]
    for c, row in enumerate(rows):
        expected = [c * (end - start) + at for start, end in zip(starts, ends, strict=True) for at in range(start, end)]
        if row != expected:
            raise CompressError(f"its channels do not follow each other in {layer}.{axis}")
    whole = len(rows) * len(first) == axis_size(layer_at(module, layer), axis) and len(starts) == 1
    for start, end in zip(starts, ends, strict=True):
        yield Slice(layer, axis, end - start, None if whole else start)


@dataclass(frozen=True)
class _Proof:
    """Compares the pruned with the masked module, both as it is and with random weights.

    The weights as they are may hide a mistake: a last layer that starts at zero draws the same whatever is removed.

    Args:
        module: As it is.
        stirred: With random weights.
        images: What ``stirred`` draws; empty if that is not finite, and nothing can be read from it.
        rows: (n, *shape) by name.
    """

    module: nn.Module
    stirred: nn.Module
    images: Array
    rows: Mapping[str, Array]

    @classmethod
    def of(cls, module: nn.Module, rows: Mapping[str, Array]) -> _Proof:
        """Return the proof of one module; raises what the module raises."""
        stirred = _stirred(module)
        images = run_module(stirred, rows)
        return cls(module, stirred, images if np.isfinite(images).all() else np.zeros(0), rows)

    def check(self, group: ChannelGroup) -> None:
        """Raise a ``CompressError`` that says why ``group`` is none."""
        rng = np.random.default_rng(group.size)
        channels = rng.choice(group.size, size=(group.size + 1) // 2, replace=False)
        kept = {group.name: sorted(channels.tolist())}
        self._compare(self.module, group, kept, TOLERANCE)
        if self.images.size:
            masked = self._compare(self.stirred, group, kept, TOLERANCE * max(1.0, float(np.abs(self.images).max())))
            if np.array_equal(masked, self.images):
                raise CompressError("silencing its channels changes no picture, so nothing can be proved")

    def _compare(
        self, before: nn.Module, group: ChannelGroup, kept: Mapping[str, Sequence[int]], tolerance: float
    ) -> Array:
        """Return what the masked module draws."""
        pruned, masked = copy.deepcopy(before), copy.deepcopy(before)
        try:
            keep_channels(pruned, kept, (group,))
            zero_channels(masked, kept, (group,))
            found, wanted = run_module(pruned, self.rows), run_module(masked, self.rows)
        except Exception as error:  # whatever a stranger's forward raises once it is narrower
            raise CompressError(f"it does not run without some of its channels: {_short(error)}") from error
        if found.shape != wanted.shape:
            raise CompressError(f"without some of its channels images have the shape {found.shape[1:]}")
        difference = float(np.abs(found - wanted).max())
        if not difference < tolerance:
            raise CompressError(
                f"removing channels and silencing them differ by {difference:.3g}, as where f(0) != 0 or forward() "
                "computes with a width"
            )
        return wanted


def _stirred(module: nn.Module) -> nn.Module:
    """Return a copy with random weights, of a scale and with shifts (above 0) that let signals through rectifiers."""
    stirred = copy.deepcopy(module)
    rng = torch.Generator().manual_seed(0)
    for tensor in (tensor.data for tensor in stirred.parameters() if tensor.is_floating_point()):
        if tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=rng) / tensor[0].numel() ** 0.5)
        else:
            tensor.copy_(torch.rand(tensor.shape, generator=rng))
    for layer in stirred.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.copy_(torch.rand(layer.running_mean.shape, generator=rng) - 0.5)
            layer.running_var.copy_(torch.rand(layer.running_var.shape, generator=rng) + 0.5)
    return stirred


def _complete(
    left_alone: Mapping[str, str], module: nn.Module, groups: Sequence[ChannelGroup], links: Links
) -> dict[str, str]:
    """Return a reason for every layer with weights that no group cuts along "out"."""
    cut = {part.module for group in groups for part in group.slices if part.axis == "out"}
    reasons = {name: why for name, why in left_alone.items() if name not in cut}
    for name, layer in module.named_modules():
        weighted = any(True for _ in layer.parameters(recurse=False))
        if weighted and name and name not in cut | reasons.keys() and not _holds_parameters(layer):
            why = why_unsliceable(layer) or _why_not_found(layer, name in links.order)
            reasons |= {name: why} if why else {}
    for name, free in free_parameters(module):
        if free.size > 1 and name not in cut | reasons.keys() and name.rpartition(".")[0] not in reasons:
            reasons[name] = "forward() does not use it, or in a way that is not known"
    return reasons


def _holds_parameters(layer: nn.Module) -> bool:
    """Whether it is a stranger's own class, no kind of layer: its parameters are looked at one by one."""
    holds = isinstance(layer, nn.ParameterList | nn.ParameterDict) or type(layer) is nn.Module
    return not has_rule(layer) and (holds or not type(layer).__module__.startswith("torch."))


def _why_not_found(layer: nn.Module, called: bool) -> str:
    """Return why a layer that could be cut is in no group; "" for norms, which share the fate of what they scale."""
    if not called:
        return "forward() does not call it"
    makes = makes_channels(layer)
    if makes == 1:
        return "it makes one channel"
    return "no gradient leads from the images to it" if makes else ""


def _short(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200)
