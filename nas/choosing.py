"""Whom to train to the end, one after the other: what finished ones came to corrects what is expected of others."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

from compress.quality import Budget, Score
from nas.candidate import COMPLETE, Candidate
from nas.families.base import Schedule
from nas.folder import Record
from nas.rungs import MATCHED, Standing, front, predict

FASTER = 2 / 3  # of the time of the fastest inside the budget: one that takes more is not worth its training
_LEAST = 1e-3  # of the teacher's score: a predicted excess below which a quotient says nothing


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate that is to be trained to the end.

    Args:
        candidate: Its search ended with ``COMPLETE``.
        predicted: Score that is expected of it then.
        promising: Whether that is inside the budget.
    """

    candidate: Candidate
    predicted: float
    promising: bool


@dataclass(frozen=True)
class Field:
    """Those who may be trained to the end.

    Args:
        candidates: All of the search.
        teacher: Score of the reference, on the latents of the rungs.
        budget: Promising is what is expected to end inside of it.
        schedule: How they are trained to the end.
    """

    candidates: Sequence[Candidate]
    teacher: Score
    budget: Budget
    schedule: Schedule

    @property
    def size(self) -> int:
        """How many there are at most."""
        return len(self._complete)

    @property
    def _complete(self) -> list[Candidate]:
        return [one for one in self.candidates if one.outcome == COMPLETE]

    def next(self, rows: Sequence[Record], taken: Collection[str]) -> Finalist | None:
        """Return the fastest promising member of the front, else the one of the best prediction; None if none is left.

        The front is that of the scores expected of those who are not finished: a perceptron whose curve is flat already
        beats slower convolutions after a short training, and loses to them after a long one. Once somebody is inside
        the budget, only promising ones are left that are much faster (``FASTER``).

        Args:
            rows: Records of those who are finished.
            taken: Ids of those who are not to be returned.
        """
        left = [one for one in self._front(rows) if one.candidate.id not in taken]
        promising = [one for one in left if one.promising]
        if any(row["inside"] for row in rows):
            promising = [one for one in promising if ratio_of(one.candidate) < FASTER * fastest_inside(rows)]
        if promising or any(row["inside"] for row in rows):
            return promising[0] if promising else None
        return min(left, key=lambda one: one.predicted, default=None)

    def finalist(self, candidate: Candidate, rows: Sequence[Record]) -> Finalist:
        """Return what is expected of ``candidate``, given what became of the others.

        The excess of a prediction over the teacher's part in it is multiplied by the median quotient of what finished
        ones had and what was predicted of them: how far a student stays behind depends on the teacher, too, and is the
        same for all students of one teacher, about. What is expected has to leave room for the interval.
        """
        floor, predicted = self._at_teacher(), self._predict(candidate)
        expected = floor + self._quotient(rows) * (predicted - floor) if predicted > floor else predicted
        rooms = [row["room"] for row in rows if row.get("room") is not None]
        room = median(rooms) if rooms else 0.0
        return Finalist(candidate, expected, expected + room <= self.budget.allowed(self.teacher.value))

    def _front(self, rows: Sequence[Record]) -> list[Finalist]:
        """Return the members of the front, fastest first."""
        finished = {row["id"] for row in rows}
        expected = {one.id: self.finalist(one, rows) for one in self._complete if one.id not in finished}
        ends = [Standing(one.candidate.id, ratio_of(one.candidate), one.predicted, 0.0) for one in expected.values()]
        return [expected[end.id] for end in front(ends)]

    def _predict(self, candidate: Candidate) -> float:
        return predict(candidate.curve, self.teacher.value, self.schedule)

    def _at_teacher(self) -> float:
        """What would be predicted of a candidate that draws as its teacher does."""
        return self.teacher.value * (MATCHED if any(phase.kind == "match" for phase in self.schedule) else 1.0)

    def _quotient(self, rows: Sequence[Record]) -> float:
        floor, by_id = self._at_teacher(), {one.id: one for one in self.candidates}
        least = _LEAST * abs(self.teacher.value)
        found = []
        for row in rows:
            excess = self._predict(by_id[row["id"]]) - floor if row["id"] in by_id else math.nan
            gap = (row["difference"] or {}).get("value")
            if excess > least and gap is not None:
                found.append(max(self.teacher.value + gap - floor, least) / excess)
        return median(found) if found else 1.0


def ratio_of(candidate: Candidate) -> float:
    """Return its latency ÷ that of the reference; every complete candidate was timed."""
    assert candidate.ratio is not None
    return float(candidate.ratio["value"])


def fastest_inside(rows: Sequence[Record]) -> float:
    """Return the ratio of the fastest that is inside the budget; infinity without one."""
    return min((float(row["ratio"]["value"]) for row in rows if row["inside"]), default=math.inf)
