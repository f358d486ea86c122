"""Checkpoints of a training: module and optimizer tensors in one safetensors file, no unpickling.

A checkpoint is written whole or not at all, and reading one checks every name and shape before a tensor is used.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from torch.optim import Optimizer

from benchmarks.files import write_bytes
from compress.errors import CompressError

_STEP = "step"


def save_checkpoint(
    path: Path, step: int, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer] | None = None
) -> None:
    """Write the state of ``modules`` and ``optimizers`` after ``step`` steps to ``path``, atomically."""
    tensors = {_STEP: torch.tensor(step)}
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            tensors[f"module.{name}.{key}"] = value.detach().cpu().contiguous().clone()
    for name, optimizer in (optimizers or {}).items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer.{name}.{index}.{key}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    write_bytes(path, save(tensors))


def load_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer] | None = None
) -> int:
    """Load ``path`` into ``modules`` and ``optimizers`` (in place) and return its number of steps.

    Raises:
        CompressError: the file is damaged, or it belongs to other modules than these.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CompressError(
            f"checkpoint {path} cannot be read ({error}); delete it and run again: the work since the "
            "checkpoint before it is done once more"
        ) from error
    for name, module in modules.items():
        _load_module(path, module, _below(tensors, f"module.{name}."))
    for name, optimizer in (optimizers or {}).items():
        _load_optimizer(optimizer, _below(tensors, f"optimizer.{name}."))
    if _STEP not in tensors:
        raise CompressError(f"checkpoint {path} holds no step count; delete it and run again")
    return int(tensors[_STEP])


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _load_module(path: Path, module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CompressError(f"checkpoint {path} belongs to another network: {error}") from error


def _load_optimizer(optimizer: Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
