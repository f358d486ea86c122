"""Export and run for the contract tests: torch's TorchScript exporter and onnxruntime."""

import io
import warnings
from collections.abc import Mapping

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from benchmarks.inputs import InputSpec
from search_spaces.testing import Export, Run


class Positional(nn.Module):
    """The exporter passes tensors by position; a generator takes them by name."""

    def __init__(self, module: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.module, self.names = module, names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.module(**dict(zip(self.names, tensors, strict=True)))


def export_onnx(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> bytes:
    names, file = list(inputs), io.BytesIO()
    axes = {name: {0: "n"} for name in (*names, "image")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # several from inside this exporter, on every call
        torch.onnx.export(
            Positional(module, names).eval(),
            tuple(inputs.values()),
            file,
            dynamo=False,
            opset_version=18,
            input_names=names,
            output_names=["image"],
            dynamic_axes=axes,
        )
    return file.getvalue()


def run_onnx(model: bytes, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))[0]


@pytest.fixture(scope="session")
def export() -> Export:
    return export_onnx


@pytest.fixture(scope="session")
def run() -> Run:
    return run_onnx


@pytest.fixture
def z() -> tuple[InputSpec, ...]:
    """One standard normal latent of 100 numbers."""
    return (InputSpec("z", (100,), "float32", {"kind": "normal"}),)


@pytest.fixture(autouse=True)
def one_thread_and_own_seed():
    """Small layers gain nothing from threads; torch's global random state is left as it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)
