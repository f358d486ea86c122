import types

import numpy as np
import pytest

from benchmarks.graph import ModelError
from benchmarks.inputs import InputSpec
from benchmarks.records import BackendMissing
from benchmarks.runtimes import tensorrt
from benchmarks.runtimes.tensorrt import TensorRTError, build_plan

X = InputSpec("x", (3, 8, 8), "float32", {"kind": "normal"})

needs_builder = pytest.mark.skipif(
    tensorrt.find() is None, reason="no TensorRT can build here: pip install 'leangen[tensorrt-rtx]'"
)
needs_rtx = pytest.mark.skipif(
    getattr(tensorrt.find(), "__name__", "") != "tensorrt_rtx", reason="tests what only tensorrt_rtx does"
)


@pytest.fixture
def write(tmp_path):
    def write_model(data):
        (tmp_path / "m.onnx").write_bytes(data)
        return tmp_path / "m.onnx"

    return write_model


@needs_builder
@pytest.mark.parametrize("quantized", [False, True])
def test_an_engine_is_really_built(tmp_path, write, conv_model, quantized):
    plan_path = tmp_path / "plans" / "m.plan"
    plan = build_plan(write(conv_model(quantized)), plan_path, inputs=[X])
    assert plan["bytes"] == plan_path.stat().st_size > 1000
    assert plan["file"] == str(plan_path)
    assert plan["backend"] in ("tensorrt", "tensorrt_rtx")
    assert int(plan["version"].split(".")[0]) >= 1
    assert plan["compute_capabilities"] in (["SM86", "SM89", "SM120"], ["CURRENT"])


@needs_builder
def test_an_engine_of_fp16_is_built_from_tensors_of_that_type(tmp_path, write, graph):
    graph.weight("w", np.ones((4, 3, 3, 3), np.float16))
    graph.add("Conv", ["x", "w"], "y")
    model = graph.build({"x": ("float16", ["n", 3, 8, 8])}, {"y": ("float16", ["n", 4, 6, 6])})
    assert build_plan(write(model), tmp_path / "m.plan", inputs=[X])["bytes"] > 1000


@needs_rtx
def test_the_builder_was_told_what_was_asked_for(tmp_path, write, conv_model, monkeypatch):
    """The real builder's own account, after the last setting."""
    told, set_targets = {}, tensorrt._set_targets

    def look(trt, config, names):
        targets = set_targets(trt, config, names)
        told["workspace"] = config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
        told["profiles"] = config.num_optimization_profiles
        told["targets"] = [config.get_compute_capability(index).name for index in range(len(names))]
        return targets

    monkeypatch.setattr(tensorrt, "_set_targets", look)
    settings = {"workspace_bytes": 2**28, "compute_capabilities": ["SM89", "SM120"]}
    plan = build_plan(write(conv_model()), tmp_path / "m.plan", inputs=[X], **settings)
    assert told == {"workspace": 2**28, "profiles": 1, "targets": ["SM89", "SM120"]}
    assert plan["compute_capabilities"] == ["SM89", "SM120"]


@needs_rtx
def test_a_workspace_that_does_not_suffice_is_told_in_tensorrts_words(tmp_path, write, conv_model):
    with pytest.raises(TensorRTError, match=r"(?s)could not build an engine for .*\n.*within workspace limit"):
        build_plan(write(conv_model()), tmp_path / "m.plan", inputs=[X], workspace_bytes=2**20)


@needs_rtx
def test_timings_are_kept_for_the_next_build_where_any_are_taken(tmp_path, write, conv_model, monkeypatch):
    """The real calls, of which TensorRT-RTX says that they do nothing; that classic TensorRT's do needs a GPU."""
    model, cache = write(conv_model()), tmp_path / "cache" / "timings"

    def build():
        return build_plan(model, tmp_path / "m.plan", inputs=[X], timing_cache=cache)["compute_capabilities"]

    assert build() == ["SM86", "SM89", "SM120"]
    assert not cache.exists()
    monkeypatch.setattr(tensorrt, "_compiles_later", lambda trt: False)
    for before in (None, b"kept", b"junk" * 100):
        if before is not None:
            cache.write_bytes(before)
        with pytest.warns(DeprecationWarning, match="no-ops in TensorRT-RTX"):
            assert build() == ["CURRENT"]
        assert cache.read_bytes() not in (b"", before)


@needs_builder
def test_a_fixed_batch_needs_no_profile(tmp_path, write, linear_model):
    spec = InputSpec("z", (3,), "float32", {"kind": "normal"})
    assert build_plan(write(linear_model(batch=4)), tmp_path / "m.plan", inputs=[spec])["bytes"] > 0


@needs_builder
def test_an_unknown_operator_is_told_in_tensorrts_words(tmp_path, write, graph):
    graph.add("NoSuchOperator", ["x"], "y")
    model = graph.build({"x": ("float32", ["n", 3, 8, 8])}, {"y": ("float32", ["n", 3, 8, 8])})
    with pytest.raises(TensorRTError, match=r"(?s)m\.onnx: TensorRT cannot read this model:\n.*NoSuchOperator"):
        build_plan(write(model), tmp_path / "m.plan", inputs=[X])
    assert not (tmp_path / "m.plan").exists()


@needs_builder
def test_junk_and_external_weights_are_refused_before_tensorrt_sees_them(tmp_path, write):
    with pytest.raises(ModelError, match="not an ONNX model"):
        build_plan(write(b"junk"), tmp_path / "m.plan", inputs=[X])


@needs_rtx
def test_a_build_that_fails_says_why(tmp_path, write, linear_model):
    """The fp32 matrix product of this model does not exist for Turing."""
    spec = InputSpec("z", (3,), "float32", {"kind": "normal"})
    with pytest.raises(TensorRTError, match=r"(?s)could not build an engine for SM75:\n.*SM75"):
        build_plan(write(linear_model()), tmp_path / "m.plan", inputs=[spec], compute_capabilities=["SM75"])
    assert not (tmp_path / "m.plan").exists()


@needs_builder
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": []}, "takes the inputs x, but none were named"),
        ({"batches": (8, 1, 32)}, "smallest <= typical <= largest"),
        ({"batches": (0, 1, 32)}, "1 <= smallest"),
        ({"inputs": [InputSpec("x", (3, 8, 9), "float32", {"kind": "normal"})]}, "could not build|cannot"),
    ],
)
def test_bad_settings_are_explained(tmp_path, write, conv_model, settings, message):
    with pytest.raises(TensorRTError, match=message):
        build_plan(write(conv_model()), tmp_path / "m.plan", **{"inputs": [X], **settings})


@needs_rtx
@pytest.mark.parametrize("names", [["SM1"], []])
def test_unknown_gpus_are_refused(tmp_path, write, conv_model, names):
    with pytest.raises(TensorRTError, match=r"one or more of .*SM86"):
        build_plan(write(conv_model()), tmp_path / "m.plan", inputs=[X], compute_capabilities=names)


def test_without_a_backend_the_extra_is_named(tmp_path, write, conv_model, monkeypatch):
    monkeypatch.setattr(tensorrt.importlib, "import_module", lambda name: (_ for _ in ()).throw(OSError("libcudart")))
    assert tensorrt.find() is None
    with pytest.raises(BackendMissing, match=r"pip install 'leangen\[tensorrt-rtx\]'"):
        build_plan(write(conv_model()), tmp_path / "m.plan", inputs=[X])


@pytest.mark.parametrize(
    ("devices", "installed", "found"),
    [
        (1, {"tensorrt": "11.4.0.106", "tensorrt_rtx": "1.7.1"}, "tensorrt"),
        (0, {"tensorrt": "11.4.0.106", "tensorrt_rtx": "1.7.1"}, "tensorrt_rtx"),  # classic needs the GPU it builds for
        (1, {"tensorrt": "10.16.1", "tensorrt_rtx": "1.7.1"}, "tensorrt_rtx"),  # 10 is not always strongly typed
        (1, {"tensorrt_rtx": "1.7.1"}, "tensorrt_rtx"),
        (0, {"tensorrt": "11.4.0.106"}, None),
    ],
)
def test_which_backend_is_taken(monkeypatch, devices, installed, found):
    modules = {name: types.SimpleNamespace(__name__=name, __version__=version) for name, version in installed.items()}
    monkeypatch.setattr(tensorrt, "cuda_device_count", lambda: devices)
    monkeypatch.setattr(tensorrt, "_import", modules.get)
    assert getattr(tensorrt.find(), "__name__", None) == found


def test_why_there_is_no_latency(monkeypatch):
    monkeypatch.setattr(tensorrt, "cuda_device_count", lambda: 0)
    assert tensorrt.latency_reason() == "no CUDA device: engine built, not timed"
    monkeypatch.setattr(tensorrt, "cuda_device_count", lambda: 1)
    assert "not timed" in tensorrt.latency_reason()


def test_devices_are_counted_by_the_driver(monkeypatch):
    answers = {}

    def count_devices(pointer):
        pointer._obj.value = 2
        return answers["count"]

    driver = types.SimpleNamespace(cuInit=lambda flags: answers["init"], cuDeviceGetCount=count_devices)
    monkeypatch.setattr(tensorrt.ctypes, "CDLL", lambda name: driver)
    for init, count, expected in ((0, 0, 2), (100, 0, 0), (0, 1, 0)):
        answers.update(init=init, count=count)
        assert tensorrt.cuda_device_count() == expected
