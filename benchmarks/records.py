"""What a measurement leaves behind: plain, frozen records, each with a ``to_json`` of plain JSON types.

- Target: where something runs: runtime, device, precision, threads, batch
- Sample: raw timings of one runner, nothing dropped
- Estimate: a value with its 95 % interval
- Latency: one sample in short: median with interval, 95th percentiles
- Ratio: time of B / time of A, measured in pairs, with its 95 % interval
"""

from dataclasses import asdict, dataclass
from typing import Any

RUNTIMES = ("onnxruntime", "tensorrt", "torch")
DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "int8")


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


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise RecordError(f"target: {name} must be one of {', '.join(allowed)}, not {value!r}.")
