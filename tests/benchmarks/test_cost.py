import numpy as np
import pytest

from benchmarks.cost import Cost, CostError, count_cost
from benchmarks.graph import ModelError


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def test_linear(graph, tmp_path):
    """100 -> 10: 1000 products; 1000 weights and 10 biases."""
    graph.weight("w", zeros(10, 100))
    graph.weight("b", zeros(10))
    graph.add("Gemm", ["z", "w", "b"], "y", transB=1)
    data = graph.build({"z": ("float32", ["batch", 100])}, {"y": ("float32", ["batch", 10])})
    (tmp_path / "m.onnx").write_bytes(data)
    assert count_cost(tmp_path / "m.onnx") == Cost(params=1010, macs=1000, bytes=len(data), operators={"Gemm": 1})
    assert count_cost(data) == count_cost(tmp_path / "m.onnx")
    assert count_cost(data).to_json() == {"params": 1010, "macs": 1000, "bytes": len(data), "operators": {"Gemm": 1}}


def test_convolution(conv_model):
    """3 -> 4 channels, 3x3, 8x8 outputs: 8 * 8 * 4 sums of 3 * 9 products."""
    cost = count_cost(conv_model())
    assert cost.macs == 8 * 8 * 4 * 3 * 9
    assert cost.params == 4 * 3 * 9 + 4
    assert cost.operators == {"Conv": 1, "Relu": 1}


def test_grouped_strided_convolution(graph):
    """4 channels in 2 groups, stride 2 on 8x8: 4 * 4 * 6 sums of 2 * 9 products."""
    graph.weight("w", zeros(6, 2, 3, 3))
    graph.add("Conv", ["x", "w"], "y", pads=[1, 1, 1, 1], strides=[2, 2], group=2)
    cost = count_cost(graph.build({"x": ("float32", ["n", 4, 8, 8])}, {"y": ("float32", ["n", 6, 4, 4])}))
    assert (cost.macs, cost.params) == (4 * 4 * 6 * 2 * 9, 6 * 2 * 9)


def test_transposed_convolution(graph):
    """DCGAN's second layer in small: each of 8 * 4 * 4 inputs goes to 5 * 4 * 4 places."""
    graph.weight("w", zeros(8, 5, 4, 4))
    graph.add("ConvTranspose", ["x", "w"], "y", pads=[1, 1, 1, 1], strides=[2, 2])
    cost = count_cost(graph.build({"x": ("float32", ["n", 8, 4, 4])}, {"y": ("float32", ["n", 5, 8, 8])}))
    assert (cost.macs, cost.params) == (8 * 4 * 4 * 5 * 4 * 4, 8 * 5 * 4 * 4)


def test_matmul_of_activations_has_no_parameters(graph):
    """(2, 3, 4) @ (2, 4, 5): 2 * 3 * 5 sums of 4 products."""
    graph.add("MatMul", ["a", "b"], "y")
    inputs = {"a": ("float32", ["n", 2, 3, 4]), "b": ("float32", ["n", 2, 4, 5])}
    cost = count_cost(graph.build(inputs, {"y": ("float32", ["n", 2, 3, 5])}))
    assert (cost.macs, cost.params) == (2 * 3 * 5 * 4, 0)


def test_transposed_left_side_of_gemm(graph):
    """(7, 1)' @ (7, 5): a fixed first axis of 7 is no batch of the product, but divides it like one."""
    graph.weight("w", zeros(7, 5))
    graph.add("Gemm", ["a", "w"], "y", transA=1)
    assert count_cost(graph.build({"a": ("float32", [7, 1])}, {"y": ("float32", [1, 5])})).macs == 7 * 5 // 7


def test_a_fixed_batch_is_divided_out(linear_model):
    assert count_cost(linear_model(batch=4)).macs == count_cost(linear_model()).macs == 9


def test_int8_has_the_cost_of_its_float_twin(conv_model):
    """Quantized weights count once; scales and zero points are no parameters."""
    plain, quantized = count_cost(conv_model()), count_cost(conv_model(quantized=True))
    assert (quantized.macs, quantized.params) == (plain.macs, plain.params)
    assert quantized.operators == {"Conv": 1, "DequantizeLinear": 2, "QuantizeLinear": 1, "Relu": 1}


def test_operators_with_quantized_arithmetic(graph):
    """QLinearConv of the standard and QGemm of onnxruntime, one after the other."""
    graph.weight("s", np.float32(0.1))
    graph.weight("zu", np.uint8(0))
    graph.weight("zi", np.int8(0))
    graph.weight("w", zeros(4, 3, 3, 3, dtype=np.int8))
    graph.weight("b", zeros(4, dtype=np.int32))
    graph.weight("v", zeros(16, 10, dtype=np.int8))
    graph.weight("shape", np.array([0, -1]))
    graph.add("QLinearConv", ["x", "s", "zu", "w", "s", "zi", "s", "zu", "b"], "c", strides=[2, 2], pads=[0, 0, 1, 1])
    graph.add("Reshape", ["c", "shape"], "r")
    graph.add("QGemm", ["r", "s", "zu", "v", "s", "zi", "", "s", "zu"], "y", domain="com.microsoft")
    cost = count_cost(graph.build({"x": ("uint8", ["n", 3, 4, 4])}, {"y": ("uint8", ["n", 10])}))
    assert cost.macs == 2 * 2 * 4 * 3 * 9 + 16 * 10
    assert cost.params == 4 * 27 + 4 + 160


def test_settings_and_running_statistics_are_no_parameters(graph):
    """Of a batch norm 2 of 4 vectors; of a resize, a clip and a slope nothing."""
    for name in ("scale", "bias", "mean", "var"):
        graph.weight(name, np.ones(3, np.float32))
    graph.weight("factors", np.array([1, 1, 2, 2], np.float32))
    graph.weight("low", np.float32(-1))
    graph.add("BatchNormalization", ["x", "scale", "bias", "mean", "var"], "n")
    graph.add("Resize", ["n", "", "factors"], "r", mode="nearest")
    graph.add("Clip", ["r", "low"], "y")
    cost = count_cost(graph.build({"x": ("float32", ["n", 3, 4, 4])}, {"y": ("float32", ["n", 3, 8, 8])}))
    assert (cost.params, cost.macs) == (6, 0)


def test_shapes_that_the_graph_computes_are_followed(graph):
    """reshape(z, [shape(z)[0], 4, 5, 5]), as exporters write it, then a 1x1 convolution to 2 channels."""
    graph.weight("start", np.array([0]))
    graph.weight("end", np.array([1]))
    graph.weight("rest", np.array([4, 5, 5]))
    graph.weight("w", zeros(2, 4, 1, 1))
    graph.add("Shape", ["z"], "s")
    graph.add("Slice", ["s", "start", "end"], "first")
    graph.add("Concat", ["first", "rest"], "target", axis=0)
    graph.add("Reshape", ["z", "target"], "x")
    graph.add("Conv", ["x", "w"], "y")
    cost = count_cost(graph.build({"z": ("float32", ["n", 100])}, {"y": ("float32", ["n", 2, 5, 5])}))
    assert (cost.macs, cost.params) == (25 * 2 * 4, 8)


def test_uncountable_operators_are_named(graph):
    graph.add("Einsum", ["x", "x"], "y", equation="ij,ij->i")
    with pytest.raises(CostError, match="Einsum"):
        count_cost(graph.build({"x": ("float32", ["n", 3])}, {"y": ("float32", ["n"])}))


def test_dynamic_height_is_refused(graph):
    graph.weight("w", zeros(2, 3, 1, 1))
    graph.add("Conv", ["x", "w"], "y")
    with pytest.raises(CostError, match=r"'x'.*only the batch"):
        count_cost(graph.build({"x": ("float32", ["n", 3, "h", 8])}, {"y": ("float32", ["n", 2, "h", 8])}))


def test_unlike_batches_are_refused(graph):
    graph.add("Add", ["a", "b"], "y")
    with pytest.raises(CostError, match="same batch"):
        count_cost(graph.build({"a": ("float32", [2, 3]), "b": ("float32", [1, 3])}, {"y": ("float32", [2, 3])}))


def test_a_model_onnxruntime_cannot_load_is_named(graph):
    graph.add("NoSuchOperator", ["x"], "y")
    with pytest.raises(ModelError, match=r"the model: onnxruntime.*NoSuchOperator"):
        count_cost(graph.build({"x": ("float32", ["n", 3])}, {"y": ("float32", ["n", 3])}))
