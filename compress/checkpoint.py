"""Checkpoints of a training: module and optimizer tensors in one safetensors file, no unpickling.

A checkpoint is written whole or not at all and carries a hash of what it holds; reading one checks that, every name
and every shape before a tensor is used.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.optim import Optimizer

from benchmarks.files import write_bytes
from compress.errors import CompressError

_STEP = "step"
_SHA256 = "sha256"


class CheckpointError(CompressError):
    """A checkpoint that is damaged, or of another network; without it, training begins anew.

    Args:
        path: The file.
        reason: What is wrong with it, without remedy.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"checkpoint {path} {reason}; delete it and run again: its training then begins anew, unless you have a "
            "copy to put in its place"
        )
        self.reason = reason


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
    write_bytes(path, save(tensors, {_SHA256: digest(tensors)}))


def load_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer] | None = None
) -> int:
    """Load ``path`` into ``modules`` and ``optimizers`` (in place) and return its number of steps.

    Raises:
        CheckpointError: the file is damaged, or it belongs to other modules than these; nothing was loaded then.
    """
    tensors = read_checkpoint(path)
    if _STEP not in tensors:
        raise CheckpointError(path, "holds no step count")
    found = {name: _below(tensors, f"module.{name}.") for name in modules}
    for name, module in modules.items():
        _check_module(path, name, module, found[name])
    states = {
        name: _optimizer_state(path, name, optimizer, _below(tensors, f"optimizer.{name}."))
        for name, optimizer in (optimizers or {}).items()
    }
    for name, module in modules.items():
        module.load_state_dict(found[name])
    for name, optimizer in (optimizers or {}).items():
        optimizer.load_state_dict({"state": states[name], "param_groups": optimizer.state_dict()["param_groups"]})
    return int(tensors[_STEP])


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of ``path`` by name; a file without a hash is taken as it is (earlier versions wrote none).

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is not a dict
            wanted = (file.metadata() or {}).get(_SHA256)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(path, f"cannot be read ({error})") from error
    if wanted is not None and wanted != digest(tensors):
        raise CheckpointError(path, "is damaged (its content is not what was saved)")
    return tensors


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over name, type, shape and bytes of every tensor, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _check_module(path: Path, name: str, module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    unlike = [key for key in sorted(wanted.keys() | found.keys()) if wanted.get(key) != found.get(key)]
    if unlike:
        key = unlike[0]
        raise _foreign(path, f"{key!r} of {name} must be {wanted.get(key)}, found {found.get(key)}")


def _optimizer_state(
    path: Path, name: str, optimizer: Optimizer, tensors: Mapping[str, torch.Tensor]
) -> dict[int, dict[str, torch.Tensor]]:
    """Return the state by parameter and key; what is shaped like its parameter is also laid out in memory like it.

    A fused optimizer walks through parameter, gradient and moments by address: moments of another layout than the
    parameter's (files keep them row by row, convolutions train channels-last) would meet the wrong weights.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, _, kind = key.partition(".")
        if not (index.isdecimal() and int(index) < len(parameters)):
            raise _foreign(path, f"the optimizer {name} has {len(parameters)} parameters, found {key!r}")
        parameter = parameters[int(index)]
        if value.ndim and value.shape != parameter.shape:
            raise _foreign(
                path, f"{key!r} of the optimizer {name} must be {tuple(parameter.shape)}, found {tuple(value.shape)}"
            )
        laid_out = torch.empty_like(parameter, dtype=value.dtype).copy_(value) if value.ndim else value
        state.setdefault(int(index), {})[kind] = laid_out.detach()
    return state


def _foreign(path: Path, what: str) -> CheckpointError:
    return CheckpointError(path, f"belongs to another network ({what})")
