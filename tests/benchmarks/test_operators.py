"""Work of nodes, checked with a pencil on the graphs that onnxruntime makes of ours."""

import numpy as np
import onnx
import pytest

from benchmarks.cost import CostError, has_int8_twin, node_macs
from benchmarks.nodes import NodeProfile, profile_nodes
from benchmarks.operators import Work, count_work, name_nodes, optimised_graph
from benchmarks.runtimes.onnx import OnnxRunner


def work_of(model: bytes, inputs: dict[str, np.ndarray]) -> list[tuple[NodeProfile, Work]]:
    named = name_nodes(onnx.load_model_from_string(model))
    runner = OnnxRunner(named, inputs, profile=True)
    return count_work(named, inputs, profile_nodes(runner, nodes=5, seconds=0.01, call_s=1e-4, threads=1))


def pictures(rows: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).normal(size=(rows, 3, 8, 8)).astype(np.float32)}


def test_product_and_activation(graph):
    """(2, 100) x (100, 10): 2000 products; 4000 bytes of weights, 2 * (100 + 10) numbers of activations."""
    graph.weight("w", np.ones((100, 10), np.float32))
    graph.add("MatMul", ["z", "w"], "a")
    graph.add("Tanh", ["a"], "y")
    model = graph.build({"z": ("float32", ["n", 100])}, {"y": ("float32", ["n", 10])})
    (product, tanh) = work_of(model, {"z": np.ones((2, 100), np.float32)})
    assert product[1] == Work("float32", macs=2000, weight_bytes=4000, activation_bytes=4 * 2 * 110)
    assert tanh[1] == Work("float32", macs=0, weight_bytes=0, activation_bytes=4 * 2 * 20)
    assert product[1].bytes == 4000 + 880


def test_blocked_convolution_is_counted_without_its_padding(conv_model):
    """3 -> 4 channels, 3x3, 8x8 outputs; in blocks of 8 or 16 channels it would be more."""
    found = {one.operator: work for one, work in work_of(conv_model(), pictures(2))}
    assert found["Conv"].macs == 2 * 8 * 8 * 4 * 3 * 9
    assert not found["Conv"].int8


def test_a_convolution_that_stayed_float_in_an_int8_file(conv_model):
    """Its result is not quantized, so onnxruntime runs it in float on dequantized numbers."""
    rows = {one.operator: work for one, work in work_of(conv_model(quantized=True), pictures(1))}
    (convolution,) = [work for operator, work in rows.items() if work.macs]
    assert convolution.macs == 8 * 8 * 4 * 3 * 9
    assert not convolution.int8
    assert not any(work.int8 for work in rows.values())


def test_a_convolution_between_pairs_runs_in_int8(graph):
    """The same in floats, each side through Q and DQ: one QLinearConv, and nothing else of 8 bits multiplies."""
    for name, value in {"s": np.float32(0.1), "z": np.uint8(128), "zw": np.int8(0)}.items():
        graph.weight(name, value)
    graph.weight("w8", np.ones((4, 3, 3, 3), np.int8))
    graph.add("QuantizeLinear", ["x", "s", "z"], "xq")
    graph.add("DequantizeLinear", ["xq", "s", "z"], "xd")
    graph.add("DequantizeLinear", ["w8", "s", "zw"], "w")
    graph.add("Conv", ["xd", "w"], "c", pads=[1, 1, 1, 1])
    graph.add("QuantizeLinear", ["c", "s", "z"], "cq")
    graph.add("DequantizeLinear", ["cq", "s", "z"], "y")
    model = graph.build({"x": ("float32", ["n", 3, 8, 8])}, {"y": ("float32", ["n", 4, 8, 8])})
    rows = {one.operator: work for one, work in work_of(model, pictures(2))}
    assert rows["QLinearConv"].int8
    assert rows["QLinearConv"].macs == 2 * 8 * 8 * 4 * 3 * 9
    assert (rows["QuantizeLinear"].int8, rows["DequantizeLinear"].int8) == (False, False)
    assert rows["QuantizeLinear"].activation_bytes == 2 * 3 * 64 * (4 + 1)


def test_int8_convolution_between_quantized_nodes(graph):
    """A 1x1 convolution of uint8 pictures: 4 * 4 * 2 sums of 3 products, one byte a number."""
    graph.weight("s", np.float32(0.1))
    graph.weight("zu", np.uint8(0))
    graph.weight("zi", np.int8(0))
    graph.weight("w", np.ones((2, 3, 1, 1), np.int8))
    graph.add("QLinearConv", ["x", "s", "zu", "w", "s", "zi", "s", "zu"], "y")
    model = graph.build({"x": ("uint8", ["n", 3, 4, 4])}, {"y": ("uint8", ["n", 2, 4, 4])})
    rows = work_of(model, {"x": np.ones((1, 3, 4, 4), np.uint8)})
    convolution = next(work for one, work in rows if one.operator == "QLinearConv")
    assert convolution.int8
    assert convolution.macs == 4 * 4 * 2 * 3
    assert convolution.activation_bytes == 16 * 3 + 16 * 2
    assert convolution.weight_bytes == 6 + 4 + 1 + 1  # the scale once, and both zero points


def test_an_int8_concatenation_is_int8_though_its_scale_comes_first(graph):
    """Two quantized inputs and a quantized output: onnxruntime makes one QLinearConcat of the pair and the nodes."""
    for name, value in {"s": np.float32(0.1), "zero": np.uint8(128)}.items():
        graph.weight(name, value)
    graph.add("QuantizeLinear", ["x", "s", "zero"], "xq")
    graph.add("DequantizeLinear", ["xq", "s", "zero"], "xd")
    graph.add("Concat", ["xd", "xd"], "both", axis=1)
    graph.add("QuantizeLinear", ["both", "s", "zero"], "bq")
    graph.add("DequantizeLinear", ["bq", "s", "zero"], "y")
    model = graph.build({"x": ("float32", ["n", 3, 8, 8])}, {"y": ("float32", ["n", 6, 8, 8])})
    rows = {one.operator: work.int8 for one, work in work_of(model, pictures(1))}
    assert rows["QLinearConcat"]
    assert [name for name, int8 in rows.items() if int8] == ["QLinearConcat"]


def test_a_view_moves_nothing(graph):
    graph.weight("shape", np.array([0, 2, 2]))
    graph.add("Relu", ["x"], "r")
    graph.add("Reshape", ["r", "shape"], "v")
    graph.add("Relu", ["v"], "y")
    rows = work_of(
        graph.build({"x": ("float32", ["n", 4])}, {"y": ("float32", ["n", 2, 2])}), {"x": np.ones((3, 4), np.float32)}
    )
    assert [work.bytes for one, work in rows if one.operator == "Reshape"] == [0]


def test_an_operator_that_cannot_be_counted_is_unknown(graph):
    """Two by two of three numbers each: nothing here says how many products an Einsum makes."""
    graph.add("Einsum", ["x", "x"], "y", equation="ij,kj->ik")
    rows = work_of(
        graph.build({"x": ("float32", ["n", 3])}, {"y": ("float32", ["n", "m"])}), {"x": np.ones((2, 3), np.float32)}
    )
    assert [work.macs for _, work in rows] == [None]


def test_nodes_inside_a_branch_belong_to_their_outer_node(graph):
    branch = [
        onnx.helper.make_graph(
            [onnx.helper.make_node("Tanh", ["x"], [name], name="inner")],
            name,
            [],
            [onnx.helper.make_tensor_value_info(name, 1, None)],
        )
        for name in ("a", "b")
    ]
    graph.add("ReduceSum", ["x"], "sum", keepdims=0)
    graph.weight("zero", np.float32(0))
    graph.add("Greater", ["sum", "zero"], "positive")
    graph.add("If", ["positive"], "y", then_branch=branch[0], else_branch=branch[1])
    model = graph.build({"x": ("float32", ["n", 3])}, {"y": ("float32", ["n", 3])})
    rows = {one.operator: work for one, work in work_of(model, {"x": np.ones((2, 3), np.float32)})}
    assert "If" in rows
    assert "Tanh" not in rows
    assert rows["If"].macs is None


def test_nodes_without_names_get_their_own(graph):
    graph.add("Relu", ["x"], "a")
    graph.add("Tanh", ["a"], "b", name="same")
    graph.add("Tanh", ["b"], "y", name="same")
    named = onnx.load_model_from_string(
        name_nodes(onnx.load_model_from_string(graph.build({"x": ("float32", ["n", 3])}, {"y": ("float32", ["n", 3])})))
    )
    names = [node.name for node in named.graph.node]
    assert len(set(names)) == 3
    assert "" not in names
    assert names[1] == "same"


def test_macs_of_fused_and_unknown_nodes():
    """(2, 3)' x (2, 5): three times five sums of two; a foreign product is refused, a foreign sum is none."""
    fused = onnx.helper.make_node("FusedMatMul", ["a", "b"], ["y"], domain="com.microsoft", transA=1)
    assert node_macs(fused, {"a": (2, 3), "b": (2, 5), "y": (3, 5)}) == 3 * 5 * 2
    assert node_macs(onnx.helper.make_node("SkipLayerNormalization", [], [], domain="com.microsoft"), {}) == 0
    with pytest.raises(CostError, match="MatMulBnb4"):
        node_macs(onnx.helper.make_node("MatMulBnb4", [], [], domain="com.microsoft"), {})


@pytest.mark.parametrize(
    ("operator", "has"), [("Conv", True), ("Gemm", True), ("MatMul", True), ("ConvTranspose", False)]
)
def test_integer_kernels_are_those_of_the_runtime(operator, has):
    """onnxruntime's own list: a Q... or ...Integer kernel of the operator on the CPU."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    names = {kernel.op_name for kernel in runtime.get_all_opkernel_def() if "CPU" in kernel.provider}
    twins = {f"QLinear{operator}", f"Q{operator}", f"{operator}Integer"}
    assert bool(twins & names) == has == has_int8_twin(operator)


def test_the_graph_that_runs_is_fused(conv_model):
    assert "Relu" not in {node.op_type for node in optimised_graph(conv_model()).node}
