"""Small ONNX models, built by hand so that every count in the tests can be checked with a pencil."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

ONNX_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "float16": 10, "bool": 9}


@dataclass
class GraphBuilder:
    """``add`` nodes and weights, then ``build`` the bytes of a model."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def weight(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def build(
        self,
        inputs: Mapping[str, tuple[str, Sequence[int | str]]],
        outputs: Mapping[str, tuple[str, Sequence[int | str]]],
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        def infos(ports):
            return [helper.make_tensor_value_info(k, ONNX_TYPES[d], s) for k, (d, s) in ports.items()]

        graph = helper.make_graph(self.nodes, "g", infos(inputs), infos(outputs), self.weights)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        helper.set_model_props(model, dict(metadata or {}))
        return model.SerializeToString()


@pytest.fixture
def graph() -> GraphBuilder:
    return GraphBuilder()


@pytest.fixture
def linear_model() -> Callable[..., bytes]:
    """z (batch, 3) -> y = 2 z + 1, (batch, 3)."""

    def build(batch: int | str = "batch", metadata: Mapping[str, str] | None = None) -> bytes:
        graph = GraphBuilder()
        graph.weight("w", 2 * np.eye(3, dtype=np.float32))
        graph.weight("b", np.ones(3, np.float32))
        graph.add("Gemm", ["z", "w", "b"], "y")
        return graph.build({"z": ("float32", [batch, 3])}, {"y": ("float32", [batch, 3])}, metadata)

    return build


@pytest.fixture
def conv_model() -> Callable[..., bytes]:
    """x (batch, 3, 8, 8) -> conv 3x3 with 4 channels -> relu, float or with symmetric int8 Q/DQ pairs."""

    def build(quantized: bool = False) -> bytes:
        graph = GraphBuilder()
        rng = np.random.default_rng(0)
        weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
        graph.weight("bias", np.zeros(4, np.float32))
        data = "x"
        if quantized:
            graph.weight("zero", np.int8(0))
            graph.weight("x_scale", np.float32(0.05))
            graph.weight("w_scale", np.float32(0.03))
            graph.weight("w_int8", np.clip(np.round(weight / 0.03), -127, 127).astype(np.int8))
            graph.add("QuantizeLinear", ["x", "x_scale", "zero"], "x_q")
            data = graph.add("DequantizeLinear", ["x_q", "x_scale", "zero"], "x_dq")
            graph.add("DequantizeLinear", ["w_int8", "w_scale", "zero"], "w")
        else:
            graph.weight("w", weight)
        graph.add("Conv", [data, "w", "bias"], "c", pads=[1, 1, 1, 1])
        graph.add("Relu", ["c"], "y")
        return graph.build({"x": ("float32", ["batch", 3, 8, 8])}, {"y": ("float32", ["batch", 4, 8, 8])})

    return build
