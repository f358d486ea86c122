"""One side of a comparison: a model file, what it is fed, and the environment that it runs in."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.graph import Model, Port, input_ports, load_model
from benchmarks.input_files import load_inputs
from benchmarks.paired import LocalTimer
from benchmarks.probes import probe_for
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.base import Runner
from benchmarks.runtimes.callable import CallableRunner
from benchmarks.runtimes.onnx import OnnxRunner

TOLERANCE = 1e-3
"""Largest difference of outputs, as a share of the range of the baseline's: far above what another kernel's order of
additions gives in fp32, far below what a viewer sees."""

REOPENED_BYTES = 128 * 2**20
"""A larger file is opened once: its bytes would be kept for each side, and opening it takes longer than timing it."""


class NotComparable(BenchmarkError):
    """Two models that do not do the same job, or a runtime that is not here."""


class OutputsDiffer(BenchmarkError):
    """Two models that compute different things from the same inputs."""


@dataclass(frozen=True, slots=True)
class Side:
    """How to open a model for timing, in this process or another.

    Args:
        model: Self-contained ONNX file.
        inputs: The .npz file with an array for every input.
        threads: Threads inside one operator.
        device: Of onnxruntime: see ``OnnxRunner``.
        python: Interpreter of the environment to run in; None is this one.
        wait_s: Seconds to sleep in every call: only the self-test's slow twin that waits without computing has any.
    """

    model: Path
    inputs: Path
    threads: int = 1
    device: str = "cpu"
    python: str | None = None
    wait_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types, with absolute paths."""
        return {
            "model": str(self.model.absolute()),
            "inputs": str(self.inputs.absolute()),
            "threads": self.threads,
            "device": self.device,
            "python": self.python,
            "wait_s": self.wait_s,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Side":
        """The side that ``to_json`` wrote."""
        rest = {name: value[name] for name in ("threads", "device", "python", "wait_s")}
        return cls(Path(value["model"]), Path(value["inputs"]), **rest)

    def open(self) -> Runner:
        """Return the model ready to run, in this process.

        Raises:
            BenchmarkError: it cannot be; see ``OnnxRunner``.
        """
        return self._open(load_model(self.model), load_inputs(self.inputs))

    def _open(self, model: Model, inputs: Mapping[str, npt.NDArray[Any]]) -> Runner:
        runner = OnnxRunner(model, inputs, threads=self.threads, device=self.device)
        return _Waiting(runner, self.wait_s) if self.wait_s else runner

    def timer(self, name: str, runner: Runner) -> LocalTimer:
        """Return a timer of ``runner``, which this side opened, in this process."""
        read = cache(lambda: (load_model(self.model), load_inputs(self.inputs)))  # once, if it is opened anew at all
        is_small = self.model.stat().st_size <= REOPENED_BYTES
        return LocalTimer(
            runner, name, probe_for(self.threads), reopen=(lambda: self._open(*read())) if is_small else None
        )


class _Waiting(CallableRunner):
    """A runner that sleeps before every call."""

    def __init__(self, runner: Runner, seconds: float) -> None:
        import time

        def run() -> object:
            time.sleep(seconds)
            return runner.run()

        super().__init__(run, f"{runner.name}, {1e6 * seconds:.0f} us of sleep")
        self.outputs = runner.outputs  # type: ignore[method-assign]


def check_ports(baseline: Path, candidate: Path) -> None:
    """Check that two model files take the same inputs; a size that is fixed in one may be dynamic in the other.

    Raises:
        NotComparable: names, types or shapes differ.
        ModelError: a file is not a self-contained model.
    """
    first, second = (
        {port.name: port for port in input_ports(load_model(path).proto.graph)} for path in (baseline, candidate)
    )
    same = first.keys() == second.keys() and all(_alike(port, second[name]) for name, port in first.items())
    if not same:
        texts = [
            ", ".join(f"{port.name}: {port.dtype} {_shape(port)}" for port in side.values()) for side in (first, second)
        ]
        raise NotComparable(
            f"the inputs must agree in name, type and shape: baseline {texts[0]}; candidate {texts[1]}."
        )


def _alike(a: Port, b: Port) -> bool:
    fits = all(None in pair or pair[0] == pair[1] for pair in zip(a.shape, b.shape, strict=False))
    return a.dtype == b.dtype and len(a.shape) == len(b.shape) and fits


def _shape(port: Port) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in port.shape) + ")"


def check_outputs(
    baseline: Mapping[str, npt.NDArray[Any]], candidate: Mapping[str, npt.NDArray[Any]], tolerance: float = TOLERANCE
) -> float:
    """Return the largest difference of outputs as a share of the range of the baseline's.

    Args:
        baseline, candidate: Outputs by name, at the same inputs.
        tolerance: The largest that is allowed.

    Raises:
        NotComparable: names, shapes or types differ.
        OutputsDiffer: a value differs by more, or is not finite.
    """
    ports = [{name: f"{value.dtype} {value.shape}" for name, value in side.items()} for side in (baseline, candidate)]
    if ports[0] != ports[1]:
        texts = [", ".join(f"{name}: {port}" for name, port in side.items()) for side in ports]
        raise NotComparable(
            f"the outputs must agree in name, type and shape: baseline {texts[0]}; candidate {texts[1]}."
        )
    worst = 0.0
    for name, expected in baseline.items():
        found = candidate[name].astype(np.float64)
        wanted = expected.astype(np.float64)
        if not np.isfinite(found).all() or not np.isfinite(wanted).all():
            who = "candidate" if np.isfinite(wanted).all() else "baseline"
            raise OutputsDiffer(f"output {name!r}: the {who} computes values that are not finite.")
        span = float(np.ptp(wanted)) or float(np.abs(wanted).max(initial=0.0)) or 1.0
        difference = float(np.abs(found - wanted).max(initial=0.0)) / span
        if difference > tolerance:
            raise OutputsDiffer(
                f"output {name!r} differs by {difference:.2g} of its range, and {tolerance:.2g} is allowed: a faster "
                "wrong model is no gain. If it is meant to differ (int8 for fp32), allow it with --tolerance."
            )
        worst = max(worst, difference)
    return worst
