"""No GPU here: names are held against the real packages, the code against a scripted GPU; the real thing refuses."""

import ast
import inspect
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.graph import ModelError
from benchmarks.inputs import InputSpec
from benchmarks.records import BackendMissing, BenchmarkError
from benchmarks.runtimes import engine, tensorrt
from benchmarks.runtimes.engine import EngineRunner
from benchmarks.runtimes.tensorrt import TensorRTError

Z = InputSpec("z", (3,), "float32", {"kind": "normal"})
INPUTS = {"z": np.arange(6, dtype=np.float32).reshape(2, 3)}

needs_builder = pytest.mark.skipif(
    tensorrt.find() is None, reason="no TensorRT can build here: pip install 'leangen[tensorrt-rtx]'"
)


@pytest.fixture
def plan(tmp_path, linear_model):
    """A real one, for RTX 30."""
    (tmp_path / "m.onnx").write_bytes(linear_model())
    tensorrt.build_plan(tmp_path / "m.onnx", tmp_path / "m.plan", inputs=[Z], compute_capabilities=["SM86"])
    return tmp_path / "m.plan"


@needs_builder
@pytest.mark.skipif(tensorrt.cuda_device_count() > 0, reason="there is a CUDA device")
def test_without_a_device_a_plan_is_refused_before_anything_is_loaded(plan, monkeypatch):
    monkeypatch.setattr(tensorrt, "find", lambda: pytest.fail("loaded"))
    with pytest.raises(BackendMissing, match="no CUDA device: an NVIDIA GPU with its driver is needed"):
        EngineRunner(plan, INPUTS)
    with pytest.raises(BackendMissing, match="no CUDA device"):
        EngineRunner(plan.with_name("missing.plan"), INPUTS)


@needs_builder
@pytest.mark.skipif(tensorrt.cuda_device_count() > 0, reason="there is a CUDA device")
def test_what_tensorrt_says_of_a_plan_that_it_cannot_load_is_told(plan, monkeypatch):
    """The real TensorRT, told that there is a device, and finding none."""
    pytest.importorskip("cuda.bindings.runtime", reason="pip install 'leangen[tensorrt-rtx]'")
    monkeypatch.setattr(tensorrt, "cuda_device_count", lambda: 1)
    with pytest.raises(TensorRTError, match=r"(?s)m\.plan: tensorrt_rtx 1\.\S+ cannot load it; .*\n.*CUDA"):
        EngineRunner(plan, INPUTS)


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(tensorrt, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(tensorrt, "find", lambda: None)
    with pytest.raises(BackendMissing, match=r"no TensorRT here: pip install 'leangen\[tensorrt\]'"):
        EngineRunner(tmp_path / "m.plan", INPUTS)
    monkeypatch.setattr(tensorrt, "find", lambda: object())
    monkeypatch.setattr(engine, "_CUDA", "no_such_package.runtime")
    with pytest.raises(BackendMissing, match="no cuda-bindings here"):
        EngineRunner(tmp_path / "m.plan", INPUTS)


@needs_builder
def test_every_name_that_is_used_exists_in_the_installed_packages():
    trt = tensorrt.find()
    cuda = pytest.importorskip("cuda.bindings.runtime", reason="pip install 'leangen[tensorrt-rtx]'")
    owners = {
        "trt": trt,
        "cuda": cuda,
        "_cuda": cuda,
        "_runtime": trt.Runtime,
        "engine": trt.ICudaEngine,
        "context": trt.IExecutionContext,
        "_context": trt.IExecutionContext,
        "config": getattr(trt, "IRuntimeConfig", None),
        "cache": getattr(trt, "IRuntimeCache", None),
    }
    used = set(names_used(inspect.getsource(engine)))
    assert {owner for owner, _ in used} == set(owners), "each of them is looked at"
    missing = [path for path in used if not has_path(owners[path[0]], path[1].split("."))]
    assert missing == []


def names_used(source):
    """(object, dotted path below it) of every attribute that is taken from the objects of TensorRT and CUDA."""
    known = {"trt", "cuda", "_cuda", "_runtime", "engine", "context", "_context", "config", "cache"}
    for node in ast.walk(ast.parse(source)):
        path = []
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            path.insert(0, node.id)
        if path[:1] == ["self"]:
            path = path[1:]
        if len(path) > 1 and path[0] in known and not path[1].startswith("__"):
            yield path[0], ".".join(path[1:])


def has_path(owner, names):
    for name in names:
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


class Status(Enum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815


class ScriptedGpu:
    """A CUDA runtime whose memory is a dict and whose clock moves by 3 ms a kernel."""

    cudaError_t = Status  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down")  # noqa: N815

    def __init__(self):
        self.memory, self.clock_ms, self.events, self.freed = {}, 0.0, {}, []
        self.status = Status.cudaSuccess

    def cudaStreamCreate(self):  # noqa: N802
        return Status.cudaSuccess, 7

    def cudaEventCreate(self):  # noqa: N802
        self.events[len(self.events)] = None
        return Status.cudaSuccess, len(self.events) - 1

    def cudaMalloc(self, size):  # noqa: N802
        address = 1000 + len(self.memory)
        self.memory[address] = np.zeros(size, np.uint8)
        return self.status, address

    def cudaMemcpy(self, to, source, size, kind):  # noqa: N802
        import ctypes

        if kind == "up":
            self.memory[to][:] = np.frombuffer(ctypes.string_at(source, size), np.uint8)
        else:
            ctypes.memmove(to, self.memory[source].tobytes(), size)
        return (Status.cudaSuccess,)

    def cudaEventRecord(self, event, stream):  # noqa: N802
        self.events[event] = self.clock_ms
        return (Status.cudaSuccess,)

    def cudaEventSynchronize(self, event):  # noqa: N802
        return (Status.cudaSuccess,)

    def cudaEventElapsedTime(self, start, end):  # noqa: N802
        return Status.cudaSuccess, self.events[end] - self.events[start]

    def cudaFree(self, address):  # noqa: N802
        self.freed.append(address)

    def cudaEventDestroy(self, event):  # noqa: N802
        self.freed.append(("event", event))

    def cudaStreamDestroy(self, stream):  # noqa: N802
        self.freed.append(("stream", stream))


class ScriptedEngine:
    """z (any, 3) -> y = 2 z + 1; its own context."""

    num_io_tensors = 2

    def __init__(self, gpu):
        self.gpu, self.shape, self.addresses, self.accepts, self.works = gpu, None, {}, True, True

    def create_execution_context(self):
        return self

    def get_tensor_name(self, index):
        return "zy"[index]

    def get_tensor_mode(self, name):
        return "in" if name == "z" else "out"

    def get_tensor_location(self, name):
        return "device"

    def get_tensor_dtype(self, name):
        return np.float32

    def get_tensor_shape(self, name):
        return self.shape or (-1, 3)

    def set_input_shape(self, name, shape):
        self.shape = shape
        return self.accepts

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert stream == 7
        self.gpu.clock_ms += 3
        z = self.gpu.memory[self.addresses["z"]].view(np.float32)
        self.gpu.memory[self.addresses["y"]].view(np.float32)[:] = 2 * z + 1
        return self.works


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """(GPU, engine, path of its plan) in the place of the real ones."""
    gpu = ScriptedGpu()
    made = ScriptedEngine(gpu)
    log = SimpleNamespace(lines=["said by TensorRT"])
    trt = SimpleNamespace(
        __name__="tensorrt",
        __version__="11.0",
        Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda data: made if data == b"plan" else None),
        TensorIOMode=SimpleNamespace(INPUT="in"),
        TensorLocation=SimpleNamespace(DEVICE="device"),
        nptype=lambda dtype: dtype,
    )
    monkeypatch.setattr(engine, "_backends", lambda: (trt, gpu))
    monkeypatch.setattr(tensorrt, "make_log", lambda trt: log)
    (tmp_path / "m.plan").write_bytes(b"plan")
    return gpu, made, tmp_path / "m.plan"


def test_an_engine_runs_between_two_events(scripted):
    gpu, _, plan = scripted
    runner = EngineRunner(plan, INPUTS)
    assert runner.name == "tensorrt 11.0 engine cuda, 1 thread"
    assert np.array_equal(runner.outputs()["y"], 2 * INPUTS["z"] + 1)
    runner.outputs()["y"][:] = 0
    assert np.array_equal(runner.outputs()["y"], 2 * INPUTS["z"] + 1)
    before = gpu.clock_ms
    runner.run()
    assert gpu.clock_ms == before + 3
    assert runner.last_gpu_seconds == pytest.approx(3e-3)
    assert gpu.freed == []
    del runner
    assert sorted(map(str, gpu.freed)) == ["('event', 0)", "('event', 1)", "('stream', 7)", "1000", "1001"]


class ScriptedCache:
    """Kernels of TensorRT-RTX: takes b"kernels" and no other bytes, and holds them after a run."""

    def __init__(self):
        self.taken = []

    def deserialize(self, data):
        self.taken.append(data)
        return data == b"kernels"

    def serialize(self):
        return b"kernels"


def test_kernels_are_kept_for_the_next_start_where_any_are_compiled(scripted, monkeypatch, tmp_path):
    _, made, plan = scripted
    file, cache = tmp_path / "cache" / "kernels", ScriptedCache()
    EngineRunner(plan, INPUTS, runtime_cache=file)
    assert not file.exists(), "classic TensorRT compiled when it built"

    set_to = []
    config = SimpleNamespace(create_runtime_cache=lambda: cache, set_runtime_cache=set_to.append)
    made.shape, made.create_runtime_config = None, lambda: config
    monkeypatch.setattr(made, "create_execution_context", lambda given: made if given is config else None)
    rtx, _ = engine._backends()
    monkeypatch.setattr(rtx, "DynamicShapesKernelSpecializationStrategy", SimpleNamespace(EAGER=1), raising=False)
    EngineRunner(plan, INPUTS)
    assert (set_to, config.dynamic_shapes_kernel_specialization_strategy) == ([], 1)
    for taken in ([], [b"kernels"], [b"kernels", b"of another GPU"]):
        made.shape = None
        EngineRunner(plan, INPUTS, runtime_cache=file)
        assert set_to.pop() is cache
        assert cache.taken == taken
        assert file.read_bytes() == b"kernels"
        if len(taken) == 1:
            file.write_bytes(b"of another GPU")


def test_what_the_engine_does_not_take_is_explained(scripted, tmp_path):
    gpu, made, plan = scripted
    with pytest.raises(ModelError, match=r"'z' must be \(any, 3\), not \(2, 2\)"):
        EngineRunner(plan, {"z": INPUTS["z"][:, :2]})
    made.shape = None
    with pytest.raises(ModelError, match="must be float32, not float64"):
        EngineRunner(plan, {"z": INPUTS["z"].astype(np.float64)})
    made.shape, made.accepts = None, False
    with pytest.raises(TensorRTError, match=r"m\.plan: it was not built for input 'z' of shape \(2, 3\):\n  said by T"):
        EngineRunner(plan, INPUTS)
    made.shape, made.accepts, made.works = None, True, False
    with pytest.raises(TensorRTError, match="a call failed"):
        EngineRunner(plan, INPUTS)
    made.shape, gpu.status = None, Status.cudaErrorMemoryAllocation
    with pytest.raises(BenchmarkError, match="CUDA: cudaErrorMemoryAllocation"):
        EngineRunner(plan, INPUTS)
    (tmp_path / "junk.plan").write_bytes(b"junk")
    with pytest.raises(TensorRTError, match=r"junk\.plan: tensorrt 11\.0 cannot load it; build it here"):
        EngineRunner(tmp_path / "junk.plan", INPUTS)
