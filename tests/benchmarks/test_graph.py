import numpy as np
import onnx
import pytest
from onnx import helper

from benchmarks import graph as graph_module
from benchmarks.files import FileError
from benchmarks.graph import ModelError, Port, all_nodes, input_ports, parse_model, read_model


def test_ports_tell_dynamic_axes_as_none(linear_model):
    assert input_ports(parse_model(linear_model()).graph) == (Port("z", "float32", (None, 3)),)
    assert input_ports(parse_model(linear_model(batch=4)).graph) == (Port("z", "float32", (4, 3)),)


def test_initializers_named_as_inputs_are_not_inputs(linear_model):
    model = parse_model(linear_model())
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [3, 3]))
    assert [port.name for port in input_ports(model.graph)] == ["z"]


def test_text_inputs_are_refused(linear_model):
    model = parse_model(linear_model())
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.STRING
    with pytest.raises(ModelError, match="'z' must be a tensor of numbers"):
        input_ports(model.graph)


@pytest.mark.parametrize("data", [b"", b"junk", b"\x00" * 100, b"\x08\x09"])
def test_what_is_not_a_model_is_refused(data):
    with pytest.raises(ModelError, match="not an ONNX model"):
        parse_model(data)


def point_elsewhere(tensor):
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def inner_graph(tensor):
    return helper.make_graph([helper.make_node("Identity", ["t"], ["u"])], "inner", [], [], [tensor])


def test_weights_in_another_file_are_refused_wherever_they_hide(linear_model):
    """In the graph, in an attribute, in a branch, and in a function."""
    tensor = helper.make_tensor("t", 1, [1], [0.0])
    point_elsewhere(tensor)
    constant = helper.make_node("Constant", [], ["k"], value=tensor)
    branch = helper.make_node("If", ["z"], ["o"], then_branch=inner_graph(tensor), else_branch=inner_graph(tensor))
    function = helper.make_function("own", "F", [], ["k"], [constant], [helper.make_opsetid("", 20)])
    hide = (
        lambda model: model.graph.initializer.append(tensor),
        lambda model: model.graph.node.append(constant),
        lambda model: model.graph.node.append(branch),
        lambda model: model.functions.append(function),
    )
    for change in hide:
        model = parse_model(linear_model())
        change(model)
        with pytest.raises(ModelError, match="self-contained"):
            parse_model(model.SerializeToString())


@pytest.mark.parametrize("dims", [[2**20, 2**12], [-1, 3], [2**62, 8]])
def test_a_tensor_that_only_says_it_is_large_is_refused(linear_model, dims):
    """In either way of storing numbers; nobody makes room for what is not there."""
    for raw in (True, False):
        model = parse_model(linear_model())
        tensor = model.graph.initializer[0]
        if not raw:
            values = onnx.numpy_helper.to_array(tensor).flatten().tolist()
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values)
            parse_model(model.SerializeToString())
        tensor.dims[:] = dims
        with pytest.raises(ModelError, match="does not hold so many"):
            parse_model(model.SerializeToString())


def test_a_data_type_that_nobody_knows_is_refused(linear_model):
    model = parse_model(linear_model())
    model.graph.initializer[0].data_type = 99
    with pytest.raises(ModelError, match="data type 99, which onnx does not know"):
        parse_model(model.SerializeToString())


def test_size_limit(tmp_path, linear_model, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(linear_model())
    assert read_model(path) == linear_model() == read_model(linear_model())
    monkeypatch.setattr(graph_module, "MAX_MODEL_BYTES", 10)
    with pytest.raises(FileError, match="at most 10 bytes"):
        read_model(path)


def test_nodes_of_inner_graphs_are_found():
    tensor = helper.make_tensor("t", 1, [1], np.zeros(1))
    branch = helper.make_node("If", ["z"], ["o"], then_branch=inner_graph(tensor), else_branch=inner_graph(tensor))
    graph = helper.make_graph([branch], "g", [], [])
    assert [node.op_type for node in all_nodes(graph)] == ["If", "Identity", "Identity"]
