"""Where a file begins to compute something else than its module: told when the two draw different pictures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.graph import load_model
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.onnx import OnnxRunner
from compress.running import Array, run_module

_CLOSE = 1e-3  # of the range of a part's values


def first_divergence(module: nn.Module, path: Path, inputs: Mapping[str, Array]) -> str:
    """Return in words which part of ``module`` is the first, in the order in which they run, that the file has not.

    What a part gives is looked for among all tensors of the file, whatever their names. A layer that an exporter merged
    with the norm behind it has no tensor of its own, and what gives one number everywhere could be any: neither counts.

    Args:
        module: What the file was exported from.
        path: The float file.
        inputs: A few rows by name, at which the two differ.
    """
    parts = _parts(module, inputs)
    try:
        tensors = _tensors(path, inputs)
    except BenchmarkError as error:
        return f"its inner tensors cannot be seen ({error})"
    found = {name: _is_there(value, tensors) for name, value in parts.items()}
    for name, behind in itertools.zip_longest(parts, list(parts)[1:]):
        merged = behind is not None and found[behind] and isinstance(module.get_submodule(behind), _BatchNorm)
        if not found[name] and not merged:
            return f"the first part that differs is {name} ({type(module.get_submodule(name)).__name__})"
    return "every part of the module agrees, so the difference lies in what its forward does besides"


def _is_there(value: Array, tensors: Sequence[Array]) -> bool:
    return not np.ptp(value) or any(_alike(value, one) for one in tensors)


def _parts(module: nn.Module, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what every module without children gives, in the order in which they run; the last call of each counts."""
    seen = dict[str, Array]()

    def hook(name: str) -> object:
        def keep(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                seen.pop(name, None)
                seen[name] = output.detach().cpu().numpy()

        return keep

    leaves = [(name, part) for name, part in module.named_modules() if name and not list(part.children())]
    handles = [part.register_forward_hook(hook(name)) for name, part in leaves]
    try:
        run_module(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _tensors(path: Path, inputs: Mapping[str, Array]) -> list[Array]:
    """Return every tensor that the file computes."""
    proto = load_model(path).proto
    known = {output.name for output in proto.graph.output}
    inner = dict.fromkeys(name for node in proto.graph.node for name in node.output if name and name not in known)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    return list(OnnxRunner(proto.SerializeToString(), dict(inputs)).outputs().values())


def _alike(one: Array, other: Array) -> bool:
    if one.size != other.size or other.dtype.kind != "f" or not one.size:
        return False
    largest = float(np.abs(one.reshape(-1) - other.reshape(-1)).max())
    return largest <= _CLOSE * (float(np.ptp(one)) or 1.0)
