"""What a model costs by counting: parameters, multiply-accumulates, bytes. Counted on the ONNX graph, nowhere else.

A count is not a latency: the same number of MACs takes a third of the time in one operator that it takes in another.
"""

import copy
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import inliner, shape_inference

from benchmarks.graph import ModelError, all_nodes, input_ports, load_model, parse_model
from benchmarks.runtimes.onnx import fold_constants

Shapes = Mapping[str, tuple[int, ...]]

# Quantized and fused operators as the operator of the standard with the same arithmetic, and which of their inputs
# that one takes: the others are scales and zero points. onnxruntime's own operators ("com.microsoft") are among them.
_STANDARD: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "ConvInteger": ("Conv", (0, 1)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "FusedConv": ("Conv", (0, 1, 2)),
    "FusedGemm": ("Gemm", (0, 1, 2)),
    "FusedMatMul": ("MatMul", (0, 1)),
    "MatMulInteger": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "QGemm": ("Gemm", (0, 3, 6)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearConv": ("Conv", (0, 3, 8)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearLeakyRelu": ("LeakyRelu", (0,)),
    "QLinearMatMul": ("MatMul", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Sigmoid", (0,)),
    "QLinearSoftmax": ("Softmax", (0,)),
    "FastGelu": ("Identity", (0,)),
    "Gelu": ("Identity", (0,)),
    "QuickGelu": ("Identity", (0,)),
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
}

# They multiply, and their MACs are not written down here: better no number than a number without them.
_UNCOUNTED_LAYERS = ("Attention", "DeformConv", "Einsum", "GRU", "GroupQueryAttention", "LSTM", "MultiHeadAttention")
_UNCOUNTED = frozenset((*_UNCOUNTED_LAYERS, "If", "Loop", "MatMulNBits", "RNN", "Scan"))
_COUNTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_MULTIPLYING = (
    "attention",
    "conv",
    "gemm",
    "gru",
    "lstm",
    "matmul",
    "moe",
    "rnn",
)  # in names that are not ours to know

_FLOATS = frozenset(
    (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE)
)
_WEIGHT_INPUTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "DequantizeLinear": (0,),
}
_SETTINGS = {
    "BatchNormalization": (3, 4),  # running statistics: buffers in torch, not parameters
    "Clip": (1, 2),
    "DequantizeLinear": (1, 2),
    "Pad": (2,),
    "QuantizeLinear": (1, 2),
    "Resize": (1, 2, 3),
}


class CostError(ModelError):
    """A model whose cost cannot be counted; the message names the operator."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of a model, at batch 1.

    Args:
        params: Weights and biases, each once, however many bits each takes; no scales, zero points, settings or
            running statistics. An exporter that folds batch norm into the convolution leaves fewer of them.
        macs: Multiply-accumulates of convolutions and matrix products; nothing else is counted.
        bytes: Size of the file.
        operators: Nodes by operator, as in the file (not as the runtime fuses them).
    """

    params: int
    macs: int
    bytes: int
    operators: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {
            "params": self.params,
            "macs": self.macs,
            "bytes": self.bytes,
            "operators": dict(self.operators),
        }


def count_cost(model: Path | bytes) -> Cost:
    """Count what one row of inputs costs. A dynamic batch is set to 1; a fixed batch's MACs are divided by it.

    Raises:
        FileError: the file cannot be read.
        ModelError: it is not a self-contained ONNX model.
        CostError: onnxruntime cannot load it, or it holds an operator whose MACs are not known here, or a shape that
            cannot be derived.
    """
    label, data, parsed = load_model(model)
    try:
        params, macs = _count(parsed)
    except ModelError as error:
        raise CostError(f"{label}: {error}") from error
    operators = Counter(node.op_type for node in all_nodes(parsed.graph))
    return Cost(params, macs, bytes=len(data), operators=dict(sorted(operators.items())))


def node_macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """MACs of one node of any graph, also of one that onnxruntime has fused or quantized; 0 if it does not multiply.

    Args:
        node: Its inputs and outputs are looked up in ``shapes``.
        shapes: By tensor. A convolution's channels are counted as these say, blocks filled up with zeros included.

    Raises:
        CostError: its MACs are not known here, or a shape is missing.
    """
    standard = _standard(node)
    own = standard.domain in ("", "ai.onnx") or standard.op_type in _COUNTED
    foreign = not own and any(word in standard.op_type.lower() for word in _MULTIPLYING)
    if foreign or standard.op_type in _UNCOUNTED:
        raise CostError(f"MACs are counted for convolutions and matrix products, not for {node.op_type}.")
    return _node_macs(standard, shapes)


def has_int8_twin(operator: str) -> bool:
    """Whether onnxruntime has integer arithmetic for what an operator does (``ConvTranspose``: it has none)."""
    twins = {twin for name, (twin, _) in _STANDARD.items() if name.startswith("Q") or "Integer" in name}
    return _STANDARD.get(operator, (operator,))[0] in twins


def _count(parsed: onnx.ModelProto) -> tuple[int, int]:
    """Parameters, and MACs of one row."""
    model = inliner.inline_local_functions(parsed) if parsed.functions else copy.deepcopy(parsed)
    _refuse_uncounted(model.graph)
    batch = _set_batch(model.graph)
    macs = _count_macs(model)
    _standardise(model.graph)
    return _count_params(model.graph), macs // batch


def _refuse_uncounted(graph: onnx.GraphProto) -> None:
    found = sorted({node.op_type for node in graph.node} & _UNCOUNTED)
    if found:
        raise CostError(f"MACs are counted for convolutions and matrix products, not for {', '.join(found)}.")


def _set_batch(graph: onnx.GraphProto) -> int:
    """Set a dynamic batch axis to 1 in place, and return the batch the graph now has."""
    ports = {port.name: port for port in input_ports(graph)}
    for value in graph.input:
        shape = ports[value.name].shape if value.name in ports else ()
        if None in shape[1:]:
            raise CostError(f"input {value.name!r} is {shape}; only the batch axis may be dynamic for a count.")
        if shape and shape[0] is None:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    batches = {port.shape[0] or 1 for port in ports.values() if port.shape}
    if len(batches) > 1:
        raise CostError(f"every input must have the same batch, not {sorted(batches)}.")
    return batches.pop() if batches else 1


def _standardise(graph: onnx.GraphProto) -> None:
    """Replace quantized and fused operators by the standard ones in place: same shapes, same arithmetic."""
    for node in graph.node:
        node.CopyFrom(_standard(node))


def _standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """The standard node with the same shapes and arithmetic as a quantized or fused one; any other node itself."""
    if node.op_type == "QLinearConcat":  # scale, zero point, then (tensor, scale, zero point) for each
        target, kept = "Concat", list(node.input[2::3])
    elif node.op_type in _STANDARD:
        target, picks = _STANDARD[node.op_type]
        kept = [node.input[index] for index in picks if index < len(node.input)]
    else:
        return node
    standard = onnx.NodeProto()
    standard.CopyFrom(node)
    standard.op_type, standard.domain = target, ""
    standard.ClearField("input")
    standard.input.extend(kept)
    return standard


def _count_macs(model: onnx.ModelProto) -> int:
    """MACs at the batch that the inputs of ``model`` have.

    onnxruntime folds the constants first: exporters compute target shapes of reshapes and resizes in the graph, which
    onnx's own shape inference does not follow. What the file says of inner and outer shapes is dropped before: it is
    of another batch.
    """
    stripped = copy.deepcopy(model)
    stripped.graph.ClearField("value_info")
    for output in stripped.graph.output:
        output.type.tensor_type.ClearField("shape")
    folded = parse_model(fold_constants(stripped.SerializeToString()))
    _standardise(folded.graph)
    shapes = _infer_shapes(folded)
    return sum(_node_macs(node, shapes) for node in folded.graph.node)


def _infer_shapes(model: onnx.ModelProto) -> Shapes:
    """Every shape that can be derived from those of the inputs."""
    graph = model.graph
    for output in graph.output:
        output.ClearField("type")  # a standard operator has another type than the quantized one it stands for
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise CostError(f"the shapes of the graph do not fit together: {error}") from error
    shapes = {value.name: _static_shape(value) for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    constants = {name: tuple(tensor.dims) for name, tensor in _constants(graph)}
    return {name: shape for name, shape in shapes.items() if shape is not None} | constants


def _static_shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _node_macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """MACs of one standard node; 0 for all but convolutions and matrix products.

    ``Conv``: each output element sums C_in / groups * kernel products; ``ConvTranspose``: each input element is
    multiplied into C_out / groups * kernel places, also those that the padding then cuts off (the convention of
    fvcore's ``conv_flop_count``). Bias additions are not counted.
    """
    if node.op_type not in _COUNTED:
        return 0
    left, right = (_shape(node, name, shapes) for name in node.input[:2])
    if node.op_type == "ConvTranspose":
        return math.prod(left) * math.prod(right[1:])
    output = math.prod(_shape(node, node.output[0], shapes))
    if node.op_type == "Conv":
        return output * math.prod(right[1:])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return output * (left[-2] if transposed else left[-1])


def _shape(node: onnx.NodeProto, name: str, shapes: Shapes) -> tuple[int, ...]:
    if name not in shapes:
        raise CostError(
            f"the shape of {name!r}, at the {node.op_type} {node.name!r}, cannot be derived. "
            "Export with fixed height and width, and only the batch dynamic."
        )
    return shapes[name]


def _count_params(graph: onnx.GraphProto) -> int:
    uses: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    for node in graph.node:
        for index, name in enumerate(node.input):
            uses[name].add((node.op_type, index))
    counted = {name: math.prod(tensor.dims) for name, tensor in _constants(graph) if _is_weight(tensor, uses[name])}
    return sum(counted.values())


def _is_weight(tensor: onnx.TensorProto, uses: set[tuple[str, int]]) -> bool:
    """Whether a constant is learned: floats of at least one axis, and the integers that stand for such floats."""
    if tensor.data_type in _FLOATS:
        return bool(tensor.dims) and any(index not in _SETTINGS.get(operator, ()) for operator, index in uses)
    return any(index in _WEIGHT_INPUTS.get(operator, ()) for operator, index in uses)


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Initializers and the tensors of Constant nodes, by the name under which nodes take them."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")
