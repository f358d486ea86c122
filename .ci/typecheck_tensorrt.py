"""Hold the TensorRT adapter to the API of the installed TensorRT-RTX: what `make typecheck-tensorrt` runs.

python .ci/typecheck_tensorrt.py [FOLDER]

NVIDIA ships no types. Stubs are made from the installed package in a temporary folder, never kept, and mypy reads the
adapter in FOLDER (this checkout) against them: a method or an argument that was renamed is found without a GPU.
Exit codes: 0 it fits, or there is no tensorrt_rtx to hold it to (and that is said); 1 it does not, and mypy says where.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ADAPTER = ("benchmarks/runtimes/tensorrt.py", "benchmarks/runtimes/engine.py")
PACKAGE = "tensorrt_rtx"
NATIVE = "tensorrt_rtx_bindings.tensorrt_rtx"
REPAIRS = (
    (r"^bool: DataType\n", ""),  # it hides the builtin from the rest of the file
    (r"(= \.\.\., \w+: [\w.]+)(?=[,)])", r"\1 = ..."),  # Python has no parameter without a default after one with
    # What pybind11 does not tell.
    (r"^class IHostMemory:\n", "\\g<0>    def __buffer__(self, flags: int, /) -> memoryview: ...\n"),
    (r"^class Dims:\n", "\\g<0>    def __iter__(self) -> collections.abc.Iterator[int]: ...\n"),
)
CONFORMS = """\
import tensorrt_rtx
from benchmarks.runtimes.tensorrt import TensorRT
module: TensorRT = tensorrt_rtx
"""
# `make lint` checks the rest. No warn_unreachable: the stubs promise objects where TensorRT returns None on failure.
CONFIG = f"""\
[mypy]
check_untyped_defs = true
disallow_untyped_defs = true
follow_imports = silent
[mypy-onnx.*,google.*]
follow_imports = skip
ignore_missing_imports = true
[mypy-{PACKAGE}.*,tensorrt_rtx_bindings.*]
ignore_errors = true
"""


def main() -> int:
    """Make the stubs, check the adapter, return the exit code."""
    if importlib.util.find_spec(PACKAGE) is None:
        print(f"skipped: {PACKAGE} is not installed (Linux, x86-64): pip install 'leangen[tensorrt-rtx]'")
        return 0
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="leangen-stubs-") as name:
        folder = Path(name)
        write_stubs(folder / "stubs")
        (folder / "conforms.py").write_text(CONFORMS)
        (folder / "mypy.ini").write_text(CONFIG)
        command = [sys.executable, "-m", "mypy", "--config-file", str(folder / "mypy.ini"), "--cache-dir", name]
        environment = {**os.environ, "MYPYPATH": os.pathsep.join((str(folder / "stubs"), str(root)))}
        checked = (*ADAPTER, str(folder / "conforms.py"))
        done = subprocess.run([*command, *checked], cwd=root, env=environment, check=False)
    return min(done.returncode, 1)


def write_stubs(folder: Path) -> None:
    """Write stubs of the installed package to ``folder``: the native module looked at, the Python around it read."""
    stubgen = [sys.executable, "-c", "from mypy.stubgen import main; main()", "--quiet", "--output", str(folder)]
    subprocess.run([*stubgen, "--inspect-mode", "--module", NATIVE], check=True)
    subprocess.run([*stubgen, "--module", PACKAGE, "--module", NATIVE.split(".")[0]], check=True)
    file = folder.joinpath(*NATIVE.split(".")).with_suffix(".pyi")
    text = file.read_text()
    for wrong, right in REPAIRS:
        text = re.sub(wrong, right, text, flags=re.MULTILINE)
    file.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
