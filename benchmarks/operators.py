"""What each node of the graph that really runs has to do: multiply-accumulates, and bytes it reads and writes."""

import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from benchmarks.cost import CostError, Shapes, node_macs
from benchmarks.graph import ModelError, all_nodes, parse_model
from benchmarks.nodes import NodeProfile, Tensor
from benchmarks.runtimes.sessions import ORT_ERRORS

# Of these only the shape changes: onnxruntime hands the same buffer on.
VIEWS = frozenset(("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))

_INT8 = ("int8", "uint8")
_CONVERSIONS = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")
_INT8_INSIDE = ("DynamicQuantizeMatMul", "QLinearConcat")  # integer, though their first input is a float (a scale)
_BLOCKED = "com.microsoft.nchwc"
_BLOCKED_NAME = re.compile(r"(.+)_nchwc(_token_\d+)?")  # onnxruntime names it by the output of the convolution it was
_ODD_SIZES = {"bfloat16": 2, "string": 0, "none": 0}


@dataclass(frozen=True, slots=True)
class Work:
    """What one node does in one call.

    Args:
        dtype: Of its arithmetic: that of its first input, ``int8`` whatever the sign.
        macs: Multiply-accumulates; None if they cannot be counted.
        weight_bytes: Constants that it reads, as its kernel stores them.
        activation_bytes: What it reads of other nodes and of the inputs, and what it writes. None for both kinds of
            bytes if the graph does not tell.
    """

    dtype: str
    macs: int | None
    weight_bytes: int | None
    activation_bytes: int | None

    @property
    def int8(self) -> bool:
        """Whether it computes on 8-bit numbers; a conversion from or to them does not."""
        return self.dtype == "int8"

    @property
    def bytes(self) -> int | None:
        """All that it moves."""
        if self.weight_bytes is None or self.activation_bytes is None:
            return None
        return self.weight_bytes + self.activation_bytes


def name_nodes(model: onnx.ModelProto) -> bytes:
    """The model with a name for every node that has none or shares it, so that a profile can be told apart."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    seen = {""}
    for number, node in enumerate(all_nodes(named.graph)):
        if node.name in seen:
            node.name = f"{node.op_type}_{number}_unnamed"
        seen.add(node.name)
    data: bytes = named.SerializeToString()
    return data


def optimised_graph(model: bytes, *, layout: bool = True) -> onnx.GraphProto:
    """The graph as onnxruntime runs it on one CPU thread; ``layout=False``: before channels are put into blocks.

    Raises:
        ModelError: onnxruntime cannot write it down; that it can load it, an ``OnnxRunner`` shows.
    """
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if layout else levels.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # a warning would say that this file is for this machine only
    with tempfile.TemporaryDirectory(prefix="leangen-optimised-") as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
        except ORT_ERRORS as error:
            raise ModelError(f"onnxruntime cannot write down the graph that it runs: {error}") from error
        return parse_model(path.read_bytes()).graph


def count_work(
    model: bytes, inputs: Mapping[str, npt.NDArray[np.generic]], profile: Sequence[NodeProfile]
) -> list[tuple[NodeProfile, Work]]:
    """Each profiled node with its work; nodes inside branches and loops are left out, as their outer node holds them.

    Args:
        model: Its nodes have names of their own (``name_nodes``).
        inputs: What the profiled runner was given.
        profile: What it ran.
    """
    graph = optimised_graph(model)
    outer = {node.name: node for node in graph.node}
    inner = {node.name for node in all_nodes(graph)} - outer.keys()
    ran = [one for one in profile if one.name not in inner]
    blocked = any(node.domain == _BLOCKED for node in graph.node)
    filters = _filters(optimised_graph(model, layout=False)) if blocked else {}
    constants = {tensor.name: _constant(tensor) for tensor in graph.initializer}
    tensors = {name: Tensor(value.dtype.name, value.shape) for name, value in inputs.items()}
    for one in ran:
        made = [name for name in outer[one.name].output if name] if one.name in outer else []
        tensors |= dict(zip(made, one.outputs, strict=False))
    return [(one, _work(one, outer.get(one.name), constants, tensors, filters)) for one in ran]


def _work(
    one: NodeProfile,
    node: onnx.NodeProto | None,
    constants: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    filters: Shapes,
) -> Work:
    if node is None:  # onnxruntime ran what it did not write down
        return Work(_dtype(one), None, None, None)
    shapes: Shapes = {name: tensor.shape for name, tensor in (*tensors.items(), *constants.items())}
    if node.domain == _BLOCKED and node.op_type == "Conv":
        shapes = _unblocked(node, shapes, filters)
    try:
        macs = node_macs(node, shapes)
    except CostError:
        macs = None
    used = {name for name in node.input if name}
    moved = [tensors[name] for name in (*used, *node.output) if name in tensors]
    weights = sum(_size(constants[name]) for name in used & constants.keys())
    if node.op_type in VIEWS:
        return Work(_dtype(one), macs, 0, 0)
    known = used <= constants.keys() | tensors.keys()
    return Work(_dtype(one), macs, weights, sum(map(_size, moved)) if known else None)


def _dtype(one: NodeProfile) -> str:
    dtype = (one.inputs or one.outputs or (Tensor("none", ()),))[0].dtype
    if one.operator in _INT8_INSIDE or (dtype in _INT8 and one.operator not in _CONVERSIONS):
        return "int8"
    return dtype


def _filters(graph: onnx.GraphProto) -> Shapes:
    """Shapes of the filters of all convolutions, by the name of the output."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    convolutions = (node for node in graph.node if node.op_type in ("Conv", "FusedConv"))
    return {node.output[0]: shapes[node.input[1]] for node in convolutions if node.input[1] in shapes}


def _unblocked(node: onnx.NodeProto, shapes: Shapes, filters: Shapes) -> Shapes:
    """Shapes with the true channels of a convolution that runs on blocks of them, filled up with zeros.

    Zeros are work for the core and none of the model's; without the true shapes there is no count.
    """
    match = _BLOCKED_NAME.fullmatch(node.name)
    true = filters.get(match[1]) if match else None
    if true is None or node.output[0] not in shapes:
        return {}
    rows, _, *size = shapes[node.output[0]]
    return {**shapes, node.input[1]: true, node.output[0]: (rows, true[0], *size)}


def _constant(tensor: onnx.TensorProto) -> Tensor:
    return Tensor(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name, tuple(tensor.dims))


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor."""
    item = _ODD_SIZES.get(tensor.dtype)
    return math.prod(tensor.shape) * (np.dtype(tensor.dtype).itemsize if item is None else item)
