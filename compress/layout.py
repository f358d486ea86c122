"""Exact rewrites that make an int8 graph one chain of integer nodes in onnxruntime on a CPU.

onnxruntime's integer convolutions work on channels-last tensors (N, H, W, C); it wraps them in Transpose nodes and
cancels those that meet. What does not cancel by itself is arranged here, by moving weights about: at 10 to 30
microseconds a generator, each of these nodes is several percent (measured: 29.2 -> 27.3 µs for low48b3 at batch 1).
In float files onnxruntime uses another layout, so there these rewrites do not pay.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from compress.rewrite import GraphIndex, drop_unused, inferred_shapes, node_attributes, set_constant

ELEMENTWISE = frozenset({"Relu", "LeakyRelu", "HardSwish", "Clip", "Tanh", "Sigmoid", "Elu", "Gelu", "Softplus", "Erf"})
"""Operators that treat every value alike, whatever its place."""

FUSED = frozenset({"Relu", "Clip", "LeakyRelu"})
"""Those that cost nothing, or stay integer, right behind an integer convolution or product."""

Shapes = Mapping[str, tuple[int, ...]]


def tighten_for_integers(model: ModelProto) -> ModelProto:
    """Return a copy of ``model`` that computes the same images in an order that quantizes well.

    1. Gemm -> Reshape -> activation becomes Gemm -> activation -> Reshape, so that the activation fuses.
    2. Gemm -> Reshape to (N, C, h, w) -> Conv: the rows of the weights are sorted to channels-last, and a Transpose
       behind the Reshape meets and cancels the one that onnxruntime puts before the convolution.
    3. Conv -> DepthToSpace becomes Conv -> Transpose -> Reshape -> Transpose -> Reshape: the first cancels as in 2,
       and with the convolution's channels sorted to (row, column, channel) the second moves whole pixels.
       An activation between the two stays there if it is free, and goes behind if it is computed in float.

    Nothing is changed where a tensor has another consumer or a size is not known.
    """
    result = ModelProto()
    result.CopyFrom(model)
    shapes = inferred_shapes(result)
    for node in [n for n in result.graph.node if n.op_type in ELEMENTWISE]:
        _activate_before_reshape(result.graph, node)
    for node in [n for n in result.graph.node if n.op_type == "Reshape"]:
        _sort_features(result.graph, node, shapes)
    for node in [n for n in result.graph.node if n.op_type == "DepthToSpace"]:
        _unroll_depth_to_space(result.graph, node, shapes)
    drop_unused(result.graph)
    del result.graph.value_info[:]  # shapes recorded for names that now mean another tensor
    return result


def _activate_before_reshape(graph: GraphProto, activation: NodeProto) -> None:
    """Exchange Reshape -> activation behind a dense layer."""
    index = GraphIndex.of(graph)
    reshape = index.single(activation.input[0])
    if reshape is None or reshape.op_type != "Reshape" or _dense_behind(reshape.input[0], index) is None:
        return
    features, reshaped, activated = reshape.input[0], reshape.output[0], activation.output[0]
    activation.input[0], activation.output[0] = features, reshaped
    reshape.input[0], reshape.output[0] = reshaped, activated
    _move_behind(graph, reshape, activation)


def _sort_features(graph: GraphProto, reshape: NodeProto, shapes: Shapes) -> None:
    """Let a dense layer that is reshaped to maps make them channels-last, if a convolution reads them."""
    index = GraphIndex.of(graph)
    gemm = _dense_behind(reshape.input[0], index)
    shape = shapes.get(reshape.output[0], ())
    readers = [node for node in graph.node if reshape.output[0] in node.input]
    if gemm is None or len(shape) != 4 or not all(shape[1:]) or [node.op_type for node in readers] != ["Conv"]:
        return
    channels, height, width = shape[1:]
    weight, bias = (index.constant(name) for name in (*gemm.input[1:3], "")[:2])
    size = channels * height * width
    if weight is None or (bias is None and len(gemm.input) > 2) or (bias is not None and bias.shape != (size,)):
        return
    by_row = node_attributes(gemm).get("transB", 0)
    if weight.shape[0 if by_row else 1] != size:
        return
    order = np.arange(size).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)
    set_constant(graph, gemm, 1, weight[order] if by_row else weight[:, order])
    if bias is not None:
        set_constant(graph, gemm, 2, bias[order])
    maps, last = reshape.output[0], f"{reshape.output[0]}_channels_last"
    _set_shape(graph, reshape, (-1, height, width, channels))
    reshape.output[0] = last
    _insert_behind(graph, reshape, [helper.make_node("Transpose", [last], [maps], f"{maps}_first", perm=[0, 3, 1, 2])])


def _unroll_depth_to_space(graph: GraphProto, node: NodeProto, shapes: Shapes) -> None:
    """Write DepthToSpace as transposes that cancel or are cheap, with the convolution's channels sorted to match."""
    index = GraphIndex.of(graph)
    before = index.single(node.input[0])
    activation = before if before is not None and before.op_type in ELEMENTWISE else None
    conv = index.single(activation.input[0]) if activation is not None else before
    shape = shapes.get(node.input[0], ())
    if conv is None or conv.op_type != "Conv" or len(shape) != 4 or not all(shape[1:]):
        return
    block = int(node_attributes(node)["blocksize"])
    mode = next((a.s for a in node.attribute if a.name == "mode"), b"DCR")
    if not _sort_blocks(graph, conv, block, mode == b"CRD", index):
        return
    out = node.output[0]
    behind = activation is not None and activation.op_type not in FUSED
    source, target = node.input[0], out
    if activation is not None and behind:  # Conv -> [space] -> activation
        source, target = activation.input[0], f"{out}_space"
        activation.input[0], activation.output[0] = target, out
    chain = _space_nodes(graph, source, target, shape, block)
    position = list(graph.node).index(node)
    graph.node.remove(node)
    for offset, new in enumerate(chain):
        graph.node.insert(position + offset, new)
    if activation is not None and behind:
        _move_behind(graph, activation, chain[-1])


def _sort_blocks(graph: GraphProto, conv: NodeProto, block: int, crd: bool, index: GraphIndex) -> bool:
    """Sort the outputs of ``conv`` from (channel, row, column) ("CRD") to (row, column, channel); False if unknown."""
    weight = index.constant(conv.input[1])
    bias = index.constant(conv.input[2]) if len(conv.input) > 2 else None
    if weight is None or (bias is None and len(conv.input) > 2) or node_attributes(conv).get("group", 1) != 1:
        return False
    if crd:  # DepthToSpace's other mode has this order already
        order = np.arange(len(weight)).reshape(-1, block * block).T.reshape(-1)
        set_constant(graph, conv, 1, weight[order])
        if bias is not None:
            set_constant(graph, conv, 2, bias[order])
    return True


def _space_nodes(graph: GraphProto, source: str, target: str, shape: tuple[int, ...], block: int) -> list[NodeProto]:
    """Return the nodes from (N, r*r*C, h, w) in (row, column, channel) order to (N, C, r*h, r*w)."""
    _, depth, height, width = shape
    channels = depth // block**2
    split = _add_shape(graph, f"{target}_split", (-1, height, width, block, block * channels))
    names = [f"{target}_{step}" for step in ("last", "blocks", "rows", "pixels")]
    nodes = [
        helper.make_node("Transpose", [source], [names[0]], names[0], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [names[0], split], [names[1]], names[1]),
        helper.make_node("Transpose", [names[1]], [names[2]], names[2], perm=[0, 1, 3, 2, 4]),
    ]
    if channels == 1:  # channels-last and channels-first are then the same bytes
        joined = _add_shape(graph, f"{target}_joined", (-1, 1, height * block, width * block))
        return [*nodes, helper.make_node("Reshape", [names[2], joined], [target], names[3])]
    joined = _add_shape(graph, f"{target}_joined", (-1, height * block, width * block, channels))
    return [
        *nodes,
        helper.make_node("Reshape", [names[2], joined], [names[3]], names[3]),
        helper.make_node("Transpose", [names[3]], [target], f"{target}_first", perm=[0, 3, 1, 2]),
    ]


def _dense_behind(name: str, index: GraphIndex) -> NodeProto | None:
    """Return the Gemm that makes ``name``, directly or through activations, if nothing else reads it."""
    node = index.single(name)
    while node is not None and node.op_type in ELEMENTWISE:
        node = index.single(node.input[0])
    return node if node is not None and node.op_type == "Gemm" else None


def _set_shape(graph: GraphProto, reshape: NodeProto, shape: tuple[int, ...]) -> None:
    set_constant(graph, reshape, 1, np.array(shape, dtype=np.int64))
    del reshape.attribute[:]  # "allowzero", of no use without zeros


def _add_shape(graph: GraphProto, name: str, shape: tuple[int, ...]) -> str:
    graph.initializer.append(numpy_helper.from_array(np.array(shape, dtype=np.int64), name))
    return name


def _insert_behind(graph: GraphProto, node: NodeProto, new: list[NodeProto]) -> None:
    position = list(graph.node).index(node) + 1
    for offset, item in enumerate(new):
        graph.node.insert(position + offset, item)


def _move_behind(graph: GraphProto, node: NodeProto, other: NodeProto) -> None:
    """Put ``node`` right behind ``other``: a graph lists its nodes in an order in which they can run."""
    moved = onnx.NodeProto()
    moved.CopyFrom(node)
    graph.node.remove(node)
    _insert_behind(graph, other, [moved])
