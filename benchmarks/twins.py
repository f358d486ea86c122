"""Models of a wanted size, and slower twins of them that compute the same: what the gate is tested with.

A model has a dead branch, whose result is multiplied by zero weights. A twin has the same nodes, only a wider branch;
outputs are equal to the last bit, so the gate cannot tell them apart but by time. The branch works on the feature maps
with few weights, so its time grows evenly with its width: one that fetches many weights jumps when a cache is full.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from benchmarks.inputs import METADATA_KEY, InputSpec, dump_specs

LATENTS = 100
_FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True, slots=True)
class Size:
    """What decides how long a model takes.

    Args:
        name: What tables call it.
        about_ms: Its time on the machine these sizes were chosen on (one core of an AMD Zen 5 server).
        start: Height and width of its feature maps; its pictures are four times as high and wide.
        width: Channels.
        layers: 3x3 convolutions.
        branch: Channels of the dead branch; that of a twin has more.
    """

    name: str
    about_ms: float
    start: int
    width: int
    layers: int
    branch: int


SIZES = (
    Size("20us", 0.02, start=4, width=32, layers=4, branch=32),
    Size("1.5ms", 1.5, start=8, width=144, layers=12, branch=64),
    Size("10ms", 10.0, start=16, width=176, layers=14, branch=64),
)


def build(size: Size, extra: int = 0, seed: int = 0) -> bytes:
    """Return a generator z (N, 100) -> image (N, 1, 4 start, 4 start): convolutions and one depth-to-space at the end.

    Args:
        size: How large.
        extra: Channels by which the dead branch is wider: how much slower a twin is.
        seed: Of the weights.
    """
    rng = np.random.default_rng(seed)
    graph = _Graph(rng)
    c, s = size.width, size.start
    graph.gemm("z", "stem", LATENTS, c * s * s)
    graph.add("Reshape", ["stem", graph.constant("shape", np.array([-1, c, s, s], np.int64))], "h0")
    for layer in range(size.layers):
        graph.conv(f"h{layer}", f"c{layer}", c, c)
        graph.add("Relu", [f"c{layer}"], f"h{layer + 1}")
    graph.conv(f"h{size.layers}", "packed", c, 16)
    graph.add("DepthToSpace", ["packed"], "picture", blocksize=4, mode="CRD")
    graph.add("Reshape", ["h0", graph.constant("rows", np.array([0, 0, -1], np.int64))], "dead0")
    graph.mix("dead0", "dead1", c, size.branch + extra)
    graph.add("Relu", ["dead1"], "dead2")
    graph.mix("dead2", "dead3", size.branch + extra, 1, scale=0.0)
    graph.add("ReduceMean", ["dead3", graph.constant("columns", np.array([2], np.int64))], "dead4")
    graph.add("Reshape", ["dead4", graph.constant("one", np.array([-1, 1, 1, 1], np.int64))], "nothing")
    graph.add("Add", ["picture", "nothing"], "sum")
    graph.add("Tanh", ["sum"], "image")
    return graph.build(4 * s)


class _Graph:
    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._weights.append(numpy_helper.from_array(value, name))
        return name

    def gemm(self, data: str, output: str, inside: int, outside: int) -> None:
        self.add("Gemm", [data, self._weight(output, (inside, outside), inside)], output)

    def mix(self, data: str, output: str, inside: int, outside: int, scale: float = 1.0) -> None:
        """Mix the channels of ``(N, inside, S)`` to ``(N, outside, S)``."""
        self.add("MatMul", [self._weight(output, (outside, inside), inside, scale), data], output)

    def conv(self, data: str, output: str, inside: int, outside: int) -> None:
        weight = self._weight(output, (outside, inside, 3, 3), 9 * inside)
        self.add("Conv", [data, weight], output, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def _weight(self, output: str, shape: tuple[int, ...], fan_in: int, scale: float = 1.0) -> str:
        values = scale * self._rng.normal(size=shape) * (2 / fan_in) ** 0.5
        return self.constant(f"{output}.weight", values.astype(np.float32))

    def build(self, side: int) -> bytes:
        spec = InputSpec("z", (LATENTS,), "float32", {"kind": "normal"})
        inputs = [helper.make_tensor_value_info("z", _FLOAT, ["N", LATENTS])]
        outputs = [helper.make_tensor_value_info("image", _FLOAT, ["N", 1, side, side])]
        graph = helper.make_graph(self._nodes, "twin", inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        helper.set_model_props(model, {METADATA_KEY: dump_specs([spec])})
        return bytes(model.SerializeToString())
