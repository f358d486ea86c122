import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.layout import tighten_for_integers


def run(model, x):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def make_model(nodes, constants, x, outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", *x))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)  # fills the shapes of the outputs in


def weights(rng, *shape):
    return rng.normal(size=shape).astype("f4")


def tightened(model, rng, x):
    new = tighten_for_integers(model)
    onnx.checker.check_model(new, full_check=True)
    inputs = weights(rng, 5, *x)
    for one, other in zip(run(model, inputs), run(new, inputs), strict=True):
        assert np.abs(one - other).max() < 1e-5
    return [node.op_type for node in new.graph.node]


def dense_to_conv(rng, *, trans_b=1, bias=True, activation="Relu", before=False):
    """Gemm (N, 24) -> [activation] -> Reshape (N, 6, 2, 2) -> [activation] -> Conv."""
    constants = {
        "w": weights(rng, 24, 8) if trans_b else weights(rng, 8, 24),
        "shape": np.array([-1, 6, 2, 2]),
        "k": weights(rng, 4, 6, 3, 3),
    } | ({"b": weights(rng, 24)} if bias else {})
    nodes = [helper.make_node("Gemm", ["x", "w", *(["b"] if bias else [])], ["h"], transB=trans_b)]
    steps = [("Reshape", ["shape"])]
    steps.insert(0 if before else 1, (activation, []))
    for index, (kind, more) in enumerate(steps):
        nodes.append(helper.make_node(kind, [nodes[-1].output[0], *more], [f"s{index}"]))
    nodes.append(helper.make_node("Conv", ["s1", "k"], ["y"], pads=[1] * 4))
    return make_model(nodes, constants, (8,))


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("activation", ["Relu", "HardSwish"])
def test_dense_layers_make_channels_last_maps(rng, trans_b, bias, before, activation):
    model = dense_to_conv(rng, trans_b=trans_b, bias=bias, before=before, activation=activation)
    assert tightened(model, rng, (8,)) == ["Gemm", activation, "Reshape", "Transpose", "Conv"]


def shuffle(rng, *, channels, activation=None, mode="CRD", bias=True, outputs=("y",), consumer=False):
    constants = {"k": weights(rng, channels * 4, 3, 3, 3)} | ({"b": weights(rng, channels * 4)} if bias else {})
    nodes = [helper.make_node("Conv", ["x", "k", *(["b"] if bias else [])], ["h"], pads=[1] * 4)]
    if activation:
        nodes.append(helper.make_node(activation, ["h"], ["a"]))
    out = "space" if consumer else "y"
    nodes.append(helper.make_node("DepthToSpace", [nodes[-1].output[0]], [out], blocksize=2, mode=mode))
    if consumer:
        constants["k2"] = weights(rng, 2, channels, 3, 3)
        nodes.append(helper.make_node("Conv", [out, "k2"], ["y"], pads=[1] * 4))
    return make_model(nodes, constants, (3, 4, 5), outputs)


SPACE = ["Transpose", "Reshape", "Transpose", "Reshape"]


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("channels", "more"), [(1, []), (3, ["Transpose"])])
def test_depth_to_space_becomes_transposes(rng, mode, bias, channels, more):
    model = shuffle(rng, channels=channels, mode=mode, bias=bias)
    assert tightened(model, rng, (3, 4, 5)) == ["Conv", *SPACE, *more]


def test_a_free_activation_stays_before_and_a_float_one_goes_behind(rng):
    relu = shuffle(rng, channels=1, activation="Relu")
    assert tightened(relu, rng, (3, 4, 5)) == ["Conv", "Relu", *SPACE]
    tanh = shuffle(rng, channels=1, activation="Tanh")
    assert tightened(tanh, rng, (3, 4, 5)) == ["Conv", *SPACE, "Tanh"]


def test_in_the_middle_of_a_network(rng):
    for activation in ("Relu", "HardSwish"):
        model = shuffle(rng, channels=3, activation=activation, consumer=True)
        kinds = tightened(model, rng, (3, 4, 5))
        assert kinds.count("Transpose") == 3
        assert "DepthToSpace" not in kinds


@pytest.mark.parametrize("outputs", [("y", "h")])
def test_what_others_read_is_left_alone(rng, outputs):
    model = shuffle(rng, channels=1, outputs=outputs)
    assert tightened(model, rng, (3, 4, 5)) == ["Conv", "DepthToSpace"]
    both = dense_to_conv(rng)
    both.graph.output.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ("N", 24)))
    assert tightened(both, rng, (8,)) == ["Gemm", "Reshape", "Relu", "Conv"]
