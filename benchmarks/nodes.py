"""How long each node of a model takes, by onnxruntime's own profiler.

The profiler writes whole microseconds, and writes down every shape while its clock runs. ``benchmarks.peaks`` measures
that cost (about two microseconds an operator): most of what it says of a small model, whose nodes take a tenth of it.
``benchmarks.roofline`` takes it off.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.probes import probe_for
from benchmarks.runtimes.onnx import OnnxRunner
from benchmarks.statistics import MIN_CLEAN

MAX_EVENTS = 20_000  # of one profile: 15 MB of JSON
MIN_CALLS, MAX_CALLS = 12, 1000
COST_RANGE = (0.5, 1.5)  # what the profiler costs, in terms of what it costs operators with nothing to do
_COLD_CALLS = 2
_HALVINGS = 20
_SUFFIX = "_kernel_time"
_NUMPY_NAMES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A dtype by numpy's name (``bfloat16``, which numpy has not, by its own) and a shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """One node of the graph that runs.

    Args:
        name: As in the optimised graph.
        operator: Its type, without domain.
        inputs: What it was given; weights that its kernel has packed for itself are missing or empty.
        outputs: What it made.
        seconds: Mean over the quieter half of the calls, the profiler's own cost included.
    """

    name: str
    operator: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    seconds: float

    @property
    def tensors(self) -> int:
        """How many tensors the profiler wrote down."""
        return len(self.inputs) + len(self.outputs)


def profile_nodes(runner: OnnxRunner, *, nodes: int, seconds: float, call_s: float, threads: int) -> list[NodeProfile]:
    """Run a profiled runner, and return its nodes in the order in which they ran. Ends the profile.

    Args:
        runner: Made with ``profile=True``, and not run so far.
        nodes: About how many the graph has: a profile is kept below ``MAX_EVENTS``.
        seconds: About how long to run.
        call_s: About how long one call takes.
        threads: Of the runner; decides what is asked for preemptions.

    Raises:
        BenchmarkError: the runner keeps no profile.
    """
    calls = int(min(seconds / call_s, MAX_EVENTS / max(nodes, 1), MAX_CALLS))
    switches = probe_for(threads).switches
    for _ in range(_COLD_CALLS):
        runner.run()
    counts = [switches()]
    for _ in range(max(calls, MIN_CALLS)):
        runner.run()
        counts.append(switches())
    clean = np.diff(np.asarray(counts)) == 0
    return _nodes(runner.kernel_events(), clean)


def settle(profiled: Sequence[float], costs: Sequence[float], least: Sequence[float], whole_s: float) -> list[float]:
    """Seconds of each node: ``profiled`` without the profiler's own costs, so that together they make ``whole_s``.

    The costs are known roughly, their sum exactly: whatever the profiled nodes take beyond the model without a
    profiler. So all are multiplied by what makes that sum, within ``COST_RANGE``. What is taken off leaves a node at
    least the time of ``least``, as no node beats its roof. What then remains is scaled to ``whole_s``: the profile is
    of other moments than the time without it, so it tells shares and no more.
    """
    told, cost, floor = (np.asarray(values, np.float64) for values in (profiled, costs, least))

    def left(factor: float) -> npt.NDArray[np.float64]:
        return np.maximum(told - factor * cost, np.minimum(told, floor))

    low, high = COST_RANGE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle).sum() > whole_s else (low, middle)
    times = left(high)
    return [float(time) for time in times * (whole_s / times.sum())] if told.size else []


def _nodes(events: list[Any], clean: Any) -> list[NodeProfile]:
    """Nodes by their last ``len(clean)`` events; ``clean``, (calls,) bool, says which calls kept their core."""
    first: dict[str, Mapping[str, Any]] = {}
    microseconds: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        name = str(event["name"]).removesuffix(_SUFFIX)
        first.setdefault(name, event["args"])
        microseconds[name].append(float(event["dur"]))
    calls = min((len(clean), *map(len, microseconds.values())))
    if not calls:
        return []
    table = np.array([values[-calls:] for values in microseconds.values()])
    table = table[:, clean[-calls:]] if np.count_nonzero(clean[-calls:]) >= MIN_CLEAN else table
    totals = table.sum(axis=0)
    means = 1e-6 * table[:, totals <= np.median(totals)].mean(axis=1)
    return [
        NodeProfile(name, str(args["op_name"]), _tensors(args, "input"), _tensors(args, "output"), float(mean))
        for (name, args), mean in zip(first.items(), means, strict=True)
    ]


def _tensors(args: Mapping[str, Any], side: str) -> tuple[Tensor, ...]:
    """What ``input_type_shape`` or ``output_type_shape`` says: ``[{"float": [4, 100]}, {"uint8": []}]``."""
    entries = [next(iter(entry.items()), ("none", ())) for entry in args.get(f"{side}_type_shape") or ()]
    return tuple(Tensor(_NUMPY_NAMES.get(dtype, dtype), tuple(map(int, shape))) for dtype, shape in entries)
