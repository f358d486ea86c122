"""TensorRT and TensorRT-RTX engines as runners, timed by the GPU's own clock.

**Not verified: no GPU here.** Tests hold every name used below against the installed packages, run this code against
a scripted GPU, and see it refuse to run without a real one; no engine has run through it. ``make typecheck-tensorrt``
holds the calls of TensorRT, not those of CUDA, to the types of the installed TensorRT-RTX.
"""

from __future__ import annotations

import importlib
import math
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from benchmarks.files import read_bytes, write_bytes
from benchmarks.graph import Port
from benchmarks.records import BackendMissing, BenchmarkError
from benchmarks.runtimes import tensorrt
from benchmarks.runtimes.ports import by_name, check_inputs
from benchmarks.runtimes.tensorrt import MAX_CACHE_BYTES, TensorRT, TensorRTError

if TYPE_CHECKING:
    import tensorrt_rtx

Array = npt.NDArray[Any]

MAX_PLAN_BYTES = 2**32

_CUDA = "cuda.bindings.runtime"  # of the package cuda-bindings
_DEVICE = "an NVIDIA GPU with its driver is needed to run an engine; time the ONNX file on the CPU instead"
_PACKAGES = "pip install 'leangen[tensorrt]' or 'leangen[tensorrt-rtx]'"


class EngineRunner:
    """Runs a plan on CUDA device 0, with the TensorRT that ``tensorrt.find`` gives here.

    A call is ``execute_async_v3`` between two CUDA events, and the wait for the second one. Inputs and outputs lie on
    the device, so **copies from and to the host are not timed**. TensorRT-RTX compiles kernels for the inputs' shapes
    before the first timing, and not in the background of later calls. A plan holds programs for the GPU: run only
    those whose origin you trust.

    Args:
        plan: Built by the same TensorRT, for this GPU (``tensorrt.build_plan``).
        inputs: An array for every input of the engine; all with the same number of rows.
        runtime_cache: A file for the kernels that TensorRT-RTX compiles, so that the next start on this GPU need not;
            made if it is not there, begun anew if it is another GPU's or version's. Classic TensorRT compiles when it
            builds (``tensorrt.build_plan``) and leaves the file alone. Trust it as the plan: it too holds programs.

    Raises:
        BackendMissing: there is no CUDA device, no TensorRT or no cuda-bindings; says what is needed.
        FileError: the plan cannot be read.
        TensorRTError: TensorRT cannot load or run the plan, or does not take these shapes.
        ModelError: the inputs are not those of the engine.
        BenchmarkError: CUDA refused something, memory for example.
    """

    def __init__(self, plan: Path, inputs: Mapping[str, Array], *, runtime_cache: Path | None = None) -> None:
        trt, cuda = _backends()
        self._label, self._log = str(plan), tensorrt.make_log(trt)
        self._name = f"{trt.__name__} {trt.__version__} engine cuda, 1 thread"
        self._runtime = trt.Runtime(self._log)
        data = read_bytes(plan, MAX_PLAN_BYTES)
        engine: tensorrt_rtx.ICudaEngine | None = self._runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise self._error(f"{trt.__name__} {trt.__version__} cannot load it; build it here, for this GPU")
        self._engine = engine
        self._device = _Device(cuda)
        context, cache = _make_context(trt, engine, runtime_cache)
        if context is None:
            raise self._error("there is no execution context for it")
        self._context = context
        self._last_gpu_seconds = math.nan
        self._results = self._place(trt, inputs)
        self.run()
        if runtime_cache is not None and cache is not None:
            write_bytes(runtime_cache, bytes(cache.serialize()))

    @property
    def name(self) -> str:
        """TensorRT with version and device."""
        return self._name

    @property
    def last_gpu_seconds(self) -> float:
        """Seconds between the two CUDA events of the last call: the GPU's work, without the launch from Python."""
        return self._last_gpu_seconds

    def run(self) -> None:
        """One inference; the results lie on the device."""
        self._last_gpu_seconds = self._device.time(self._enqueue)

    def outputs(self) -> dict[str, Array]:
        """What one inference computes, by output name: (rows, ...) copies on the host."""
        self.run()
        for address, value in self._results.values():
            self._device.download(address, value)
        return {name: value.copy() for name, (_, value) in self._results.items()}

    def _enqueue(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise self._error("a call failed")

    def _place(self, trt: TensorRT, inputs: Mapping[str, Array]) -> dict[str, tuple[int, Array]]:
        """Put the inputs on the device; the outputs' addresses there, and arrays to copy them to."""
        engine, context = self._engine, self._context
        ports = [self._port(trt, engine.get_tensor_name(index)) for index in range(engine.num_io_tensors)]
        taken = {port.name for port in ports if engine.get_tensor_mode(port.name) == trt.TensorIOMode.INPUT}
        check_inputs(by_name(port for port in ports if port.name in taken), inputs, self._label)
        for name, value in inputs.items():
            if not context.set_input_shape(name, value.shape):
                raise self._error(f"it was not built for input {name!r} of shape {value.shape}")
            self._bind(name, self._device.upload(np.ascontiguousarray(value)))
        results = {}
        for port in (port for port in ports if port.name not in taken):
            shape = tuple(context.get_tensor_shape(port.name))
            if any(size < 0 for size in shape):
                raise self._error(f"output {port.name!r} is {shape}: its shape must follow from the inputs' shapes")
            value = np.empty(shape, port.dtype)
            results[port.name] = self._device.reserve(value.nbytes), value
            self._bind(port.name, results[port.name][0])
        return results

    def _bind(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise self._error(f"it does not take the memory of {name!r}")

    def _port(self, trt: TensorRT, name: str) -> Port:
        engine = self._engine
        if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            raise self._error(f"{name!r} lies in the host's memory (a shape given as a tensor); only data can be bound")
        try:
            dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        except TypeError as error:
            raise self._error(f"{name!r} has a type that numpy does not know: {error}") from error
        return Port(name, dtype, tuple(None if size < 0 else size for size in engine.get_tensor_shape(name)))

    def _error(self, what: str) -> TensorRTError:
        return TensorRTError(tensorrt.explain(f"{self._label}: {what}", self._log))


class _Device:
    """Memory, a stream and two events on CUDA device 0; all of it goes with this object."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._addresses: list[int] = []
        weakref.finalize(self, _free, cuda, self._addresses)
        self._stream = self._value(cuda.cudaStreamCreate())
        self._start, self._end = (self._value(cuda.cudaEventCreate()) for _ in range(2))
        weakref.finalize(self, _destroy, cuda, self._stream, (self._start, self._end))

    def reserve(self, size: int) -> int:
        """The address of ``size`` bytes on the device."""
        address = int(self._value(self._cuda.cudaMalloc(size)))
        self._addresses.append(address)
        return address

    def upload(self, value: Array) -> int:
        """The address of a copy on the device."""
        address, to_device = self.reserve(value.nbytes), self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._check(self._cuda.cudaMemcpy(address, value.ctypes.data, value.nbytes, to_device))
        return address

    def download(self, address: int, value: Array) -> None:
        """Fill ``value`` from the device."""
        to_host = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._check(self._cuda.cudaMemcpy(value.ctypes.data, address, value.nbytes, to_host))

    def time(self, enqueue: Callable[[int], None]) -> float:
        """Seconds on the GPU's clock between the events before and after what ``enqueue`` puts on the stream."""
        cuda = self._cuda
        self._check(cuda.cudaEventRecord(self._start, self._stream))
        enqueue(int(self._stream))
        self._check(cuda.cudaEventRecord(self._end, self._stream))
        self._check(cuda.cudaEventSynchronize(self._end))
        return float(self._value(cuda.cudaEventElapsedTime(self._start, self._end))) * 1e-3  # it tells milliseconds

    def _value(self, answer: tuple[Any, Any]) -> Any:
        """What a call returned after its status."""
        self._check(answer)
        return answer[1]

    def _check(self, answer: tuple[Any, ...]) -> None:
        if answer[0] != self._cuda.cudaError_t.cudaSuccess:
            raise BenchmarkError(f"CUDA: {answer[0].name}. Is the driver new enough, and memory free on the device?")


def _backends() -> tuple[TensorRT, Any]:
    """TensorRT and CUDA's runtime; asks for the device first, so that nothing is loaded in vain."""
    if tensorrt.cuda_device_count() == 0:
        raise BackendMissing(f"no CUDA device: {_DEVICE}.")
    trt = tensorrt.find()
    if trt is None:
        raise BackendMissing(f"no TensorRT here: {_PACKAGES}.")
    try:
        return trt, importlib.import_module(_CUDA)
    except ImportError as error:
        raise BackendMissing(f"no cuda-bindings here, which time on the GPU's clock: {_PACKAGES}.") from error


def _make_context(
    trt: TensorRT, engine: tensorrt_rtx.ICudaEngine, cache_file: Path | None
) -> tuple[tensorrt_rtx.IExecutionContext | None, tensorrt_rtx.IRuntimeCache | None]:
    """An execution context, and the cache it compiles into if there is a file for one.

    Only TensorRT-RTX compiles now. It is told to do so for new shapes at once, and not beside later calls.
    """
    if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
        return engine.create_execution_context(), None
    config = engine.create_runtime_config()
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    if cache_file is None:
        return engine.create_execution_context(config), None
    cache: tensorrt_rtx.IRuntimeCache = config.create_runtime_cache()
    if cache_file.exists():
        cache.deserialize(read_bytes(cache_file, MAX_CACHE_BYTES))  # False for another GPU's: then it stays empty
    config.set_runtime_cache(cache)
    return engine.create_execution_context(config), cache


def _free(cuda: Any, addresses: list[int]) -> None:
    for address in addresses:
        cuda.cudaFree(address)


def _destroy(cuda: Any, stream: Any, events: tuple[Any, Any]) -> None:
    for event in events:
        cuda.cudaEventDestroy(event)
    cuda.cudaStreamDestroy(stream)
