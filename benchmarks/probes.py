"""What the system tells of a thread while it is timed: CPU time used, and how often and how long it had no core."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_THREAD_STATISTICS = "/proc/thread-self/schedstat"  # on a core, waiting for one (both ns), times run
_COST_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked of the system before and after each timing; tests script it.

    Args:
        cpu_seconds: CPU time used so far.
        switches: How often the core was taken away so far (involuntary context switches); always 0 if unknown.
        waited: Seconds so far in which the thread was ready to run and had no core; always 0 if unknown.
        known: Whether the system tells of switches.
    """

    cpu_seconds: Callable[[], float]
    switches: Callable[[], int]
    waited: Callable[[], float] = lambda: 0.0
    known: bool = True

    def cost_s(self) -> float:
        """Return the median seconds that asking before and after one timing takes, waiting not asked for."""
        return median(self._ask() for _ in range(_COST_ROUNDS))

    def _ask(self) -> float:
        start = time.perf_counter()
        for question in (self.switches, self.cpu_seconds, time.perf_counter) * 2:
            question()
        return time.perf_counter() - start


def thread_probe() -> Probe:
    """Ask about this thread: for models that run in one thread. Only Linux counts a thread's switches and waiting."""
    counter = _switch_counter("RUSAGE_THREAD")
    return Probe(_thread_seconds, counter or _never, _wait_clock(), known=counter is not None)


def process_probe() -> Probe:
    """Ask about this process: for models that run in several threads. Less precise on a busy machine."""
    counter = _switch_counter("RUSAGE_SELF")
    return Probe(time.process_time, counter or _never, known=counter is not None)


def probe_for(threads: int) -> Probe:
    """The probe for models that run in so many threads."""
    return thread_probe() if threads == 1 else process_probe()


class _WaitClock:
    """Seconds that a thread has waited for a core, from its open ``schedstat`` (Linux), which is closed with this."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __call__(self) -> float:
        return int(os.pread(self._file, 64, 0).split()[1]) * 1e-9

    def __del__(self) -> None:
        os.close(self._file)


def _wait_clock() -> Callable[[], float]:
    try:
        clock = _WaitClock(os.open(_THREAD_STATISTICS, os.O_RDONLY | os.O_CLOEXEC))
        clock()
    except (OSError, AttributeError, ValueError, IndexError):
        return lambda: 0.0
    return clock


def _thread_seconds() -> float:
    return time.thread_time_ns() * 1e-9


def _never() -> int:
    return 0


def _switch_counter(who: str) -> Callable[[], int] | None:
    """Count this thread's or process's involuntary context switches; None where the system does not tell."""
    scope = getattr(resource, who, None)
    if resource is None or scope is None:
        return None
    getrusage = resource.getrusage
    return lambda: int(getrusage(scope).ru_nivcsw)
