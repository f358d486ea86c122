"""Keeping in float what was left in float.

onnxruntime (1.20 and later; ``WeightBiasQuantization``) makes every Conv, ConvTranspose and Gemm integer that reads a
dequantized tensor, when it loads the file, whether the file left it in float or not: what was excluded between two
integer nodes was integer again, with the very rounding that it was excluded for (found by running the file).
"""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, helper, numpy_helper

_AT_LOADING = ("Conv", "ConvTranspose", "Gemm")
_LOWEST = "leangen_lowest"


def keep_in_float(model: ModelProto, names: Sequence[str]) -> None:
    """Put a Clip that clips nothing between a DequantizeLinear and each node of ``names`` that reads it, in place.

    It hides the one from the other, and costs a pass over the input.
    """
    graph, kept = model.graph, set(names)
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    touched = [
        node
        for node in graph.node
        if node.name in kept and node.op_type in _AT_LOADING and node.input[0] in dequantized
    ]
    for node in touched:
        hidden = f"{node.input[0]}_for_{node.name}"
        clip = helper.make_node("Clip", [node.input[0], _LOWEST], [hidden], hidden)
        graph.node.insert(list(graph.node).index(node), clip)
        node.input[0] = hidden
    if touched:
        lowest = np.array(np.finfo(np.float32).min, np.float32)
        graph.initializer.append(numpy_helper.from_array(lowest, _LOWEST))
