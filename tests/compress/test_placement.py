import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.runtimes.onnx import generate, optimised_operators
from compress import placement
from compress.errors import CompressError
from compress.placement import place, rank_by_harm
from compress.quantize import computing_nodes, quantize
from compress.quantize_settings import QuantizeSettings

LAYERS = 6
SPOILED = 2  # of a channel that is always 0 it has large weights, beside which the others round to nothing


@pytest.fixture
def chain(tmp_path, rng):
    """x -> six convolutions of three channels -> y; one of them is spoiled."""
    constants = {f"w{i}": 0.3 * rng.normal(size=(3, 3, 3, 3)).astype("f4") for i in range(LAYERS)}
    constants[f"w{SPOILED - 1}"][0] = 0
    constants[f"w{SPOILED}"][:, 0] = 100
    names = ["x", *(f"h{i}" for i in range(LAYERS - 1)), "y"]
    nodes = [
        helper.make_node("Conv", [names[i], f"w{i}"], [names[i + 1]], f"conv{i}", pads=[1] * 4) for i in range(LAYERS)
    ]
    shape = ("N", 3, 8, 8)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "chain.onnx")
    return tmp_path / "chain.onnx"


@pytest.fixture
def rows(rng):
    return {"x": rng.normal(size=(16, 3, 8, 8)).astype("f4")}


def harm(floats, file, rows):
    return float(np.mean((generate(floats, rows) - generate(file, rows)) ** 2))


def test_the_spoiled_layer_is_the_most_harmful(chain, rows):
    assert computing_nodes(chain, QuantizeSettings()) == [f"conv{i}" for i in range(LAYERS)]
    assert rank_by_harm(chain, QuantizeSettings(), rows)[0] == f"conv{SPOILED}"


def test_what_is_left_in_float_is_float_when_it_runs(chain, rows, tmp_path):
    """Between integer nodes, too, where onnxruntime would make it integer while loading."""
    out = tmp_path / "int8.onnx"
    quantize(chain, out, inputs=rows, settings=QuantizeSettings(exclude=("conv2", "conv4")))
    operators = optimised_operators(out)
    assert operators["QLinearConv", "uint8"] == LAYERS - 2
    assert sum(count for (kind, dtype), count in operators.items() if "Conv" in kind and dtype == "float32") == 2


def test_the_largest_part_inside_the_budget_is_integer(chain, rows, tmp_path):
    """The budget is what is left of the harm when the spoiled layer is in float."""
    out = tmp_path / "int8.onnx"
    quantize(chain, out, inputs=rows, settings=QuantizeSettings(exclude=(f"conv{SPOILED}",)))
    allowed, asked = 1.01 * harm(chain, out, rows), []

    def is_inside(file):
        asked.append(file)
        return harm(chain, file, rows) <= allowed

    quantize(chain, out, inputs=rows)
    assert not is_inside(out)
    asked.clear()
    found = place(chain, out, settings=QuantizeSettings(), inputs=rows, is_inside=is_inside)
    assert found.record.settings.exclude == (f"conv{SPOILED}",)
    assert (found.nodes, found.evaluations) == (LAYERS, len(asked))
    assert len(asked) <= np.ceil(np.log2(LAYERS))
    assert optimised_operators(out)["QLinearConv", "uint8"] == LAYERS - 1
    assert harm(chain, out, rows) <= allowed


def test_where_no_part_is_inside_nothing_is_written(chain, rows, tmp_path):
    out = tmp_path / "int8.onnx"
    assert place(chain, out, settings=QuantizeSettings(), inputs=rows, is_inside=lambda _: False) is None
    assert not out.exists()


def test_it_gives_up_when_the_time_is_up(chain, rows, tmp_path):
    """Before it ranks, and before it judges; the planner makes a refused step of it."""
    asked = []
    with pytest.raises(CompressError, match="no time was left"):
        place(
            chain, tmp_path / "x.onnx", settings=QuantizeSettings(), inputs=rows, is_inside=asked.append,
            until=time.monotonic() - 1,
        )  # fmt: skip
    assert asked == []
    assert not (tmp_path / "x.onnx").exists()


def test_what_was_found_in_time_is_kept(chain, rows, tmp_path, monkeypatch):
    """The first judgement takes all the time, and says yes: three nodes in float are fewer than six."""
    clock = iter([0.0] * (LAYERS + 1) + [2.0] * 20)
    monkeypatch.setattr(placement.time, "monotonic", lambda: next(clock))
    asked = []
    found = place(
        chain, tmp_path / "x.onnx", settings=QuantizeSettings(), inputs=rows,
        is_inside=lambda file: asked.append(file) or True, until=1.0,
    )  # fmt: skip
    assert found is not None
    assert (len(asked), len(found.record.settings.exclude)) == (1, LAYERS // 2)
