"""onnxruntime sessions that run where they were asked to, or are an error."""

from collections.abc import Sequence

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from benchmarks.graph import Model, ModelError
from benchmarks.records import BackendMissing, BenchmarkError
from benchmarks.runtimes.affinity import allowed_cores, check_cores
from benchmarks.runtimes.tensorrt import cuda_device_count

# Whoever cannot run a node leaves it to the next; the CPU stands behind all of them.
PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
_INSTALL = {
    "cpu": "pip install onnxruntime",
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]' in place of onnxruntime, with NVIDIA's driver",
    "tensorrt": "pip install 'onnxruntime-gpu[cuda,cudnn]' in place of onnxruntime, with NVIDIA's driver and the "
    "TensorRT that it was built for (onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html)",
}
_LOG_FATAL = 4  # of onnxruntime: its errors are raised, in the same words

# What onnxruntime raises: its own errors are direct children of Exception, with no common base.
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    *(kind for kind in vars(ort_errors).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)


def open_session(
    model: Model,
    *,
    threads: int = 1,
    device: str = "cpu",
    affinity: Sequence[int] | None = None,
    spinning: bool = True,
    profile: str | None = None,
) -> ort.InferenceSession:
    """A session whose first provider is the one asked for.

    Args:
        model: What it runs.
        threads: Threads inside one operator, the calling one included.
        device: One of ``PROVIDERS``.
        affinity: A logical core for each thread, the calling one first: that one is not moved (see ``pinned``).
        spinning: Whether waiting threads keep their core inside a call.
        profile: What the path of its profile begins with, if it is to keep one.

    Raises:
        ModelError: onnxruntime cannot load the model.
        BackendMissing: onnxruntime cannot run there; names what to install.
        BenchmarkError: a setting is none.
    """
    check_device(device)
    options = session_options(threads, affinity=affinity, spinning=spinning, profile=profile)
    providers = PROVIDERS[device]
    if device != "cpu":
        ort.preload_dlls()  # of the packages nvidia-*; without it only those of the system are found
    try:
        session = ort.InferenceSession(
            model.data,
            sess_options=options,
            providers=list(providers),
            enable_fallback=0,  # else an error of the device makes a new session on the CPU
        )
    except ORT_ERRORS as error:
        if device != "cpu" and isinstance(error, RuntimeError):  # a broken model raises one of onnxruntime's own
            raise BackendMissing(f"onnxruntime cannot start {providers[0]}: {error}. {_INSTALL[device]}.") from error
        raise ModelError(f"{model.label}: onnxruntime cannot load it: {error}") from error
    if session.get_providers()[0] != providers[0]:  # a library of the provider did not load
        raise _missing(device)
    return session


def session_options(
    threads: int = 1,
    *,
    affinity: Sequence[int] | None = None,
    spinning: bool = True,
    profile: str | None = None,
) -> ort.SessionOptions:
    """Options for a session whose calls do not disturb those of another one; arguments as in ``open_session``.

    Raises:
        BenchmarkError: there is no thread, or the affinity does not fit threads or machine.
    """
    if threads < 1:
        raise BenchmarkError(f"threads must be at least 1, not {threads}.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_FATAL
    if affinity is not None:
        _check_affinity(affinity, threads)
    if threads > 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        # Threads spin inside a call, as in production, but not into the next model's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads > 1 and affinity is not None:
        others = ";".join(str(core + 1) for core in affinity[1:])  # onnxruntime counts cores from 1
        options.add_session_config_entry("session.intra_op_thread_affinities", others)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return options


def check_device(device: str) -> None:
    """Raise BackendMissing, with what to install, if onnxruntime cannot run on ``device``, one of ``PROVIDERS``."""
    if device not in PROVIDERS:
        raise BenchmarkError(f"onnxruntime runs here on {', '.join(PROVIDERS)}, not on {device!r}.")
    if PROVIDERS[device][0] not in ort.get_available_providers():
        raise _missing(device)
    if device != "cpu" and cuda_device_count() == 0:
        raise BackendMissing(
            f"no CUDA device: onnxruntime's {PROVIDERS[device][0]} needs an NVIDIA GPU with its driver. Choose cpu."
        )


def _check_affinity(affinity: Sequence[int], threads: int) -> None:
    allowed = allowed_cores()
    if allowed is None:
        raise BenchmarkError("this system does not let a program choose its cores: leave affinity out.")
    check_cores(affinity, allowed)
    if len(affinity) != threads:
        raise BenchmarkError(f"affinity needs a core for each of {threads} threads, not {len(affinity)} cores.")


def _missing(device: str) -> BackendMissing:
    return BackendMissing(
        f"onnxruntime has no {PROVIDERS[device][0]} here (it would quietly take the CPU): {_INSTALL[device]}, "
        "or choose another device."
    )
