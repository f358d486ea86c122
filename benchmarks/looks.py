"""Measuring for the gate: baseline, candidate and null control take turns, and each second somebody looks at the data.

All three take turns as equals: a session that is called less often than another finds its caches colder, and a null
control of every fourth quad showed 1 to 2.6 % of it (20 us; measured for this project).

A session of a small model is faster or slower than another of the same file, by where in memory it came to lie (1 % of
20 us, standard deviation, and now and then 2 to 3 % of 1.5 ms; measured for this project). Where opening it costs
little, everybody is opened anew several times a second, and each such epoch counts as one observation; of larger models
after each look that leaves it open.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.decision import Decision, Look, Rule, decide, decide_last, weigh
from benchmarks.paired import MIN_QUADS, Timer, Turns, no_garbage_collection
from benchmarks.records import Ratio, Sample
from benchmarks.statistics import differences, ratio

BASELINE, CANDIDATE, NULL = "baseline", "candidate", "null control"
EPOCH_S, LONGEST_EPOCH_S = 0.08, 0.2  # a budget of seconds needs a dozen
RENEW_SHARE = 0.4  # of an epoch, in CPU time, that opening everybody anew may cost at most
RENEWED_BELOW_S = 5e-3  # a call; what is longer is large, and opened anew between looks, if at all
REFRESH_S = 0.5  # CPU seconds that this may cost, if it is to be done again

OnLook = Callable[[Look], None]


@dataclass(frozen=True)
class Measured:
    """What one process found.

    Args:
        decision: Verdict, kind, reason.
        looks: What was known at each.
        samples: Raw timings of baseline, candidate and null control.
        starts: Quads at which their sessions were opened anew, the first (0) among them.
        seconds: Of timing, warm-up not counted.
        warmup_s: Of warming up.
    """

    decision: Decision
    looks: tuple[Look, ...]
    samples: dict[str, Sample] = field(repr=False)
    starts: tuple[int, ...] = (0,)
    seconds: float = 0.0
    warmup_s: float = 0.0

    @property
    def last(self) -> Look:
        """The last look."""
        return self.looks[-1]

    @property
    def ratio(self) -> Ratio:
        """Wall time of the candidate ÷ that of the baseline."""
        return ratio(self.samples[BASELINE], self.samples[CANDIDATE], self.starts)


def measure(
    timers: Mapping[str, Timer],
    rule: Rule,
    *,
    seed: int = 0,
    on_look: OnLook | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Take turns and look every second until there is a verdict or the budget is used up.

    Args:
        timers: Of ``BASELINE``, ``CANDIDATE`` and ``NULL``, a second session of the baseline.
        rule: What is to be caught.
        seed: Of the order of turns.
        on_look: Hears of every look.
        clock: Monotonic seconds.
    """
    with no_garbage_collection():
        began = clock()
        turns = Turns({name: timers[name] for name in (BASELINE, CANDIDATE, NULL)}, seed)
        epochs = Epochs(timers, turns, clock)
        warmed, looks = clock(), list[Look]()
        while True:
            epochs.run(warmed + (len(looks) + 1) * rule.look_s)
            looks.append(_look(turns.samples(), epochs.starts, clock() - warmed, rule))
            if on_look:
                on_look(looks[-1])
            is_last = len(looks) >= rule.looks
            decision = decide_last(looks[-1], rule) if is_last else decide(looks[-1], rule)
            if decision is not None:
                break
            epochs.refresh()
    return Measured(decision, tuple(looks), turns.samples(), tuple(epochs.starts), looks[-1].seconds, warmed - began)


def measure_ratio(
    timers: Mapping[str, Timer], seconds: float, *, seed: int = 0, clock: Callable[[], float] = time.perf_counter
) -> Ratio:
    """Return the time of the second of two ``timers`` ÷ that of the first, with an interval over sessions."""
    first, second = timers
    with no_garbage_collection():
        turns = Turns(timers, seed)
        epochs = Epochs(timers, turns, clock)
        epochs.run(clock() + seconds)
    samples = turns.samples()
    return ratio(samples[first], samples[second], epochs.starts)


class Epochs:
    """Turns whose sessions are opened anew every ``EPOCH_S``.

    An epoch is longer where opening would cost more than ``RENEW_SHARE`` of it; where it would have to be longer than
    ``LONGEST_EPOCH_S``, the sessions stay.

    Args:
        timers: Whose sessions.
        turns: Their turns; ``starts`` are the quads at which an epoch began.
        clock: Monotonic seconds.
    """

    def __init__(self, timers: Mapping[str, Timer], turns: Turns, clock: Callable[[], float]) -> None:
        self.starts = [0]
        self._timers, self._turns, self._clock = list(timers.values()), turns, clock
        self._epoch_s, self._is_cheap = math.inf, True
        if turns.longest_call_s <= RENEWED_BELOW_S:
            self._renew()  # the first also reads the files
            wanted = max(EPOCH_S, self._renew() / RENEW_SHARE)
            self._epoch_s = wanted if wanted <= LONGEST_EPOCH_S else math.inf
        self._next = clock() + self._epoch_s

    def run(self, until: float) -> None:
        """Take turns until the clock says ``until``, and for ``MIN_QUADS`` at least."""
        while self._clock() < until or self._turns.quads < MIN_QUADS:
            if self._clock() >= self._next:
                self._renew()
                self.starts.append(self._turns.quads)
                self._next = self._clock() + self._epoch_s
            self._turns.quad()

    def refresh(self) -> None:
        """Between two looks: open everybody anew, where there are no epochs; never again where it cost too much."""
        if math.isinf(self._epoch_s) and self._is_cheap:
            self._is_cheap = self._renew() <= REFRESH_S

    def _renew(self) -> float:
        """Open everybody anew and return the CPU seconds it took; infinity if somebody cannot be."""
        spent = [timer.renew() for timer in self._timers]
        return math.inf if None in spent else sum(one for one in spent if one is not None)


def _look(samples: Mapping[str, Sample], starts: Sequence[int], seconds: float, rule: Rule) -> Look:
    baseline, candidate, null = (samples[name] for name in (BASELINE, CANDIDATE, NULL))
    cpu = differences(baseline, candidate, "cpu", starts)
    return Look(
        seconds,
        weigh(differences(baseline, candidate, starts=starts), rule),
        weigh(cpu, rule) if cpu.size else None,
        weigh(differences(baseline, null, starts=starts), rule),
    )
