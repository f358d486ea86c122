"""A candidate of the search: a genotype with its scores so far, as ``candidates/<id>/record.json`` holds it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from compress.quality import Score
from nas.folder import REMEDY, FolderError, Stored, check_name
from nas.rungs import Measured, Standing, front
from reports.wording import number

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

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    @classmethod
    def read(cls, row: object, where: Path) -> "Candidate":
        """Return the candidate in ``row``, which was read from ``where``.

        Raises:
            FolderError: it has a field that candidates have not, lacks one, or one of another type.
        """
        try:
            _ADAPTER.validate_python(row)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "a candidate"
            raise FolderError(f"{where}: {place}: {first['msg'].lower()}: {REMEDY}") from error
        assert isinstance(row, dict)
        candidate = cls(**Stored.of(row, where))
        check_name(candidate.id, where)
        return candidate

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


def front_of(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the complete candidates that no other complete one beats in both latency and score, fastest first."""
    complete = {one.id: one for one in candidates if one.outcome == COMPLETE}
    standings = [standing for one in complete.values() if (standing := one.standing(-1)) is not None]
    return [complete[standing.id] for standing in front(standings)]


_ADAPTER = TypeAdapter(Candidate)


def describe(candidate: Candidate) -> str:
    """Return a few words on how a candidate ended or how far it is, for the progress line."""
    on_its_way = f"rung {len(candidate.rungs)}" if candidate.rungs else "fast enough"
    words = [candidate.id[:6], candidate.outcome or on_its_way]
    if candidate.ratio is not None:
        words.append(f"{1 / candidate.ratio['value']:.1f}x")
    if candidate.rungs:
        score = candidate.score()
        words.append(f"{score.metric} {number(score.value)}")
    return " ".join(words)
