import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.subpixel import count_transposed, unfold_transposed


def run(model, x):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def make_model(nodes, constants, x, opset=17):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", *x))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def weights(rng, *shape):
    return rng.normal(size=shape).astype("f4")


def transposed(rng, x=(3, 5, 4), kernel=(4, 4), bias=True, behind=(), made=2, opset=17, **settings):
    """x -> ConvTranspose [-> operators] -> y."""
    group = settings.get("group", 1)
    constants = {"w": weights(rng, x[0], made // group, *kernel)} | ({"b": weights(rng, made)} if bias else {})
    kinds = ["ConvTranspose", *behind]
    names = ["x", *(f"h{i}" for i in range(len(behind))), "y"]
    nodes = [
        helper.make_node(kind, [names[i]], [names[i + 1]], **(settings if i == 0 else {}))
        for i, kind in enumerate(kinds)
    ]
    nodes[0].input.extend(constants)
    return make_model(nodes, constants, x, opset)


def unfolded(model, rng):
    """Return the operators of the rewritten model, which draws what the old one draws."""
    new = unfold_transposed(model)
    onnx.checker.check_model(new, full_check=True)
    x = weights(rng, 3, *(axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]))
    one, other = run(model, x), run(new, x)
    assert one.shape == other.shape
    assert np.abs(one - other).max() < 1e-5
    return [node.op_type for node in new.graph.node]


def valid(kernel, stride, begin, end, extra, small=5):
    return extra < stride and stride * (small - 1) + kernel - begin - end + extra > 0


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_kernel_padding_and_extra_draws_the_same(rng, stride):
    tried, left = 0, []
    for kernel, begin, end, extra in itertools.product(range(1, 6), range(4), range(4), range(2)):
        if not valid(kernel, stride, begin, end, extra):
            continue
        model = transposed(
            rng, kernel=(kernel, 3), x=(3, 5, 4), strides=[stride] * 2, pads=[begin, 1, end, 1],
            output_padding=[extra, 0],
        )  # fmt: skip
        tried += 1
        if count_transposed(unfold_transposed(model)):
            left.append((kernel, begin, end, extra))
        unfolded(model, rng)
    assert tried > 40
    for kernel, _, end, extra in left:  # zeros beyond the last block: no convolution makes them
        assert extra > end + (-kernel) % stride


def test_the_usual_doubling_is_one_convolution_and_a_crop(rng):
    model = transposed(rng, kernel=(4, 4), strides=[2, 2], pads=[1] * 4)
    assert unfolded(model, rng) == ["Conv", "DepthToSpace", "Slice"]
    conv = unfold_transposed(model).graph.node[0]
    assert {a.name: list(a.ints) for a in conv.attribute} == {"kernel_shape": [2, 2], "pads": [1] * 4}


def test_blocks_that_do_not_overlap_need_no_crop(rng):
    assert unfolded(transposed(rng, kernel=(2, 2), strides=[2, 2]), rng) == ["Conv", "DepthToSpace"]


def test_without_a_stride_it_is_a_plain_convolution(rng):
    assert unfolded(transposed(rng, kernel=(3, 3), pads=[1] * 4), rng) == ["Conv"]


def test_padding_of_whole_blocks_is_not_computed(rng):
    model = transposed(rng, kernel=(6, 6), strides=[2, 2], pads=[2] * 4)
    assert unfolded(model, rng) == ["Conv", "DepthToSpace"]
    conv = unfold_transposed(model).graph.node[0]
    assert next(list(a.ints) for a in conv.attribute if a.name == "pads") == [1] * 4


def test_of_one_pixel_the_product_is_left(rng):
    assert unfolded(transposed(rng, x=(7, 1, 1), kernel=(4, 4)), rng) == ["Reshape", "Gemm", "Reshape"]


def test_an_activation_goes_to_the_lower_resolution(rng):
    model = transposed(rng, strides=[2, 2], pads=[1] * 4, behind=["Relu", "Tanh"])
    assert unfolded(model, rng) == ["Conv", "Relu", "DepthToSpace", "Slice", "Tanh"]


def test_a_second_reader_keeps_the_activation_where_it_is(rng):
    constants = {"w": weights(rng, 3, 2, 4, 4)}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["h"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Add", ["r", "h"], ["y"]),
    ]
    model = make_model(nodes, constants, (3, 4, 4))
    assert unfolded(model, rng) == ["Conv", "DepthToSpace", "Slice", "Relu", "Add"]


@pytest.mark.parametrize("bias", [False, True])
def test_a_chain_is_rewritten_as_a_whole(rng, bias):
    constants = {"w1": weights(rng, 3, 4, 4, 4), "w2": weights(rng, 4, 1, 4, 4)} | (
        {"b": weights(rng, 4)} if bias else {}
    )
    nodes = [
        helper.make_node(
            "ConvTranspose", ["x", "w1", *(["b"] if bias else [])], ["h"], strides=[2, 2], pads=[1] * 4
        ),
        helper.make_node("LeakyRelu", ["h"], ["r"], alpha=0.2),
        helper.make_node("ConvTranspose", ["r", "w2"], ["y"], strides=[2, 2], pads=[1] * 4),
    ]  # fmt: skip
    kinds = unfolded(make_model(nodes, constants, (3, 4, 4)), rng)
    assert kinds == ["Conv", "LeakyRelu", "DepthToSpace", "Slice", "Conv", "DepthToSpace", "Slice"]


@pytest.mark.parametrize(
    "settings",
    [
        {"group": 2, "x": (4, 5, 4)},
        {"dilations": [2, 2]},
        {"strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"output_shape": [9, 7], "strides": [2, 2]},
        {"opset": 10, "strides": [2, 2]},
    ],
)
def test_what_is_no_plain_one_is_left_alone(rng, settings):
    assert unfolded(transposed(rng, **settings), rng) == ["ConvTranspose"]


def test_weights_that_are_computed_are_left_alone(rng):
    nodes = [
        helper.make_node("Mul", ["w", "two"], ["v"]),
        helper.make_node("ConvTranspose", ["x", "v"], ["y"], strides=[2, 2]),
    ]
    model = make_model(nodes, {"w": weights(rng, 3, 2, 2, 2), "two": np.array(2, "f4")}, (3, 4, 4))
    assert unfolded(model, rng) == ["Mul", "ConvTranspose"]


def test_the_original_stays_as_it_is(rng):
    model = transposed(rng, strides=[2, 2])
    before = model.SerializeToString()
    unfold_transposed(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("made", [False, True])
def test_limits_of_a_clip_come_before_it(rng, made):
    """Constants of the graph go along; what a node makes may come too late, so the Clip stays."""
    constants = {"w": weights(rng, 3, 2, 4, 4)} | ({} if made else {"low": np.float32(-1), "high": np.float32(1)})
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["h"], strides=[2, 2], pads=[1] * 4)]
    for name, value in {"low": -1.0, "high": 1.0}.items() if made else ():
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.float32(value))))
    nodes.append(helper.make_node("Clip", ["h", "low", "high"], ["y"]))
    kinds = unfolded(make_model(nodes, constants, (3, 4, 4)), rng)
    assert kinds.index("Clip") == (5 if made else 1)


def test_names_that_are_taken_are_not_taken_again(rng):
    constants = {"w": weights(rng, 3, 2, 4, 4), "y_places_weight": np.float32(3), "y_crop_starts": np.float32(3)}
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["h"], strides=[2, 2], pads=[1] * 4)]
    nodes += [
        helper.make_node("Mul", ["h", "y_places_weight"], ["m"]),
        helper.make_node("Add", ["m", "y_crop_starts"], ["y"]),
    ]
    assert unfolded(make_model(nodes, constants, (3, 4, 4)), rng)[:3] == ["Conv", "DepthToSpace", "Slice"]
