"""Exact rewrites of an ONNX graph with numpy: they work on a stranger's file too.

onnxruntime folds batch normalisation into Conv, but neither into ConvTranspose nor through the Reshape that
follows a Gemm: there it stays a float node, with a DequantizeLinear and a QuantizeLinear around it in an int8
file (measured in onnxruntime 1.31). So it is folded here, before the runtime or the quantizer sees the graph.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from compress.errors import CompressError

Array = npt.NDArray[Any]

_SINCE_OPSET = 9  # before it BatchNormalization had other attributes ("spatial", "is_test")


def fold_batch_norm(model: ModelProto) -> ModelProto:
    """Return a copy of ``model`` whose batch normalisations are folded into the layer before, where that is exact.

    With s = gamma / sqrt(var + epsilon) and t = beta - mean * s, a layer W x + b followed by batch normalisation is
    (s W) x + (s b + t). Folded are Conv, ConvTranspose (groups = 1), Gemm and MatMul (with or without an Add), and
    the last two also through a Reshape of (N, C*h*w) to (N, C, h, w), where s and t repeat h*w times. Computed in
    float64, stored in the type of the weights. A layer whose output has another consumer, or whose weights are not
    constants of the file, is left alone.

    Raises:
        CompressError: the model is not valid enough for shape inference.
    """
    result = ModelProto()
    result.CopyFrom(model)
    opset = next((entry.version for entry in result.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _SINCE_OPSET or not _batch_norms(result.graph):
        return result
    shapes = inferred_shapes(result)
    for norm in _batch_norms(result.graph):
        _fold(result.graph, norm, shapes)
    drop_unused(result.graph)
    return result


@dataclass(frozen=True)
class GraphIndex:
    """Who makes and who reads each tensor; ``constant`` follows Constant and Identity nodes to the array."""

    initializers: Mapping[str, onnx.TensorProto]
    producers: Mapping[str, NodeProto]
    uses: Mapping[str, int]

    @classmethod
    def of(cls, graph: GraphProto) -> GraphIndex:
        """Return the index of a graph as it is now; make a new one after a change."""
        uses = Counter(_read_names(graph))
        uses.update(output.name for output in graph.output)
        return cls(
            {tensor.name: tensor for tensor in graph.initializer},
            {name: node for node in graph.node for name in node.output},
            uses,
        )

    def constant(self, name: str) -> Array | None:
        """Return the array behind ``name``, None if it is computed at run time."""
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.producers.get(name)
        if node is not None and node.op_type == "Identity":
            return self.constant(node.input[0])
        if node is not None and node.op_type == "Constant" and node.attribute[0].name == "value":
            return numpy_helper.to_array(node.attribute[0].t)
        return None

    def single(self, name: str) -> NodeProto | None:
        """Return the node that makes ``name`` if exactly one node, and no graph output, reads it."""
        return self.producers.get(name) if self.uses[name] == 1 else None


@dataclass(frozen=True)
class _Affine:
    """y = scale * x + shift per channel, float64 (C,)."""

    scale: Array
    shift: Array

    def repeated(self, times: int) -> _Affine:
        return _Affine(np.repeat(self.scale, times), np.repeat(self.shift, times))


def _fold(graph: GraphProto, norm: NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Fold one BatchNormalization if it can be done exactly; otherwise change nothing."""
    index = GraphIndex.of(graph)
    affine = _affine(norm, index)
    before = index.single(norm.input[0])
    if affine is None or before is None or len(list(filter(None, norm.output))) != 1:
        return
    layer: NodeProto | None = before
    if before.op_type == "Reshape":
        layer = index.single(before.input[0])
        features = _features(layer, index)
        # Whole rows stay whole rows exactly if C*h*w is the row length; then channel c owns h*w neighbours.
        if features is None or math.prod(shapes.get(norm.input[0], (0,))[1:]) != features:
            return
        affine = affine.repeated(features // len(affine.scale))
    if layer is None or not _scale_layer(graph, layer, affine, index, shapes):
        return
    before.output[0] = norm.output[0]
    graph.node.remove(norm)


def _affine(norm: NodeProto, index: GraphIndex) -> _Affine | None:
    """Return scale and shift of a BatchNormalization in inference mode, None if they are not constants."""
    attributes = node_attributes(norm)
    arrays = [index.constant(name) for name in norm.input[1:5]]
    if attributes.get("training_mode", 0) or len(arrays) != 4:
        return None
    known = [array.astype(np.float64) for array in arrays if array is not None]
    if len(known) != 4:
        return None
    gamma, beta, mean, variance = known
    scale = gamma / np.sqrt(variance + float(attributes.get("epsilon", 1e-5)))
    return _Affine(scale, beta - mean * scale)


def _features(layer: NodeProto | None, index: GraphIndex) -> int | None:
    """Return the row length of a dense layer's output (N, F), None for any other node."""
    if layer is None:
        return None
    if layer.op_type == "Add":
        return _features(_matmul_of(layer, index), index)
    weight = index.constant(layer.input[1]) if layer.op_type in ("Gemm", "MatMul") else None
    if weight is None or weight.ndim != 2:
        return None
    return int(weight.shape[0] if node_attributes(layer).get("transB", 0) else weight.shape[1])


def _scale_layer(
    graph: GraphProto, layer: NodeProto, affine: _Affine, index: GraphIndex, shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Fold ``affine`` into the weights and bias of ``layer``; False (and nothing changed) where that is not exact."""
    if layer.op_type in ("Conv", "ConvTranspose"):
        return _scale_conv(graph, layer, affine, index)
    product = _matmul_of(layer, index) if layer.op_type == "Add" else layer
    if product is not None and product.op_type == "MatMul" and len(shapes.get(product.input[0], ())) != 2:
        return False  # of more axes than two the second is not the features
    if layer.op_type == "MatMul" and _features(layer, index) == len(affine.scale):
        layer.op_type = "Gemm"  # the same product of two matrices, with room for a bias
    if layer.op_type == "Gemm":
        return _scale_gemm(graph, layer, affine, index)
    if layer.op_type == "Add":
        return _scale_matmul_add(graph, layer, affine, index)
    return False


def _scale_conv(graph: GraphProto, layer: NodeProto, affine: _Affine, index: GraphIndex) -> bool:
    weight = index.constant(layer.input[1])
    bias = _bias(layer, affine, index)
    transposed = layer.op_type == "ConvTranspose"
    if weight is None or bias is None or (transposed and node_attributes(layer).get("group", 1) != 1):
        return False
    axis = 1 if transposed else 0  # ConvTranspose weights are (C_in, C_out, kH, kW)
    if weight.shape[axis] != len(affine.scale):
        return False
    shape = [1] * weight.ndim
    shape[axis] = -1
    _set_weights(graph, layer, weight * affine.scale.reshape(shape), bias * affine.scale + affine.shift, weight.dtype)
    return True


def _scale_gemm(graph: GraphProto, layer: NodeProto, affine: _Affine, index: GraphIndex) -> bool:
    """Gemm is alpha A B + beta C: the columns of B take the scale, and beta goes into C."""
    weight = index.constant(layer.input[1])
    bias = _bias(layer, affine, index)
    if weight is None or bias is None or _features(layer, index) != len(affine.scale):
        return False
    attributes = node_attributes(layer)
    columns = affine.scale[:, None] if attributes.get("transB", 0) else affine.scale[None, :]
    bias = bias * float(attributes.get("beta", 1.0))
    _set_weights(graph, layer, weight * columns, bias * affine.scale + affine.shift, weight.dtype)
    kept = [attribute for attribute in layer.attribute if attribute.name != "beta"]
    del layer.attribute[:]
    layer.attribute.extend(kept)
    return True


def _scale_matmul_add(graph: GraphProto, layer: NodeProto, affine: _Affine, index: GraphIndex) -> bool:
    matmul = _matmul_of(layer, index)
    weight = None if matmul is None else index.constant(matmul.input[1])
    side = next((i for i, name in enumerate(layer.input) if index.constant(name) is not None), None)
    if matmul is None or weight is None or side is None or _features(matmul, index) != len(affine.scale):
        return False
    bias = _row(index.constant(layer.input[side]), len(affine.scale))
    if bias is None:
        return False
    set_constant(graph, matmul, 1, (weight * affine.scale[None, :]).astype(weight.dtype))
    set_constant(graph, layer, side, (bias * affine.scale + affine.shift).astype(weight.dtype))
    return True


def _matmul_of(add: NodeProto, index: GraphIndex) -> NodeProto | None:
    """Return the MatMul that feeds this Add and nothing else."""
    nodes = [index.single(name) for name in add.input]
    return next((node for node in nodes if node is not None and node.op_type == "MatMul"), None)


def _bias(layer: NodeProto, affine: _Affine, index: GraphIndex) -> Array | None:
    """Return the bias of Conv or Gemm as float64 (C,), zeros if it has none, None if it is not one row of constants."""
    if len(layer.input) < 3 or not layer.input[2]:
        return np.zeros_like(affine.scale)
    return _row(index.constant(layer.input[2]), len(affine.scale))


def _row(array: Array | None, length: int) -> Array | None:
    """Return ``array`` as one float64 row that every sample shares, None if it differs between samples."""
    if array is None or (array.size != 1 and (array.size, array.shape[-1]) != (length, length)):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (length,))


def _set_weights(graph: GraphProto, layer: NodeProto, weight: Array, bias: Array, dtype: np.dtype[Any]) -> None:
    set_constant(graph, layer, 1, weight.astype(dtype))
    set_constant(graph, layer, 2, bias.astype(dtype))


def set_constant(graph: GraphProto, node: NodeProto, position: int, array: Array) -> None:
    """Give ``node`` its own constant as input: exporters let layers with equal weights share one initializer."""
    taken = {tensor.name for tensor in graph.initializer}
    stem = f"{node.output[0]}_constant_{position}"
    name = next(name for name in (stem, *(f"{stem}_{i}" for i in range(len(taken) + 1))) if name not in taken)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    while len(node.input) <= position:
        node.input.append("")
    node.input[position] = name


def _batch_norms(graph: GraphProto) -> list[NodeProto]:
    return [node for node in graph.node if node.op_type == "BatchNormalization" and node.domain in ("", "ai.onnx")]


def node_attributes(node: NodeProto) -> dict[str, int | float]:
    """Return the numeric attributes of a node."""
    numeric = (onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT)
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type in numeric}


def inferred_shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors; a dynamic axis is 0, so that no product with it matches anything."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise CompressError(
            f"The graph must pass ONNX shape inference, it does not: {error}. Export it again."
        ) from error
    values = [*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input]
    return {v.name: tuple(axis.dim_value for axis in v.type.tensor_type.shape.dim) for v in values}


def _read_names(graph: GraphProto) -> Iterable[str]:
    """Yield every tensor name that a node of the graph, or of a graph inside an If or Loop, reads."""
    for node in graph.node:
        yield from filter(None, node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _read_names(inner)
                yield from (output.name for output in inner.output)


def drop_unused(graph: GraphProto) -> None:
    """Remove constants that nothing reads any more, and the recorded shapes of tensors that are gone."""
    read = {*_read_names(graph), *(output.name for output in graph.output)}
    for node in [n for n in graph.node if n.op_type in ("Constant", "Identity") and not read & set(n.output)]:
        graph.node.remove(node)
    read = {*_read_names(graph), *(output.name for output in graph.output)}
    for tensor in [t for t in graph.initializer if t.name not in read]:
        graph.initializer.remove(tensor)
    for value in [v for v in graph.value_info if v.name not in read]:
        graph.value_info.remove(value)
