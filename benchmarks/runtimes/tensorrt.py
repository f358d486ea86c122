"""TensorRT, all of it: one adapter for classic ``tensorrt`` (11 and later) and ``tensorrt_rtx``, whose API is the same.

``tensorrt_rtx`` installs from the ordinary package index and builds engines for named GPUs without having one;
classic TensorRT builds for the GPU at hand. Neither loads, runs or times an engine without a GPU, and nothing here
pretends to: see ``latency_reason``; ``engine`` runs what is built here. Networks are strongly typed: precisions are
those of the ONNX file.

The types below are those of ``tensorrt_rtx``. It ships none: to ``make lint`` they are ``Any``, and
``make typecheck-tensorrt`` holds them to stubs made from the installed package.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from benchmarks.files import read_bytes, write_bytes
from benchmarks.graph import Model, load_model
from benchmarks.inputs import InputSpec
from benchmarks.records import BackendMissing, BenchmarkError

if TYPE_CHECKING:
    import tensorrt_rtx

COMPUTE_CAPABILITIES = ("SM86", "SM89", "SM120")  # RTX 30, RTX 40, RTX 50
WORKSPACE_BYTES = 2**30
MIN_CLASSIC_VERSION = 11  # the first that is always strongly typed
MAX_CACHE_BYTES = 2**30

_MAX_LOG_LINES = 20


class TensorRT(Protocol):
    """What is used of the module ``tensorrt`` or ``tensorrt_rtx``; the last two classes only the second one has."""

    __name__: str
    __version__: str
    Builder: type[tensorrt_rtx.Builder]
    Dims: type[tensorrt_rtx.Dims]
    ILogger: type[tensorrt_rtx.ILogger]
    MemoryPoolType: type[tensorrt_rtx.MemoryPoolType]
    OnnxParser: type[tensorrt_rtx.OnnxParser]
    ProfilingVerbosity: type[tensorrt_rtx.ProfilingVerbosity]
    Runtime: type[tensorrt_rtx.Runtime]
    TensorIOMode: type[tensorrt_rtx.TensorIOMode]
    TensorLocation: type[tensorrt_rtx.TensorLocation]
    ComputeCapability: type[tensorrt_rtx.ComputeCapability]
    DynamicShapesKernelSpecializationStrategy: type[tensorrt_rtx.DynamicShapesKernelSpecializationStrategy]

    def nptype(self, trt_type: tensorrt_rtx.DataType) -> type:
        """The numpy type of a tensor's type. Raises TypeError where there is none."""


class Log(Protocol):
    """A logger of TensorRT that keeps its error lines."""

    lines: list[str]


class TensorRTError(BenchmarkError, ValueError):
    """TensorRT could not parse or build a model; the message holds what its logger said."""


class Plan(TypedDict):
    """What a build leaves behind. Never compare plans by hash: two builds of one model differ in a few bytes."""

    file: str
    bytes: int
    backend: str
    version: str
    compute_capabilities: list[str]


def find() -> TensorRT | None:
    """The TensorRT module that can build here, or None: classic where there is a CUDA device, else the RTX one."""
    classic: TensorRT | None = _import("tensorrt") if cuda_device_count() else None
    if classic is not None and int(classic.__version__.split(".")[0]) >= MIN_CLASSIC_VERSION:
        return classic
    return _import("tensorrt_rtx")


def cuda_device_count() -> int:
    """CUDA devices that the driver reports; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def latency_reason() -> str:
    """Why an engine's latency is null in a report from this machine."""
    if cuda_device_count() == 0:
        return "no CUDA device: engine built, not timed"
    return "engine built, not timed: an export times ONNX files and torch modules only"


def build_plan(
    onnx_path: Path,
    plan_path: Path,
    *,
    inputs: Sequence[InputSpec],
    batches: tuple[int, int, int] = (1, 8, 32),
    compute_capabilities: Sequence[str] = COMPUTE_CAPABILITIES,
    workspace_bytes: int = WORKSPACE_BYTES,
    timing_cache: Path | None = None,
) -> Plan:
    """Build an engine from an ONNX file and write it to ``plan_path``, whole or not at all.

    Args:
        onnx_path: Self-contained. fp16 is asked for with tensors of that type (``compress.half``), int8 with symmetric
            QuantizeLinear/DequantizeLinear pairs.
        plan_path: Where the engine goes.
        inputs: The model's inputs.
        batches: Smallest, typical and largest batch the engine takes; it is tuned for the typical one.
        compute_capabilities: GPUs the engine is for, members of ``tensorrt_rtx.ComputeCapability``; classic TensorRT
            builds for the GPU at hand whatever stands here.
        workspace_bytes: Most memory that a layer may use for scratch.
        timing_cache: A file for what classic TensorRT measures while it builds, so that the next build on this GPU need
            not; made if it is not there, begun anew if it is another GPU's or version's. TensorRT-RTX measures nothing
            while it builds and leaves the file alone: its own cache is that of ``engine.EngineRunner``.

    Raises:
        BackendMissing: no TensorRT can build here; names what to install.
        FileError, ModelError: ``onnx_path`` cannot be read or is not a self-contained ONNX model.
        TensorRTError: TensorRT refused the model or the settings.
    """
    trt = find()
    if trt is None:
        raise BackendMissing("no TensorRT can build engines here: pip install 'leangen[tensorrt-rtx]' (Linux, x86-64).")
    if not 1 <= batches[0] <= batches[1] <= batches[2]:
        raise TensorRTError(f"batches must be 1 <= smallest <= typical <= largest, not {batches}.")
    model = load_model(onnx_path)  # refuses a file that points at other files; TensorRT would follow it
    log = make_log(trt)
    builder = trt.Builder(log)
    network = _parse(trt, builder, model, log)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _add_profile(trt, builder, network, config, inputs, batches)
    targets = _set_targets(trt, config, compute_capabilities)
    timings = None if _compiles_later(trt) else timing_cache
    if timings is not None:
        _use_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorRTError(explain(f"{onnx_path}: TensorRT could not build an engine for {', '.join(targets)}", log))
    content = bytes(plan)
    write_bytes(plan_path, content)
    if timings is not None:
        write_bytes(timings, bytes(config.get_timing_cache().serialize()))
    return Plan(
        file=str(plan_path),
        bytes=len(content),
        backend=trt.__name__,
        version=trt.__version__,
        compute_capabilities=targets,
    )


def _import(name: str) -> Any | None:
    """The module, or None: a package whose libraries are not there raises ImportError or OSError."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):
        return None


def make_log(trt: TensorRT) -> Any:
    """A logger (also a ``Log``) that keeps the error lines in ``lines`` and prints nothing."""

    class ErrorLog(trt.ILogger):  # type: ignore[name-defined,misc]  # its base is only known once a module is chosen
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # as TensorRT asks; super() does not make the native object
            self.lines: list[str] = []

        def log(self, severity: tensorrt_rtx.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.lines.append(msg.strip())

    return ErrorLog()


def _parse(trt: TensorRT, builder: tensorrt_rtx.Builder, model: Model, log: Any) -> tensorrt_rtx.INetworkDefinition:
    network = builder.create_network()
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.data):
        log.lines.extend(parser.get_error(index).desc() for index in range(parser.num_errors))
        raise TensorRTError(explain(f"{model.label}: TensorRT cannot read this model", log))
    return network


def _add_profile(
    trt: TensorRT,
    builder: tensorrt_rtx.Builder,
    network: tensorrt_rtx.INetworkDefinition,
    config: tensorrt_rtx.IBuilderConfig,
    inputs: Sequence[InputSpec],
    batches: tuple[int, int, int],
) -> None:
    """Tell the shapes that the engine must take; inputs without a dynamic axis need no telling."""
    found = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
    told = {spec.name: spec for spec in inputs}
    if set(found) != set(told):
        raise TensorRTError(
            f"the model takes the inputs {', '.join(found)}, but {', '.join(told) or 'none'} were named."
        )
    profile = builder.create_optimization_profile()
    dynamic = False
    for name, tensor in found.items():
        if -1 in tuple(tensor.shape):
            smallest, typical, largest = (trt.Dims((batch, *told[name].shape)) for batch in batches)
            profile.set_shape(name, smallest, typical, largest)
            dynamic = True
    if dynamic:
        config.add_optimization_profile(profile)


def _set_targets(trt: TensorRT, config: tensorrt_rtx.IBuilderConfig, names: Sequence[str]) -> list[str]:
    """Set the GPUs to build for, and return them; classic TensorRT knows only the one that is there."""
    if not _compiles_later(trt):
        return ["CURRENT"]
    known: Mapping[str, tensorrt_rtx.ComputeCapability] = trt.ComputeCapability.__members__
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        given = ", ".join(unknown) or "none"
        raise TensorRTError(f"compute capabilities must be one or more of {', '.join(sorted(known))}, not {given}.")
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        config.set_compute_capability(known[name], index)
    return list(names)


def _compiles_later(trt: TensorRT) -> bool:
    """Whether this is TensorRT-RTX: builds for GPUs that are not there, and compiles for one when it loads the plan."""
    return hasattr(trt, "ComputeCapability")


def _use_timings(config: tensorrt_rtx.IBuilderConfig, path: Path) -> None:
    """Give the builder the timings of ``path``; none where it does not take them (another GPU or version)."""
    kept: tensorrt_rtx.ITimingCache | None = None
    if path.exists():
        kept = config.create_timing_cache(read_bytes(path, MAX_CACHE_BYTES))
    if kept is None or not config.set_timing_cache(kept, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def explain(what: str, log: Log) -> str:
    """``what``, and what the logger kept: the first lines name the cause, the later ones its consequences."""
    lines = list(dict.fromkeys(log.lines))[:_MAX_LOG_LINES]
    return "\n  ".join([f"{what}:", *(lines or ["its logger gave no reason"])])
