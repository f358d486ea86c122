"""What limits a model: for each operator the time it takes, and the time that this machine's roofs would allow it.

An operator cannot be done before its multiply-accumulates are, at the peak rate of its dtype, nor before its bytes have
been moved, at the bandwidth of caches or memory: it takes at least the longer of the two (Williams, Waterman,
Patterson, "Roofline", CACM 52(4), 2009). Weights come from wherever all weights of the model fit, as each call reads
every one of them; activations from wherever this operator's fit, as the operator before has just written them.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.graph import load_model
from benchmarks.nodes import NodeProfile, profile_nodes, settle
from benchmarks.operators import Work, count_work, name_nodes
from benchmarks.paired import measure_interleaved
from benchmarks.peaks import Peaks
from benchmarks.probes import probe_for
from benchmarks.records import Latency
from benchmarks.runtimes.onnx import OnnxRunner
from benchmarks.statistics import summarize

_Number = TypeVar("_Number", int, float)

MEASURE_S = 1.0
NEAR = 0.5  # of its roof: an operator from here on is limited by it, below by its own kernel
START = 2.0  # an operator that takes at most so many times what starting one takes is limited by that

# What limits an operator, in words.
LIMITS = {
    "compute": "arithmetic: near the peak of its data type",
    "memory": "bandwidth: near that of its data's place",
    "kernel": "its kernel: far below both roofs",
    "start": "starting it: that takes longer than its work",
    "unknown": "not known: its work cannot be counted",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One node, or all nodes of one operator and dtype: what they do in one call, and how long that takes.

    Args:
        name: The node's, as in the optimised graph; empty for several.
        operator: Its type, without domain.
        dtype: Of its arithmetic.
        int8: Whether it computes on 8-bit numbers.
        nodes: How many they are.
        seconds: Of one call.
        macs: Multiply-accumulates; None if those of any node cannot be counted.
        bytes: Read and written; None likewise.
        compute_s: Seconds that ``macs`` take at the peak of the dtype; None if either is not known.
        memory_s: Seconds that ``bytes`` take; None likewise.
        attainable_s: Seconds at the roof: of every node the longer of both, and the sum of those.
        limit: A key of ``LIMITS``; of several nodes that of most of the time.
    """

    name: str
    operator: str
    dtype: str
    int8: bool
    nodes: int
    seconds: float
    macs: int | None
    bytes: int | None
    compute_s: float | None
    memory_s: float | None
    attainable_s: float | None
    limit: str

    @property
    def fraction(self) -> float | None:
        """Share of the attainable rate that is reached; about 1 at the roof."""
        return None if self.attainable_s is None else self.attainable_s / self.seconds

    @property
    def of_peak(self) -> float | None:
        """Share of the peak rate of its dtype."""
        return None if self.compute_s is None else self.compute_s / self.seconds

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates for each byte moved."""
        return self.macs / self.bytes if self.macs is not None and self.bytes else None

    @property
    def bound(self) -> str | None:
        """The lower roof, ``compute`` or ``memory``."""
        return _bound(self.compute_s, self.memory_s)

    def to_json(self, whole_s: float) -> dict[str, Any]:
        """The record in plain JSON types; ``whole_s`` is the time of the model."""
        return {
            **({"node": self.name} if self.name else {}),
            "operator": self.operator,
            "dtype": self.dtype,
            "int8": self.int8,
            "nodes": self.nodes,
            "ms": 1e3 * self.seconds,
            "share": self.seconds / whole_s,
            "macs": self.macs,
            "bytes": self.bytes,
            "intensity": self.intensity,
            "gmacs_per_second": None if self.macs is None else 1e-9 * self.macs / self.seconds,
            "bound": self.bound,
            "attainable_ms": None if self.attainable_s is None else 1e3 * self.attainable_s,
            "fraction": self.fraction,
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True)
class Roofline:
    """A model under the roofs of this machine.

    Args:
        peaks: The roofs.
        batch: Rows of one call.
        latency: Of one call, without the profiler.
        nodes: In the order in which they run. Their times are shares: what the profiler says less what it costs itself,
            scaled to ``latency`` less what an empty call takes (see ``nodes.settle``).
    """

    peaks: Peaks
    batch: int
    latency: Latency
    nodes: tuple[Row, ...]

    @property
    def seconds(self) -> float:
        """Of one call."""
        return self.latency.median.value

    @property
    def overhead_s(self) -> float:
        """What a call takes beyond its operators: what an empty one does."""
        return max(0.0, self.seconds - sum(node.seconds for node in self.nodes))

    @property
    def operators(self) -> tuple[Row, ...]:
        """Nodes of one operator and dtype together, the longest first."""

        def kind(row: Row) -> tuple[str, str]:
            return row.operator, row.dtype

        together = [_sum(list(rows)) for _, rows in groupby(sorted(self.nodes, key=kind), key=kind)]
        return tuple(sorted(together, key=lambda row: -row.seconds))

    @property
    def total(self) -> Row | None:
        """All nodes in one row, over the time of a whole call; None if the profile has none."""
        if not self.nodes:
            return None
        return replace(_sum(self.nodes), seconds=self.seconds)

    def to_json(self, *, nodes: bool = True) -> dict[str, Any]:
        """The record in plain JSON types, ``nodes`` only if asked for."""
        latency, total = self.latency.to_milliseconds(), self.total
        return {
            "batch": self.batch,
            "threads": self.peaks.threads,
            "median_ms": latency["median"],
            "ci95_ms": latency["ci95"],
            "overhead_ms": 1e3 * self.overhead_s,
            "macs": total.macs if total else None,
            "bytes": total.bytes if total else None,
            "intensity": total.intensity if total else None,
            "bound": total.bound if total else None,
            "attainable_ms": 1e3 * total.attainable_s if total and total.attainable_s is not None else None,
            "fraction": total.fraction if total else None,
            "operators": [row.to_json(self.seconds) for row in self.operators],
            **({"node_rows": [row.to_json(self.seconds) for row in self.nodes]} if nodes else {}),
        }


def roofline(
    model: Path | bytes,
    inputs: Mapping[str, npt.NDArray[np.generic]],
    peaks: Peaks,
    *,
    seconds: float = MEASURE_S,
) -> Roofline:
    """Measure ``model`` on the CPU at ``inputs``, with as many threads as the peaks, and hold it against them.

    Takes about 1.5 times ``seconds``, and its warm-up.

    Raises:
        ModelError: the file is not a self-contained model, onnxruntime cannot run it, or the inputs do not fit.
    """
    threads = peaks.threads
    runner = OnnxRunner(model, inputs, threads=threads)
    latency = summarize(measure_interleaved({"model": runner}, seconds=seconds, probe=probe_for(threads))["model"])
    named = name_nodes(load_model(model).proto)
    profiled = OnnxRunner(named, inputs, threads=threads, profile=True)
    count = len(load_model(named).proto.graph.node)
    whole_s = latency.median.value
    profile = profile_nodes(profiled, nodes=count, seconds=seconds / 2, call_s=whole_s, threads=threads)
    work = count_work(named, inputs, profile)
    weights = sum(done.weight_bytes or 0 for _, done in work)
    rows = [_row(one, done, peaks, weights) for one, done in work]
    costs = [peaks.profiler_s.at(one.tensors) for one, _ in work]
    least = [max(row.attainable_s or 0.0, peaks.start_s.at(2)) for row in rows]
    inside_s = max(whole_s - peaks.call_s, whole_s / 2)
    times = settle([row.seconds for row in rows], costs, least, inside_s)
    settled = (
        replace(row, seconds=time, limit=_limit(row, time, peaks.start_s.at(one.tensors)))
        for row, time, (one, _) in zip(rows, times, work, strict=True)
    )
    batch = next((value.shape[0] for value in inputs.values() if value.ndim), 1)
    return Roofline(peaks, batch, latency, tuple(settled))


def _row(one: NodeProfile, work: Work, peaks: Peaks, all_weights: int) -> Row:
    """One node under the roofs, as profiled; ``all_weights`` are the bytes of the whole model's."""
    peak = peaks.macs.get(work.dtype)
    compute_s = memory_s = attainable_s = None
    if work.macs is not None and (peak or not work.macs):
        compute_s = work.macs / peak.per_second.value if peak else 0.0
    if work.weight_bytes is not None and work.activation_bytes is not None:
        memory_s = work.weight_bytes / peaks.bandwidth_for(all_weights)
        memory_s += work.activation_bytes / peaks.bandwidth_for(work.activation_bytes)
    if compute_s is not None and memory_s is not None:
        attainable_s = max(compute_s, memory_s)
    return Row(
        one.name,
        one.operator,
        work.dtype,
        work.int8,
        1,
        one.seconds,
        work.macs,
        work.bytes,
        compute_s,
        memory_s,
        attainable_s,
        "unknown",
    )


def _limit(row: Row, seconds: float, start_s: float) -> str:
    """What limits a node that takes ``seconds``, if starting it takes ``start_s``."""
    if row.bound is None or row.attainable_s is None:
        return "unknown"
    if row.attainable_s >= NEAR * seconds:
        return row.bound
    return "start" if row.attainable_s <= start_s and seconds <= START * start_s else "kernel"


def _bound(compute_s: float | None, memory_s: float | None) -> str | None:
    if compute_s is None or memory_s is None:
        return None
    return "compute" if compute_s > memory_s else "memory"


def _sum(rows: Sequence[Row]) -> Row:
    """Several rows, at least one, as one."""
    seconds: dict[str, float] = {}
    for row in rows:
        seconds[row.limit] = seconds.get(row.limit, 0.0) + row.seconds
    return Row(
        "",
        rows[0].operator,
        rows[0].dtype,
        all(row.int8 for row in rows),
        sum(row.nodes for row in rows),
        sum(row.seconds for row in rows),
        _total(row.macs for row in rows),
        _total(row.bytes for row in rows),
        _total(row.compute_s for row in rows),
        _total(row.memory_s for row in rows),
        _total(row.attainable_s for row in rows),
        max(seconds, key=lambda limit: seconds[limit]),
    )


def _total(values: Iterable[_Number | None]) -> _Number | None:
    """The sum of at least one value, or None if any is None."""
    known = list(values)
    numbers = [value for value in known if value is not None]
    return reduce(operator.add, numbers) if len(numbers) == len(known) else None
