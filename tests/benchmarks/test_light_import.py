import subprocess
import sys

import pytest

MODULES = "paired statistics cost inputs records files graph runtimes.onnx runtimes.callable runtimes.tensorrt"
HEAVY = ("torch", "optuna", "tensorrt", "tensorrt_rtx", "pandas")


@pytest.mark.parametrize("module", [*MODULES.split(), " ".join(MODULES.split())])
def test_nothing_heavy_is_imported(module):
    """A CI job with the speed gate has no torch, and the command line must start at once."""
    imports = "; ".join(f"import benchmarks.{name}" for name in module.split())
    code = f"import sys; {imports}; print(*({HEAVY!r} & sys.modules.keys()))".replace(repr(HEAVY), f"set({HEAVY!r})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
