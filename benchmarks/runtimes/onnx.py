"""onnxruntime: run a file, time it, and see which operators it really runs."""

import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from benchmarks.files import read_json
from benchmarks.graph import Model, ModelError, Port, input_ports, load_model
from benchmarks.inputs import DTYPES, METADATA_KEY, InputSpec, load_specs
from benchmarks.records import BackendMissing, BenchmarkError

Array = npt.NDArray[Any]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_PACKAGES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu"}
_LOG_ERRORS = 3  # onnxruntime's severity: 2 would print warnings about the model

# What onnxruntime raises; each is a direct child of Exception, with no common base.
_ORT_ERRORS: tuple[type[Exception], ...] = tuple(
    kind for kind in vars(ort_errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
)


class OnnxRunner:
    """Runs an ONNX file in onnxruntime, with inputs and outputs bound once: a call is the model and little else.

    Made for timing several models in turns in one process: one thread, or a pool that stops spinning when a call
    returns, so that the waiting threads of one model do not slow the next one.

    Args:
        model: A self-contained file, or its bytes.
        inputs: An array for every input of the graph; all with the same number of rows.
        threads: Threads inside one operator; operators run one after the other.
        device: ``cpu`` or ``cuda``. On cuda a call copies inputs and outputs, and those copies count.
        profile: Keep per-operator times for ``operator_seconds``; slows each call.

    Raises:
        ModelError: the file is not a self-contained model, onnxruntime cannot run it, or the inputs do not fit.
        BackendMissing: onnxruntime has no such device; it would quietly have taken the CPU.
    """

    def __init__(
        self,
        model: Path | bytes,
        inputs: Mapping[str, Array],
        *,
        threads: int = 1,
        device: str = "cpu",
        profile: bool = False,
    ) -> None:
        loaded = load_model(model)
        self._label = loaded.label
        self._name = f"onnxruntime {ort.__version__} {device}, {threads} thread(s)"
        self._folder = self._make_folder() if profile else None
        self._events: list[Any] | None = None
        prefix = str(self._folder / "profile") if self._folder else None
        self._session = _open_session(loaded, threads, device, prefix)
        _check_inputs(_port_map(loaded), inputs, self._label)
        # Kept for as long as the binding: onnxruntime reads from these buffers.
        self._inputs = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        self._names = [output.name for output in self._session.get_outputs()]
        self._binding, self._results = self._bind()

    @property
    def name(self) -> str:
        """Runtime with version, device, threads."""
        return self._name

    def run(self) -> None:
        """One inference; the results lie in the bound buffers."""
        self._session.run_with_iobinding(self._binding)

    def outputs(self) -> dict[str, Array]:
        """What one inference computes, by output name: (rows, ...) copies."""
        self.run()
        return {name: value.copy() for name, value in self._results.items()}

    def operator_seconds(self) -> dict[tuple[str, str], float]:
        """Seconds spent by operator and dtype, ``{("Conv", "float32"): 0.01}``, over all calls so far.

        Ends the profile: later calls are not counted.

        Raises:
            BenchmarkError: the runner was not made with ``profile=True``.
        """
        seconds: Counter[tuple[str, str]] = Counter()
        for event in self._kernel_events():
            seconds[_operator(event)] += event["dur"] * 1e-6
        return dict(seconds)

    def operator_counts(self) -> dict[tuple[str, str], int]:
        """Nodes by operator and dtype in the graph that really runs. Ends the profile, like ``operator_seconds``."""
        nodes = {(event["args"].get("node_index"), event["name"]): event for event in self._kernel_events()}
        return dict(Counter(_operator(event) for event in nodes.values()))

    def _make_folder(self) -> Path:
        """A folder for the profile that lives as long as the runner."""
        folder = tempfile.mkdtemp(prefix="leangen-profile-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _bind(self) -> tuple[ort.IOBinding, dict[str, Array]]:
        """A binding to our input buffers and to output buffers whose shapes a first call has told."""
        try:
            first = self._session.run(self._names, self._inputs)
        except _ORT_ERRORS as error:
            raise ModelError(f"{self._label}: onnxruntime cannot run it: {error}") from error
        binding = self._session.io_binding()
        for name, value in self._inputs.items():
            binding.bind_cpu_input(name, value)
        results = {name: np.ascontiguousarray(value) for name, value in zip(self._names, first, strict=True)}
        for name, value in results.items():
            binding.bind_output(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        return binding, results

    def _kernel_events(self) -> list[Any]:
        if self._folder is None:
            raise BenchmarkError("operators are only counted and timed by a runner made with profile=True.")
        if self._events is None:
            events = read_json(Path(self._session.end_profiling()), max_bytes=2**30)
            self._events = [event for event in events if event.get("name", "").endswith("_kernel_time")]
        return self._events


def optimised_operators(model: Path | bytes) -> dict[tuple[str, str], int]:
    """Nodes by operator and dtype after onnxruntime's own optimisation, e.g. ``{("ConvTranspose", "float32"): 3}``.

    The dtype is that of the node's first input. So a report can say which operators stayed fp32 in an int8 file.
    The model runs once, on zeros, one row, on the CPU.

    Raises:
        ModelError: see ``OnnxRunner``.
    """
    loaded = load_model(model)
    ports = input_ports(loaded.proto.graph)
    zeros = {port.name: np.zeros([size or 1 for size in port.shape], port.dtype) for port in ports}
    return OnnxRunner(model, zeros, profile=True).operator_counts()


def fold_constants(model: bytes) -> bytes:
    """The same model with everything computed that does not depend on its inputs, and no kernels fused.

    Raises:
        ModelError: onnxruntime cannot load it.
    """
    with tempfile.TemporaryDirectory(prefix="leangen-folded-") as folder:
        path = Path(folder) / "folded.onnx"
        options = _options(threads=1, profile=None)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model, sess_options=options, providers=[PROVIDERS["cpu"]])
        except _ORT_ERRORS as error:
            raise ModelError(f"onnxruntime cannot load the model: {error}") from error
        return path.read_bytes()


def generate(model: Path | bytes, inputs: Mapping[str, Array], *, batch: int = 64, threads: int = 1) -> Array:
    """The first output for all rows of ``inputs``, (rows, ...), computed on the CPU ``batch`` rows at a time.

    A model with a fixed batch is run at that batch; its last one is filled up with repeated rows, which are cut off.

    Raises:
        ModelError: see ``OnnxRunner``; also: there are no rows.
    """
    loaded = load_model(model)
    ports = _port_map(loaded)
    fixed = next((port.shape[0] for port in ports.values() if port.shape and port.shape[0]), None)
    step = fixed or batch
    rows = _check_inputs(ports, inputs, loaded.label, batch_fixed_at=fixed)
    if step < 1:
        raise ModelError(f"batch must be at least 1, not {step}.")
    session = _open_session(loaded, threads, "cpu")
    output = session.get_outputs()[0].name
    parts = []
    for start in range(0, rows, step):
        picks = np.arange(start, start + step) % rows if fixed else slice(start, start + step)
        try:
            parts.append(session.run([output], {name: value[picks] for name, value in inputs.items()})[0])
        except _ORT_ERRORS as error:
            raise ModelError(f"{loaded.label}: onnxruntime cannot run it: {error}") from error
    return np.concatenate(parts)[:rows]


def input_specs(model: Path | bytes) -> tuple[InputSpec, ...]:
    """The inputs a model takes and how to draw them, from its metadata (key ``leangen.inputs``).

    A stranger's file has none: then float inputs are taken to be standard normal.

    Raises:
        InputError: the metadata breaks a rule.
        ModelError: the metadata does not fit the graph; or there is none and an input is not a float, or has a
            dynamic axis besides the batch.
    """
    loaded = load_model(model)
    label, ports = loaded.label, _port_map(loaded)
    stored = {entry.key: entry.value for entry in loaded.proto.metadata_props}
    if METADATA_KEY not in stored:
        return tuple(_normal_spec(port, label) for port in ports.values())
    specs = load_specs(stored[METADATA_KEY])
    if {spec.name for spec in specs} != set(ports):
        told = ", ".join(spec.name for spec in specs)
        raise ModelError(f"{label}: its metadata tells of the inputs {told}, but its graph has {', '.join(ports)}.")
    for spec in specs:
        port = ports[spec.name]
        if port.dtype != spec.dtype or not _fits(port.shape[1:], spec.shape):
            raise ModelError(
                f"{label}: input {spec.name!r} is {port.dtype} {port.shape} in the graph, but {spec.dtype} "
                f"(batch, *{spec.shape}) in the metadata. Export it again."
            )
    return specs


def _open_session(model: Model, threads: int, device: str, profile: str | None = None) -> ort.InferenceSession:
    """A session that really runs on the device; ``profile`` is the path prefix of its profile, if it is to keep one."""
    if device not in PROVIDERS:
        raise BenchmarkError(f"onnxruntime runs here on {' or '.join(PROVIDERS)}, not on {device!r}.")
    if threads < 1:
        raise BenchmarkError(f"threads must be at least 1, not {threads}.")
    provider = PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise _missing(device)
    try:
        session = ort.InferenceSession(model.data, sess_options=_options(threads, profile), providers=[provider])
    except _ORT_ERRORS as error:
        raise ModelError(f"{model.label}: onnxruntime cannot load it: {error}") from error
    if session.get_providers()[0] != provider:  # a library of the provider did not load
        raise _missing(device)
    return session


def _options(threads: int, profile: str | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _LOG_ERRORS
    if threads > 1:
        # Threads spin inside a call, as in production, but not into the next model's turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return options


def check_device(device: str) -> None:
    """Raise BackendMissing, with what to install, if onnxruntime cannot run on ``device`` (``cpu`` or ``cuda``)."""
    if PROVIDERS[device] not in ort.get_available_providers():
        raise _missing(device)


def _missing(device: str) -> BackendMissing:
    return BackendMissing(
        f"onnxruntime has no {PROVIDERS[device]} here (it would quietly take the CPU): "
        f"pip install {_PACKAGES[device]}, with its drivers, or choose another device."
    )


def _port_map(model: Model) -> dict[str, Port]:
    return {port.name: port for port in input_ports(model.proto.graph)}


def _check_inputs(
    ports: Mapping[str, Port], inputs: Mapping[str, Array], label: str, *, batch_fixed_at: int | None = None
) -> int:
    """The number of rows, after checking names, dtypes, shapes and that every input has as many rows."""
    if set(ports) != set(inputs):
        given = ", ".join(inputs) or "none"
        raise ModelError(f"{label}: takes the inputs {', '.join(ports) or 'none'}, but was given {given}.")
    for name, port in ports.items():
        value = inputs[name]
        shape = port.shape if batch_fixed_at is None else (None, *port.shape[1:])
        if value.dtype != port.dtype:
            raise ModelError(f"{label}: input {name!r} must be {port.dtype}, not {value.dtype}. Use astype.")
        if not _fits(shape, value.shape):
            raise ModelError(f"{label}: input {name!r} must be {_shape_text(shape)}, not {value.shape}.")
    counts = {value.shape[0] for value in inputs.values() if value.ndim}
    if len(counts) != 1 or 0 in counts:
        raise ModelError(f"{label}: every input needs the same number of rows, at least 1, not {sorted(counts)}.")
    return int(counts.pop())


def _fits(expected: tuple[int | None, ...], found: tuple[int, ...]) -> bool:
    return len(expected) == len(found) and all(size in (None, got) for size, got in zip(expected, found, strict=True))


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def _normal_spec(port: Port, label: str) -> InputSpec:
    advice = f"Store its specification in the metadata under {METADATA_KEY!r}."
    sizes = port.shape[1:]
    if not port.dtype.startswith("float") or port.dtype not in DTYPES:
        raise ModelError(f"{label}: input {port.name!r} is {port.dtype}; nothing says what values it takes. {advice}")
    if not port.shape or any(size is None for size in sizes):
        shape = _shape_text(port.shape)
        raise ModelError(f"{label}: input {port.name!r} is {shape}; only the first axis may be dynamic. {advice}")
    return InputSpec(port.name, tuple(size for size in sizes if size is not None), port.dtype, {"kind": "normal"})


def _operator(event: Mapping[str, Any]) -> tuple[str, str]:
    """(operator, dtype of its first input, or of its first output if it has none) of one profile event."""
    tensors = event["args"].get("input_type_shape") or event["args"].get("output_type_shape") or [{}]
    dtype = next(iter(tensors[0]), "none")
    return event["args"]["op_name"], {"float": "float32", "double": "float64"}.get(dtype, dtype)
