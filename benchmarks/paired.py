"""Timing several models in turns, so that whatever the machine does meanwhile happens to all of them.

Absolute times move with what the other core does; the ratio of two models that take turns does not. With both cores
training, ratios measured like this differed from those on the idle machine by 0.6 to 3 %, and between two copies of
one model by 0.3 % (standard deviation), where medians of separate runs differed by 7.5 %.
"""

import gc
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple, Protocol

import numpy as np

from benchmarks.probes import Probe, thread_probe
from benchmarks.records import BenchmarkError, Sample
from benchmarks.runtimes.base import Runner

MIN_QUADS = 6  # below six mirrored pairs no order-statistic interval of a median reaches 95 %
MIN_SAMPLE_S = 2e-4  # of a timing; clock and probe cost 1 to 5 microseconds
LONG_S = 1e-3  # a timing of at least this asks how long it waited for a core: 2 microseconds more, twice

WARMUP_WINDOW_S = 0.04
WARMUP_LIMIT_S = 1.0
WARMUP_AGREEMENT = 0.05
WARMUP_CALLS = 3  # at least, per window
_PADDING = 65_536  # bytes, at most, that lie between one session and the next


class Warmth(NamedTuple):
    """What a warm-up found: calls that make one timing, the seconds it took, and those of the fastest call."""

    calls: int
    seconds: float
    call_s: float


class Timing(NamedTuple):
    """One timing, per call: wall seconds, CPU seconds, involuntary switches (of all calls), seconds without a core."""

    seconds: float
    cpu_seconds: float
    switches: int
    waited: float


class Timer(Protocol):
    """Whoever can time one model: in this process (``LocalTimer``) or in another (``workers.RemoteTimer``)."""

    @property
    def known(self) -> bool:
        """Whether the system tells of switches."""
        ...

    def warm_up(self) -> Warmth:
        """Call the model until its times settle."""
        ...

    def time(self) -> Timing:
        """Take one timing."""
        ...

    def renew(self) -> float | None:
        """Open the model again, elsewhere in memory; return the CPU seconds that took, None if it cannot be done."""
        ...


class LocalTimer:
    """Times a runner in this thread.

    Args:
        runner: What is timed.
        name: What errors call it.
        probe: Where CPU time and preemptions are read.
        clock: Monotonic seconds.
        min_sample_s: A timing repeats its call until it lasts about this long.
        reopen: Returns the same model, opened anew; without it ``renew`` does nothing.
    """

    def __init__(
        self,
        runner: Runner,
        name: str,
        probe: Probe,
        clock: Callable[[], float] = time.perf_counter,
        min_sample_s: float = MIN_SAMPLE_S,
        reopen: Callable[[], Runner] | None = None,
    ) -> None:
        self._run, self._name, self._probe, self._clock = runner.run, name, probe, clock
        self._min_sample_s, self._reopen = min_sample_s, reopen
        self._calls, self._is_long = 1, False
        self._places = np.random.default_rng(zlib.crc32(name.encode()))
        self._padding: object = None

    @property
    def known(self) -> bool:
        """Whether the system tells of switches."""
        return self._probe.known

    def warm_up(self) -> Warmth:
        """Call the runner until two successive windows agree, or the limit is reached.

        A busy machine may never agree; it is timed all the same, since its pairs tell what one window cannot.

        Raises:
            BenchmarkError: a call takes no time by this clock.
        """
        start = self._clock()
        fastest = math.inf
        before: float | None = None
        while True:
            window = self._time_window()
            fastest = min(fastest, *window)
            if fastest <= 0:
                raise BenchmarkError(f"{self._name}: a call took no time by this clock, so it is too short to time.")
            now = median(window)
            agree = before is not None and abs(now - before) <= WARMUP_AGREEMENT * before
            if agree or self._clock() - start >= WARMUP_LIMIT_S:
                break
            before = now
        # By the fastest call: a timing may last longer than asked for, never much shorter.
        self._calls = max(1, math.ceil(self._min_sample_s / fastest))
        self._is_long = self._calls * fastest >= LONG_S
        return Warmth(self._calls, self._clock() - start, fastest)

    def renew(self) -> float | None:
        """Open the model again, elsewhere in memory; return the CPU seconds that took, None if it cannot be done."""
        if self._reopen is None:
            return None
        began = time.thread_time()
        self._padding = np.empty(int(self._places.integers(1, _PADDING)), np.uint8)
        self._run = self._reopen().run
        for _ in range(max(WARMUP_CALLS, 2 * self._calls)):
            self._run()
        return time.thread_time() - began

    def time(self) -> Timing:
        """Take one timing. The clock is read innermost, so that the probe's own cost is not in the wall time."""
        run, calls, probe, clock = self._run, range(self._calls), self._probe, self._clock
        waited = probe.waited() if self._is_long else 0.0
        switches = probe.switches()
        cpu = probe.cpu_seconds()
        start = clock()
        for _ in calls:
            run()
        wall = clock() - start
        cpu = probe.cpu_seconds() - cpu
        switches = probe.switches() - switches
        waited = probe.waited() - waited if self._is_long else 0.0
        return Timing(wall / self._calls, cpu / self._calls, switches, waited / self._calls)

    def _time_window(self) -> list[float]:
        """Seconds of each call in one window of the warm-up."""
        times: list[float] = []
        start = now = self._clock()
        while len(times) < WARMUP_CALLS or now - start < WARMUP_WINDOW_S:
            self._run()
            before, now = now, self._clock()
            times.append(now - before)
            if now <= start and len(times) > WARMUP_CALLS:
                break  # a clock that stands still would keep us here for ever
        return times


class Turns:
    """Timers that take turns, quad by quad, for as long as they are asked to.

    In one round everybody is timed once. Rounds come in mirrored pairs, quads (A B C, C B A; of two: ABBA or BAAB), so
    that a steady drift cancels; the order of each is drawn anew. Round i of one sample and round i of another belong
    together, rounds 2j and 2j+1 are one quad. Nothing is dropped: a round during which the core was taken away is
    marked, and ``statistics.ratio`` sets it aside.

    Args:
        timers: By the names that the samples use; each is warmed up here. One alone is fine.
        seed: Of the order.

    Raises:
        BenchmarkError: there is nothing to time, or a call takes no time.
    """

    def __init__(self, timers: Mapping[str, Timer], seed: int = 0) -> None:
        if not timers:
            raise BenchmarkError("there must be at least one runner to time.")
        self._timers = dict(timers)
        self._rng = np.random.default_rng(seed)
        self._warmth = {name: timer.warm_up() for name, timer in timers.items()}
        self._timings: dict[str, list[Timing]] = {name: [] for name in timers}
        self._turns: dict[str, list[int]] = {name: [] for name in timers}
        self._count = 0

    @property
    def quads(self) -> int:
        """How many there are so far."""
        return self._count // (2 * len(self._timers))

    @property
    def longest_call_s(self) -> float:
        """Seconds of the fastest call of whoever is slowest, as the warm-up found."""
        return max(warmth.call_s for warmth in self._warmth.values())

    def quad(self) -> None:
        """Time everybody twice, in mirrored order."""
        names = list(self._timers)
        order = [names[int(index)] for index in self._rng.permutation(len(names))]
        for name in (*order, *reversed(order)):
            self._timings[name].append(self._timers[name].time())
            self._turns[name].append(self._count)
            self._count += 1

    def samples(self) -> dict[str, Sample]:
        """Return everything timed so far, by name."""
        return {name: self._sample(name) for name in self._timers}

    def _sample(self, name: str) -> Sample:
        columns = zip(*self._timings[name], strict=True) if self._timings[name] else ((), (), (), ())
        seconds, cpu_seconds, switches, waited = (tuple(column) for column in columns)
        calls, warmup_s, _ = self._warmth[name]
        return Sample(
            seconds, cpu_seconds, switches, waited, calls, warmup_s, tuple(self._turns[name]), self._timers[name].known
        )


def measure_interleaved(
    runners: Mapping[str, Runner],
    *,
    seconds: float,
    seed: int = 0,
    min_sample_s: float = MIN_SAMPLE_S,
    clock: Callable[[], float] = time.perf_counter,
    probe: Probe | None = None,
) -> dict[str, Sample]:
    """Time all ``runners`` in turns (see ``Turns``) for ``seconds``, after warming each of them up.

    Args:
        runners: By the name that the result uses. One alone is fine.
        seconds: For all runners together, warm-up not counted. At least six quads are measured even if that takes
            longer, since fewer have no 95 % interval.
        seed: Of the order.
        min_sample_s: A timing repeats its call until it lasts about this long.
        clock: Monotonic seconds.
        probe: Where CPU time and preemptions are read; ``thread_probe()`` if None.

    Raises:
        BenchmarkError: there is nothing to time, a number is not positive, or a call takes no time by this clock.
    """
    if not (0 < seconds < math.inf and 0 < min_sample_s < math.inf):
        raise BenchmarkError(f"seconds and min_sample_s must be above 0, not {seconds} and {min_sample_s}.")
    probe = probe or thread_probe()
    timers = {name: LocalTimer(runner, name, probe, clock, min_sample_s) for name, runner in runners.items()}
    with no_garbage_collection():
        turns = Turns(timers, seed)
        end = clock() + seconds
        while turns.quads < MIN_QUADS or clock() < end:
            turns.quad()
    return turns.samples()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """No collection until the block ends: one takes longer than a small model's call."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
