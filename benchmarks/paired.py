"""Timing several models in turns, so that whatever the machine does meanwhile happens to all of them.

Absolute times move with what the other core does; the ratio of two models that take turns does not. With both cores
training, ratios measured like this differed from those on the idle machine by 0.6 to 3 %, and between two copies of
one model by 0.3 % (standard deviation), where medians of separate runs differed by 7.5 %.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from benchmarks.records import BenchmarkError, Sample
from benchmarks.runtimes.base import Runner

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MIN_QUADS = 6  # below six mirrored pairs no order-statistic interval of a median reaches 95 %

WARMUP_WINDOW_S = 0.04
WARMUP_LIMIT_S = 1.0
WARMUP_AGREEMENT = 0.05
WARMUP_CALLS = 3  # at least, per window


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked of the system before and after each timing; tests script both.

    Args:
        cpu_seconds: CPU time used so far.
        switches: How often the core was taken away so far (involuntary context switches); always 0 if unknown.
    """

    cpu_seconds: Callable[[], float]
    switches: Callable[[], int]


def thread_probe() -> Probe:
    """Asks about this thread: for models that run in one thread. Only Linux counts a thread's switches."""
    return Probe(cpu_seconds=_thread_seconds, switches=_switch_counter("RUSAGE_THREAD"))


def process_probe() -> Probe:
    """Asks about this process: for models that run in several threads. Less precise on a busy machine."""
    return Probe(cpu_seconds=time.process_time, switches=_switch_counter("RUSAGE_SELF"))


def probe_for(threads: int) -> Probe:
    """The probe for models that run in so many threads."""
    return thread_probe() if threads == 1 else process_probe()


@dataclass(slots=True)
class _Series:
    """One runner's timings so far."""

    run: Callable[[], object]
    calls: int
    warmup_s: float
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    preempted: list[bool] = field(default_factory=list)

    def sample(self) -> Sample:
        return Sample(
            tuple(self.seconds), tuple(self.cpu_seconds), tuple(self.preempted), self.calls, warmup_s=self.warmup_s
        )


def measure_interleaved(
    runners: Mapping[str, Runner],
    *,
    seconds: float,
    seed: int = 0,
    min_sample_s: float = 2e-4,
    clock: Callable[[], float] = time.perf_counter,
    probe: Probe | None = None,
) -> dict[str, Sample]:
    """Time all ``runners`` in turns for ``seconds``, after warming each of them up.

    In one round every runner is timed once. Rounds come in mirrored pairs (A B C, C B A), so that a steady drift
    cancels; the order of each pair is drawn anew. Round i of one sample and round i of another belong together,
    rounds 2j and 2j+1 are a mirrored pair. Nothing is dropped: a round during which the core was taken away is
    marked, and ``statistics.ratio`` sets it aside.

    Args:
        runners: By the name that the result uses. One alone is fine.
        seconds: For all runners together, warm-up not counted. At least six pairs of rounds are measured even if
            that takes longer, since fewer have no 95 % interval.
        seed: Of the order.
        min_sample_s: A timing repeats its call until it lasts about this long, because clock and probe cost 1 to
            5 microseconds.
        clock: Monotonic seconds.
        probe: Where CPU time and preemptions are read; ``thread_probe()`` if None.

    Raises:
        BenchmarkError: there is nothing to time, a number is not positive, or a call takes no time by this clock.
    """
    if not runners:
        raise BenchmarkError("there must be at least one runner to time.")
    if not (0 < seconds < math.inf and 0 < min_sample_s < math.inf):
        raise BenchmarkError(f"seconds and min_sample_s must be above 0, not {seconds} and {min_sample_s}.")
    probe = probe or thread_probe()
    with _no_garbage_collection():
        series = [_warm_up(name, runner, min_sample_s, clock) for name, runner in runners.items()]
        rng = np.random.default_rng(seed)
        end = clock() + seconds
        quads = 0
        while quads < MIN_QUADS or clock() < end:
            order = [int(index) for index in rng.permutation(len(series))]
            for index in (*order, *reversed(order)):
                _time_once(series[index], clock, probe)
            quads += 1
    return {name: one.sample() for name, one in zip(runners, series, strict=True)}


def _time_once(one: _Series, clock: Callable[[], float], probe: Probe) -> None:
    """Append one timing. The clock is read innermost, so that the probe's own cost is not in the wall time."""
    run, calls = one.run, range(one.calls)
    switches = probe.switches()
    cpu = probe.cpu_seconds()
    start = clock()
    for _ in calls:
        run()
    wall = clock() - start
    cpu = probe.cpu_seconds() - cpu
    switches = probe.switches() - switches
    one.seconds.append(wall / one.calls)
    one.cpu_seconds.append(cpu / one.calls)
    one.preempted.append(switches != 0)


def _warm_up(name: str, runner: Runner, min_sample_s: float, clock: Callable[[], float]) -> _Series:
    """Call the runner until two successive windows agree, or the limit is reached; tells how many calls make a sample.

    A busy machine may never agree; it is timed all the same, since its pairs tell what one window cannot.
    """
    start = clock()
    fastest = math.inf
    before: float | None = None
    while True:
        window = _time_window(runner.run, clock)
        fastest = min(fastest, *window)
        if fastest <= 0:
            raise BenchmarkError(f"{name}: a call took no time by this clock, so it is too short to time.")
        now = median(window)
        agree = before is not None and abs(now - before) <= WARMUP_AGREEMENT * before
        if agree or clock() - start >= WARMUP_LIMIT_S:
            break
        before = now
    # By the fastest call: a sample may last longer than asked for, never much shorter.
    return _Series(runner.run, calls=max(1, math.ceil(min_sample_s / fastest)), warmup_s=clock() - start)


def _time_window(run: Callable[[], object], clock: Callable[[], float]) -> list[float]:
    """Seconds of each call in one window of the warm-up."""
    times: list[float] = []
    start = now = clock()
    while len(times) < WARMUP_CALLS or now - start < WARMUP_WINDOW_S:
        run()
        before, now = now, clock()
        times.append(now - before)
        if now <= start and len(times) > WARMUP_CALLS:
            break  # a clock that stands still would keep us here for ever
    return times


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """No collection until the block ends: one takes longer than a small model's call."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _thread_seconds() -> float:
    return time.thread_time_ns() * 1e-9


def _switch_counter(who: str) -> Callable[[], int]:
    """Counts this thread's or process's involuntary context switches; where the system cannot tell, 0 for ever."""
    scope = getattr(resource, who, None)
    if resource is None or scope is None:
        return lambda: 0
    getrusage = resource.getrusage
    return lambda: int(getrusage(scope).ru_nivcsw)
