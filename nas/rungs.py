"""Which candidates go on: dominance at a rung, and what a short training says about a long one.

Optuna's pruners know one objective only (``report`` raises with two), so the rule for two stands here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch comes with it
    from nas.families.base import Schedule

MACS_MARGIN = 1.25  # so that variants of one network with other activations or norms are still compared by training
LEAVES = {"features": 0.5, "finetune": 0.6}  # of the excess over the teacher: docs/architecture.md, "What was measured"
MATCHED = 0.85  # of the score, measured there too
STEEPEST = 1.5  # exponent of a learning curve, at most: two noisy points must not promise a miracle


@dataclass(frozen=True, slots=True)
class Standing:
    """One candidate at one rung: its latency ratio, its score (lower is better), the score's standard error."""

    id: str
    ratio: float
    value: float
    error: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One untrained candidate: its latency ratio, and its multiply-accumulates per picture."""

    id: str
    ratio: float
    macs: int


def outcomputed(candidate: Measured, others: Iterable[Measured]) -> Measured | None:
    """Return one of ``others`` that is no slower and does at least ``MACS_MARGIN`` times the multiply-accumulates.

    More arithmetic means more quality, well enough to decide whom to train: over eight and ten hand-picked candidates
    of the kinds in `decoder`, its Spearman correlation with the FID after 40 and 60 CPU-seconds of distillation was
    0.90 and 0.81, which scores taken after 10 to 15 seconds hardly beat (one seed). It says nothing of latency, so only
    what is no slower stops another.
    """
    for other in others:
        if other.id != candidate.id and other.ratio <= candidate.ratio and other.macs >= MACS_MARGIN * candidate.macs:
            return other
    return None


def dominator(candidate: Standing, others: Iterable[Standing]) -> Standing | None:
    """Return one of ``others`` that is no slower and scores better by more than the error of the difference.

    Only standings of the same rung may be compared. A candidate whose score is NaN is dominated by any other.
    """
    for other in others:
        if other.id == candidate.id or other.ratio > candidate.ratio:
            continue
        if math.isnan(candidate.value) or candidate.value - other.value > math.hypot(candidate.error, other.error):
            return other
    return None


def front(standings: Sequence[Standing]) -> list[Standing]:
    """Return the standings that no other beats in both latency and score, fastest first."""
    best, members = math.inf, []
    for one in sorted(standings, key=lambda standing: (standing.ratio, standing.value)):
        if one.value < best:
            best = one.value
            members.append(one)
    return members


def predict(curve: Sequence[tuple[int, float]], teacher: float, schedule: "Schedule") -> float:
    """Return the score expected at the end of training, from the last two points of ``curve``.

    The excess over the teacher's own score falls like a power of the steps of distillation:
    f(s) = t + (f(s2) - t) (s / s2)^-a with a = log(e1 / e2) / log(s2 / s1), between 0 and ``STEEPEST``. On the students
    measured for this project it was within one point at four to eight times the steps. One point alone promises
    nothing: its own excess is taken. Of what is left then, each further kind of phase leaves the share in ``LEAVES``;
    matching then leaves ``MATCHED`` of the score itself, the teacher's part included.
    Where the teacher's or one of the two scores is not a number, the last score is returned.

    Args:
        curve: (steps, score) of each rung, in order.
        teacher: Score of the reference, which distillation tends to.
        schedule: How a finalist is trained to the end.
    """
    if not curve:
        return math.nan
    steps = sum(phase.steps for phase in schedule if phase.kind in ("distill", "features"))
    kinds = {phase.kind for phase in schedule}
    share = math.prod(LEAVES.get(kind, 1.0) for kind in kinds)
    of_all = MATCHED if "match" in kinds else 1.0
    (s2, f2) = curve[-1]
    if f2 <= teacher or not all(math.isfinite(value) for value in (teacher, *(score for _, score in curve[-2:]))):
        return f2
    if len(curve) < 2 or steps <= s2:
        return of_all * (teacher + share * (f2 - teacher))
    (s1, f1) = curve[-2]
    steepness = math.log(max(f1 - teacher, 1e-9) / (f2 - teacher)) / math.log(s2 / s1)
    power = -min(max(steepness, 0.0), STEEPEST)
    return of_all * (teacher + share * (f2 - teacher) * math.exp(power * math.log(steps / s2)))
