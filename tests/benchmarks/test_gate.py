"""The gate on scripted machines, a thousand seconds in a moment, and on real models for a second."""

import itertools
import math

import numpy as np
import pytest

from benchmarks.decision import INCONCLUSIVE, PASS, REGRESSION, Decision, Rule
from benchmarks.gate import agreed
from benchmarks.looks import BASELINE, CANDIDATE, NULL, measure
from benchmarks.paired import Timing, Warmth
from benchmarks.statistics import ratio


class Machine:
    """A clock that scripted models move on; what it does to a call follows from the time and from chance."""

    def __init__(self, seed, noise):
        self.now, self.rng, self.noise = 0.0, np.random.default_rng(seed), noise

    def clock(self):
        return self.now

    def timer(self, own_s, waits_s=0.0):
        return ScriptedTimer(self, own_s, waits_s)


class ScriptedTimer:
    known = True
    opening_s = None  # CPU seconds to open it anew, elsewhere in memory
    places = 0.0  # by how much places in memory differ

    def __init__(self, machine, own_s, waits_s):
        self.machine, self.own_s, self.waits_s = machine, own_s, waits_s
        self.place = math.exp(machine.rng.normal(0, self.places)) if self.places else 1.0

    def warm_up(self):
        return Warmth(1, 0.0, self.own_s)

    def renew(self):
        if self.opening_s is not None:
            self.machine.now += self.opening_s
            self.place = math.exp(self.machine.rng.normal(0, self.places))
        return self.opening_s

    def time(self):
        cpu, lost = self.machine.noise(self.machine, self.own_s * self.place)
        wall = cpu + lost + self.waits_s
        self.machine.now += wall
        return Timing(wall, cpu, int(lost > 0), 0.0)


def quiet(machine, own):
    return own * math.exp(machine.rng.normal(0, 0.01)), 0.0


def drifting(machine, own):
    """A third faster and slower again every half second."""
    return quiet(machine, own * (1 + 0.3 * math.sin(machine.now / 0.08)))[0], 0.0


def bursts(machine, own):
    """Half of the time others want the core: then most calls lose it for 1 to 5 ms."""
    busy = math.sin(machine.now / 0.05) > 0
    lost = machine.rng.uniform(1e-3, 5e-3) if machine.rng.random() < (0.6 if busy else 0.05) else 0.0
    return quiet(machine, own * (1.1 if busy else 1.0))[0], lost


def heavy_tails(machine, own):
    """Times as a Student t with two degrees of freedom: no variance."""
    return own * math.exp(0.01 * np.clip(machine.rng.standard_t(2), -50, 50)), 0.0


def frequency_change(machine, own):
    """After 0.7 s the clock drops by a quarter."""
    return quiet(machine, own * (1.0 if machine.now < 0.7 else 1.33))[0], 0.0


NOISES = [quiet, drifting, bursts, heavy_tails, frequency_change]


def run(noise, seed, slowdown=1.0, own=1.5e-3, waits=0.0, **rule):
    machine = Machine(seed, noise)
    timers = {BASELINE: machine.timer(own), CANDIDATE: machine.timer(own * slowdown, waits), NULL: machine.timer(own)}
    return measure(timers, Rule(**rule), seed=seed, clock=machine.clock)


@pytest.mark.parametrize("noise", NOISES)
def test_verdicts_on_scripted_machines(noise):
    """40 runs each: no difference passes, 5 % and 10 % are caught, in a median of at most 3 seconds."""
    for slowdown, verdict in ((1.0, PASS), (1.05, REGRESSION), (1.10, REGRESSION)):
        runs = [run(noise, seed, slowdown) for seed in range(40)]
        assert sum(one.decision.verdict == verdict for one in runs) >= 39
        assert np.median([one.seconds for one in runs]) <= 3.1


@pytest.mark.parametrize("noise", NOISES)
def test_the_interval_covers_the_true_ratio(noise):
    """Of 100 runs at least 90; a true 95 % falls below that once in a hundred times."""
    covered = 0
    for seed in range(100):
        samples = run(noise, seed, 1.02, budget_s=1.0).samples
        low, high = ratio(samples[BASELINE], samples[CANDIDATE]).ci95
        covered += low <= 1.02 <= high
    assert covered >= 90


def test_waiting_is_a_regression_of_its_own_kind():
    found = run(quiet, 0, waits=1e-4)
    assert (found.decision.verdict, found.decision.kind) == (REGRESSION, "waiting")


def test_a_difference_at_the_line_is_inconclusive_and_takes_the_whole_budget():
    found = run(quiet, 3, slowdown=math.sqrt(1.05), budget_s=3.0)
    assert found.decision.verdict == "inconclusive"
    assert len(found.looks) == 3


def test_a_null_control_that_is_off_ends_inconclusive():
    """The second session of the baseline is 4 % slower: this machine's ratios mean nothing now."""
    machine = Machine(0, quiet)
    timers = {BASELINE: machine.timer(1e-3), CANDIDATE: machine.timer(1e-3), NULL: machine.timer(1.04e-3)}
    found = measure(timers, Rule(budget_s=2.0), clock=machine.clock)
    assert found.decision.verdict == "inconclusive"
    assert "null control" in found.decision.reason


def test_long_calls_still_get_six_quads_a_look():
    found = run(quiet, 0, own=0.4)
    assert found.decision.verdict in (PASS, "inconclusive")
    assert len(found.samples[BASELINE].seconds) >= 12


def test_every_timing_is_kept_in_order():
    samples = run(bursts, 0, budget_s=1.0).samples
    turns = sorted(itertools.chain.from_iterable(sample.turns for sample in samples.values()))
    assert turns == list(range(len(turns)))
    assert any(samples[BASELINE].preempted)


def in_places(monkeypatch, seed, slowdown=1.0, opening_s=0.003, places=0.01):
    """A gate on models of 20 us, ten calls a timing, whose sessions differ."""
    monkeypatch.setattr(ScriptedTimer, "opening_s", opening_s)
    monkeypatch.setattr(ScriptedTimer, "places", places)
    return run(quiet, seed, slowdown, own=2e-4)


def test_sessions_that_differ_by_their_place_are_no_verdict(monkeypatch):
    """Of one session each, a third would show a null control that is off."""
    same = [in_places(monkeypatch, seed) for seed in range(20)]
    assert [one.decision.verdict for one in same] == [PASS] * 20
    assert all(one.seconds < 3.5 for one in same)
    slower = [in_places(monkeypatch, seed, 1.05) for seed in range(20)]
    assert [one.decision.verdict for one in slower].count(REGRESSION) >= 19


def test_intervals_are_over_sessions(monkeypatch):
    """Each epoch is one observation, and the interval holds what the sessions differ by."""
    found = [in_places(monkeypatch, seed) for seed in range(40)]
    assert all(len(one.starts) > 5 for one in found)
    assert all(one.ratio.pairs <= len(one.starts) for one in found)
    assert sum(one.ratio.ci95[0] <= 1 <= one.ratio.ci95[1] for one in found) >= 36


def test_large_models_are_opened_anew_while_it_is_open(monkeypatch):
    """One place alone is off by more than a fifth of 5 % in every third run; over ten looks it is not."""
    monkeypatch.setattr(ScriptedTimer, "opening_s", 0.03)
    monkeypatch.setattr(ScriptedTimer, "places", 0.01)
    found = [run(quiet, seed, own=6e-3) for seed in range(20)]
    assert all(one.starts == (0,) for one in found)
    assert [one.decision.verdict for one in found].count(PASS) >= 18
    monkeypatch.setattr(ScriptedTimer, "opening_s", 0.3)  # three times that is too much
    assert [run(quiet, seed, own=6e-3).decision.verdict for seed in range(20)].count(PASS) < 18


def test_what_is_slow_to_open_is_opened_less_often_or_once(monkeypatch):
    """Opening takes at most 0.4 of an epoch, which lasts at most 0.2 s; calls of more than 5 ms are large models."""
    often, seldom, once = (in_places(monkeypatch, 0, opening_s=cost) for cost in (0.003, 0.02, 0.03))
    assert len(often.starts) / often.seconds > 1.5 * len(seldom.starts) / seldom.seconds
    assert len(seldom.starts) > 1
    assert once.starts == (0,)
    assert run(quiet, 0, own=6e-3).starts == (0,)
    assert run(quiet, 0).starts == (0,)  # nobody can open it anew


@pytest.mark.parametrize(
    ("here", "fresh", "expected"),
    [
        ((REGRESSION, "compute"), (REGRESSION, "compute"), (REGRESSION, "compute")),
        ((REGRESSION, "compute"), (REGRESSION, "waiting"), (REGRESSION, "waiting")),
        ((REGRESSION, "waiting"), (REGRESSION, "compute"), (REGRESSION, "waiting")),
        ((REGRESSION, "compute"), (PASS, None), (INCONCLUSIVE, None)),
        ((REGRESSION, "waiting"), (INCONCLUSIVE, None), (INCONCLUSIVE, None)),
    ],
)
def test_what_two_processes_agree_on(here, fresh, expected):
    """Wall time over the line in both is slower; only what both saw in CPU time is more work."""
    found = agreed(Decision(*here, "because"), {"verdict": fresh[0], "kind": fresh[1], "ratio": 1.2})
    assert (found.verdict, found.kind) == expected
