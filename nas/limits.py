"""What candidates must reach, and by how much one misses it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.candidate import INFEASIBLE, Candidate
from nas.rungs import predict

if TYPE_CHECKING:  # torch comes with it
    from nas.families.base import Schedule


@dataclass(frozen=True, slots=True)
class Limits:
    """The latency that a candidate must reach, and what it is measured against.

    Args:
        reference: The reference's fastest own file.
        max_ratio: Highest ratio to it that is allowed; infinity without a limit.
        blank: Score of the blank picture: the value of a candidate that was never trained.
        teacher: Score of the reference, on the latents of the rungs.
        allowed: Worst score that the budget allows.
    """

    reference: Path
    max_ratio: float
    blank: float
    teacher: float
    allowed: float

    def violations(self, candidate: Candidate, schedule: "Schedule") -> dict[str, float]:
        """Return by how much ``candidate`` misses each limit, as log of a factor; 0 or below is inside.

        The front also holds what is very fast and hopeless. A sampler that learned only from dominance would spend
        most of its trials there, so the budget is a constraint like the latency: what the rungs predict for the end of
        training, over what is allowed.

        Args:
            candidate: Measured, and where it was trained, with scores that are numbers.
            schedule: How it would be trained to the end.
        """
        assert candidate.ratio is not None
        violations = {}
        if math.isfinite(self.max_ratio):
            violations["latency"] = math.log(candidate.ratio["value"] / self.max_ratio)
        if candidate.outcome != INFEASIBLE and self.allowed > 0:
            predicted = self.blank  # of what was outcomputed, and so never trained
            if candidate.rungs:
                predicted = predict(candidate.curve, self.teacher, schedule)
            loss, budget = predicted - self.teacher, self.allowed - self.teacher
            if budget > 0:  # what is lost, in units of what may be lost: FID 12 for 6 is far outside, not a factor of 2
                violations["quality"] = math.log(max(loss, 1e-3 * budget) / budget)
            else:  # better than the reference is asked for
                violations["quality"] = math.log(max(predicted, 1e-9) / self.allowed)
        return violations
