"""What a genotype computes, operation by operation: as its space says, or seen while an empty module runs."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.inputs import InputSpec
from search_spaces.outline import ALONE, CONV, DEPTHWISE, LINEAR, TRANSPOSED, Operator
from search_spaces.space import Genotype, ImageShape, SearchSpace

_WEIGHTED = (CONV, DEPTHWISE, TRANSPOSED, LINEAR)


def operators_of(
    space: SearchSpace, genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape
) -> tuple[Operator, ...]:
    """Return the operations of the generator that ``genotype`` of ``space`` means.

    Raises:
        SearchSpaceError: the space has no such generator for these inputs or this image.
    """
    if space.outline is not None:
        return tuple(space.outline(space.validate(genotype), inputs, image))
    return trace(space, genotype, inputs, image)


def trace(
    space: SearchSpace, genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape
) -> tuple[Operator, ...]:
    """Return what torch does when the generator runs on one row; shapes only, so that it takes no memory.

    Some 50 ms a genotype: a space that has an ``outline`` is a thousand times faster.
    """
    with torch.device("meta"), torch.no_grad():
        module = space.build(genotype, inputs, image).eval()
        row = {spec.name: torch.empty((1, *spec.shape), dtype=getattr(torch, spec.dtype)) for spec in inputs}
        with _Tracer() as tracer:
            module(**row)
    return tuple(tracer.operators)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operation that computes something."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[Operator] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = result[0] if isinstance(result, tuple) else result
        read = next((one for one in args if isinstance(one, torch.Tensor)), None)
        if isinstance(made, torch.Tensor) and read is not None and not func.is_view:
            self._note(func.overloadpacket.__name__, args, made, read)
        return result

    def _note(self, name: str, args: Any, made: torch.Tensor, read: torch.Tensor) -> None:
        last = self.operators[-1].kind if self.operators else ""
        if name in ("addmm", "mm"):
            left, right = args[-2:]
            self.operators.append(Operator(LINEAR, left.shape[1], right.shape[1]))
        elif name == "convolution":
            weight, groups = args[1], args[8]
            kind = TRANSPOSED if args[6] else DEPTHWISE if groups > 1 else CONV
            self.operators.append(_convolution(kind, weight, made, read))
        elif "batch_norm" not in name or last not in _WEIGHTED:  # a runtime folds it into the weights before it
            kind = name if last in _WEIGHTED else name + ALONE
            self.operators.append(Operator(kind, read.shape[1:].numel(), _width(made), 1, _pixels(made), 1))


def _convolution(kind: str, weight: torch.Tensor, made: torch.Tensor, read: torch.Tensor) -> Operator:
    kernel = math.isqrt(weight.shape[2] * weight.shape[3])
    return Operator(kind, read.shape[1], made.shape[1], kernel, _pixels(made), _pixels(read))


def _width(made: torch.Tensor) -> int:
    return made.shape[1] if made.ndim > 1 else 1


def _pixels(maps: torch.Tensor) -> int:
    return int(maps.shape[2:].numel())
