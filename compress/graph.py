"""Which indices of which layers belong together in a stranger's module: torch-pruning's graph, told what it guesses.

torch-pruning (Fang et al. 2023, arXiv:2301.12900) walks autograd's graph and takes every operation between two layers
for one that keeps channels in their places. It guesses sizes and offsets of reshapes, splits and concatenations from
the neighbours, drops what has no gradient (latents and labels in a concatenation), and knows neither PixelShuffle nor
GLU. Here each of these runs as a ``Bridge``.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from compress.bridges import Bridge, BridgePruner
from compress.bridging import Told
from search_spaces.free import FreeParameter, layer_at
from search_spaces.layers import Axis, axis_size, is_depthwise
from search_spaces.space import SearchSpaceError


class Index(NamedTuple):
    """One index of one axis of a layer, called by its dotted path."""

    layer: str
    axis: Axis
    at: int


@dataclass(frozen=True)
class Links:
    """What one run of a module shows.

    Args:
        channels: Sets of indices that belong to one channel.
        obstacles: Per channel why it cannot be removed; "" if nothing speaks against it.
        order: Layers in the order of their first call.
    """

    channels: tuple[tuple[Index, ...], ...]
    obstacles: tuple[str, ...]
    order: tuple[str, ...]


def trace_links(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> Links:
    """Run a copy of ``module`` in eval mode on named rows and return what belongs together.

    Raises:
        CompressError: forward returns no single tensor, or no gradient leads from it to a weight.
        Exception: whatever the module raises when it is copied or run.
    """
    told = Told(copy.deepcopy(module))
    with torch.inference_mode(False), torch.enable_grad():
        order = told.rehearse(inputs)
        graph = _dependency_graph(told, inputs)
    names = {layer: name for name, layer in told.module.named_modules()}
    bridges = told.bridges_laid()
    names |= {bridge: bridge.parameter or f"<{bridge.call}, {k}>" for k, bridge in enumerate(bridges)}
    forest = _Forest()
    for root in graph.module2node:
        _link_what_meets(forest, graph, root, names)
    for bridge in bridges:
        for source, target in bridge.pairs:
            forest.join(Index(names[bridge], "in", source), Index(names[bridge], "out", target))
        for other in bridge.tied:
            for k in range(bridge.sizes[0]):
                forest.join(Index(names[bridge], "in", k), Index(names[other], "in", k))
    for name in order:
        if isinstance(norm := layer_at(told.module, name), nn.GroupNorm):
            _join_groups(forest, norm, name)
    own = {names[bridge] for bridge in bridges if not bridge.parameter}
    found = [(tuple(index for index in tree if index.layer not in own), why) for tree, why in forest.trees()]
    return Links(tuple(tree for tree, _ in found), tuple(why for _, why in found), order)


def _join_groups(forest: _Forest, norm: nn.GroupNorm, name: str) -> None:
    """Tie what a group norm averages over: it loses whole groups or none."""
    unit = norm.num_channels // norm.num_groups
    for at in range(norm.num_channels):
        forest.join(Index(name, "out", at), Index(name, "out", at - at % unit))


class _Forest:
    """Disjoint sets of indices; a set may hold a reason."""

    def __init__(self) -> None:
        self._parents: dict[Index, Index] = {}
        self._reasons: dict[Index, str] = {}

    def find(self, index: Index) -> Index:
        self._parents.setdefault(index, index)
        while (parent := self._parents[index]) != index:
            self._parents[index] = self._parents[parent]
            index = parent
        return index

    def join(self, one: Index, two: Index) -> None:
        self._parents[self.find(one)] = self.find(two)

    def spoil(self, index: Index, why: str) -> None:
        self.find(index)
        self._reasons.setdefault(index, why)

    def trees(self) -> Iterator[tuple[list[Index], str]]:
        """Yield every set, sorted, with the first reason in it or ""."""
        trees: dict[Index, list[Index]] = {}
        for index in sorted(self._parents):
            trees.setdefault(self.find(index), []).append(index)
        for tree in trees.values():
            yield tree, next((self._reasons[index] for index in tree if index in self._reasons), "")


def _dependency_graph(told: Told, inputs: Mapping[str, torch.Tensor]) -> Any:
    import torch_pruning  # heavy, and wanted for strangers only

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that it cannot guess; whatever it got wrong is found by running
        return torch_pruning.DependencyGraph().build_dependency(
            told, dict(inputs), customized_pruners={Bridge: BridgePruner()}, verbose=False
        )


def _link_what_meets(forest: _Forest, graph: Any, root: Any, names: Mapping[Any, str]) -> None:
    """Join what torch-pruning says is tied to the channels that ``root`` makes."""
    size = makes_channels(root)
    if not size:
        return
    mine = [Index(names[root], "out", k) for k in range(size)]
    for index in mine:
        forest.find(index)
    for item in graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, range(size)):
        member = item.dep.target.module
        reads = not graph.is_out_channel_pruning_fn(item.dep.handler)
        axis: Axis = "in" if reads and not is_depthwise(member) else "out"
        length, why = _length(member, axis, names)
        if length == 1 or (size == 1 and not why):
            continue  # one channel that is spread over all others, as a mask is
        at = [(there, here) for there, here in zip(item.idxs, item.root_idxs, strict=True) if length]
        if any(there >= length for there, _ in at):
            at, why = [], f"meets {names[member]}, which has {length} channels instead of {size}"
        for index in mine if why else ():
            forest.spoil(index, why)
        for there, here in at:
            forest.join(Index(names[member], axis, there), mine[here])


def makes_channels(root: Any) -> int:
    """Return how many channels a node of the graph makes by itself; 0 for what carries them through."""
    if isinstance(root, Bridge):
        return root.sizes[1]
    if isinstance(root, FreeParameter):
        return root.size
    if isinstance(root, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding) and not is_depthwise(root):
        return axis_size(root, "out") if getattr(root, "groups", 1) == 1 else 0
    return 0


def _length(member: Any, axis: Axis, names: Mapping[Any, str]) -> tuple[int, str]:
    """Return the indices of a node along ``axis``, 0 for what has none; and why its channels cannot be removed."""
    if isinstance(member, nn.Parameter):
        return 0, "meets a parameter that forward() uses directly"
    if isinstance(member, Bridge):
        return member.sizes[axis == "out"], ""
    if type(member).__name__ == "_OutputOp":
        return 0, "its channels are those of the images"
    if member not in names:
        return 0, ""
    why = why_unsliceable(member)
    return (0, f"meets {names[member]}: {why}") if why else (axis_size(member, axis), "")


def why_unsliceable(layer: nn.Module) -> str:
    """Return why ``layer`` cannot be cut at all; "" if it can be."""
    if getattr(layer, "groups", 1) != 1 and not is_depthwise(layer):
        return f"a convolution in {layer.groups} groups mixes channels within each"
    try:
        axis_size(layer, "out")
    except SearchSpaceError:
        return f"no rule says how {type(layer).__name__} is cut"
    return "" if "weight" in layer._parameters else "its weight is made of others in every call, as by spectral norm"
