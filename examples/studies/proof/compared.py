"""What the table says of several seeds of one family: speed-ups, qualities and differences, each over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.quality import Budget, Difference, Score
from examples.studies.proof.layout import ProofError
from examples.studies.proof.over_seeds import Mean, geometric_mean, mean, over_processes
from examples.studies.proof.records import OURS, RANDOM, REFERENCE, File, PieceRecord

_MACHINE = ("cpu", "flags", "machine", "onnxruntime")  # what decides which kernels run


@dataclass(frozen=True)
class Family:
    """The finished pieces of one family, by seed; they were checked to be alike."""

    name: str
    pieces: tuple[PieceRecord, ...]

    @classmethod
    def of(cls, name: str, pieces: Sequence[PieceRecord]) -> "Family":
        """Return the pieces as one family.

        Raises:
            ProofError: they are of other experiments, machines or extractors, or two are of one seed.
        """
        first = pieces[0]
        for other in pieces[1:]:
            unlike = [
                what
                for what, one, two in (
                    ("experiment", first.experiment, other.experiment),
                    ("extractors", first.extractors, other.extractors),
                    ("threads", first.threads, other.threads),
                    ("batches", first.batches, other.batches),
                    *((key, first.machine.get(key), other.machine.get(key)) for key in _MACHINE),
                )
                if one != two
            ]
            if unlike:
                raise ProofError(
                    f"{first.name} and {other.name} cannot stand in one table: other {', '.join(unlike)}. "
                    f"Remove one of their files, and make that piece again"
                )
        if len({piece.seed for piece in pieces}) < len(pieces):
            raise ProofError(f"two pieces of {name} have the same seed: remove one of them")
        return cls(name, tuple(sorted(pieces, key=lambda piece: piece.seed)))

    @property
    def seeds(self) -> list[int]:
        """Of the pieces that are there."""
        return [piece.seed for piece in self.pieces]

    @property
    def metrics(self) -> list[str]:
        """What was scored, the metric of the search first."""
        return list(self.pieces[0].extractors)

    def having(self, who: str, name: str | None = None) -> list[PieceRecord]:
        """Return the pieces in which ``who`` has files, or that file."""
        files = [(piece, piece.contenders[who].files) for piece in self.pieces if who in piece.contenders]
        return [piece for piece, named in files if (named if name is None else name in named)]

    def without(self, who: str) -> list[PieceRecord]:
        """Return the pieces in which ``who`` has no file; their note in the record says why."""
        return [piece for piece in self.pieces if piece not in self.having(who)]

    def names(self, who: str) -> list[str]:
        """Return the names of all files of ``who`` in the pieces in which we have one, ``fp32`` before ``int8``."""
        return sorted({name for piece in self.with_ours(who) for name in piece.contenders[who].files})

    def file(self, piece: PieceRecord, who: str, batch: str, name: str | None = None) -> File:
        """Return a file of ``who``, by default what counts at ``batch``; see ``PieceRecord.file_of``."""
        found = piece.file_of(who, batch) if name is None else piece.contenders[who].files.get(name)
        assert found is not None, f"{who} has no files in {piece.name}"
        return found

    def speedup(self, who: str, batch: str) -> Mean:
        """Return how many times faster than the reference's fastest file at this batch."""
        found = [self.file(piece, who, batch).latency[batch] for piece in self.having(who)]
        times = over_processes(found[0].ratios)
        return geometric_mean([1 / one.ratio for one in found], (1 / times.high, 1 / times.low))

    def against(self, who: str, batch: str, name: str | None = None) -> Mean:
        """Return our time ÷ that of ``who``: below 1, ours is faster. Of each process both ratios, so it is paired."""
        found = []
        for piece in self.with_ours(who, name):
            ours = piece.ours.latency[batch].ratios
            theirs = self.file(piece, who, batch, name).latency[batch].ratios
            found.append(over_processes([one / other for one, other in zip(ours, theirs, strict=True)]))
        return geometric_mean([one.value for one in found], (found[0].low, found[0].high))

    def quality(self, who: str, metric: str, batch: str) -> Mean:
        """Return the score; one seed's interval is 1.96 standard errors."""
        found = [self.judged(piece, who, batch).quality[metric] for piece in self.having(who)]
        half = 1.96 * found[0].standard_error
        return mean([one.value for one in found], (found[0].value - half, found[0].value + half))

    def to_reference(self, who: str, metric: str, batch: str) -> Mean:
        """Return its score minus that of the reference's float file, on the same latents."""
        found = [self.judged(piece, who, batch).quality[metric] for piece in self.having(who)]
        return mean([one.difference for one in found], found[0].ci95)

    def ours_minus(self, who: str, metric: str, batch: str, name: str | None = None) -> Mean:
        """Return our score minus that of a file of ``who``, by default the one that counts at ``batch``."""
        pieces = self.with_ours(who, name)
        found = [self.file(piece, who, batch, name).ours_minus_this[metric] for piece in pieces]
        return mean([one.difference for one in found], found[0].ci95)

    def with_ours(self, who: str, name: str | None = None) -> list[PieceRecord]:
        """Return the pieces in which both ``who`` and we have files."""
        return [piece for piece in self.having(who, name) if piece in self.having(OURS)]

    def judged(self, piece: PieceRecord, who: str, batch: str) -> File:
        """Return the file whose quality counts: of the reference the float one, which everything is compared with."""
        return piece.reference if who == REFERENCE else self.file(piece, who, batch)

    def inside(self, budget: str) -> list[bool]:
        """Return whether our file is inside ``budget``, seed by seed, by the rule of the project's own verdict."""
        return [_is_inside(Budget.parse(budget), piece) for piece in self.having(OURS)]

    def hypervolume(self) -> Mean | None:
        """Return the area our search's front covers ÷ that of random search, over log time and log score.

        Both up to the slowest time and the worst score that either front of the seed has; ``None`` where that is empty.
        """
        found = []
        for piece in self.pieces:
            fronts = [piece.searches[who].points for who in (OURS, RANDOM)]
            if not all(fronts):
                return None
            ours, other = (_area(points, [*fronts[0], *fronts[1]]) for points in fronts)
            if min(ours, other) <= 0:
                return None
            found.append(ours / other)
        return geometric_mean(found, (found[0], found[0]))


def _is_inside(budget: Budget, piece: PieceRecord) -> bool:
    metric = budget.metric.name
    if metric not in piece.ours.quality:
        return False
    ours, reference = piece.ours.quality[metric], piece.reference.quality[metric]

    def score(value: float, error: float) -> Score:
        return Score(metric, piece.extractors[metric], piece.samples, (piece.seed,), value, error)

    return budget.inside(
        score(ours.value, ours.standard_error),
        score(reference.value, reference.standard_error),
        Difference(ours.difference, ours.ci95),
    )


def _area(points: Sequence[tuple[float, float]], everybody: Sequence[tuple[float, float]]) -> float:
    """Return the area that ``points`` (each better the lower in both) dominate below the worst of ``everybody``."""
    slowest, worst = (math.log(max(point[axis] for point in everybody)) for axis in (0, 1))
    covered, level = 0.0, worst
    for time, score in sorted(points):
        if math.log(score) < level:
            covered += (slowest - math.log(time)) * (level - math.log(score))
            level = math.log(score)
    return covered
