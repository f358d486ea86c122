"""Running a module on named arrays, as the exporter, the parity check and the pruner all need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from compress.errors import CompressError

Array = npt.NDArray[Any]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards every part of ``module`` is in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def run_module(module: nn.Module, inputs: Mapping[str, Array], *, batch: int = 64) -> Array:
    """Return what ``module`` draws in eval mode, (n, C, H, W), for arrays (n, *shape) by name.

    Raises:
        CompressError: there are no rows, the arrays differ in their number of rows, or it returns something else.
    """
    n = count_rows(inputs)
    device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))
    images = []
    with evaluating(module), torch.inference_mode():
        for start in range(0, n, batch):
            # Copied: stored banks are read-only arrays, which torch does not like to share.
            rows = {k: torch.tensor(v[start : start + batch], device=device) for k, v in inputs.items()}
            drawn = module(**rows)
            if not isinstance(drawn, torch.Tensor):
                raise CompressError(
                    f"A generator returns one tensor, the pictures; this one returned {type(drawn).__name__}. "
                    "Wrap it in a module whose forward returns the pictures alone."
                )
            images.append(drawn.cpu().numpy())
    return np.concatenate(images)


def count_rows(inputs: Mapping[str, Array]) -> int:
    """Return the number of rows that all ``inputs`` have.

    Raises:
        CompressError: there are no rows, or the arrays differ in their number of rows.
    """
    lengths = {name: len(array) for name, array in inputs.items()}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise CompressError(
            f"Inputs must all have the same number of rows, at least 1, found {lengths}. Draw them together."
        )
    return next(iter(lengths.values()))
