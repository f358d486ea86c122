"""onnxruntime: run a file, time it, and see which operators it really runs."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from benchmarks.graph import Model, ModelError, input_ports, load_model
from benchmarks.inputs import METADATA_KEY, InputSpec, load_specs
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.base import count_threads
from benchmarks.runtimes.ports import by_name, check_inputs, fits, normal_spec
from benchmarks.runtimes.profiles import Profile
from benchmarks.runtimes.sessions import ORT_ERRORS, PROVIDERS, open_session, session_options

Array = npt.NDArray[Any]


class OnnxRunner:
    """Runs an ONNX file in onnxruntime, with inputs and outputs bound once: a call is the model and little else.

    A call begins with the inputs where the device reads them and ends when the outputs lie where it writes them. On
    ``cuda`` and ``tensorrt`` that is the device's own memory, so **copies from and to the host are not timed**; copies
    that onnxruntime makes between nodes on the device and nodes that it leaves to the CPU are. (What concerns these
    two devices is not verified: no GPU here.)

    Made for timing several models in turns in one process: one thread, or a pool that stops spinning when a call
    returns, so that the waiting threads of one model do not slow the next one.

    Args:
        model: A self-contained file, its bytes, or what was read of it already.
        inputs: An array for every input of the graph; all with the same number of rows.
        threads: Threads inside one operator, the calling one included; operators run one after the other.
        device: ``cpu``, ``cuda``, or ``tensorrt`` (nodes that TensorRT does not take run on cuda).
        affinity: A logical core for each thread, the calling one first. onnxruntime pins the others; the calling
            thread stays where it is: measure inside ``affinity.pinned(cores[:1])``.
        spinning: Whether waiting threads keep their core inside a call, as they do by default in production.
        profile: Keep per-operator times for ``operator_seconds``; slows each call.

    Raises:
        ModelError: the file is not a self-contained model, onnxruntime cannot run it, or the inputs do not fit.
        BackendMissing: onnxruntime has no such device; it would quietly have taken the CPU.
        BenchmarkError: a setting is none, or this machine has no such core.
    """

    def __init__(
        self,
        model: Path | bytes | Model,
        inputs: Mapping[str, Array],
        *,
        threads: int = 1,
        device: str = "cpu",
        affinity: Sequence[int] | None = None,
        spinning: bool = True,
        profile: bool = False,
    ) -> None:
        loaded = model if isinstance(model, Model) else load_model(model)
        self._label = loaded.label
        self._profile = Profile() if profile else None
        self._session = open_session(
            loaded,
            threads=threads,
            device=device,
            affinity=affinity,
            spinning=spinning,
            profile=self._profile.prefix if self._profile else None,
        )
        self._name = f"onnxruntime {ort.__version__} {device}, {count_threads(threads)}"
        if affinity is not None:
            self._name += f" on core {'+'.join(map(str, affinity))}"
        if not spinning:
            self._name += ", no spinning"
        check_inputs(by_name(input_ports(loaded.proto.graph)), inputs, self._label)
        self._memory = "cpu" if device == "cpu" else "cuda"
        # Copies, because the caller may reuse its arrays; kept, because on the CPU the binding reads from these.
        self._inputs = {name: np.array(value, order="C") for name, value in inputs.items()}
        self._binding, self._results = self._bind()

    @property
    def name(self) -> str:
        """Runtime with version, device, threads, and where they run if that was chosen."""
        return self._name

    def run(self) -> None:
        """One inference; the results lie in the bound buffers."""
        self._session.run_with_iobinding(self._binding)
        if self._memory != "cpu":
            self._binding.synchronize_outputs()

    def outputs(self) -> dict[str, Array]:
        """What one inference computes, by output name: (rows, ...) copies."""
        self.run()
        return {name: np.array(value.numpy()) for name, value in self._results.items()}

    def operator_seconds(self) -> dict[tuple[str, str], float]:
        """Seconds spent by operator and dtype, ``{("Conv", "float32"): 0.01}``, over all calls so far.

        Ends the profile: later calls are not counted.

        Raises:
            BenchmarkError: the runner was not made with ``profile=True``.
        """
        return self._kept_profile().operator_seconds(self._session)

    def operator_counts(self) -> dict[tuple[str, str], int]:
        """Nodes by operator and dtype in the graph that really runs. Ends the profile, like ``operator_seconds``."""
        return self._kept_profile().operator_counts(self._session)

    def kernel_events(self) -> list[Any]:
        """The profile's events, one for every node that a call ran, in order. Ends it, like ``operator_seconds``."""
        return self._kept_profile().kernel_events(self._session)

    def _kept_profile(self) -> Profile:
        if self._profile is None:
            raise BenchmarkError("operators are only counted and timed by a runner made with profile=True.")
        return self._profile

    def _bind(self) -> tuple[ort.IOBinding, dict[str, ort.OrtValue]]:
        """A binding to the inputs and to output buffers, both on the device; a first call tells the shapes."""
        names = [output.name for output in self._session.get_outputs()]
        try:
            first = self._session.run(names, self._inputs)
        except ORT_ERRORS as error:
            raise ModelError(f"{self._label}: onnxruntime cannot run it: {error}") from error
        binding = self._session.io_binding()
        for name, value in self._inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value, self._memory, 0))
        results = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(value.shape, value.dtype, self._memory, 0)
            for name, value in zip(names, first, strict=True)
        }
        for name, result in results.items():
            binding.bind_ortvalue_output(name, result)
        return binding, results


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
        options = session_options()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model, sess_options=options, providers=[*PROVIDERS["cpu"]], enable_fallback=0)
        except ORT_ERRORS as error:
            raise ModelError(f"onnxruntime cannot load the model: {error}") from error
        return path.read_bytes()


def generate(model: Path | bytes, inputs: Mapping[str, Array], *, batch: int = 64, threads: int = 1) -> Array:
    """The first output for all rows of ``inputs``, (rows, ...), computed on the CPU ``batch`` rows at a time.

    A model with a fixed batch is run at that batch; its last one is filled up with repeated rows, which are cut off.

    Raises:
        ModelError: see ``OnnxRunner``; also: there are no rows.
    """
    loaded = load_model(model)
    ports = by_name(input_ports(loaded.proto.graph))
    fixed = next((port.shape[0] for port in ports.values() if port.shape and port.shape[0]), None)
    step = fixed or batch
    rows = check_inputs(ports, inputs, loaded.label, any_batch=fixed is not None)
    if step < 1:
        raise ModelError(f"batch must be at least 1, not {step}.")
    session = open_session(loaded, threads=threads)
    output = session.get_outputs()[0].name
    parts = []
    for start in range(0, rows, step):
        picks = np.arange(start, start + step) % rows if fixed else slice(start, start + step)
        try:
            parts.append(session.run([output], {name: value[picks] for name, value in inputs.items()})[0])
        except ORT_ERRORS as error:
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
    label, ports = loaded.label, by_name(input_ports(loaded.proto.graph))
    stored = {entry.key: entry.value for entry in loaded.proto.metadata_props}
    if METADATA_KEY not in stored:
        return tuple(normal_spec(port, label) for port in ports.values())
    specs = load_specs(stored[METADATA_KEY])
    if {spec.name for spec in specs} != set(ports):
        told = ", ".join(spec.name for spec in specs)
        raise ModelError(f"{label}: its metadata tells of the inputs {told}, but its graph has {', '.join(ports)}.")
    for spec in specs:
        port = ports[spec.name]
        if port.dtype != spec.dtype or not fits(port.shape[1:], spec.shape):
            raise ModelError(
                f"{label}: input {spec.name!r} is {port.dtype} {port.shape} in the graph, but {spec.dtype} "
                f"(batch, *{spec.shape}) in the metadata. Export it again."
            )
    return specs
