"""`make typecheck-tensorrt` can fail: each mistake in a copy of the adapter is named."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".ci" / "typecheck_tensorrt.py"
RUNTIMES = Path("benchmarks", "runtimes")

# A piece of the adapter, what stands there in the copy, and what mypy has to name.
MISTAKES = {
    "engine.py": [
        ("trt.Runtime(self._log)", "trt.Runtime()", "Runtime"),  # an argument is missing
        (".deserialize_cuda_engine(", ".deserialize_engine(", "deserialize_engine"),
        (".execute_async_v3(", ".execute_async_v2(", "execute_async_v2"),  # gone since TensorRT 11, as the next two
        (".num_io_tensors", ".num_bindings", "num_bindings"),
        (".set_input_shape(", ".set_binding_shape(", "set_binding_shape"),
        (".get_tensor_name(", ".get_tensor_nam(", "get_tensor_nam"),
        (".get_tensor_mode(", ".get_tensor_kind(", "get_tensor_kind"),
        ("trt.TensorIOMode.INPUT", "trt.TensorIOMode.IN", "IN"),
        ("context.get_tensor_shape(", "context.get_tensor_size(", "get_tensor_size"),
        (".set_tensor_address(name, address)", ".set_tensor_address(address)", "set_tensor_address"),
        (".get_tensor_location(", ".get_location(", "get_location"),
        (".get_tensor_dtype(", ".get_binding_dtype(", "get_binding_dtype"),
        ("trt.nptype(", "trt.np_type(", "np_type"),
        (
            "    config.dynamic_shapes_kernel_",
            "    config.dynamic_shape_kernel_",
            "dynamic_shape_kernel_specialization_strategy",
        ),
        ("create_execution_context(), None", "create_context(), None", "create_context"),
        ("cache.deserialize(", "cache.load(", "load"),
        ("config.set_runtime_cache(cache)", "config.use_runtime_cache(cache)", "use_runtime_cache"),
        ("bytes(cache.serialize())", "bytes(cache.to_bytes())", "to_bytes"),
    ],
    "tensorrt.py": [
        ("config.set_memory_pool_limit(", "config.set_max_workspace_size(", "set_max_workspace_size"),
        ("trt.ProfilingVerbosity.DETAILED", "trt.ProfilingVerbosity.VERBOSE", "VERBOSE"),
        ("builder.build_serialized_network(", "builder.build_engine(", "build_engine"),
        ("    ILogger: type", "    Logs: type", "ILogger"),
        ("    Dims: type", "    Shape: type", "conforms.py"),  # also where it is used: only the module has it not
        ("trt.Dims(", "trt.Shape(", "conforms.py"),
        ("smallest, typical, largest)", "smallest, typical)", "set_shape"),
        (".set_compute_capability(known[name], index)", ".set_compute_capability(index)", "set_compute_capability"),
        ("set_timing_cache(kept, ignore_mismatch=", "set_timing_cache(kept, ignore=", "set_timing_cache"),
    ],
}

slow = pytest.mark.slow
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="no API to hold to: pip install 'leangen[tensorrt-rtx]'"
)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def typecheck(folder):
    """(exit code, what mypy says) of the adapter in ``folder``."""
    done = subprocess.run([sys.executable, PROGRAM, folder], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@slow
@needs_rtx
def test_the_adapter_fits_the_installed_package(copy):
    assert typecheck(copy) == (0, "Success: no issues found in 3 source files\n")


@slow
@needs_rtx
def test_a_mistake_in_any_call_is_refused(copy):
    for name, mistakes in MISTAKES.items():
        text = (copy / RUNTIMES / name).read_text()
        for right, wrong, _ in mistakes:
            assert right in text, right
            text = text.replace(right, wrong)
        (copy / RUNTIMES / name).write_text(text)
    code, said = typecheck(copy)
    errors = [line for line in said.splitlines() if " error: " in line]
    missed = [
        wrong
        for mistakes in MISTAKES.values()
        for _, wrong, named in mistakes
        if not any(f'"{named}"' in line or f"/{named}:" in line for line in errors)
    ]
    assert (code, missed) == (1, [])


def test_without_the_package_it_says_so_and_what_to_install(monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("typecheck_tensorrt", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda name: None)
    assert program.main() == 0
    assert capsys.readouterr().out.startswith("skipped: tensorrt_rtx is not installed")
    assert all((ROOT / name).is_file() for name in program.ADAPTER)
