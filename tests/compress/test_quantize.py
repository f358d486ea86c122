import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.fingerprint import Fingerprint
from benchmarks.runtimes.onnx import generate, input_specs, optimised_operators
from compress import quantize as module_under_test
from compress.errors import CompressError
from compress.export import export_onnx
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings

INTEGER_CHAIN = {"QGemm", "QLinearConv", "Reshape", "Transpose"}


@pytest.mark.parametrize("per_channel", [False, True])
def test_from_the_first_product_to_the_image_everything_is_integer(low16_file, latents, tmp_path, per_channel):
    record = quantize(low16_file, tmp_path / "q.onnx", inputs=latents, settings=QuantizeSettings(per_channel))
    assert record.floats == {}
    assert record.cause == ""
    kinds = optimised_operators(tmp_path / "q.onnx")
    assert {name for name, dtype in kinds if dtype in ("uint8", "int8")} - {"DequantizeLinear"} == INTEGER_CHAIN
    assert record.operators == {
        "QuantizeLinear": 1, "QGemm": 1, "QLinearConv": 2, "Reshape": 3, "Transpose": 1,
        "DequantizeLinear": 1, "Tanh": 1,
    }  # fmt: skip


def test_int8_draws_nearly_the_same(low16_file, latents, tmp_path):
    quantize(low16_file, tmp_path / "q.onnx", inputs=latents)
    fp32, int8 = generate(low16_file, latents), generate(tmp_path / "q.onnx", latents)
    assert 0 < np.abs(fp32 - int8).mean() < 0.02
    assert np.corrcoef(fp32.ravel(), int8.ravel())[0, 1] > 0.99


def test_metadata_inputs_and_output_are_kept(low16, low16_file, latents, tmp_path):
    quantize(low16_file, tmp_path / "q.onnx", inputs=latents)
    before, after = onnx.load(low16_file), onnx.load(tmp_path / "q.onnx")
    assert after.metadata_props == before.metadata_props
    assert list(after.graph.input) == list(before.graph.input)
    assert [port.name for port in after.graph.output] == ["image"]
    assert input_specs(tmp_path / "q.onnx") == low16.inputs
    assert {p.name for p in tmp_path.iterdir()} == {"low16.onnx", "q.onnx"}  # nothing else is left behind


def test_the_same_in_gives_the_same_out(low16_file, latents, tmp_path):
    for name in "ab":
        quantize(low16_file, tmp_path / name, inputs=latents)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tables_of_classes_are_stored_as_integers_and_labels_are_left_alone(tmp_path):
    """Rows of a table are looked up in int8; the same operator on shapes and labels (int64) is nobody's to quantize."""
    nodes = [
        helper.make_node("Gather", ["table", "label"], ["row"]),
        helper.make_node("Add", ["z", "row"], ["sum"]),
        helper.make_node("Shape", ["sum"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["sum", "wanted"], ["image"]),
    ]
    ports = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4]),
        helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
    ]
    rng = np.random.default_rng(0)
    constants = {"table": rng.uniform(-1, 1, (3, 4)).astype("f4"), "zero": np.int64([0]), "rest": np.int64([1, 2, 2])}
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 2, 2])
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "classes", ports, [image], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "float.onnx")
    inputs = {"z": rng.uniform(-1, 1, (64, 4)).astype("f4"), "label": rng.integers(0, 3, 64)}
    quantize(tmp_path / "float.onnx", tmp_path / "int8.onnx", inputs=inputs)
    expected = inputs["z"] + constants["table"][inputs["label"]]
    assert generate(tmp_path / "int8.onnx", inputs).reshape(64, 4) == pytest.approx(expected, abs=0.03)
    quantized = onnx.load(tmp_path / "int8.onnx").graph
    stored = {tensor.name: tensor.data_type for tensor in quantized.initializer}
    assert stored["table_quantized"] in (TensorProto.INT8, TensorProto.UINT8)


def test_a_transposed_convolution_stays_float_and_the_record_says_so(dcgan16, latents, tmp_path):
    export_onnx(dcgan16, tmp_path / "d.onnx")
    record = quantize(tmp_path / "d.onnx", tmp_path / "q.onnx", inputs=latents)
    assert record.cause == "3 ConvTranspose stay in fp32"
    assert record.operators["DequantizeLinear"] == 1  # their weights are not dequantized in every call


def test_unfolded_a_transposed_convolution_is_integer(dcgan16, latents, tmp_path):
    export_onnx(dcgan16, tmp_path / "d.onnx")
    record = quantize(tmp_path / "d.onnx", tmp_path / "q.onnx", inputs=latents, settings=QuantizeSettings(unfold=True))
    assert (record.cause, record.operators["QLinearConv"]) == ("", 3)
    difference = generate(tmp_path / "d.onnx", latents) - generate(tmp_path / "q.onnx", latents)
    assert np.abs(difference).mean() < 0.02


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_ranges_can_be_found_from_histograms(low16_file, latents, tmp_path, calibration, capsys):
    """Neither is wider than the extremes; onnxruntime's talk about it is kept from stdout."""
    quantize(low16_file, tmp_path / "q.onnx", inputs=latents, settings=QuantizeSettings(calibration=calibration))
    graph = onnx.load(tmp_path / "q.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "z")
    assert constants[first.input[1]] <= 1.001 * float(np.ptp(latents["z"])) / 255
    difference = generate(low16_file, latents) - generate(tmp_path / "q.onnx", latents)
    assert np.abs(difference).mean() < 0.05
    assert capsys.readouterr().out == ""


def test_tensorrt_gets_symmetric_int8_and_float_biases(low16_file, latents, tmp_path):
    symmetric = QuantizeSettings(per_channel=True, target="tensorrt")
    record = quantize(low16_file, tmp_path / "t.onnx", inputs=latents, settings=symmetric)
    assert record.operators == {}
    assert not record.reduce_range
    graph = onnx.load(tmp_path / "t.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    zero_points = [constants[n.input[2]] for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert zero_points
    assert all(z.dtype == np.int8 and not z.any() for z in zero_points)
    biases = [constants[n.input[2]].dtype for n in graph.node if n.op_type in ("Conv", "Gemm")]
    assert biases == [np.float32] * 3
    assert {node.op_type for node in graph.node} >= {"DepthToSpace"}  # its layout is TensorRT's own business


def test_oracle_min_max_scale_of_the_input(low16_file, latents, tmp_path):
    """uint8, asymmetric: scale = (max(0, high) - min(0, low)) / 255, zero point = round(-low / scale)."""
    quantize(low16_file, tmp_path / "q.onnx", inputs=latents)
    graph = onnx.load(tmp_path / "q.onnx").graph
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "z")
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    low, high = float(latents["z"].min()), float(latents["z"].max())
    scale = (high - low) / 255
    assert constants[first.input[1]] == pytest.approx(scale, rel=1e-6)
    assert constants[first.input[2]] == round(-low / scale)


def test_excluded_nodes_stay_float(low16_file, latents, tmp_path):
    name = next(node.name for node in onnx.load(low16_file).graph.node if node.op_type == "Gemm")
    record = quantize(low16_file, tmp_path / "q.onnx", inputs=latents, settings=QuantizeSettings(exclude=(name,)))
    assert "QGemm" not in record.operators
    assert record.cause.endswith("stays in fp32")
    with pytest.raises(CompressError, match="'nothing' is not there"):
        quantize(low16_file, tmp_path / "x.onnx", inputs=latents, settings=QuantizeSettings(exclude=("nothing",)))
    assert not (tmp_path / "x.onnx").exists()


def machine(flags, name="x86_64"):
    return Fingerprint("cpu", flags, 2, None, "linux", name, "3.11", "1.31", None)


@pytest.mark.parametrize(
    ("fingerprint", "reduced"),
    [
        (machine(("avx2",)), True),
        (machine(("avx2", "avx_vnni")), False),
        (machine(("avx512_vnni",)), False),
        (machine((), "aarch64"), False),
        (machine((), "AMD64"), True),
    ],
)
def test_weights_take_seven_bits_without_vnni(low16_file, latents, tmp_path, monkeypatch, fingerprint, reduced):
    monkeypatch.setattr(module_under_test, "fingerprint", lambda: fingerprint)
    module_under_test._saturates.cache_clear()
    try:
        record = quantize(low16_file, tmp_path / "q.onnx", inputs=latents)
    finally:
        module_under_test._saturates.cache_clear()
    assert record.reduce_range is reduced
    weights = [numpy_helper.to_array(t) for t in onnx.load(tmp_path / "q.onnx").graph.initializer]
    largest = max(int(np.abs(w.astype(int)).max()) for w in weights if w.dtype == np.int8 and w.ndim > 1)
    assert largest <= (64 if reduced else 128)
    assert (largest > 64) is not reduced


def test_wrong_requests_say_what_to_do(low16_file, latents, tmp_path):
    def refused(says, path=low16_file, inputs=latents, **more):
        with pytest.raises(CompressError, match=says):
            quantize(path, tmp_path / "x.onnx", inputs=inputs, **more)
        assert not (tmp_path / "x.onnx").exists()

    refused("names, shapes", inputs={"noise": latents["z"]})
    refused("names, shapes", inputs={"z": latents["z"][:, :3]})
    refused("at least 1", inputs={"z": latents["z"][:0]})
    refused("at most 4096", inputs={"z": np.zeros((4097, 16), "f4")})
    refused("cannot be read", path=tmp_path / "missing.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    refused("ONNX", path=tmp_path / "junk.onnx")
    quantize(low16_file, tmp_path / "q.onnx", inputs=latents)
    refused("quantized already", path=tmp_path / "q.onnx")


def test_record_is_json(low16_file, latents, tmp_path):
    record = quantize(low16_file, tmp_path / "q.onnx", inputs=latents)
    assert json.loads(json.dumps(record.to_json()))["rows"] == 64
    assert record.bytes == (tmp_path / "q.onnx").stat().st_size < low16_file.stat().st_size


def test_a_fixed_batch_is_respected(low16_file, latents, tmp_path):
    model = onnx.load(low16_file)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 8
    onnx.save(model, tmp_path / "fixed.onnx")
    quantize(tmp_path / "fixed.onnx", tmp_path / "q.onnx", inputs=latents)
    with pytest.raises(CompressError, match="fixed batch of 8"):
        quantize(tmp_path / "fixed.onnx", tmp_path / "q.onnx", inputs={"z": latents["z"][:7]})


def test_graphs_inside_nodes_are_not_quantized(latents, tmp_path):
    """onnxruntime aborts the process over them."""
    branch = helper.make_graph(
        [helper.make_node("Identity", ["z"], ["b"])], "b", [], [helper.make_tensor_value_info("b", 1, None)]
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)],
        "g",
        [helper.make_tensor_value_info("z", 1, ("N", 16))],
        [helper.make_tensor_value_info("y", 1, ("N", 16))],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "if.onnx")
    with pytest.raises(CompressError, match="Graphs with If are not quantized"):
        quantize(tmp_path / "if.onnx", tmp_path / "q.onnx", inputs=latents)
