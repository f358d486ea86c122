"""Transposed convolutions as convolutions at the lower resolution: exact, for any graph.

onnxruntime has no integer kernel for ConvTranspose, so int8 brings a generator made of them nothing, or harm. But a
transposed convolution of stride s is a convolution whose s² outputs a channel are the s² places inside a block, then
DepthToSpace, then a crop (Shi et al. 2016, arXiv:1609.07009); written so, every product has an integer kernel. In
float the rewritten graph of a stock DCGAN is slower than the original, which is why it is part of the quantization; in
int8 it is more than twice as fast as the fastest of its own files (``examples/studies/compress_dcgan.py`` measures it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from compress.layout import ELEMENTWISE
from compress.rewrite import Array, GraphIndex, drop_unused, inferred_shapes

_SINCE_OPSET = 11  # Slice with its bounds as inputs, and DepthToSpace with two orders

Shapes = Mapping[str, tuple[int, ...]]


def count_transposed(model: ModelProto) -> int:
    """Return how many transposed convolutions the graph has."""
    return sum(node.op_type == "ConvTranspose" for node in model.graph.node)


def unfold_transposed(model: ModelProto) -> ModelProto:
    """Return a copy of ``model`` with transposed convolutions written as convolutions, DepthToSpace and Slice.

    Equal to the original but for the order of sums. Of a 1x1 input (a latent) the product alone is left: Gemm and
    Reshape. An activation right behind goes to the lower resolution, too. Left alone are groups, dilations, strides
    that differ by axis, automatic padding, three dimensions, and what is not known before run time: weights, sizes.

    Raises:
        CompressError: the model is not valid enough for shape inference.
    """
    result = ModelProto()
    result.CopyFrom(model)
    opset = next((entry.version for entry in result.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _SINCE_OPSET or not count_transposed(result):
        return result
    shapes = inferred_shapes(result)
    for node in [n for n in result.graph.node if n.op_type == "ConvTranspose"]:
        _unfold(result.graph, node, shapes)
    drop_unused(result.graph)
    del result.graph.value_info[:]
    return result


@dataclass(frozen=True)
class _Axis:
    """One spatial axis: ``taps`` of the convolution, its padding, and what the blocks have too much at the front."""

    taps: int
    before: int
    after: int
    crop: int
    surplus: bool  # whether anything is cropped, at either end


def _axis(small: int, large: int, kernel: int, stride: int, pad: int) -> _Axis | None:
    """Return how ``small`` places become ``large``; None if the blocks would not reach.

    Without padding the blocks begin ``pad`` places too early; whole blocks too many are not computed at all.
    """
    taps = -(-kernel // stride)
    early = min(pad // stride, taps - 1)
    crop = pad - early * stride
    beyond = stride * (small + taps - 1 - early) - crop - large
    if beyond < 0:
        return None
    late = min(beyond // stride, taps - 1)
    return _Axis(taps, taps - 1 - early, taps - 1 - late, crop, bool(crop or beyond - late * stride))


def _unfold(graph: GraphProto, node: NodeProto, shapes: Shapes) -> None:
    index = GraphIndex.of(graph)
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    weight = index.constant(node.input[1])
    bias = _bias(node, weight, index)
    small, large = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
    if weight is None or bias is None or not _is_plain(settings, weight, small, large):
        return
    strides = tuple(settings.get("strides", (1, 1)))
    pads = tuple(settings.get("pads", (0, 0, 0, 0)))
    if small[2:] == (1, 1) and not any(pads) and large[2:] == weight.shape[2:]:
        _insert_product(graph, node, weight, bias)
        return
    axes = [_axis(small[2 + i], large[2 + i], weight.shape[2 + i], strides[i], pads[i]) for i in range(2)]
    rows, columns = axes
    if rows is not None and columns is not None:
        _insert_convolution(graph, node, index, (rows, columns), strides[0], weight, bias, large)


def _is_plain(settings: Mapping[str, Any], weight: Array, small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    strides = tuple(settings.get("strides", (1, 1)))
    return (
        weight.ndim == len(small) == len(large) == 4
        and all(small[1:])
        and all(large[1:])
        and settings.get("group", 1) == 1
        and settings.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in settings
        and set(settings.get("dilations", (1,))) == {1}
        and strides[0] == strides[1]
    )


def _bias(node: NodeProto, weight: Array | None, index: GraphIndex) -> Array | None:
    """Return the bias, zeros if there is none, None if it is not constant."""
    if weight is None:
        return None
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(weight.shape[1], weight.dtype)
    return index.constant(node.input[2])


def _insert_product(graph: GraphProto, node: NodeProto, weight: Array, bias: Array) -> None:
    """Put Reshape, Gemm and Reshape in the place of ``node``, whose input is one pixel."""
    channels, made, height, width = weight.shape
    out = node.output[0]
    row, product = f"{out}_row", f"{out}_product"
    flat = _constant(graph, f"{out}_flat", np.array((-1, channels), np.int64))
    maps = _constant(graph, f"{out}_maps", np.array((-1, made, height, width), np.int64))
    matrix = _constant(graph, f"{out}_matrix", weight.reshape(channels, -1))
    offset = _constant(graph, f"{out}_offset", np.repeat(bias, height * width))
    nodes = [
        helper.make_node("Reshape", [node.input[0], flat], [row], row),
        helper.make_node("Gemm", [row, matrix, offset], [product], product),
        helper.make_node("Reshape", [product, maps], [out], node.name or out),
    ]
    _replace(graph, [node], nodes)


def _insert_convolution(
    graph: GraphProto,
    node: NodeProto,
    index: GraphIndex,
    axes: tuple[_Axis, _Axis],
    stride: int,
    weight: Array,
    bias: Array,
    large: tuple[int, ...],
) -> None:
    """Put Conv, the activation behind ``node`` if it has no other reader, DepthToSpace and Slice in its place."""
    out = node.output[0]
    activation = _activation_behind(graph, node, index)
    target = out if activation is None else activation.output[0]
    names = [f"{out}_{name}" for name in ("places", "active", "blocks")]
    inputs = [
        node.input[0],
        _constant(graph, f"{out}_places_weight", _places(weight, stride, axes)),
        _constant(graph, f"{out}_places_bias", np.tile(bias, stride * stride)),
    ]
    pads = [axes[0].before, axes[1].before, axes[0].after, axes[1].after]
    kernel = [axes[0].taps, axes[1].taps]
    nodes = [helper.make_node("Conv", inputs, [names[0]], names[0], kernel_shape=kernel, pads=pads)]
    if activation is not None:
        active = NodeProto()
        active.CopyFrom(activation)
        active.input[0], active.output[0] = names[0], names[1]
        nodes.append(active)
    if stride > 1:
        nodes.append(helper.make_node("DepthToSpace", [nodes[-1].output[0]], [names[2]], names[2], blocksize=stride))
    if axes[0].surplus or axes[1].surplus:
        nodes.append(_crop(graph, nodes[-1].output[0], f"{out}_crop", axes, large))
    nodes[-1].output[0] = target
    _replace(graph, [node, *([] if activation is None else [activation])], nodes)


def _places(weight: Array, stride: int, axes: tuple[_Axis, _Axis]) -> Array:
    """Return (C_in, C_out, kH, kW) as the convolution's (s * s * C_out, C_in, tH, tW), sorted (row, column, channel).

    The kernel is filled up to whole strides at its end; of tap t and place a the weight is that at s * t + a, and a
    convolution reads its taps the other way round.
    """
    channels, made, height, width = weight.shape
    (high, wide) = (axis.taps for axis in axes)
    filled = np.zeros((channels, made, high * stride, wide * stride), weight.dtype)
    filled[:, :, :height, :width] = weight
    blocks = filled.reshape(channels, made, high, stride, wide, stride)[:, :, ::-1, :, ::-1, :]
    return np.ascontiguousarray(blocks.transpose(3, 5, 1, 0, 2, 4)).reshape(-1, channels, high, wide)


def _crop(graph: GraphProto, source: str, name: str, axes: tuple[_Axis, _Axis], large: tuple[int, ...]) -> NodeProto:
    starts = np.array([axis.crop for axis in axes], np.int64)
    bounds = {"starts": starts, "ends": starts + np.array(large[2:], np.int64), "axes": np.array((2, 3), np.int64)}
    inputs = [_constant(graph, f"{name}_{key}", value) for key, value in bounds.items()]
    return helper.make_node("Slice", [source, *inputs], [name], name)


def _activation_behind(graph: GraphProto, node: NodeProto, index: GraphIndex) -> NodeProto | None:
    """Return the elementwise operator that alone reads what ``node`` makes; its other inputs are constants."""
    readers = [one for one in graph.node if node.output[0] in one.input]
    if len(readers) != 1 or index.uses[node.output[0]] != 1 or readers[0].op_type not in ELEMENTWISE:
        return None
    first, *others = readers[0].input
    known = all(not name or name in index.initializers for name in others)  # made by a node, they may come later
    return readers[0] if first == node.output[0] and known else None


def _constant(graph: GraphProto, stem: str, array: Array) -> str:
    taken = {tensor.name for tensor in graph.initializer}
    name = next(name for name in (stem, *(f"{stem}_{i}" for i in range(len(taken) + 1))) if name not in taken)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return name


def _replace(graph: GraphProto, old: list[NodeProto], new: list[NodeProto]) -> None:
    position = list(graph.node).index(old[0])
    for node in old:
        graph.node.remove(node)
    for offset, node in enumerate(new):
        graph.node.insert(position + offset, node)
