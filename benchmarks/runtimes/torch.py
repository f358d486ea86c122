"""torch as a runner, eager or compiled: what a generator costs before its export. This room's only file with torch."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.records import BackendMissing, BenchmarkError
from benchmarks.runtimes.base import count_threads

_COMPILERS = {"darwin": "clang++", "win32": "cl"}  # torch's choice by system where CXX is not set; elsewhere g++


class TorchRunner:
    """Runs ``module(**inputs)`` in eval mode under ``torch.inference_mode``.

    The module is moved to the device and put into eval mode; training mode is not restored. Inputs and outputs stay
    on the device: copies are not timed. torch has one thread count for the process: it is set for every call and put
    back after it, so that two runners can differ.

    Args:
        module: Takes the inputs as keyword arguments, by name.
        inputs: (batch, ...) arrays; copied to the device once.
        threads: CPU threads inside one operator.
        device: ``cpu`` or ``cuda``.
        compiled: Compile the whole module for these shapes (``torch.compile``), here and not in a timing: this takes
            seconds to minutes. Parts that cannot be compiled are an error, so that none runs eager unseen.

    Raises:
        BackendMissing: torch sees no such device, or there is no compiler.
        BenchmarkError: a setting is none, the module does not take these inputs, or it cannot be compiled.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Mapping[str, npt.NDArray[Any]],
        *,
        threads: int = 1,
        device: str = "cpu",
        compiled: bool = False,
    ) -> None:
        _check_settings(threads, device)
        self._device = torch.device(device)
        self._threads = threads
        self._kind = type(module).__name__
        self._mode = "compiled" if compiled else "eager"
        # Copied: a view of the caller's array would change under us when the caller reuses it.
        self._inputs = {name: torch.tensor(value, device=self._device) for name, value in inputs.items()}
        self._call: Callable[..., Any] = module.to(self._device).eval()
        self._try_once()
        if compiled:
            self._compile()

    @property
    def name(self) -> str:
        """Runtime with version, eager or compiled, device, threads."""
        return f"torch {torch.__version__} {self._mode} {self._device.type}, {count_threads(self._threads)}"

    def run(self) -> Any:
        """One inference; returns what the module returns, once the device is idle."""
        before = torch.get_num_threads()
        if before != self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                result = self._call(**self._inputs)
            if self._device.type == "cuda":
                torch.cuda.synchronize()
        finally:
            if before != self._threads:
                torch.set_num_threads(before)
        return result

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """The module's tensors by name; a single one is called ``output``, several of a tuple ``output0`` and so on."""
        result = self.run()
        if isinstance(result, torch.Tensor):
            result = {"output": result}
        elif isinstance(result, tuple | list):
            result = {f"output{index}": tensor for index, tensor in enumerate(result)}
        return {name: np.array(tensor.cpu().numpy()) for name, tensor in result.items()}

    def _try_once(self) -> None:
        try:
            self.run()
        except (TypeError, RuntimeError) as error:
            shapes = {name: tuple(tensor.shape) for name, tensor in self._inputs.items()}
            raise BenchmarkError(f"{self._kind} does not run on the inputs {shapes}: {error}.") from error

    def _compile(self) -> None:
        """Replace the module by its compiled form, and have it compiled by a first call."""
        _check_compiler(self._device.type)
        self._call = torch.compile(self._call, fullgraph=True, dynamic=False)
        try:
            self.run()
        except RuntimeError as error:  # torch's compiler raises children of it
            raise BenchmarkError(f"torch.compile cannot compile {self._kind}: {error}. Time it eager.") from error


def _check_settings(threads: int, device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise BenchmarkError(f"torch runs here on cpu or cuda, not on {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendMissing("torch sees no CUDA device: install a CUDA build of torch, or choose device cpu.")
    if threads < 1:
        raise BenchmarkError(f"threads must be at least 1, not {threads}.")


def _check_compiler(device: str) -> None:
    """Raise BackendMissing if what ``torch.compile`` writes cannot be compiled: C++ on the CPU, Triton on CUDA."""
    compiler = os.environ.get("CXX") or _COMPILERS.get(sys.platform, "g++")
    if device == "cpu" and shutil.which(compiler) is None:
        raise BackendMissing(
            f"torch.compile needs a C++ compiler, and there is no {compiler}: apt install g++ (or name one in the "
            "environment variable CXX), or time the module eager."
        )
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        raise BackendMissing("torch.compile needs Triton on CUDA: pip install triton, or time the module eager.")
