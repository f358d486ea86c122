"""torch eager as a runner: what a generator costs before it is exported. The only file of this room with torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.records import BackendMissing, BenchmarkError


class TorchRunner:
    """Runs ``module(**inputs)`` in eval mode under ``torch.inference_mode``.

    The module is moved to the device and put into eval mode; training mode is not restored. torch has one thread
    count for the process: it is set for every call and put back after it, so that two runners can differ.

    Args:
        module: Takes the inputs as keyword arguments, by name.
        inputs: (batch, ...) arrays; copied to the device once.
        threads: CPU threads inside one operator.
        device: ``cpu`` or ``cuda``.

    Raises:
        BackendMissing: torch sees no such device.
        BenchmarkError: the module does not take these inputs.
    """

    def __init__(
        self, module: nn.Module, inputs: Mapping[str, npt.NDArray[Any]], *, threads: int = 1, device: str = "cpu"
    ) -> None:
        if device not in ("cpu", "cuda"):
            raise BenchmarkError(f"torch runs here on cpu or cuda, not on {device!r}.")
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendMissing("torch sees no CUDA device: install a CUDA build of torch, or choose device cpu.")
        self._device = torch.device(device)
        self._threads = threads
        self._module = module.to(self._device).eval()
        # Copied: a view of the caller's array would change under us when the caller reuses it.
        self._inputs = {name: torch.tensor(value, device=self._device) for name, value in inputs.items()}
        self._try_once()

    @property
    def name(self) -> str:
        """Runtime with version, device, threads."""
        return f"torch {torch.__version__} eager {self._device.type}, {self._threads} thread(s)"

    def run(self) -> Any:
        """One inference; returns what the module returns, once the device is idle."""
        before = torch.get_num_threads()
        if before != self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                result = self._module(**self._inputs)
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
        return {name: np.asarray(tensor.cpu().numpy()) for name, tensor in result.items()}

    def _try_once(self) -> None:
        try:
            self.run()
        except (TypeError, RuntimeError) as error:
            shapes = {name: tuple(tensor.shape) for name, tensor in self._inputs.items()}
            kind = type(self._module).__name__
            raise BenchmarkError(f"{kind} does not run on the inputs {shapes}: {error}.") from error
