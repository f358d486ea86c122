"""Bridges: layers that stand for calls which move channels, so that a tracer of layers sees where channels go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn


class _Opaque(torch.autograd.Function):
    """One node of autograd's graph for ``value``, whatever it was made of; never a view, so that x.relu_() is safe."""

    @staticmethod
    def forward(_ctx: Any, _x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Return ``value``. There is no backward: the graph is read, never used."""
        return value.clone()


class Bridge(nn.Module):
    """Stands for one call of an operation that moves channels: indices in and out, and which go together."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call = call  # what it stands for, in words
        self.sizes = (0, 0)
        self.pairs: tuple[tuple[int, int], ...] = ()
        self.tied: list[Bridge] = []  # reads the same channels; a list, so that it is no part of this module
        self.parameter = ""  # the dotted path of the free parameter that is read; its channels are those that are made

    def forward(
        self, x: torch.Tensor, value: torch.Tensor, sizes: tuple[int, int], pairs: Iterable[tuple[int, int]]
    ) -> torch.Tensor:
        """Return ``value``, which was made of ``x``."""
        self.sizes, self.pairs = sizes, tuple(pairs)
        made: torch.Tensor = _Opaque.apply(x, value.detach())  # type: ignore[no-untyped-call]
        return made


class BridgePruner:
    """What torch-pruning asks about a bridge; in and out are two functions, so nothing passes through by itself."""

    pruning_dim = 1

    def prune_out_channels(self, layer: nn.Module, _idxs: Sequence[int]) -> nn.Module:
        """Asked for by name only."""
        return layer

    def prune_in_channels(self, layer: nn.Module, _idxs: Sequence[int]) -> nn.Module:
        """Asked for by name only."""
        return layer

    def get_out_channels(self, layer: Bridge) -> int:
        """Return the size of what the bridge makes."""
        return layer.sizes[1]

    def get_in_channels(self, layer: Bridge) -> int:
        """Return the size of what it reads."""
        return layer.sizes[0]
