"""One contract for everything that can be timed: see ``benchmarks.runtimes.base.Runner``."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.records import BackendMissing
from benchmarks.runtimes import tensorrt
from benchmarks.runtimes.base import Runner
from benchmarks.runtimes.callable import CallableRunner
from benchmarks.runtimes.engine import EngineRunner
from benchmarks.runtimes.onnx import OnnxRunner

Z = InputSpec("z", (3,), "float32", {"kind": "normal"})


class Setting(NamedTuple):
    """What a runner is made of: y = 2 z + 1 as a file, its inputs, and a folder to write to."""

    model: Callable[[], bytes]
    inputs: dict[str, np.ndarray]
    folder: Path


def open_torch(setting: Setting, **options: object) -> Runner:
    torch = pytest.importorskip("torch", reason="the extra leangen[full] is not installed")
    from benchmarks.runtimes.torch import TorchRunner

    class Linear(torch.nn.Module):
        def forward(self, z):
            return {"y": 2 * z + 1}

    return TorchRunner(Linear(), setting.inputs, **options)


def open_engine(setting: Setting) -> Runner:
    model, plan = setting.folder / "m.onnx", setting.folder / "m.plan"
    model.write_bytes(setting.model())
    tensorrt.build_plan(model, plan, inputs=[Z], compute_capabilities=["SM86"] if no_device() else ["CURRENT"])
    return EngineRunner(plan, setting.inputs)


def open_onnx(**options: object) -> Callable[[Setting], Runner]:
    return lambda setting: OnnxRunner(setting.model(), setting.inputs, **options)


def no_device() -> bool:
    return tensorrt.cuda_device_count() == 0


def onnx_name(rest: str) -> str:
    return f"onnxruntime {onnxruntime.__version__} {rest}"


CPU = {
    "onnxruntime-1": (open_onnx(), onnx_name("cpu, 1 thread")),
    "onnxruntime-2": (open_onnx(threads=2), onnx_name("cpu, 2 threads")),
    "onnxruntime-2-calm": (open_onnx(threads=2, spinning=False), onnx_name("cpu, 2 threads, no spinning")),
    "torch-eager": (open_torch, " eager cpu, 1 thread"),
    "torch-eager-2": (lambda setting: open_torch(setting, threads=2), " eager cpu, 2 threads"),
    "torch-compiled": (lambda setting: open_torch(setting, compiled=True), " compiled cpu, 1 thread"),
    "callable": (lambda setting: CallableRunner(lambda: {"y": 2 * setting.inputs["z"] + 1}, "numpy"), "numpy"),
}
GPU = {
    "onnxruntime-cuda": (open_onnx(device="cuda"), onnx_name("cuda, 1 thread")),
    "onnxruntime-tensorrt": (open_onnx(device="tensorrt"), onnx_name("tensorrt, 1 thread")),
    "torch-cuda": (lambda setting: open_torch(setting, device="cuda"), " eager cuda, 1 thread"),
    "torch-cuda-compiled": (lambda setting: open_torch(setting, device="cuda", compiled=True), " compiled cuda, "),
    "engine": (open_engine, " engine cuda, 1 thread"),
}
SLOW = {"torch-compiled"}  # g++ takes 20 s of CPU time where torch's cache is empty


def table() -> list[object]:
    needs_device = pytest.mark.skipif(no_device(), reason="no CUDA device here")
    cpu = [pytest.param(name, id=name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CPU]
    return cpu + [pytest.param(name, id=name, marks=[pytest.mark.gpu, needs_device]) for name in GPU]


@pytest.fixture
def setting(linear_model, tmp_path) -> Setting:
    return Setting(linear_model, draw_inputs([Z], 4, 0), tmp_path)


@pytest.mark.parametrize("name", table())
def test_contract(name: str, setting: Setting):
    opener, told = (CPU | GPU)[name]
    runner = opener(setting)
    assert isinstance(runner, Runner)
    assert told in runner.name
    expected = 2 * setting.inputs["z"] + 1
    first = runner.outputs()
    assert list(first) == ["y"]
    assert first["y"].dtype == np.float32
    assert np.allclose(first["y"], expected)
    first["y"][:] = 0  # the caller's own copy
    setting.inputs["z"].flags.writeable = False
    for _ in range(3):
        runner.run()
    assert np.allclose(runner.outputs()["y"], expected)


@pytest.mark.parametrize("name", GPU)
def test_without_a_device_it_is_refused_with_what_to_do(name: str, setting: Setting):
    if not no_device():
        pytest.skip("there is a CUDA device")
    if name == "engine" and tensorrt.find() is None:
        pytest.skip("no TensorRT can build here: pip install 'leangen[tensorrt-rtx]'")
    with pytest.raises(BackendMissing, match=r"no CUDA device: .*GPU|pip install|install a CUDA build of torch"):
        GPU[name][0](setting)


@pytest.mark.parametrize("names", [*itertools.combinations(["onnxruntime-1", "onnxruntime-2", "torch-eager"], 2)])
def test_two_side_by_side_do_not_disturb_each_other(names: tuple[str, str], setting: Setting):
    one, other = (CPU[name][0](setting) for name in names)
    before = one.outputs()["y"]
    other.run()
    assert np.array_equal(one.outputs()["y"], before)
    assert np.allclose(other.outputs()["y"], before)
