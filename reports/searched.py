"""What the summary holds of the search: how trials ended, their scores, and what each knob did."""

from typing import Literal

from pydantic import Field, model_validator

from reports.records import Count, Estimate, Genotype, Ratio, Record, Score, Seconds, Spread

Outcome = Literal["complete", "infeasible", "dominated", "failed", "duplicate"]
OUTCOMES: tuple[Outcome, ...] = ("complete", "dominated", "infeasible", "failed", "duplicate")


class SearchCounts(Record):
    """How the trials ended."""

    trials: Count = Field(description="complete + infeasible + dominated + failed + duplicate.")
    complete: Count = Field(description="Reached the last rung.")
    infeasible: Count = Field(description="Over the latency limit: not trained.")
    dominated: Count = Field(description="Stopped at a rung, or outcomputed and never trained.")
    failed: Count = Field(description="Ended with an error, which is kept.")
    duplicate: Count = Field(description="Proposed again, not evaluated again.")
    unreached: Count = Field(
        default=0,
        description="Of `failed`: measured, and never trained, since the effort was used up before their turn.",
    )
    space_size: Count | None = Field(default=None, description="Genotypes of the space, counted exactly.")

    @model_validator(mode="after")
    def _adds_up(self) -> "SearchCounts":
        total = self.complete + self.infeasible + self.dominated + self.failed + self.duplicate
        if self.unreached > self.failed:
            raise ValueError(f"unreached is a part of failed ({self.failed}), found {self.unreached}")
        if self.trials != total:
            raise ValueError(f"trials is the sum of the five outcomes ({total}), found {self.trials}")
        return self


class CurvePoint(Record):
    """One score of the reference while it learned."""

    step: Count = Field(description="Optimizer steps so far.")
    cpu_seconds: Seconds | None = Field(default=None, description="Process CPU-seconds so far.")
    value: float = Field(description="The score then.")
    standard_error: float | None = Field(default=None, ge=0, description="Its standard error.")


class RungPoint(Record):
    """One score of a candidate."""

    steps: Count = Field(description="Training steps so far.")
    value: float = Field(description="The score then, on `seen`.")
    standard_error: float | None = Field(default=None, ge=0, description="Its standard error.")


class Candidate(Record):
    """One trial of the search."""

    id: str = Field(description="Hash of space and genotype.")
    genotype: Genotype = Field(description="The setting of every active knob.")
    outcome: Outcome = Field(description="How the trial ended.")
    ratio: Ratio | None = Field(default=None, description="Measured on the exported, untrained candidate.")
    quality: Score | None = Field(default=None, description="At its last rung, on `seen`.")
    rung: Count | None = Field(default=None, description="The last rung it finished.")
    seconds: Seconds = Field(default=0.0, description="Wall seconds spent on it.")
    finalist: bool = Field(default=False, description="It was trained to the end.")
    promising: bool = Field(default=False, description="It is on the front and near enough to the budget.")
    curve: tuple[RungPoint, ...] = Field(default=(), description="Its score after each rung.")
    unreached: bool = Field(default=False, description="It failed only in that the effort was used up before its turn.")
    error: str | None = Field(default=None, description="What went wrong, if it failed.")


class Finalist(Record):
    """A candidate trained to the end."""

    id: str = Field(description="The candidate's id.")
    genotype: Genotype = Field(description="Its genotype.")
    inside: bool | None = Field(default=None, description="Inside the budget on `seen`.")
    quality: Score | None = Field(default=None, description="On `seen`, with latents that the rungs did not use.")
    difference: Estimate | None = Field(default=None, description="Quality minus the reference's, paired.")
    ratio: Ratio | None = Field(default=None, description="To the reference's fastest own file.")
    winner: bool = Field(default=False, description="This one was chosen.")
    note: str | None = Field(default=None, description="What happened to it.")


class Importance(Record):
    """Share of the spread that a knob explains alone (fANOVA on logarithms); all knobs together make 1."""

    latency: float | None = Field(default=None, ge=0, description="Of the latency; null with too few candidates.")
    quality: float | None = Field(default=None, ge=0, description="Of the score after the first rung.")


class KnobValue(Record):
    """What candidates with one value of a knob had in common."""

    value: int | float | str | bool | None = Field(description="The value; null where the knob was off.")
    measured: Count = Field(description="Candidates whose latency was measured.")
    speedup: Spread | None = Field(default=None, description="Their speed-ups over the reference's fastest file.")
    trained: Count = Field(description="Candidates that were trained.")
    quality: Spread | None = Field(default=None, description="Their scores after the first rung, on `seen`.")
    best_quality: float | None = Field(default=None, description="The best score of any of them, at its last rung.")


class Knob(Record):
    """One dimension of the search space."""

    name: str = Field(description="Its name.")
    importance: Importance = Field(description="What it explains.")
    values: tuple[KnobValue, ...] = Field(description="By value, numbers in order.")


class Knobs(Record):
    """What the knobs did, over all candidates of the search."""

    measured: Count = Field(description="Candidates whose latency was measured.")
    trained: Count = Field(description="Candidates that finished the first rung.")
    steps: Count | None = Field(default=None, description="Steps of the first rung.")
    knobs: tuple[Knob, ...] = Field(description="The most important first.")
