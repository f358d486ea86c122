"""Where the time went: stacked bars of stages, and of the search's workers by how trials ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.searched import OUTCOMES
from reports.summary import Summary
from reports.views.search import outcome_name
from reports.wording import duration


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar, in percent of the whole."""

    kind: str
    name: str
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Stack:
    """A bar of 100 %."""

    title: str
    total: str
    parts: tuple[Part, ...]


def stacks(summary: Summary) -> tuple[Stack, ...]:
    """Wall time by stage, and worker time of the search by outcome; what is not known is left out."""
    stages = [(name, name, spent) for name, spent in summary.seconds or () if name != "total" and spent]
    total = summary.seconds.total if summary.seconds else None
    other = (total or 0.0) - sum(spent for _, _, spent in stages)
    if stages and total and other > 0.01 * total:
        stages.append(("other", "data and report", other))
    by_outcome = dict.fromkeys((*OUTCOMES, "unreached"), 0.0)
    for one in summary.candidates or ():
        by_outcome["unreached" if one.unreached else one.outcome] += one.seconds
    outcomes = [(name, outcome_name(name), spent) for name, spent in by_outcome.items() if spent]
    made = [("The whole run, wall time by stage", stages), ("Workers of the search, by how trials ended", outcomes)]
    return tuple(_stack(title, parts) for title, parts in made if parts)


def _stack(title: str, parts: Sequence[tuple[str, str, float]]) -> Stack:
    total = sum(spent for _, _, spent in parts)
    made = [Part(kind, name, round(100 * spent / total, 2), duration(spent)) for kind, name, spent in parts]
    return Stack(title, duration(total), tuple(made))
