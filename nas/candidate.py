"""A candidate of the search: a genotype with its scores so far, as ``candidates/<id>/record.json`` holds it."""

from dataclasses import dataclass, field
from typing import Any

from compress.quality import Score
from nas.rungs import Measured, Standing

COMPLETE, INFEASIBLE, DOMINATED, FAILED, DUPLICATE = "complete", "infeasible", "dominated", "failed", "duplicate"
OUTCOMES = (COMPLETE, INFEASIBLE, DOMINATED, FAILED, DUPLICATE)
SCORED = (COMPLETE, INFEASIBLE, DOMINATED)  # outcomes with values that a sampler may learn from
NOT_TRAINED = "not trained: search.minutes or search.trials were used up before its turn"


@dataclass
class Candidate:
    """A genotype with its scores so far; what its ``record.json`` holds."""

    id: str
    genotype: dict[str, Any]
    trial: int
    outcome: str | None = None
    ratio: dict[str, Any] | None = None
    macs: int | None = None
    rungs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None
    dominated_by: str | None = None

    def standing(self, rung: int) -> Standing | None:
        """Return where it stood at ``rung`` (an index), or ``None`` if it has not been there."""
        if self.ratio is None or len(self.rungs) <= rung:
            return None
        score = self.score(rung)
        return Standing(self.id, self.ratio["value"], score.value, score.standard_error)

    @property
    def measured(self) -> Measured | None:
        """What it costs, once it was measured untrained."""
        if self.ratio is None or self.macs is None:
            return None
        return Measured(self.id, self.ratio["value"], self.macs)

    @property
    def note(self) -> str | None:
        """Why it ended so, where the outcome alone does not say it."""
        return f"by {self.dominated_by}" if self.outcome == DOMINATED else self.error

    @property
    def curve(self) -> list[tuple[int, float]]:
        """(steps, score) of each rung it finished."""
        return [(rung["steps"], rung["quality"]["value"]) for rung in self.rungs]

    def score(self, rung: int = -1) -> Score:
        """Return its score at ``rung``, the latest by default."""
        return Score.from_json(self.rungs[rung]["quality"])


def describe(candidate: Candidate) -> str:
    """Return a few words on how a candidate ended or how far it is, for the progress line."""
    on_its_way = f"rung {len(candidate.rungs)}" if candidate.rungs else "fast enough"
    words = [candidate.id[:6], candidate.outcome or on_its_way]
    if candidate.ratio is not None:
        words.append(f"{1 / candidate.ratio['value']:.1f}x")
    if candidate.rungs:
        score = candidate.score()
        words.append(f"{score.metric} {score.value:.1f}")
    return " ".join(words)
