"""From paired differences to a verdict: pass, regression or inconclusive, look by look.

Nothing here takes time or asks a machine, so that simulations can run it a thousand times.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from benchmarks.binomial import at_least, lower_rank
from benchmarks.records import BenchmarkError
from benchmarks.statistics import Floats

PASS: Final = "pass"
REGRESSION: Final = "regression"
INCONCLUSIVE: Final = "inconclusive"
COMPUTE, WAITING, WALL = "compute", "waiting", "wall"  # kinds of regression: more work, waiting, or not known which
NULL_SHARE = 0.2  # of ``catch``: the null control may be off by so much (1 point for 5 %)

Name = Literal["pass", "regression", "inconclusive"]


class GateError(BenchmarkError, ValueError):
    """A gate that cannot be run as asked."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is caught, and how sure a verdict must be.

    Args:
        catch: Slowdown to be found, 0.05 for 5 %. The decision line lies at half of it (of its logarithm): an interval
            must lie wholly on one side of the line, and one around +5 % lies above +5 % only half of the time.
        budget_s: Longest time that is measured.
        alpha: Probability of calling a model that is exactly at the line slower than the line, over all looks.
        look_s: The data are looked at after every so many seconds.

    Raises:
        GateError: a value that cannot be.
    """

    catch: float = 0.05
    budget_s: float = 10.0
    alpha: float = 0.05
    look_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0.002 <= self.catch <= 10:
            raise GateError(f"slowdowns of 0.2 % to 1000 % can be caught, not {self.catch:.3%}.")
        if not 0 < self.look_s <= self.budget_s < math.inf or not 0 < self.alpha < 0.5:
            raise GateError(f"a budget must be at least {self.look_s:g} s, and alpha between 0 and 0.5.")

    @property
    def line(self) -> float:
        """The decision line, as a difference of logarithms."""
        return math.log1p(self.catch) / 2

    @property
    def looks(self) -> int:
        """How many there are at most."""
        return max(1, int(self.budget_s / self.look_s + 1e-9))

    @property
    def tail(self) -> float:
        """Error of one side at one look: ``alpha`` split over the looks (Bonferroni)."""
        return self.alpha / self.looks


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the quads say of one difference of logarithms.

    Args:
        value: Median; NaN without quads.
        low, high: Each side's bound at the rule's tail; infinite where there are too few quads for one.
        p_over: P of so many quads above the line, were the true median at or below it (sign test); 1 without quads.
        n: Quads, or blocks of them.
    """

    value: float
    low: float
    high: float
    p_over: float
    n: int

    @property
    def known(self) -> bool:
        """Whether both bounds are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def to_json(self) -> dict[str, Any]:
        """As ratios, in plain JSON types; null for what is not known."""
        ends = [math.exp(end) if math.isfinite(end) else None for end in (self.value, self.low, self.high)]
        return {"ratio": ends[0], "low": ends[1], "high": ends[2], "p_over": self.p_over, "n": self.n}


def weigh(differences: Floats, rule: Rule) -> Evidence:
    """Return what ``differences`` say: bounds by order statistics, and the sign test against the rule's line."""
    n = differences.size
    if not n:
        return Evidence(math.nan, -math.inf, math.inf, 1.0, 0)
    ordered, rank = np.sort(differences), lower_rank(n, rule.tail)
    low, high = (float(ordered[rank - 1]), float(ordered[n - rank])) if rank else (-math.inf, math.inf)
    return Evidence(float(np.median(ordered)), low, high, at_least(int(np.sum(ordered > rule.line)), n), n)


@dataclass(frozen=True, slots=True)
class Look:
    """What was known after ``seconds``: wall and CPU time of candidate against baseline, and the null control's wall.

    ``cpu`` is None where the system's CPU clock is too coarse.
    """

    seconds: float
    wall: Evidence
    cpu: Evidence | None
    null: Evidence

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        cpu = self.cpu.to_json() if self.cpu else None
        return {"seconds": self.seconds, "wall": self.wall.to_json(), "cpu": cpu, "null": self.null.to_json()}


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, of which kind a regression is, and why, in words."""

    verdict: Name
    kind: str | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The record in plain JSON types."""
        return asdict(self)


def decide(look: Look, rule: Rule) -> Decision | None:
    """Return the verdict that ``look`` allows, or None if more has to be measured.

    Pass needs wall and CPU time under the line; a regression both over it, or wall time over it and CPU time under it:
    then the candidate waits (CPU time is blind to sleeps, locks and I/O), which is believed only beside a clean null
    control. Nothing is decided while the null control is off.
    """
    line, wall, cpu = rule.line, look.wall, look.cpu
    if null_is_off(look.null, rule):
        return None
    if wall.high < line and (cpu is None or cpu.high < line):
        return Decision(PASS, None, "wall time lies under the line" + (", and CPU time too" if cpu else ""))
    if wall.low > line:
        if cpu is not None and cpu.low > line:
            return Decision(REGRESSION, COMPUTE, "wall time and CPU time lie over the line")
        if look.null.known and (cpu is None or cpu.high < line):
            return _over_by_wall_alone(cpu)
    return None


def decide_last(look: Look, rule: Rule) -> Decision:
    """Return the verdict at the end of the budget, which may be inconclusive."""
    found = decide(look, rule)
    if found is not None:
        return found
    if null_is_off(look.null, rule):
        return Decision(
            INCONCLUSIVE,
            None,
            f"the null control is off: the baseline against itself shows {percent(look.null.value)}, so this machine "
            "cannot be believed now",
        )
    if look.wall.low > rule.line and look.null.known:
        return _over_by_wall_alone(look.cpu)
    over = look.wall.value > rule.line
    return Decision(
        INCONCLUSIVE,
        None,
        f"{percent(look.wall.value)} is {'over' if over else 'under'} the line of {percent(rule.line)}, but its "
        "interval holds the line: give it more time (--budget) or catch larger slowdowns (--catch)",
    )


def null_is_off(null: Evidence, rule: Rule) -> bool:
    """Return whether the baseline against itself shows a difference of more than a fifth of what is to be caught."""
    allowed = NULL_SHARE * math.log1p(rule.catch)
    return null.low > allowed or null.high < -allowed


def would_have_caught(look: Look, rule: Rule) -> float:
    """Return the smallest slowdown that a look as sharp as this one calls a regression: 0.031 for +3.1 %.

    A difference d is called when d - (value - low) is over the line; the less sharp of wall and CPU time counts.
    """
    gaps = [one.value - one.low for one in (look.wall, look.cpu) if one is not None]
    return math.expm1(rule.line + max(gaps)) if all(map(math.isfinite, gaps)) else math.inf


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Return which of several hypotheses are rejected with a family-wise error of at most ``alpha`` (Holm 1979)."""
    rejected = [False] * len(p_values)
    for step, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected


def percent(log_ratio: float) -> str:
    """``+2.5 %`` of a difference of logarithms."""
    return f"{100 * math.expm1(log_ratio):+.1f} %"


def _over_by_wall_alone(cpu: Evidence | None) -> Decision:
    if cpu is None:
        return Decision(REGRESSION, WALL, "wall time lies over the line; CPU time is not known here")
    return Decision(
        REGRESSION, WAITING, "wall time lies over the line and CPU time does not: it waits (a sleep, a lock, I/O)"
    )
