"""The module that a genotype becomes: parts in a row, its inputs by name, and its groups of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from search_spaces.blocks import Part
from search_spaces.channels import ChannelGroup, Slice
from search_spaces.space import ImageShape, SearchSpaceError

if TYPE_CHECKING:
    from benchmarks.inputs import InputSpec


class Decoder(nn.Module):
    """Latent vectors, and a class if it has one -> images.

    Args:
        layers: The first reads the concatenated latents, the last makes the image with values in [-1, 1].
        inputs: Named real-valued vectors, concatenated in this order, and at most the label among them.
        image: Shape of one image.
        label: Name of the input that holds the class; empty for none.
        embedding: What each class appends to the latents; None for nothing.
    """

    def __init__(
        self,
        layers: Sequence[Part],
        inputs: Sequence[InputSpec],
        image: ImageShape,
        label: str = "",
        embedding: nn.Embedding | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.embedding = embedding
        self.inputs = tuple(inputs)
        self.image = image
        self.label = label

    def forward(self, **named: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) float32 in [-1, 1].

        Args:
            named: One float32 tensor (N, k) per vector, by name, and the label (N,), int64 from 0.

        Raises:
            SearchSpaceError: the names are not exactly those of ``inputs``.
        """
        names = [spec.name for spec in self.inputs]
        if set(named) != set(names):
            raise SearchSpaceError(f"the inputs are {names}, found {sorted(named)}; pass each by its name")
        label = named[self.label] if self.label else None
        vectors = [named[name] for name in names if name != self.label]
        if self.embedding is not None:
            vectors.append(self.embedding(label))
        x = vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=1)
        for layer in self.layers:
            x = layer(x, label)
        return x

    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        """Channels between neighbouring parts and inside them, read from the parts as they are (pruned or not).

        What a part adds to belongs to the group of what it adds. Latents, the class's embedding and image channels
        are in no group: their numbers are given from outside.
        """
        groups: dict[str, ChannelGroup] = {}
        current = ""  # the group that flows into the next part: named after the part that made it
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Part)
            name = f"layers.{index}"
            if current:
                groups[current] = _extended(groups[current], layer.reads(name))
            if layer.adds:
                groups |= {group.name: group for group in layer.inner(name)}
                groups[current] = _extended(groups[current], layer.makes(name))
            else:
                current = name
                groups[name] = ChannelGroup(name, layer.channels, layer.makes(name))
        del groups[current]
        return tuple(groups.values())


def _extended(group: ChannelGroup, slices: tuple[Slice, ...]) -> ChannelGroup:
    return ChannelGroup(group.name, group.size, (*group.slices, *slices))
