"""Along which axis of a tensor the channels of the layer before it lie, found by derivatives; and products of tensors.

A tensor that was reshaped and transposed does not say where its channels went. Its derivatives do: where channels lie
along an axis, the first and the last index there depend on different ones, and elsewhere on the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.overrides import TorchFunctionMode

_MATMULS = {torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__}
_BATCH = "ABCDEF"  # letters of the axes in front
_MAKERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Embedding)
_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Product:
    """A sum of products of activations: a letter for each axis, as ``torch.einsum`` has them.

    Args:
        operands: The tensors.
        letters: One string for each.
        made: The letters of the result; others were summed over.
    """

    operands: tuple[torch.Tensor, ...]
    letters: tuple[str, ...]
    made: str


def product_of(func: Any, args: Sequence[Any]) -> Product | None:
    """Return ``func`` of these arguments as a product; None if it is none, or only one operand has gradients."""
    found = None
    if func in _MATMULS and len(args) == 2:
        found = _matmul(*args)
    elif func is torch.einsum and len(args) == 3 and isinstance(args[0], str):
        found = _einsum(*args)
    elif func is functional.scaled_dot_product_attention and len(args) >= 3:
        found = _attention(*args[:3])
    return found if found and sum(one.requires_grad for one in found.operands) > 1 else None


def _matmul(a: torch.Tensor, b: torch.Tensor) -> Product | None:
    if not 3 <= a.ndim == b.ndim <= len(_BATCH):
        return None
    front = _BATCH[: a.ndim - 2]
    return Product((a, b), (f"{front}mk", f"{front}kn"), f"{front}mn")


def _einsum(equation: str, a: torch.Tensor, b: torch.Tensor) -> Product | None:
    left, arrow, made = equation.replace(" ", "").partition("->")
    letters = tuple(left.split(","))
    whole = arrow and len(letters) == 2 and "." not in equation
    return Product((a, b), letters, made) if whole and all(len(set(one)) == len(one) for one in letters) else None


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Product | None:
    if not 3 <= query.ndim == key.ndim == value.ndim <= len(_BATCH):
        return None
    front = _BATCH[: query.ndim - 2]
    return Product((query, key, value), (f"{front}mk", f"{front}nk", f"{front}np"), f"{front}mp")


@dataclass
class Noted:
    """A call of a function, and along which axes channels lie; None where that is not known.

    Args:
        func: The function.
        axes: Of each tensor that it was given.
        to: Of what it made, as the next layer or product reads it.
    """

    func: Any
    axes: Sequence[int | None]
    to: int | None = None


Operands = Callable[[Any, Sequence[Any], Mapping[str, Any]], Sequence[torch.Tensor]]


class Watch(TorchFunctionMode):
    """Notes calls in their order, while a module runs with gradients.

    Args:
        operands: Gives the tensors of a call that are looked at; none for functions that are not of interest.
    """

    def __init__(self, operands: Operands) -> None:
        super().__init__()
        self.notes: list[Noted] = []
        self._operands = operands
        self._hears = False  # of a layer, and what it does meanwhile is its own
        self._layers: list[tuple[torch.Tensor, int]] = []  # what each layer made, and along which axis
        self._unread: list[tuple[torch.Tensor, Noted]] = []  # what was made by others

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return what ``func`` returns."""
        made = func(*args, **(kwargs or {}))
        operands = () if self._hears else self._operands(func, args, kwargs or {})
        if operands:
            noted = Noted(func, [self._axis_of(one) for one in operands])
            self.notes.append(noted)
            if product_of(func, args):
                for one, axis in zip(operands, noted.axes, strict=True):
                    self._read(one, axis)
            elif isinstance(made, torch.Tensor) and made.requires_grad:
                self._unread.append((made, noted))
        return made

    @contextmanager
    def layers(self, module: nn.Module) -> Iterator[None]:
        """Hear of every layer of ``module`` that makes or reads channels, and of every norm."""

        def before(layer: nn.Module, given: Any) -> None:
            if given and isinstance(given[0], torch.Tensor):
                self._hears = True
                self._read(given[0], _axis_of_channels(layer, given[0]))
                self._hears = False

        def after(layer: nn.Module, _given: Any, made: Any) -> None:
            if isinstance(made, torch.Tensor) and made.requires_grad:
                self._layers.append((made, _axis_of_channels(layer, made)))

        layers = [layer for layer in module.modules() if isinstance(layer, (*_MAKERS, *_NORMS))]
        hooks = [layer.register_forward_pre_hook(before) for layer in layers]
        hooks += [layer.register_forward_hook(after) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _axis_of(self, x: torch.Tensor) -> int | None:
        """Return the first axis of ``x`` along which the channels of the latest layer before it lie."""
        if not x.requires_grad:
            return None
        for made, axis in reversed(self._layers):
            if _slope(x, made) is not None:
                return next((at for at in range(1, x.ndim) if _is_along(x, at, made, axis)), None)
        return None

    def _read(self, x: torch.Tensor, axis: int | None) -> None:
        """Note along which axis of what nobody has read so far lies what ``x`` has along ``axis``."""
        if axis is None or not x.requires_grad:
            return
        unread, self._unread = self._unread, []
        for made, noted in unread:
            if x is not made and _slope(x, made) is None:
                self._unread.append((made, noted))
            else:
                noted.to = next((at for at in range(1, made.ndim) if _is_along(x, axis, made, at)), None)


def _axis_of_channels(layer: nn.Module, x: torch.Tensor) -> int:
    """Return the axis of the channels in what a layer makes or reads."""
    return x.ndim - 1 if isinstance(layer, nn.Linear | nn.Embedding | nn.LayerNorm) else 1


def _is_along(x: torch.Tensor, axis: int, made: torch.Tensor, to: int) -> bool:
    """Whether the ends of ``x`` along ``axis`` depend on different indices of ``made`` along ``to``."""
    ends = []
    for index in (0, x.shape[axis] - 1):
        slope = _slope(x.select(axis, index), made)
        if slope is None:
            return False
        ends.append(slope.movedim(to, 0).flatten(1).any(dim=1))
    return x.shape[axis] > 1 and bool(ends[0].any() and ends[1].any() and not (ends[0] & ends[1]).any())


def _slope(x: torch.Tensor, made: torch.Tensor) -> torch.Tensor | None:
    """Return the derivative of ``x``, randomly weighted, with respect to ``made``; None if nothing leads there.

    Nor where it cannot be taken: a generator that is only run may change in place what a derivative needs.
    """
    weights = torch.rand(x.shape, generator=torch.Generator().manual_seed(0), device="cpu").add(0.5).to(x)
    try:
        return torch.autograd.grad(x, made, weights, retain_graph=True, allow_unused=True)[0]
    except (RuntimeError, NotImplementedError):
        return None
