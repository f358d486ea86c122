"""Parameters that a module's ``forward`` uses itself: learned positions, a learned constant, a scale of each channel.

They belong to no layer, yet their channels live and die with those of the maps that they meet. A ``FreeParameter``
stands for one where a layer would stand.
"""

from __future__ import annotations

import torch
from torch import nn


class FreeParameter:
    """A parameter seen as a layer that makes channels; two of the same parameter are equal.

    Its channels lie along axis 1 of (1, C, H, W), 0 of (C,), (C, 1, 1) and (C, H, W), 1 of (n, C), 2 of (1, n, C).
    """

    def __init__(self, owner: nn.Module, name: str) -> None:
        self._owner, self._name = owner, name

    @property
    def owner(self) -> nn.Module:
        """The module that it is a parameter of."""
        return self._owner

    @property
    def weight(self) -> nn.Parameter:
        """The parameter itself."""
        found = self._owner._parameters[self._name]
        assert found is not None
        return found

    @weight.setter
    def weight(self, value: nn.Parameter) -> None:
        setattr(self._owner, self._name, value)

    @property
    def axis(self) -> int:
        """The axis of its channels."""
        shape = self.weight.shape
        if len(shape) == 3:
            return 2 if shape[0] == 1 and shape[1:] != (1, 1) else 0
        return int(len(shape) in (2, 4))

    @property
    def size(self) -> int:
        """How many channels it has; 1 for what has no axis of them, as a scalar."""
        return self.weight.shape[self.axis] if 1 <= self.weight.ndim <= 4 else 1

    def meets(self, other: object) -> bool:
        """Whether it has channels, and they fall on an axis of ``other``, made by layers, that may be that of its own.

        Axis 1 or the last; by the rules of broadcasting, which align the last axes.
        """
        if not isinstance(other, torch.Tensor) or not other.requires_grad or not 2 <= other.ndim <= 4:
            return False
        return self.size > 1 and self.axis + other.ndim - self.weight.ndim in (1, other.ndim - 1)

    def keep(self, index: torch.Tensor) -> None:
        """Leave the channels ``index``, int64 (kept,)."""
        old = self.weight
        short = old.detach().index_select(self.axis, index.to(old.device)).contiguous()
        self.weight = nn.Parameter(short, requires_grad=old.requires_grad)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FreeParameter) and (self._owner, self._name) == (other._owner, other._name)

    def __hash__(self) -> int:
        return hash((self._owner, self._name))


Layer = nn.Module | FreeParameter


def layer_at(module: nn.Module, path: str) -> Layer:
    """Return the layer, or the parameter, at a dotted path inside ``module``.

    Raises:
        AttributeError: there is neither.
    """
    owner_path, _, name = path.rpartition(".")
    owner = module.get_submodule(owner_path)
    return FreeParameter(owner, name) if owner._parameters.get(name) is not None else module.get_submodule(path)
