"""The speed gate: baseline and candidate side by side, here and now, until a verdict can be given.

Never a stored number: of two runs of the same model on a busy machine a third differ by more than 5 %. Both models take
turns call by call; a second session of the baseline takes turns with the first, and shows what this machine makes of no
difference at all. A regression is confirmed once by a fresh process.
"""

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.decision import (
    COMPUTE,
    INCONCLUSIVE,
    REGRESSION,
    WAITING,
    Decision,
    Rule,
    holm,
    null_is_off,
    percent,
    would_have_caught,
)
from benchmarks.looks import BASELINE, CANDIDATE, NULL, Measured, OnLook, measure
from benchmarks.probes import probe_for
from benchmarks.records import Ratio, Sample
from benchmarks.sides import TOLERANCE, Side, check_outputs, check_ports
from benchmarks.workers import RemoteTimer, answers, ask_fresh

_CONFIRM_EXTRA_S = 60.0  # for a fresh process to start and load both models
_MIXED = "wall time lies over the line in two processes, CPU time in one of them: it waits (a sleep, a lock, I/O)"


@dataclass(frozen=True)
class Outcome:
    """The answer of a gate: what was measured, what a fresh process said, and how far apart the outputs are."""

    rule: Rule
    measured: Measured
    decision: Decision
    outputs_differ_by: float
    confirmation: Mapping[str, Any] | None = None
    probe_share: float = 0.0
    notes: tuple[str, ...] = ()
    runtimes: Mapping[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> Ratio:
        """Wall time of the candidate ÷ that of the baseline."""
        return self.measured.ratio

    @property
    def would_have_caught(self) -> float:
        """The smallest slowdown that a run as sharp as this calls a regression, 0.031 for +3.1 %."""
        return would_have_caught(self.measured.last, self.rule)

    @property
    def p_value(self) -> float:
        """P of such evidence of wall and CPU time over the line, were the candidate at it; corrected for the looks."""
        last = self.measured.last
        return min(1.0, self.rule.looks * max(one.p_over for one in (last.wall, last.cpu) if one is not None))

    def line(self) -> str:
        """``+0.1 % [-0.5, +0.6] pass; this run would have caught +3.1 %``."""
        low, high = (100 * (end - 1) for end in self.ratio.ci95)
        kind = f" ({self.decision.kind})" if self.decision.kind else ""
        caught = self.would_have_caught
        resolution = f"+{100 * caught:.1f} %" if math.isfinite(caught) else "nothing: too few quads"
        return (
            f"{100 * (self.ratio.value - 1):+.1f} % [{low:+.1f}, {high:+.1f}] {self.decision.verdict}{kind}; "
            f"this run would have caught {resolution}"
        )

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types; raw samples are not in it."""
        caught = self.would_have_caught
        return {
            **self.decision.to_json(),
            "ratio": self.ratio.value,
            "ci95": list(self.ratio.ci95),
            "pairs": self.ratio.pairs,
            "catch": self.rule.catch,
            "decision_line": math.expm1(self.rule.line),
            "would_have_caught": caught if math.isfinite(caught) else None,
            "seconds": round(self.measured.seconds, 3),
            "warmup_seconds": round(self.measured.warmup_s, 3),
            "looks": [look.to_json() for look in self.measured.looks],
            "confirmation": dict(self.confirmation) if self.confirmation else None,
            "outputs_differ_by": self.outputs_differ_by,
            "probe_share": self.probe_share,
            "preempted": {name: _share(sample.preempted) for name, sample in self.measured.samples.items()},
            "preemption_known": all(sample.probed for sample in self.measured.samples.values()),
            "runtimes": dict(self.runtimes),
            "notes": list(self.notes),
        }


def gate(
    baseline: Side,
    candidate: Side,
    rule: Rule,
    *,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    confirm: bool = True,
    on_look: OnLook | None = None,
) -> Outcome:
    """Compare ``candidate`` with ``baseline`` and return the verdict.

    Args:
        baseline, candidate: What runs; sides with an interpreter of their own are timed in processes of their own.
        rule: What is to be caught, and how surely.
        seed: Of the order of turns.
        tolerance: Largest difference of outputs, as a share of their range.
        confirm: Repeat a regression in a fresh process; if that says otherwise, the verdict is inconclusive.
        on_look: Hears of every look.

    Raises:
        NotComparable: names, shapes or types of inputs or outputs differ.
        OutputsDiffer: the outputs do.
        BenchmarkError: a model cannot be opened or timed.
    """
    check_ports(baseline.model, candidate.model)
    with _open(baseline, candidate) as timers:
        differ_by = check_outputs(timers[BASELINE].outputs(), timers[CANDIDATE].outputs(), tolerance)
        runtimes = {name: str(timers[name].runtime) for name in (BASELINE, CANDIDATE)}
        measured = measure(timers, rule, seed=seed, on_look=on_look)
    decision, confirmation, notes = measured.decision, None, list[str]()
    if decision.verdict == REGRESSION and confirm:
        confirmation = _confirm(baseline, candidate, rule, seed + 1)
        decision = agreed(decision, confirmation)
    known = all(sample.probed for sample in measured.samples.values())
    if not known:
        notes.append("this system does not tell when a core is taken away: intervals are wider")
    if len(set(runtimes.values())) > 1:
        notes.append("; ".join(f"{name} in {runtime}" for name, runtime in runtimes.items()))
    share = _probe_share(measured.samples, baseline)
    return Outcome(rule, measured, decision, differ_by, confirmation, share, tuple(notes), runtimes)


def step_down(
    outcomes: Sequence[Outcome], sides: Sequence[tuple[Side, Side]], alpha: float, seed: int = 0
) -> list[Outcome]:
    """Return the outcomes of several models after Holm's correction.

    Each was measured at ``alpha`` divided by their number (Bonferroni). Holm's steps are less strict: one that is
    inconclusive so, and whose p-value they reject, is a regression if a fresh process agrees.
    """
    rejected = holm([one.p_value for one in outcomes], alpha)
    return [
        _confirmed(one, *pair, seed) if over and one.decision.verdict == INCONCLUSIVE and not one.confirmation else one
        for one, pair, over in zip(outcomes, sides, rejected, strict=True)
    ]


def _confirmed(outcome: Outcome, baseline: Side, candidate: Side, seed: int) -> Outcome:
    if null_is_off(outcome.measured.last.null, outcome.rule):
        return outcome
    confirmation = _confirm(baseline, candidate, outcome.rule, seed + 1)
    over = Decision(
        REGRESSION, COMPUTE, "wall time and CPU time lie over the line, among all models of this call (Holm)"
    )
    return replace(outcome, decision=agreed(over, confirmation), confirmation=confirmation)


@contextlib.contextmanager
def _open(baseline: Side, candidate: Side) -> Iterator[dict[str, Any]]:
    """The three timers, each with ``outputs()``: all in this process, or each in a process of its own."""
    sides = {BASELINE: baseline, CANDIDATE: candidate, NULL: baseline}
    if baseline.python is None and candidate.python is None:
        yield {name: _Here(side, name) for name, side in sides.items()}
        return
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(RemoteTimer(side, name)) for name, side in sides.items()}


class _Here:
    """A side's timer in this process, with its outputs."""

    def __init__(self, side: Side, name: str) -> None:
        self._runner = side.open()
        self.outputs, self.runtime = self._runner.outputs, self._runner.name
        timer = side.timer(name, self._runner)
        self.warm_up, self.time, self.renew, self.known = timer.warm_up, timer.time, timer.renew, timer.known


def _confirm(baseline: Side, candidate: Side, rule: Rule, seed: int) -> dict[str, Any]:
    """Return what a fresh process finds; it measures again from the start."""
    request = {
        "baseline": baseline.to_json(),
        "candidate": candidate.to_json(),
        "rule": {"catch": rule.catch, "budget_s": rule.budget_s, "alpha": rule.alpha, "look_s": rule.look_s},
        "seed": seed,
    }
    timeout_s = rule.budget_s + _CONFIRM_EXTRA_S
    return ask_fresh("gate", "confirm_here", request, timeout_s=timeout_s, what="confirming a regression")


def confirm_here() -> None:
    """What a fresh process does: measure what standard input asks for, and print what was found."""
    request = json.load(sys.stdin)
    sides = [Side.from_json(request[name]) for name in (BASELINE, CANDIDATE)]
    with answers() as answer, _open(*sides) as timers:
        found = measure(timers, Rule(**request["rule"]), seed=request["seed"])
        answer({**found.decision.to_json(), "ratio": found.ratio.value, "ci95": list(found.ratio.ci95)})


def agreed(decision: Decision, confirmation: Mapping[str, Any]) -> Decision:
    """Return ``decision`` if a fresh process found a regression, too.

    Where only one of the two saw the CPU time over its line, it is waiting that both saw: who sleeps finds its caches
    cold, and takes a little more CPU time as well.
    """
    if confirmation["verdict"] == REGRESSION:
        return decision if confirmation["kind"] == decision.kind else replace(decision, kind=WAITING, reason=_MIXED)
    other = confirmation["verdict"] + (f" ({confirmation['kind']})" if confirmation["kind"] else "")
    return Decision(
        INCONCLUSIVE,
        None,
        f"this process found a regression ({decision.kind}), a fresh one {other}, at "
        f"{percent(math.log(confirmation['ratio']))}: the difference lies between processes, not between models",
    )


def _probe_share(samples: Mapping[str, Sample], baseline: Side) -> float:
    """What asking the system costs, as a share of the baseline's median round."""
    sample = samples[BASELINE]
    return probe_for(baseline.threads).cost_s() / (sorted(sample.seconds)[len(sample.seconds) // 2] * sample.calls)


def _share(marks: tuple[bool, ...]) -> float:
    return sum(marks) / max(len(marks), 1)
