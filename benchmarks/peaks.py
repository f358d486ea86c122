"""What this machine can do at best, measured by the runtime that serves: small graphs in onnxruntime, nothing else.

A vendor's peak or another library's would be a roof that no model reaches here. The roofs are those of Williams,
Waterman and Patterson, "Roofline" (CACM 52(4), 2009), with a bandwidth for each size of what is moved, as in the
cache-aware model of Ilic, Pratas and Sousa (IEEE CAL 13(1), 2014): a small layer's data never leave the caches.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.fingerprint import fingerprint
from benchmarks.nodes import profile_nodes
from benchmarks.paired import MIN_SAMPLE_S, measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.records import Estimate, Sample
from benchmarks.runtimes.onnx import Array, OnnxRunner
from benchmarks.statistics import summarize

MEASURE_S = 2.0
MATMULS = ((256, 1024, 256), (512, 512, 512))  # rows, depth, columns: in the caches of one core, long enough to be fast
CONVS = ((256, 16),)  # channels in and out, height and width; 3x3
CACHED_BYTES = (3 * 2**17, 6 * 2**20)
_LAST_CACHES = 4  # the size of the largest arrays, in last-level caches
MEMORY_LIMITS = (96 * 2**20, 384 * 2**20)
_CHAIN = 32
_SAMPLE_S = 1e-3  # so that a timing is several calls, and finds its data in the caches

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class Line(NamedTuple):
    """Seconds of one operator by how many tensors it has: at two, and more for each further one."""

    at_two: float
    per_tensor: float

    def at(self, tensors: int) -> float:
        """Seconds, never below 0."""
        return max(0.0, self.at_two + self.per_tensor * (tensors - 2))


@dataclass(frozen=True, slots=True)
class Rate:
    """The best rate that was found, a second, and by which graph."""

    per_second: Estimate
    graph: str

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {**self.per_second.to_json(), "graph": self.graph}


@dataclass(frozen=True, slots=True)
class Peaks:
    """The roofs of this machine.

    Args:
        threads: Of each graph.
        macs: Multiply-accumulates a second by dtype, ``float32`` and ``int8`` (uint8 activations, int8 weights).
        bandwidth: Bytes read and written a second, by the bytes of all arrays together, smallest first; the last are
            much larger than the last-level cache.
        call_s: Seconds that a call takes beyond its operators.
        start_s: Seconds that an operator with nothing to do takes.
        profiler_s: Seconds that onnxruntime's profiler adds to what it says of an operator.
    """

    threads: int
    macs: Mapping[str, Rate]
    bandwidth: Mapping[int, Rate]
    call_s: float
    start_s: Line
    profiler_s: Line

    def bandwidth_for(self, size: int) -> float:
        """The best bytes a second of arrays that are as large as ``size`` bytes or larger."""
        rates = [rate.per_second.value for known, rate in self.bandwidth.items() if known >= size]
        return max(rates, default=list(self.bandwidth.values())[-1].per_second.value)

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types: rates in units a second."""
        return {
            "threads": self.threads,
            "macs_per_second": {dtype: rate.to_json() for dtype, rate in self.macs.items()},
            "bytes_per_second": {str(size): rate.to_json() for size, rate in self.bandwidth.items()},
            "call_s": self.call_s,
            "start_s": self.start_s._asdict(),
            "profiler_s": self.profiler_s._asdict(),
        }


class _Graph(NamedTuple):
    """A graph to time: what it is called, how much it does in a call, and what it takes."""

    name: str
    work: int
    model: bytes
    inputs: dict[str, Array]


def measure_peaks(threads: int = 1, seconds: float = MEASURE_S) -> Peaks:
    """Measure the roofs, the best of several shapes each; takes ``seconds`` and one to two for warming up.

    Raises:
        BenchmarkError: threads below 1, or seconds not above 0.
    """
    arithmetic = {dtype: _products(dtype) for dtype in ("float32", "int8")}
    cached = [_addition(size) for size in CACHED_BYTES]
    memory = _addition(_memory_bytes())
    chains = [_chain(_CHAIN, 1), _chain(_CHAIN, 8), _chain(1, 1)]
    near = _time(
        [graph for graphs in arithmetic.values() for graph in graphs] + cached, threads, seconds / 2, _SAMPLE_S
    )
    far = _time([memory], threads, seconds / 4)  # alone: it leaves nothing in the caches of the others
    fixed = _time(chains, threads, seconds / 4)
    rates = {graph.name: _rate(graph, {**near, **far}[graph.name]) for graph in (*cached, memory)}
    return Peaks(
        threads,
        {dtype: _best([_rate(graph, near[graph.name]) for graph in graphs]) for dtype, graphs in arithmetic.items()},
        {graph.work: rates[graph.name] for graph in (*cached, memory)},
        *_lines(chains, fixed, threads),
    )


def _time(graphs: list[_Graph], threads: int, seconds: float, sample_s: float = MIN_SAMPLE_S) -> dict[str, Sample]:
    runners = {graph.name: OnnxRunner(graph.model, graph.inputs, threads=threads) for graph in graphs}
    return measure_interleaved(runners, seconds=seconds, min_sample_s=sample_s, probe=probe_for(threads))


def _rate(graph: _Graph, sample: Sample) -> Rate:
    median = summarize(sample).median
    low, high = (graph.work / end for end in reversed(median.ci95))
    return Rate(Estimate(graph.work / median.value, (low, high), median.n), graph.name)


def _best(rates: list[Rate]) -> Rate:
    return max(rates, key=lambda rate: rate.per_second.value)


def _lines(chains: list[_Graph], samples: Mapping[str, Sample], threads: int) -> tuple[float, Line, Line]:
    """What a call, an operator with nothing to do, and the profiler take: from operators of 2 and of 9 tensors."""
    *long, single = chains
    one_s, many_s = (summarize(samples[chain.name]).median.value for chain in (single, long[0]))
    outside_s = max(0.0, one_s - (many_s - one_s) / (_CHAIN - 1))
    starts, added = [], []
    for chain in long:
        call_s = summarize(samples[chain.name]).median.value
        start_s = (call_s - outside_s) / _CHAIN
        runner = OnnxRunner(chain.model, chain.inputs, threads=threads, profile=True)
        nodes = profile_nodes(runner, nodes=_CHAIN, seconds=0.1, call_s=call_s, threads=threads)
        starts.append(start_s)
        added.append(float(np.mean([node.seconds for node in nodes])) - start_s)
    first, second = (Line(low, (high - low) / 7) for low, high in (starts, added))
    return outside_s, first, second


def _products(dtype: str) -> list[_Graph]:
    """Matrix products and convolutions in one dtype, the same shapes in each."""
    rng = np.random.default_rng(0)
    graphs = []
    for rows, depth, columns in MATMULS:
        name = f"MatMul {rows}x{depth}x{columns} {dtype}"
        graphs.append(_product(name, rows * depth * columns, dtype, rng, (rows, depth), (depth, columns), columns))
    for channels, side in CONVS:
        shape, weights = (1, channels, side, side), (channels, channels, 3, 3)
        name = f"Conv 3x3 {channels} channels {side}x{side} {dtype}"
        graphs.append(_product(name, math.prod(shape) * 9 * channels, dtype, rng, shape, weights, channels))
    return graphs


def _product(
    name: str,
    macs: int,
    dtype: str,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    weights: tuple[int, ...],
    channels: int,
) -> _Graph:
    """Return x (shape) times constant weights; for int8 with the Q/DQ nodes that fuse with it."""
    operator = "Conv" if len(shape) == 4 else "MatMul"
    settings: dict[str, Any] = {"pads": [1] * 4} if operator == "Conv" else {}
    result = (shape[0], channels, *shape[2:])
    values: Array = rng.standard_normal(weights, dtype=np.float32)
    if dtype == "float32":
        nodes = [helper.make_node(operator, ["x", "w"], ["y"], **settings)]
        x: Array = rng.standard_normal(shape, dtype=np.float32)
        return _Graph(name, macs, _model(nodes, {"x": x}, result, {"w": values}), {"x": x})
    constants: dict[str, Array] = {
        "w": np.clip(np.round(values * 40), -127, 127).astype(np.int8),
        "scale": np.asarray(0.02, np.float32),
        "wide": np.asarray(1.0, np.float32),
        "middle": np.asarray(128, np.uint8),
        "zero": np.asarray(0, np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "middle"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["wf"]),
        helper.make_node(operator, ["xf", "wf"], ["yf"], **settings),
        helper.make_node("QuantizeLinear", ["yf", "wide", "middle"], ["y"]),
    ]
    levels: Array = rng.integers(0, 256, shape).astype(np.uint8)
    return _Graph(name, macs, _model(nodes, {"x": levels}, result, constants), {"x": levels})


def _addition(size: int) -> _Graph:
    """Two arrays added into a third, ``size`` bytes in all (a third each)."""
    shape = (1, size // 12)
    inputs: dict[str, Array] = {name: np.ones(shape, np.float32) for name in ("a", "b")}
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    return _Graph(f"Add {12 * shape[1]} bytes", 12 * shape[1], _model(nodes, inputs, shape, {}), inputs)


def _chain(length: int, inputs: int) -> _Graph:
    """So many operators one after the other, on four numbers: each with so many inputs, and one output."""
    constants: dict[str, Array] = {f"w{index}": np.zeros((1, 4), np.float32) for index in range(1, inputs)}
    names = ["x", *(f"t{index}" for index in range(1, length)), "y"]
    operator = "Relu" if inputs == 1 else "Sum"
    nodes = [helper.make_node(operator, [before, *constants], [after], name=after) for before, after in pairwise(names)]
    x: dict[str, Array] = {"x": np.ones((1, 4), np.float32)}
    return _Graph(f"{length} times {operator}", 0, _model(nodes, x, (1, 4), constants), x)


def _model(
    nodes: list[onnx.NodeProto], inputs: Mapping[str, Array], result: tuple[int, ...], constants: Mapping[str, Array]
) -> bytes:
    def port(name: str, dtype: Any, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
        kind = TensorProto.UINT8 if dtype == np.uint8 else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    takes = [port(name, value.dtype, value.shape) for name, value in inputs.items()]
    makes = [port("y", next(iter(inputs.values())).dtype, result)]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "peak", takes, makes, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def _memory_bytes(caches: Path = _CACHES) -> int:
    """Bytes of arrays that lie in memory: four last-level caches, 96 to 384 MiB, at most an eighth of the memory."""
    least, most = MEMORY_LIMITS
    installed = fingerprint().memory_bytes or 8 * most
    wanted = min(max(_LAST_CACHES * last_cache_bytes(caches), least), most)
    return min(wanted, installed // 8)


def last_cache_bytes(caches: Path = _CACHES) -> int:
    """Size of the largest cache that the first core sees; 0 where the system does not tell."""
    sizes = [0]
    for file in caches.glob("index*/size"):
        text = file.read_text(encoding="ascii", errors="replace").strip()
        number, unit = (text[:-1], _UNITS.get(text[-1:], 0)) if text[-1:].isalpha() else (text, 1)
        sizes.append(int(number) * unit if number.isdigit() else 0)
    return max(sizes)
