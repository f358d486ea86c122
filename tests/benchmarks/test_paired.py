import gc
import itertools
import math

import numpy as np
import pytest

from benchmarks import paired, probes
from benchmarks.paired import MIN_QUADS, measure_interleaved
from benchmarks.probes import Probe, probe_for, process_probe, thread_probe
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.callable import CallableRunner
from benchmarks.statistics import ratio, summarize


class Machine:
    """A scripted clock and probe: runners move the time on by themselves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cpu = 0.0
        self.switches = 0
        self.log: list[str] = []

    @property
    def probe(self) -> Probe:
        return Probe(cpu_seconds=lambda: self.cpu, switches=lambda: self.switches)

    def clock(self) -> float:
        return self.now

    def runner(self, name, cost):
        """A runner that takes ``cost(call number)`` seconds of wall and CPU time."""
        calls = itertools.count()

        def run():
            seconds = cost(next(calls))
            self.now += seconds
            self.cpu += seconds
            self.log.append(name)

        return CallableRunner(run, name)

    def measure(self, runners, **settings):
        return measure_interleaved(runners, clock=self.clock, probe=self.probe, **settings)


def test_order_is_mirrored_and_nothing_is_dropped():
    machine = Machine()
    runners = {name: machine.runner(name, lambda call: 0.5) for name in "abc"}
    samples = machine.measure(runners, seconds=100.0)
    rounds = len(samples["a"].seconds)
    assert rounds % 2 == 0
    assert rounds == 2 * math.ceil(100 / 3.0)
    measured = machine.log[-3 * rounds :]
    orders = set()
    for start in range(0, len(measured), 6):
        first, second = measured[start : start + 3], measured[start + 3 : start + 6]
        assert sorted(first) == ["a", "b", "c"]
        assert second == first[::-1]
        orders.add("".join(first))
    assert len(orders) == 6  # every order begins some pair
    assert all(sample.seconds == (0.5,) * rounds for sample in samples.values())


def test_the_order_comes_from_the_seed():
    logs = []
    for seed in (0, 0, 1):
        machine = Machine()
        machine.measure({name: machine.runner(name, lambda call: 0.5) for name in "ab"}, seconds=60.0, seed=seed)
        logs.append(machine.log)
    assert logs[0] == logs[1] != logs[2]


def test_a_sample_is_repeated_until_it_is_long_enough():
    machine = Machine()
    fast, slow = machine.runner("fast", lambda call: 2**-16), machine.runner("slow", lambda call: 2**-8)
    samples = machine.measure({"fast": fast, "slow": slow}, seconds=1.0, min_sample_s=2**-12)
    assert (samples["fast"].calls, samples["slow"].calls) == (16, 1)
    assert set(samples["fast"].seconds) == {2**-16}  # per call
    assert set(samples["fast"].cpu_seconds) == {2**-16}


def test_warm_up_is_not_counted():
    """Four slow calls while cold, then fast ones: the windows (s s s) and (s f f) do not agree."""
    machine = Machine()
    runner = machine.runner("a", lambda call: 2**-4 if call < 4 else 2**-5)
    sample = machine.measure({"a": runner}, seconds=1.0)["a"]
    assert set(sample.seconds) == {2**-5}
    assert sample.warmup_s == 4 * 2**-4 + 5 * 2**-5


def test_warm_up_is_bounded():
    """Each call slower than the one before: two windows never agree."""
    machine = Machine()
    runner = machine.runner("a", lambda call: 0.02 * 1.25 ** min(call, 12))
    sample = machine.measure({"a": runner}, seconds=1.0)["a"]
    assert paired.WARMUP_LIMIT_S <= sample.warmup_s <= 2 * paired.WARMUP_LIMIT_S


def test_preempted_rounds_are_marked_and_kept():
    machine = Machine()

    def interrupted(call):
        if call % 4 == 3:
            machine.switches += 1
            return 8.0
        return 0.5

    samples = machine.measure({"a": machine.runner("a", interrupted)}, seconds=50.0)
    sample = samples["a"]
    assert any(sample.preempted)
    assert not all(sample.preempted)
    assert all((seconds == 8.0) == mark for seconds, mark in zip(sample.seconds, sample.preempted, strict=True))


def test_few_slow_calls_still_make_an_interval():
    machine = Machine()
    sample = machine.measure({"a": machine.runner("a", lambda call: 10.0)}, seconds=1.0)["a"]
    assert len(sample.seconds) == 2 * MIN_QUADS


def test_waiting_is_wall_time_but_not_cpu_time():
    machine = Machine()

    def wait():
        machine.now += 0.25

    sample = machine.measure({"a": CallableRunner(wait, "a")}, seconds=1.0)["a"]
    assert set(sample.seconds) == {0.25}
    assert set(sample.cpu_seconds) == {0.0}


@pytest.mark.parametrize(
    ("runners", "settings", "message"),
    [
        ({}, {"seconds": 1.0}, "at least one runner"),
        ({"a": CallableRunner(int, "a")}, {"seconds": 0.0}, "above 0"),
        ({"a": CallableRunner(int, "a")}, {"seconds": math.nan}, "above 0"),
        ({"a": CallableRunner(int, "a")}, {"seconds": 1.0, "min_sample_s": -1.0}, "above 0"),
        ({"a": CallableRunner(int, "a")}, {"seconds": 1.0, "clock": lambda: 1.0}, "a: a call took no time"),
    ],
)
def test_bad_settings_are_explained(runners, settings, message):
    with pytest.raises(BenchmarkError, match=message):
        measure_interleaved(runners, **settings)


def test_garbage_collection_pauses_and_comes_back_even_after_an_error():
    seen = []

    def fail():
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        measure_interleaved({"a": CallableRunner(fail, "a")}, seconds=1.0)
    assert seen == [False]
    assert gc.isenabled()


def test_several_threads_are_asked_about_together():
    """A wait in another thread of the model counts: only the process's counters see it."""
    assert probe_for(1).cpu_seconds is thread_probe().cpu_seconds
    assert probe_for(2).cpu_seconds is process_probe().cpu_seconds


@pytest.mark.parametrize("make", [thread_probe, process_probe])
def test_real_probes_count_up(make):
    probe = make()
    before = probe.cpu_seconds()
    sum(range(200_000))
    assert probe.cpu_seconds() > before
    assert probe.switches() >= 0


def test_where_preemption_cannot_be_known_nothing_is_marked(monkeypatch):
    """Windows has no module ``resource``, macOS no RUSAGE_THREAD."""
    monkeypatch.setattr(probes, "_THREAD_STATISTICS", "/nowhere")
    monkeypatch.delattr(probes.resource, "RUSAGE_THREAD", raising=False)
    assert not thread_probe().known
    monkeypatch.setattr(probes, "resource", None)
    for make in (thread_probe, process_probe):
        sample = measure_interleaved({"a": CallableRunner(lambda: sum(range(100)), "a")}, seconds=0.01, probe=make())
        assert not any(sample["a"].preempted)
        assert not any(sample["a"].waited)
        assert not sample["a"].probed


def test_long_rounds_that_were_all_interrupted_count_less_their_waiting():
    """Every call of 8 ms loses its core for 1 to 20 ms: what is left of the wall time still tells of +5 %."""
    machine, rng = Machine(), np.random.default_rng(0)
    waited = 0.0

    def cost(own):
        def seconds(call):
            nonlocal waited
            machine.switches += 1
            lost = rng.uniform(1e-3, 2e-2)
            waited += lost
            return own + lost

        return seconds

    probe = Probe(lambda: machine.cpu - waited, lambda: machine.switches, lambda: waited)
    runners = {"a": machine.runner("a", cost(8e-3)), "b": machine.runner("b", cost(8.4e-3))}
    samples = measure_interleaved(runners, seconds=2.0, clock=machine.clock, probe=probe)
    assert all(samples["a"].preempted)
    assert ratio(samples["a"], samples["b"]).value == pytest.approx(1.05, rel=1e-6)


def noisy_machine(rng):
    """Time of one call = true cost * slow drift * jitter, and in bursts the core is taken away for 1 to 5 ms."""
    machine = Machine()
    phase = rng.uniform(0, 2 * math.pi)

    def cost(true_s):
        def seconds(call):
            drift = 1 + 0.3 * math.sin(phase + machine.now / 0.05)
            taken = 0.0
            in_burst = math.sin(phase + machine.now / 0.02) > 0
            if rng.random() < (0.6 if in_burst else 0.05):
                machine.switches += 1
                taken = rng.uniform(1e-3, 5e-3)
            return true_s * drift * math.exp(rng.normal(0, 0.05)) + taken

        return seconds

    return machine, cost


def test_the_interval_covers_a_true_ratio_on_a_busy_machine():
    """B takes half of A's time; a fifth of the rounds is preempted, each for up to five times A's time."""
    covered, widths, preempted = 0, [], []
    for seed in range(40):
        machine, cost = noisy_machine(np.random.default_rng(seed))
        runners = {"a": machine.runner("a", cost(1e-3)), "b": machine.runner("b", cost(5e-4))}
        samples = machine.measure(runners, seconds=1.0, seed=seed)
        preempted.append(summarize(samples["a"]).preempted)
        low, high = ratio(samples["a"], samples["b"]).ci95
        covered += low <= 0.5 <= high
        widths.append(high / low - 1)
    assert covered >= 35  # of 40; a true 95 % falls below 35 once in a hundred times
    assert np.median(widths) < 0.03
    assert 0.15 < np.mean(preempted) < 0.4


def test_without_setting_preempted_rounds_aside_the_same_ratio_would_be_useless():
    machine, cost = noisy_machine(np.random.default_rng(0))
    runners = {"a": machine.runner("a", cost(1e-3)), "b": machine.runner("b", cost(5e-4))}
    samples = machine.measure(runners, seconds=2.0)
    means = {name: np.mean(sample.seconds) for name, sample in samples.items()}
    assert means["b"] / means["a"] > 0.7
