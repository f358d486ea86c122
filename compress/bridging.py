"""Operations that move channels, run as layers of their own, so that a tracer of layers sees where channels go.

A reshape, a split, a concatenation, GLU, PixelShuffle, a product of activations as in attention: each call becomes a
``Bridge``, whose pairs of indices are read from the real shapes.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from compress.bridges import Bridge
from compress.carried import Noted, Product, Watch, product_of
from compress.errors import CompressError
from search_spaces.free import FreeParameter
from search_spaces.layers import free_parameters

_REGROUPING = {
    torch.Tensor.view,
    torch.Tensor.reshape,
    torch.reshape,
    torch.Tensor.flatten,
    torch.flatten,
    torch.Tensor.unflatten,
    torch.unflatten,
    torch.pixel_shuffle,
    torch.pixel_unshuffle,
}
_SPLITTING = {torch.Tensor.chunk, torch.chunk, torch.Tensor.split, torch.split}
_TAKING_APART = {torch.Tensor.unbind, torch.unbind}
_JOINING = {torch.cat, torch.concat, torch.concatenate}
_BY_ELEMENT = {"add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_"}
_IN_PLACES = {"repeat", "expand", "expand_as", "view", "reshape", "unsqueeze"}  # of a parameter: nothing else moves


class Told(nn.Module):
    """A module that runs with bridges. Run once to lay them, so that torch-pruning finds them in the second run."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval()
        self.bridges = nn.ModuleList()
        self._notes: list[Noted] = []
        self._order: dict[str, None] = {}
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        self._free = {id(found.weight): (path, found) for path, found in free_parameters(module)}

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Return the images, times one: so the last node is an operation, never a layer."""
        with _Bridging(self.bridges, self._notes, self._free, self._order):
            images = self.module(**inputs)
        if not isinstance(images, torch.Tensor) or not images.requires_grad:
            raise CompressError("forward must return one tensor through which gradients flow to the weights")
        return images * 1

    def bridges_laid(self) -> tuple[Bridge, ...]:
        """Return the bridges in the order of the calls."""
        return tuple(bridge for bridge in self.bridges if isinstance(bridge, Bridge))

    def rehearse(self, inputs: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
        """Lay the bridges and return the layers in the order of their first call."""
        with torch.no_grad():
            self.module(**inputs)  # what it makes once and keeps is made here
        watch = Watch(_operands)
        with contextlib.suppress(RuntimeError), watch, watch.layers(self.module):
            self.module(**inputs)  # fails where what is changed in place would need a gradient, which bridges hide
        self._notes = watch.notes
        self._order = {}

        def note(name: str) -> Callable[..., None]:
            return lambda *_: self._order.setdefault(name)

        hooks = [layer.register_forward_hook(note(name)) for name, layer in self.module.named_modules()]
        self(**inputs)
        for hook in hooks:
            hook.remove()
        return tuple(self._order)


def _operands(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[torch.Tensor]:
    """Return the tensors of a call of which must be known where their channels lie."""
    first: Any = args[0] if args else next(iter(kwargs.values()), None)
    if func in _REGROUPING | _SPLITTING:
        return [first]
    if func in _JOINING:
        return list(first)
    product = product_of(func, args)
    return product.operands if product else ()


class _Bridging(TorchFunctionMode):
    """Runs the operations that move channels through bridges, in the order of the calls.

    Args:
        bridges: Gets those that are missing.
        notes: Of a run of the same calls; from the first other call on they count no longer.
        free: Path and view of free parameters, by the parameter's id.
        order: Gets the paths of those that are read.
    """

    def __init__(
        self,
        bridges: nn.ModuleList,
        notes: Sequence[Noted],
        free: Mapping[int, tuple[str, FreeParameter]],
        order: dict[str, None],
    ) -> None:
        super().__init__()
        self._bridges, self._laid, self._free, self._order = bridges, 0, free, order
        self._notes = iter(notes)
        self._func: Any = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return what ``func`` returns, with as many bridges in its graph as channels move."""
        kwargs = kwargs or {}
        self._func = func
        first: Any = args[0] if args else next(iter(kwargs.values()), None)
        called = getattr(func, "__name__", "")
        if called in _IN_PLACES and id(first) in self._free:
            if func in _REGROUPING:
                self._noted(func, 1)  # whose note is not needed, but those behind it are
            return self._lay_parameter(first, func(*args, **kwargs))
        if called in _BY_ELEMENT and len(args) == 2:
            args = self._with_bridges(*args)
        operands = _operands(func, args, kwargs)
        noted = self._noted(func, len(operands)) if operands else Noted(func, ())
        if func in _REGROUPING:
            return self._regroup(first, func(*args, **kwargs), noted, _replayed(func, args, kwargs))
        if product := product_of(func, args):
            return self._multiply(product, func(*args, **kwargs), noted.axes)
        if func in _SPLITTING:
            dim = kwargs.get("dim", args[2] if len(args) > 2 else 0)
            return self._split(first, func(*args, **kwargs), dim, noted.axes[0])
        if func in _TAKING_APART:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
            return tuple(first.select(dim, index) for index in range(first.shape[dim]))
        if func is functional.glu:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
            value, gate = self._split(first, first.chunk(2, dim), dim)
            return value * gate.sigmoid()
        if func in _JOINING:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
            return self._join(first, func(*args, **kwargs), dim, noted.to)
        return func(*args, **kwargs)

    def _lay(
        self, x: torch.Tensor, value: torch.Tensor, sizes: tuple[int, int], pairs: Iterable[tuple[int, int]]
    ) -> torch.Tensor:
        if self._laid == len(self._bridges):
            self._bridges.append(Bridge(getattr(self._func, "__name__", "a call")))
        self._laid += 1
        made: torch.Tensor = self._bridges[self._laid - 1](x, value, sizes, pairs)
        return made

    def _with_bridges(self, *both: Any) -> Sequence[Any]:
        """Return two operands; a free parameter that meets the channels of the other passes a bridge."""
        free = [self._free.get(id(one)) for one in both]
        met = [own is not None and own[1].meets(other) for own, other in zip(free, reversed(both), strict=True)]
        if all(free) or not any(met):
            return both
        return [self._lay_parameter(one, one) if own else one for one, own in zip(both, met, strict=True)]

    def _lay_parameter(self, parameter: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
        """Bridge a free parameter to what was made of it, whose channels are its own."""
        path, found = self._free[id(parameter)]
        if found.size == 1:
            return made
        self._order.setdefault(path)
        laid = self._lay(parameter, made, (found.size, found.size), ())
        self._latest.parameter = path
        return laid

    @property
    def _latest(self) -> Bridge:
        """The bridge that was laid last."""
        bridge = self._bridges[self._laid - 1]
        assert isinstance(bridge, Bridge)
        return bridge

    def _noted(self, func: Any, count: int) -> Noted:
        """Return the note of this call."""
        noted = next(self._notes, None)
        if noted is None or noted.func is not func or len(noted.axes) != count:
            self._notes = iter(())
            return Noted(func, [None] * count)
        return noted

    def _regroup(
        self, x: torch.Tensor, made: torch.Tensor, noted: Noted, replayed: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Bridge a reshape of ``x`` to ``made``: which index along one axis becomes which along another.

        Args:
            x: Before.
            made: After.
            noted: Along which axes.
            replayed: Does the same to another tensor of that shape.
        """
        if not x.requires_grad or x.dtype != made.dtype or min(x.ndim, made.ndim) < 2 or len(x) != len(made):
            return made
        axis, to = noted.axes[0] or 1, noted.to or 1
        a, b = x.shape[axis], made.shape[to]
        index = torch.arange(a, device=x.device).reshape([-1 if k == axis else 1 for k in range(x.ndim)])
        places = torch.empty_like(x, dtype=index.dtype).copy_(index.expand(x.shape))  # with the strides of x
        after = replayed(places)[:1].movedim(to, 0).flatten(1).cpu().numpy()
        pairs = np.unique(after * b + np.arange(b)[:, None])  # source * b + target
        if len(pairs) > max(a, b):  # an index becomes several that are also made of others
            return made
        return self._lay(x, made, (a, b), [divmod(int(pair), b) for pair in pairs])

    def _multiply(self, product: Product, made: torch.Tensor, axes: Sequence[int | None]) -> torch.Tensor:
        """Bridge each operand to the product: its channels are those of the product, or were summed over.

        Channels of two operands that are summed over together are the same ones. Where neither holds of an operand,
        nothing is bridged.
        """
        own = [letters[axis] if axis else None for letters, axis in zip(product.letters, axes, strict=True)]
        summed = [letter for letter in own if letter and letter not in product.made]
        stay = {letter for letter in own if letter and letter in product.made}
        if not any(own) or len(stay) > 1 or any(summed.count(letter) < 2 for letter in summed):
            return made
        to = made.shape[product.made.index(stay.pop())] if stay else 1  # one that is spread over all
        whole, readers = made.detach(), dict[str, list[Bridge]]()
        for x, letter, axis in zip(product.operands, own, axes, strict=True):
            if not x.requires_grad:
                continue
            size = x.shape[axis] if axis else 1
            pairs = [(k, k) for k in range(size)] if letter and letter not in summed else []
            whole = whole + self._lay(x, torch.zeros_like(made), (size, to), pairs)
            readers.setdefault(letter or "", []).append(self._latest)
        for letter in set(summed):
            readers[letter][0].tied = readers[letter][1:]
        return whole

    def _split(
        self, x: torch.Tensor, parts: Sequence[torch.Tensor], dim: int, axis: int | None = None
    ) -> Sequence[torch.Tensor]:
        """Bridge (N, a, ...) -> parts of it, if these are not rows; of tokens, every part has all channels."""
        if not x.requires_grad or dim % x.ndim == 0:
            return parts
        if axis is not None and axis != dim % x.ndim:
            size = x.shape[axis]
            return tuple(self._lay(x, part, (size, size), [(k, k) for k in range(size)]) for part in parts)
        sizes = [part.shape[dim] for part in parts]
        starts = itertools.accumulate(sizes, initial=0)
        return tuple(
            self._lay(x, part, (x.shape[dim], size), [(start + k, k) for k in range(size)])
            for part, size, start in zip(parts, sizes, starts, strict=False)
        )

    def _join(self, parts: Sequence[torch.Tensor], made: torch.Tensor, dim: int, axis: int | None) -> torch.Tensor:
        """Bridge each part to its place in the whole; the whole is the sum of parts with zeros around them.

        Where channels are read along another axis, as those of tokens that are put together are, each is the same one
        in all parts.
        """
        if not made.requires_grad or dim % made.ndim == 0:
            return made
        sizes = [part.shape[dim] for part in parts]
        starts = itertools.accumulate(sizes, initial=0)
        whole = torch.zeros_like(made)
        for part, size, start in zip(parts, sizes, starts, strict=False):
            placed = torch.zeros_like(made)
            placed.narrow(dim, start, size).copy_(part.detach())
            if part.requires_grad and axis is not None and axis != dim % made.ndim:
                own = part.shape[axis]
                placed = self._lay(part, placed, (own, made.shape[axis]), [(k, k) for k in range(own)])
            elif part.requires_grad:
                placed = self._lay(part, placed, (size, made.shape[dim]), [(k, start + k) for k in range(size)])
            whole = whole + placed
        return whole


def _replayed(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the same call for another first argument."""
    if args:
        return lambda x: func(x, *args[1:], **kwargs)
    return lambda x: func(**{**kwargs, next(iter(kwargs)): x})
