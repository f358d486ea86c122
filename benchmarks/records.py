"""What a measurement leaves behind: plain, frozen records, each with a ``to_json`` of plain JSON types.

- Target: where something runs: runtime, device, precision, threads, batch
- Sample: raw timings of one runner, nothing dropped
- Estimate: a value with its 95 % interval
- Latency: one sample in short: median with interval, 95th percentiles
- Ratio: time of B / time of A, measured in pairs, with its 95 % interval
- Fingerprint: the machine, as far as it decides which kernels run and how fast
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

RUNTIMES = ("onnxruntime", "tensorrt", "torch")
DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "int8")

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


class BenchmarkError(RuntimeError):
    """Root of everything this room raises for a user, a file or a device."""


class RecordError(BenchmarkError, ValueError):
    """A record with values that contradict each other or their rules."""


class BackendMissing(BenchmarkError, ImportError):
    """A runtime or device that is not there; the message names what to install."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a generator runs.

    Args:
        runtime: One of ``RUNTIMES``.
        device: One of ``DEVICES``.
        precision: One of ``PRECISIONS``; of the weights and the convolutions, not of every operator.
        threads: Threads inside one operator (onnxruntime's ``intra_op_num_threads``), at least 1.
        batch: Rows of one inference, at least 1.
    """

    runtime: str = "onnxruntime"
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        _one_of("runtime", self.runtime, RUNTIMES)
        _one_of("device", self.device, DEVICES)
        _one_of("precision", self.precision, PRECISIONS)
        for name in ("threads", "batch"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RecordError(f"target: {name} must be a whole number of at least 1, not {value!r}.")

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sample:
    """Raw timings of one runner, in the order measured (order shows drift); nothing is dropped.

    Args:
        seconds: Wall seconds per call, one value a round: the mean over that round's ``calls`` calls.
        cpu_seconds: CPU seconds per call, likewise; blind to waiting, so a cross-check and never alone the verdict.
        switches: How often the system took the core away during each round; zeros where it does not tell.
        waited: Seconds per call spent ready to run and without a core; zeros where the system does not tell, and for
            rounds so short that they are mostly uninterrupted.
        calls: Calls in one round.
        warmup_s: Seconds of untimed calls before the first round.
        turns: Place of each round among those of everybody that it took turns with; empty if not kept.
        probed: Whether the system tells of switches. Where it does not, no round can be set aside, and intervals
            widen by what being interrupted does to the times.
    """

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    switches: tuple[int, ...]
    waited: tuple[float, ...]
    calls: int
    warmup_s: float
    turns: tuple[int, ...] = ()
    probed: bool = True

    def __post_init__(self) -> None:
        counts = {len(self.seconds), len(self.cpu_seconds), len(self.switches), len(self.waited)}
        if len(counts) > 1 or len(self.turns) not in (0, *counts):
            raise RecordError(
                f"sample: each round has a wall time, a CPU time, switches, waiting and a turn, but found {counts}."
            )

    @property
    def preempted(self) -> tuple[bool, ...]:
        """Whether the system took the core away during each round; all False where it does not tell."""
        return tuple(count > 0 for count in self.switches)

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its 95 % interval, and the number of observations both come from."""

    value: float
    ci95: tuple[float, float]
    n: int

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {"value": self.value, "ci95": list(self.ci95), "n": self.n}


@dataclass(frozen=True, slots=True)
class Latency:
    """One sample in short, in seconds per call.

    Args:
        median: Median with its interval, of un-preempted rounds (of all, if too few are un-preempted).
        p95_s: 95th percentile of the same rounds: what the model itself does.
        p95_all_s: 95th percentile of all rounds: what a user of this busy machine saw.
        preempted: Share of the rounds that were preempted, 0 to 1.

    A round of a very fast model averages several calls, so its percentiles are those of such means.
    """

    median: Estimate
    p95_s: float
    p95_all_s: float
    preempted: float

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {
            "median_s": self.median.value,
            "ci95_s": list(self.median.ci95),
            "p95_s": self.p95_s,
            "p95_all_s": self.p95_all_s,
            "n": self.median.n,
            "preempted": self.preempted,
        }

    def to_milliseconds(self) -> dict[str, Any]:
        """The same in milliseconds, under the names that ``summary.json`` uses."""
        return {
            "median": 1e3 * self.median.value,
            "ci95": [1e3 * end for end in self.median.ci95],
            "p95": 1e3 * self.p95_s,
            "p95_all": 1e3 * self.p95_all_s,
            "n": self.median.n,
            "preempted": self.preempted,
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """Time of B / time of A, A being the reference: below 1 = B is faster.

    Args:
        value: Median of the paired ratios.
        ci95: Its 95 % interval.
        pairs: Mirrored pairs of rounds (or blocks of them) that the interval stands on.
    """

    value: float
    ci95: tuple[float, float]
    pairs: int

    @property
    def speedup(self) -> Estimate:
        """How many times faster B is than A: the inverse, ends of the interval exchanged."""
        low, high = self.ci95
        return Estimate(1 / self.value, (1 / high, 1 / low), self.pairs)

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {"value": self.value, "ci95": list(self.ci95), "pairs": self.pairs}


@dataclass(frozen=True)
class Fingerprint:
    """The machine a number was measured on; unlike fingerprints make absolute times incomparable.

    Args:
        cpu: Model name as the system tells it.
        flags: Those of ``KERNEL_FLAGS`` that the CPU has, sorted.
        cores: Logical cores this process may use.
        memory_bytes: Installed memory; None where the system does not tell.
        gpu: Name of the first NVIDIA GPU, or None.
        onnxruntime: Version of the installed package, or None.
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

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return {**asdict(self), "flags": list(self.flags)}


def fingerprint(cpuinfo: Path = Path("/proc/cpuinfo")) -> Fingerprint:
    """The fingerprint of this machine. Never fails: what the system does not tell is None, empty or "unknown"."""
    facts = _cpu_facts(cpuinfo)
    known = set((facts.get("flags") or facts.get("Features") or "").split())
    return Fingerprint(
        cpu=facts.get("model name") or platform.processor() or "unknown",
        flags=tuple(flag for flag in KERNEL_FLAGS if flag in known),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        os=platform.platform(),
        machine=platform.machine(),
        python=platform.python_version(),
        onnxruntime=_version(("onnxruntime", "onnxruntime-gpu")),
        gpu=_gpu_name(),
    )


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise RecordError(f"target: {name} must be one of {', '.join(allowed)}, not {value!r}.")


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


def _gpu_name() -> str | None:
    """The first GPU by ``nvidia-smi``, which answers without loading CUDA into this process."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip().partition("\n")[0] or None
