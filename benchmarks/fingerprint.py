"""The machine that a number was measured on, as far as it decides which kernels run and how fast."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

# The CPU features that decide which matrix kernels onnxruntime takes (names as in /proc/cpuinfo).
KERNEL_FLAGS = (
    "amx_int8",
    "amx_tile",
    "asimd",
    "asimddp",
    "avx",
    "avx2",
    "avx512_bf16",
    "avx512_vnni",
    "avx512f",
    "avx_vnni",
    "f16c",
    "fma",
    "i8mm",
)


@dataclass(frozen=True)
class Fingerprint:
    """The machine a number was measured on; unlike fingerprints make absolute times incomparable.

    Args:
        cpu: Model name as the system tells it.
        flags: Those of ``KERNEL_FLAGS`` that the CPU has, sorted.
        cores: Logical cores this process may use.
        memory_bytes: Installed memory; None where the system does not tell.
        onnxruntime: Version of the installed package, or None.
        gpu: Name of the first NVIDIA GPU, or None.
        driver: Version of its driver, or None.
        cpu_limit: Cores' worth of time that the control group grants (a container's limit), or None for no limit.
        virtual: Whether a hypervisor is below, whose other guests this system cannot see; None if not known.
    """

    cpu: str
    flags: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    os: str
    machine: str
    python: str
    onnxruntime: str | None
    gpu: str | None
    driver: str | None = None
    cpu_limit: float | None = None
    virtual: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {**asdict(self), "flags": list(self.flags)}


def fingerprint(cpuinfo: Path = Path("/proc/cpuinfo"), groups: Path = Path("/sys/fs/cgroup")) -> Fingerprint:
    """The fingerprint of this machine. Never fails: what the system does not tell is None, empty or "unknown"."""
    facts = _cpu_facts(cpuinfo)
    known = set((facts.get("flags") or facts.get("Features") or "").split())
    gpu, driver = _gpu()
    return Fingerprint(
        cpu=facts.get("model name") or platform.processor() or "unknown",
        flags=tuple(flag for flag in KERNEL_FLAGS if flag in known),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        os=platform.platform(),
        machine=platform.machine(),
        python=platform.python_version(),
        onnxruntime=_version(("onnxruntime", "onnxruntime-gpu")),
        gpu=gpu,
        driver=driver,
        cpu_limit=_cpu_limit(groups),
        virtual="hypervisor" in known if known else None,
    )


def _cpu_facts(cpuinfo: Path) -> Mapping[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _version(packages: tuple[str, ...]) -> str | None:
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def _gpu() -> tuple[str | None, str | None]:
    """Name and driver of the first GPU by ``nvidia-smi``, which answers without loading CUDA into this process."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None, None
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None, None
    name, _, driver = answer.stdout.strip().partition("\n")[0].partition(",")
    return name.strip() or None, driver.strip() or None


def _cpu_limit(groups: Path) -> float | None:
    """Cores that the control group grants: version 2's ``cpu.max``, or version 1's quota and period."""
    try:
        if (groups / "cpu.max").is_file():
            quota, period = (groups / "cpu.max").read_text().split()
        else:
            quota = (groups / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (groups / "cpu" / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
