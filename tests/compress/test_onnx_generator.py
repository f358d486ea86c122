import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.inputs import InputSpec
from benchmarks.runtimes.onnx import generate, input_specs
from compress.edits import Edit
from compress.errors import CompressError
from compress.export import export_onnx
from compress.onnx_generator import OnnxGenerator, clean
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings


def save(path, nodes, constants=(), shape=("N", 4), opsets=(("", 20),), out=("N", 4)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(value, name) for name, value in dict(constants).items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid(*one) for one in opsets], ir_version=9), path)
    return path


@pytest.fixture
def stranger(tmp_path, rng):
    """Z -> Identity -> Gemm -> y, and a constant that nothing reads."""
    nodes = [helper.make_node("Identity", ["z"], ["i"]), helper.make_node("Gemm", ["i", "w"], ["y"])]
    constants = {"w": rng.normal(size=(4, 4)).astype("f4"), "unread": np.ones(9, "f4")}
    return save(tmp_path / "stranger.onnx", nodes, constants)


def test_a_strangers_inputs_are_taken_to_be_normal(stranger):
    generator = OnnxGenerator.load(stranger)
    assert [(spec.name, spec.shape, spec.prior) for spec in generator.inputs] == [("z", (4,), {"kind": "normal"})]


def test_given_inputs_count_and_stand_in_the_file(stranger, tmp_path):
    uniform = InputSpec("z", (4,), "float32", {"kind": "uniform", "low": 0, "high": 1})
    export_onnx(OnnxGenerator.load(stranger, [uniform]), tmp_path / "out.onnx", metadata={"more": "1"})
    assert input_specs(tmp_path / "out.onnx") == (uniform,)
    stored = {entry.key: entry.value for entry in onnx.load(tmp_path / "out.onnx").metadata_props}
    assert stored["more"] == "1"
    assert json.loads(stored["leangen.origin"])["kind"] == "onnx"


def test_cleaning_leaves_the_pictures(stranger, tmp_path, rng):
    cleaned = OnnxGenerator.load(stranger).with_edit(Edit("clean", {}))
    export_onnx(cleaned, tmp_path / "out.onnx")
    graph = onnx.load(tmp_path / "out.onnx").graph
    assert [node.op_type for node in graph.node] == ["Gemm"]
    assert [tensor.name for tensor in graph.initializer] == ["w"]
    rows = {"z": rng.normal(size=(5, 4)).astype("f4")}
    np.testing.assert_array_equal(generate(stranger, rows), generate(tmp_path / "out.onnx", rows))


def test_what_cannot_be_cleaned_is_an_error(stranger, monkeypatch):
    def stumble(_):
        raise IndexError("list index out of range")

    monkeypatch.setattr("onnxslim.slim", stumble)
    with pytest.raises(CompressError, match="onnxslim cannot simplify this graph: list index out of range"):
        clean(onnx.load(stranger))


def test_edits_make_the_id_and_end_with_quantization(stranger, tmp_path):
    one = OnnxGenerator.load(stranger)
    two = one.with_edit(QuantizeSettings().edit(0, 64))
    assert one.id != two.id
    assert two.unquantized().id == one.id
    with pytest.raises(CompressError, match="Quantization is the last edit"):
        two.with_edit(Edit("clean", {}))
    two.save(tmp_path / "kept")
    assert (tmp_path / "kept" / "source.onnx").read_bytes() == stranger.read_bytes()
    assert json.loads((tmp_path / "kept" / "edits.json").read_text())[0]["kind"] == "quantize"


def test_what_cannot_be_compressed_is_refused_in_one_line(stranger, tmp_path, rng):
    def refused(path, says):
        with pytest.raises(CompressError, match=says) as caught:
            OnnxGenerator.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "missing.onnx", "cannot be read")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    refused(tmp_path / "junk.onnx", "ONNX")
    foreign = [helper.make_node("Fancy", ["z"], ["y"], domain="com.example")]
    refused(save(tmp_path / "foreign.onnx", foreign, opsets=(("", 20), ("com.example", 1))), "com.example.Fancy")
    rows = {"z": rng.normal(size=(8, 4)).astype("f4")}
    quantize(stranger, tmp_path / "int8.onnx", inputs=rows)
    refused(tmp_path / "int8.onnx", "quantized already")
    model = onnx.load(stranger)
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    refused(tmp_path / "outside.onnx", "self-contained")


def test_a_tensor_that_only_claims_to_be_large_is_not_allocated(tmp_path):
    """A header may declare any shape; the bytes are not there."""
    path = save(tmp_path / "huge.onnx", [helper.make_node("Gemm", ["z", "w"], ["y"])], {"w": np.ones((4, 4), "f4")})
    model = onnx.load(path)
    model.graph.initializer[0].dims[:] = [2**15, 2**14]
    onnx.save(model, path)
    with pytest.raises(CompressError, match="w") as caught:
        OnnxGenerator.load(path)
    assert "\n" not in str(caught.value)


def test_what_was_saved_is_loaded_with_its_edits(stranger, tmp_path):
    one = OnnxGenerator.load(stranger).with_edit(Edit("clean", {})).with_edit(QuantizeSettings().edit(0, 64))
    one.save(tmp_path / "kept")
    again = OnnxGenerator.load_saved(tmp_path / "kept")
    assert (again.id, again.edits) == (one.id, one.edits)
    save(tmp_path / "kept" / "source.onnx", [helper.make_node("Identity", ["z"], ["y"])])
    with pytest.raises(CompressError, match=r"source\.onnx is not the file that origin\.json names"):
        OnnxGenerator.load_saved(tmp_path / "kept")


def test_a_file_that_changes_meanwhile_is_noticed(stranger, tmp_path):
    one = OnnxGenerator.load(stranger)
    save(stranger, [helper.make_node("Identity", ["z"], ["y"])])
    with pytest.raises(CompressError, match="was changed while it was worked on"):
        export_onnx(one, tmp_path / "out.onnx")


def test_a_fixed_batch_and_an_old_opset_are_known(tmp_path):
    identity = [helper.make_node("Identity", ["z"], ["y"])]
    assert OnnxGenerator.load(save(tmp_path / "a.onnx", identity)).batch is None
    assert OnnxGenerator.load(save(tmp_path / "b.onnx", identity, shape=(2, 4), out=(2, 4))).batch == 2
    with pytest.raises(CompressError, match=r"opset 11 is too old.*convert_version\(onnx\.load\(path\), 13\)"):
        OnnxGenerator.load(save(tmp_path / "c.onnx", identity, opsets=(("", 11),)))
