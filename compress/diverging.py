"""Where a file begins to compute something else than its module: told when the two draw different pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.graph import load_model
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.onnx import OnnxRunner
from compress.running import Array, run_module

_CLOSE = 1e-3  # of the range of a part's values


def first_divergence(module: nn.Module, path: Path, inputs: Mapping[str, Array]) -> str:
    """Return in words which part of ``module`` is the first that the file ``path`` has not.

    What a part gives is looked for among all tensors of the file, whatever their names. Parts that an exporter merged
    (a convolution and the batch norm behind it) have no tensor of their own; so the first is that behind the last one
    that was found.

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
    found = [name for name, value in parts.items() if any(_alike(value, one) for one in tensors)]
    names = list(parts)
    if not names or (found and found[-1] == names[-1]):
        return "every part of the module agrees, so the difference lies in what its forward does after them"
    first = names[names.index(found[-1]) + 1] if found else names[0]
    before = f"parts agree up to {_called(module, found[-1])}, and" if found else "no part agrees:"
    return f"{before} {_called(module, first)} is the first that differs"


def _called(module: nn.Module, name: str) -> str:
    return f"{name} ({type(module.get_submodule(name)).__name__})"


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
