"""What may stand behind a weighted operation: batch norm, batch norm per class, or a shift per class.

Tables are indexed so that an exporter can fold the reshaping into the weights: one Gather each, then Mul and Add.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from search_spaces.channels import Slice


class ConditionalNorm(nn.Module):
    """Batch norm whose scale and shift depend on the class: gamma[y] * (x - mean) / sqrt(var + eps) + beta[y].

    De Vries et al. 2017 (arXiv:1707.00683), with a table instead of a network that predicts both, as in Miyato and
    Koyama 2018 (arXiv:1802.05637). Starts as plain batch norm: gamma 1, beta 0.

    Args:
        norm: Without a scale and shift of its own (``affine=False``); C channels.
        classes: Rows of both tables, (classes, C).
    """

    def __init__(self, norm: _BatchNorm, classes: int) -> None:
        super().__init__()
        self.norm = norm
        self.gamma = nn.Embedding(classes, norm.num_features)
        self.beta = nn.Embedding(classes, norm.num_features)
        nn.init.ones_(self.gamma.weight)
        nn.init.zeros_(self.beta.weight)

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) or (N, C) -> the same; ``label`` is (N,), int64 from 0."""
        normed = self.norm(x) if self.training else self._with_scale_of_one(x)
        return normed * rows(self.gamma, label, x) + rows(self.beta, label, x)

    def _with_scale_of_one(self, x: torch.Tensor) -> torch.Tensor:
        """``self.norm(x)`` in eval mode: torch's exporter refuses a norm without a scale behind a reshape."""
        norm, channels = self.norm, self.norm.num_features
        one, zero = torch.ones(channels, device=x.device), torch.zeros(channels, device=x.device)
        return functional.batch_norm(x, norm.running_mean, norm.running_var, one, zero, eps=norm.eps)


class ClassShift(nn.Module):
    """A bias per class and feature, added behind the norm (if there is one).

    Args:
        norm: What stands before it.
        classes: Rows of the table, (classes, features).
        features: Numbers per sample: of maps C * side².
        side: Pixels along one side of the maps; 0 for features without a place.
    """

    def __init__(self, norm: _BatchNorm | None, classes: int, features: int, side: int) -> None:
        super().__init__()
        self.norm = norm
        self.table = nn.Embedding(classes, features)
        self.side = side

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """(N, C, side, side) or (N, C) -> the same; ``label`` is (N,), int64 from 0."""
        normed: torch.Tensor = x if self.norm is None else self.norm(x)
        return normed + rows(self.table, label, x, self.side or 1)


def rows(table: nn.Embedding, label: torch.Tensor, like: torch.Tensor, side: int = 1) -> torch.Tensor:
    """Row ``label`` of a (classes, C * side²) table, shaped to be added to ``like``: (N, C, side, side) or (N, C)."""
    weight = table.weight
    if like.ndim == 4:
        weight = weight.reshape(table.num_embeddings, -1, side, side)
    return weight.index_select(0, label)


def norm_slices(name: str, norm: nn.Module | None, channels: int) -> tuple[Slice, ...]:
    """What each of ``channels`` owns in ``norm``, which is called ``name``."""
    if isinstance(norm, _BatchNorm):
        return (Slice(name, "out", norm.num_features // channels),)
    if isinstance(norm, ConditionalNorm):
        repeat = norm.norm.num_features // channels
        return tuple(Slice(f"{name}.{part}", "out", repeat) for part in ("norm", "gamma", "beta"))
    if isinstance(norm, ClassShift):
        table = Slice(f"{name}.table", "out", norm.table.embedding_dim // channels)
        return (*norm_slices(f"{name}.norm", norm.norm, channels), table)
    assert norm is None, f"no rule for {type(norm).__name__}"
    return ()
