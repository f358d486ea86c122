import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.graph import ModelError
from benchmarks.inputs import METADATA_KEY, InputError, InputSpec, dump_specs
from benchmarks.paired import measure_interleaved
from benchmarks.records import BackendMissing, BenchmarkError
from benchmarks.runtimes import profiles, sessions
from benchmarks.runtimes.base import Runner
from benchmarks.runtimes.onnx import OnnxRunner, generate, input_specs, optimised_operators
from benchmarks.statistics import ratio


def rows(n):
    return np.arange(3 * n, dtype=np.float32).reshape(n, 3)


def test_runs_a_file_and_bytes(tmp_path, linear_model):
    (tmp_path / "m.onnx").write_bytes(linear_model())
    for model in (tmp_path / "m.onnx", linear_model()):
        runner = OnnxRunner(model, {"z": rows(2)})
        assert isinstance(runner, Runner)
        assert f"onnxruntime {onnxruntime.__version__} cpu" in runner.name
        assert np.array_equal(runner.outputs()["y"], 2 * rows(2) + 1)


def test_outputs_are_copies_and_inputs_may_be_strided(linear_model):
    strided = np.asfortranarray(rows(4))
    runner = OnnxRunner(linear_model(), {"z": strided})
    first = runner.outputs()["y"]
    first[:] = 0
    assert np.array_equal(runner.outputs()["y"], 2 * strided + 1)


def test_two_runners_side_by_side(linear_model):
    runners = {
        name: OnnxRunner(linear_model(), {"z": rows(2)}, threads=threads) for name, threads in (("a", 1), ("b", 2))
    }
    samples = measure_interleaved(runners, seconds=0.1)
    assert ratio(samples["a"], samples["b"]).value > 0
    assert samples["a"].calls > 1  # microseconds each, so several calls make a sample


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "takes the inputs z, but was given none"),
        ({"x": rows(1)}, "takes the inputs z, but was given x"),
        ({"z": rows(1).astype(np.float64)}, "'z' must be float32, not float64"),
        ({"z": rows(1)[:, :2]}, r"'z' must be \(any, 3\), not \(1, 2\)"),
        ({"z": rows(1)[0]}, r"must be \(any, 3\), not \(3,\)"),
        ({"z": rows(0)}, "at least 1"),
    ],
)
def test_inputs_that_do_not_fit_are_explained(linear_model, inputs, message):
    with pytest.raises(ModelError, match=message):
        OnnxRunner(linear_model(), inputs)


def test_inputs_must_have_the_same_number_of_rows(graph):
    graph.add("MatMul", ["a", "b"], "y")
    model = graph.build({"a": ("float32", ["m", 2]), "b": ("float32", ["n", 2])}, {"y": ("float32", ["m", "k"])})
    with pytest.raises(ModelError, match=r"same number of rows.*\[1, 2\]"):
        OnnxRunner(model, {"a": np.ones((1, 2), np.float32), "b": np.ones((2, 2), np.float32)})


def test_a_model_that_cannot_be_loaded_or_run_is_named(tmp_path, graph):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"bad\.onnx: not an ONNX model"):
        OnnxRunner(path, {})
    graph.weight("shape", np.array([7, 7]))
    graph.add("Reshape", ["z", "shape"], "y")
    model = graph.build({"z": ("float32", ["n", 3])}, {"y": ("float32", [7, 7])})
    with pytest.raises(ModelError, match="cannot run it"):
        OnnxRunner(model, {"z": rows(1)})
    graph.add("NoSuchOperator", ["y"], "x")
    with pytest.raises(ModelError, match="cannot load it"):
        OnnxRunner(graph.build({"z": ("float32", ["n", 3])}, {"x": ("float32", [7, 7])}), {"z": rows(1)})


def test_external_weights_are_refused(tmp_path, graph):
    graph.weight("w", np.ones((3, 3), np.float32))
    graph.add("MatMul", ["z", "w"], "y")
    model = onnx.load_model_from_string(graph.build({"z": ("float32", ["n", 3])}, {"y": ("float32", ["n", 3])}))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    with pytest.raises(ModelError, match="self-contained"):
        OnnxRunner(tmp_path / "m.onnx", {"z": rows(1)})


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_missing_device_is_an_error_and_never_the_cpu(linear_model, monkeypatch, device):
    def open_it():
        return OnnxRunner(linear_model(), {"z": rows(1)}, device=device)

    if sessions.PROVIDERS[device][0] not in onnxruntime.get_available_providers():
        with pytest.raises(BackendMissing, match=r"pip install 'onnxruntime-gpu\[cuda,cudnn\]'"):
            open_it()
    # The package is there, and no device.
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: ["AzureExecutionProvider"])
    monkeypatch.setitem(sessions.PROVIDERS, device, ("AzureExecutionProvider",))
    monkeypatch.setattr(sessions, "cuda_device_count", lambda: 0)
    with pytest.raises(BackendMissing, match="no CUDA device"):
        open_it()
    # Both are there, but the provider's library does not load: onnxruntime falls back without a word.
    monkeypatch.setattr(sessions, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(sessions.ort.InferenceSession, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(BackendMissing, match="quietly"):
        open_it()


def test_a_provider_that_does_not_start_is_an_error_and_never_the_cpu(linear_model, monkeypatch, capfd):
    """onnxruntime itself would print this error and go on with the CPU."""

    def fail(*arguments):
        raise RuntimeError("CUDA failure 35: driver too old")

    monkeypatch.setattr(sessions, "check_device", lambda device: None)
    monkeypatch.setattr(sessions.ort.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(BackendMissing, match="cannot start CUDAExecutionProvider: CUDA failure 35"):
        OnnxRunner(linear_model(), {"z": rows(1)}, device="cuda")
    assert "alling back" not in capfd.readouterr().out


def test_the_callers_array_may_change(linear_model):
    mine = rows(2)
    runner = OnnxRunner(linear_model(), {"z": mine})
    mine[:] = 9
    assert np.array_equal(runner.outputs()["y"], 2 * rows(2) + 1)


def test_arrays_of_another_byte_order_are_refused(linear_model):
    with pytest.raises(ModelError, match=r"'z' must be float32, not >f4"):
        OnnxRunner(linear_model(), {"z": rows(1).astype(">f4")})


def test_bad_settings_are_explained(linear_model):
    with pytest.raises(BenchmarkError, match="tpu"):
        OnnxRunner(linear_model(), {"z": rows(1)}, device="tpu")
    with pytest.raises(BenchmarkError, match="threads must be at least 1"):
        OnnxRunner(linear_model(), {"z": rows(1)}, threads=0)
    with pytest.raises(ModelError, match="batch must be at least 1"):
        generate(linear_model(), {"z": rows(2)}, batch=0)


@pytest.mark.parametrize("batch", [1, 4, 7, 100])
@pytest.mark.parametrize("axis", ["batch", 1, 4])
def test_generate_runs_every_row_once(linear_model, batch, axis):
    assert np.array_equal(generate(linear_model(axis), {"z": rows(7)}, batch=batch), 2 * rows(7) + 1)


def test_generate_refuses_what_does_not_fit(linear_model):
    with pytest.raises(ModelError, match="at least 1"):
        generate(linear_model(), {"z": rows(0)})
    with pytest.raises(ModelError, match="takes the inputs"):
        generate(linear_model(), {"x": rows(1)})


def test_specs_come_from_the_metadata(linear_model):
    spec = InputSpec("z", (3,), "float32", {"kind": "uniform", "low": 0, "high": 1})
    assert input_specs(linear_model(metadata={METADATA_KEY: dump_specs([spec])})) == (spec,)


def test_without_metadata_floats_are_normal(tmp_path, linear_model):
    (tmp_path / "m.onnx").write_bytes(linear_model())
    assert input_specs(tmp_path / "m.onnx") == (InputSpec("z", (3,), "float32", {"kind": "normal"}),)


def test_without_metadata_integers_and_dynamic_axes_need_a_word(graph):
    graph.add("Cast", ["label"], "y", to=1)
    model = graph.build({"label": ("int64", ["n"])}, {"y": ("float32", ["n"])})
    with pytest.raises(ModelError, match=r"'label' is int64; nothing says what values.*leangen\.inputs"):
        input_specs(model)
    graph.nodes.clear()
    graph.add("Relu", ["x"], "y")
    with pytest.raises(ModelError, match="only the first axis"):
        input_specs(graph.build({"x": ("float32", ["n", "w"])}, {"y": ("float32", ["n", "w"])}))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("junk", InputError, "not JSON"),
        (
            dump_specs([InputSpec("x", (3,), "float32", {"kind": "normal"})]),
            ModelError,
            "inputs x, but its graph has z",
        ),
        (dump_specs([InputSpec("z", (4,), "float32", {"kind": "normal"})]), ModelError, "Export it again"),
        (dump_specs([InputSpec("z", (3,), "float16", {"kind": "normal"})]), ModelError, "Export it again"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(linear_model, text, error, message):
    with pytest.raises(error, match=message):
        input_specs(linear_model(metadata={METADATA_KEY: text}))


def test_optimised_operators_are_those_that_run(conv_model):
    """Float: the relu goes into the convolution. int8 Q/DQ: the convolution itself becomes an integer one."""
    plain, quantized = optimised_operators(conv_model()), optimised_operators(conv_model(quantized=True))
    assert plain[("Conv", "float32")] == 1
    assert ("Relu", "float32") not in plain
    assert {dtype for operator, dtype in quantized if "Quantize" in operator} >= {"float32"}


def test_the_profile_tells_where_time_goes(conv_model):
    inputs = {"x": np.zeros((2, 3, 8, 8), np.float32)}
    runner = OnnxRunner(conv_model(), inputs, profile=True)
    runner.run()
    seconds = runner.operator_seconds()
    assert seconds[("Conv", "float32")] > 0
    assert runner.operator_counts().keys() == seconds.keys()
    with pytest.raises(BenchmarkError, match="profile=True"):
        OnnxRunner(conv_model(), inputs).operator_seconds()


def test_a_profile_leaves_no_files_behind(conv_model, tmp_path, monkeypatch):
    monkeypatch.setattr(profiles.tempfile, "tempdir", str(tmp_path))
    runner = OnnxRunner(conv_model(), {"x": np.zeros((2, 3, 8, 8), np.float32)}, profile=True)
    assert list(tmp_path.iterdir())
    del runner
    assert not list(tmp_path.iterdir())
