import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.rewrite import fold_batch_norm


def run(model, **inputs):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def make_model(nodes, constants, *, x=("N", 8), outputs=("y",)):
    values = {name: np.asarray(value) for name, value in constants.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)  # fills the shapes of the outputs in
    onnx.checker.check_model(model)
    return model


def norm_constants(rng, channels):
    return {
        "gamma": rng.uniform(0.5, 1.5, channels).astype("f4"),
        "beta": rng.normal(size=channels).astype("f4"),
        "mean": rng.normal(size=channels).astype("f4"),
        "var": rng.uniform(0.5, 2, channels).astype("f4"),
    }


def norm(x, y, **attributes):
    return helper.make_node("BatchNormalization", [x, "gamma", "beta", "mean", "var"], [y], epsilon=1e-3, **attributes)


def operators(model):
    return [node.op_type for node in model.graph.node]


def weights(rng, *shape):
    return rng.normal(size=shape).astype("f4")


def assert_folds_to(model, expected, rng, x=(5, 8)):
    before = model.SerializeToString()
    folded = fold_batch_norm(model)
    assert model.SerializeToString() == before  # the argument stays as it is
    onnx.checker.check_model(folded, full_check=True)
    assert operators(folded) == expected
    inputs = weights(rng, *x)
    for one, other in zip(run(model, x=inputs), run(folded, x=inputs), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-5
    names = {name for node in folded.graph.node for name in node.input}
    assert {tensor.name for tensor in folded.graph.initializer} <= names  # nothing is left over


def test_a_case_by_hand():
    """x 2 -> 3x + 1 = 7 -> (7 - 1) / sqrt(4) * 2 + 5 = 11: as one layer 3x + 5."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "gamma", "beta", "mean", "var"], ["y"], epsilon=0.0),
    ]
    one = {k: np.array([v], dtype="f4") for k, v in {"b": 1, "gamma": 2, "beta": 5, "mean": 1, "var": 4}.items()}
    folded = fold_batch_norm(make_model(nodes, {"w": np.array([[3]], dtype="f4"), **one}, x=("N", 1)))
    assert operators(folded) == ["Gemm"]
    values = [numpy_helper.to_array(tensor).tolist() for tensor in folded.graph.initializer]
    assert sorted(map(str, values)) == ["[5.0]", "[[3.0]]"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape", "attributes"),
    [
        ("Conv", (6, 8, 3, 3), {"pads": [1] * 4}),
        ("Conv", (6, 4, 3, 3), {"group": 2}),
        ("ConvTranspose", (8, 6, 4, 4), {"strides": [2, 2], "pads": [1] * 4}),
    ],
)
def test_convolutions(kind, shape, attributes, bias, rng):
    constants = {"w": weights(rng, *shape), **norm_constants(rng, 6)} | ({"b": weights(rng, 6)} if bias else {})
    layer = helper.make_node(kind, ["x", "w", *(["b"] if bias else [])], ["h"], **attributes)
    model = make_model([layer, norm("h", "y")], constants, x=("N", 8, 4, 4))
    assert_folds_to(model, [kind], rng, x=(2, 8, 4, 4))


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [(), (12,), (1, 12), (1,)])
@pytest.mark.parametrize("reshape", [False, True])
def test_gemm(trans_b, bias, reshape, rng):
    shape = (12, 8) if trans_b else (8, 12)
    constants = {"w": weights(rng, *shape), "b": weights(rng, *bias), **norm_constants(rng, 3 if reshape else 12)}
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=trans_b, alpha=0.5, beta=2.0)]
    if reshape:
        constants["shape"] = np.array([-1, 3, 2, 2])
        nodes.append(helper.make_node("Reshape", ["h", "shape"], ["maps"]))
    nodes.append(norm("maps" if reshape else "h", "y"))
    assert_folds_to(make_model(nodes, constants), operators_of(nodes)[:-1], rng)


def operators_of(nodes):
    return [node.op_type for node in nodes]


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("reshape", [False, True])
def test_matmul(add, reshape, rng):
    """Without an Add there is no room for the shift: the MatMul of two matrices becomes a Gemm."""
    constants = {"w": weights(rng, 8, 12), "b": weights(rng, 12), **norm_constants(rng, 3 if reshape else 12)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"])]
    if add:
        nodes.append(helper.make_node("Add", ["b", "h"], ["a"]))
    if reshape:
        constants["shape"] = np.array([0, -1, 2, 2])
        nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], "shape"], ["maps"]))
    nodes.append(norm(nodes[-1].output[0], "y"))
    model = make_model(nodes, {k: v for k, v in constants.items() if add or k != "b"})
    assert_folds_to(model, (["MatMul", "Add"] if add else ["Gemm"]) + ["Reshape"] * reshape, rng)


def test_shared_constants_are_not_scaled_twice(rng):
    """Exporters let layers with equal weights share one initializer, and reach it through Identity nodes."""
    nodes = [
        helper.make_node("Identity", ["w"], ["same"]),
        helper.make_node("Gemm", ["x", "w"], ["h1"]),
        norm("h1", "n1"),
        helper.make_node("Gemm", ["n1", "same"], ["h2"]),
        norm("h2", "y"),
    ]
    model = make_model(nodes, {"w": weights(rng, 8, 8) * 0.1, **norm_constants(rng, 8)})
    assert_folds_to(model, ["Gemm", "Gemm"], rng)


def test_two_norms_in_a_row_fold_both(rng):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"]), norm("h", "n"), norm("n", "y")]
    assert_folds_to(make_model(nodes, {"w": weights(rng, 8, 8), **norm_constants(rng, 8)}), ["Gemm"], rng)


def test_half_precision_weights_stay_half(rng):
    constants = {k: v.astype("f2") for k, v in {"w": weights(rng, 8, 4), **norm_constants(rng, 4)}.items()}
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Gemm", ["half", "w"], ["h"]),
        norm("h", "n"),
        helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT),
    ]
    folded = fold_batch_norm(make_model(nodes, constants))
    assert operators(folded) == ["Cast", "Gemm", "Cast"]
    assert {tensor.data_type for tensor in folded.graph.initializer} == {TensorProto.FLOAT16}


def unfoldable(rng):
    gemm = helper.make_node("Gemm", ["x", "w"], ["h"])
    conv = {"w": weights(rng, 8, 3, 4, 4), **norm_constants(rng, 6)}
    plain = {"w": weights(rng, 8, 12), **norm_constants(rng, 12)}
    relu = helper.make_node("Relu", ["h"], ["r"])
    grouped = helper.make_node("ConvTranspose", ["x", "w"], ["h"], group=2)
    yield "several consumers", [gemm, norm("h", "n"), helper.make_node("Add", ["h", "n"], ["y"])], plain, {}
    yield "the layer is an output", [gemm, norm("h", "y")], plain, {"outputs": ("y", "h")}
    yield "an activation between", [gemm, relu, norm("r", "y")], plain, {}
    yield "grouped", [grouped, norm("h", "y")], conv, {"x": ("N", 8, 4, 4)}
    swapped = {**plain, **norm_constants(rng, 4), "shape": np.array([-1, 4, 2, 1])}  # rows do not stay rows
    yield "mixed rows", [gemm, helper.make_node("Reshape", ["h", "shape"], ["m"]), norm("m", "y")], swapped, {}
    per_row = {**plain, "c": weights(rng, 5, 1)}
    yield "bias per sample", [helper.make_node("Gemm", ["x", "w", "c"], ["h"]), norm("h", "y")], per_row, {}
    computed = helper.make_node("Relu", ["w"], ["v"])
    yield "computed weights", [computed, helper.make_node("Gemm", ["x", "v"], ["h"]), norm("h", "y")], plain, {}
    square = {"w": weights(rng, 8, 8), "b": weights(rng, 8), **norm_constants(rng, 8)}
    matmul = helper.make_node("MatMul", ["x", "w"], ["m"])
    add = helper.make_node("Add", ["m", "b"], ["h"])
    yield "three axes", [matmul, add, norm("h", "y")], square, {"x": ("N", 8, 8)}
    yield "three axes, no bias", [matmul, norm("m", "y")], square, {"x": ("N", 8, 8)}
    yield "no layer before", [norm("x", "y")], norm_constants(rng, 8), {}


def test_what_would_not_be_exact_is_left_alone(rng):
    for name, nodes, constants, more in unfoldable(rng):
        model = make_model(nodes, constants, **more)
        folded = fold_batch_norm(model)
        assert operators(folded) == operators(model), name
        x = weights(rng, 4 if name == "mixed rows" else 5, *more.get("x", ("N", 8))[1:])
        assert all(np.array_equal(a, b) for a, b in zip(run(model, x=x), run(folded, x=x), strict=True)), name


def test_training_mode_and_old_operator_sets_are_left_alone(rng):
    constants = {"w": weights(rng, 8, 12), **norm_constants(rng, 12)}
    training = helper.make_node(
        "BatchNormalization", ["h", "gamma", "beta", "mean", "var"], ["y", "m", "v"], training_mode=1
    )
    gemm = helper.make_node("Gemm", ["x", "w"], ["h"])
    assert operators(fold_batch_norm(make_model([gemm, training], constants))) == ["Gemm", "BatchNormalization"]
    old = make_model([gemm, norm("h", "y")], constants)
    old.opset_import[0].version = 8
    assert fold_batch_norm(old) == old


def test_a_graph_without_norms_comes_back_equal(rng):
    model = make_model([helper.make_node("Gemm", ["x", "w"], ["y"])], {"w": weights(rng, 8, 4)})
    assert fold_batch_norm(model) == model
    assert fold_batch_norm(model) is not model
