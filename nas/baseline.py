"""The baseline: the reference narrowed to the shipped file's time and trained like a finalist, without search."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.files import read_json, sha256_file, write_json
from compress.generator import Generator
from compress.measure import Timing, fastest
from nas.context import Context
from nas.errors import NasError
from nas.executors import Executor, Job, Result, result_of
from nas.families.base import total_steps
from nas.finalists import final_schedule
from nas.folder import Record
from nas.worker import error_of, train_job

FOLDER = "baseline"
WINDOW = (1.02, 1.1)  # of the shipped file's time: 1.0 to 1.1, and not by the noise of a measurement
_SLACK = 0.02  # of a second measurement: a match is not repeated for noise
_MEASURE_S = 0.8
_HALVINGS = 9


@dataclass(frozen=True)
class Match:
    """A narrowed reference, and the ratio of its fastest file's time to that of the file it was matched to."""

    factor: float
    generator: Generator
    ratio: float

    @property
    def fits(self) -> bool:
        """Whether it takes 1.0 to 1.1 times as long."""
        return WINDOW[0] <= self.ratio <= WINDOW[1]

    def to_json(self) -> dict[str, Any]:
        """Return what records hold."""
        return {"factor": self.factor, "id": self.generator.id, "ratio": self.ratio, "fits": self.fits}


def match(context: Context, shipped: Path) -> Match:
    """Return the reference narrowed until its fastest file takes 1.0 to 1.1 times as long as ``shipped``.

    Widths are whole channels, so there may be no such network: then the fastest tried that is no faster than
    ``shipped`` is taken, which favours the baseline; where all are faster, the slowest.
    """
    low, high = 0.0, 1.0
    tried = list[Match]()
    for _ in range(_HALVINGS):
        factor = (low + high) / 2
        generator = context.family.narrowed(factor, context.experiment.seed)
        timing = context.bench.time_untrained(generator, shipped, _MEASURE_S)
        tried.append(Match(factor, generator, timing.ratio.value))
        if tried[-1].fits:
            return tried[-1]
        if tried[-1].ratio < WINDOW[0]:
            low = factor
        else:
            high = factor
    tried.reverse()  # of equals the last, where the bisection ended
    no_faster = [one for one in tried if one.ratio >= WINDOW[0]]
    return min(no_faster, key=_ratio) if no_faster else max(tried, key=_ratio)


def _ratio(one: Match) -> float:
    return one.ratio


class Baseline:
    """The baseline on its way: ``begin`` it beside other work, ``finish`` it once the shipped file is known.

    Every match is kept in ``baseline/match.json`` by the sha256 of the file it was made to, so that a stage that was
    cut goes on training the same network instead of searching for another by the clock.
    """

    def __init__(self, context: Context, executor: Executor) -> None:
        self._context, self._executor = context, executor
        self._folder = context.folder.path / FOLDER
        self._match: Match | None = None
        self._matched_to = ""
        self._job: Job = {}
        self._subject = ""
        self._future: Future[Result] | None = None

    def begin(self, shipped: Path) -> None:
        """Match the baseline to ``shipped`` and train it in a worker."""
        self._matched_to = sha256_file(shipped)
        self._match = self._stored(self._matched_to) or self._keep(self._matched_to, match(self._context, shipped))
        schedule = final_schedule(self._context)
        origin = self._match.generator.origin
        job = train_job(self._context, self._trained, schedule, until=total_steps(schedule), origin=origin)
        self._job, self._subject = job, self._context.folder.relative(self._trained)
        self._context.folder.log.started(job, self._subject)
        self._future = self._executor.submit(job)

    def finish(self, shipped: Path) -> Record:
        """Wait for the training, and once more if ``shipped`` is another file than before and takes another time."""
        files, timing = self._train_to_end(shipped)
        inside = WINDOW[0] - _SLACK <= timing.ratio.value <= WINDOW[1] + _SLACK
        if not inside and sha256_file(shipped) != self._matched_to:
            self.begin(shipped)
            files, timing = self._train_to_end(shipped)
        assert self._match is not None
        relative = self._context.folder.relative
        return self._context.folder.finish(
            FOLDER,
            {
                "id": self._match.generator.id,
                "factor": self._match.factor,
                "match": self._match.to_json(),
                "folder": relative(self._trained),
                "files": {name: relative(path) for name, path in files.items()},
                "fastest": timing.precision,
                "ratio_to_shipped": timing.ratio.to_json(),
            },
        )

    @property
    def _trained(self) -> Path:
        assert self._match is not None
        return self._folder / self._match.generator.id

    def _train_to_end(self, shipped: Path) -> tuple[dict[str, Path], Timing]:
        """Return the trained files by precision, and the fastest one's timing against ``shipped``."""
        assert self._future is not None
        result = result_of(self._future)
        error = error_of(result)
        outcome = "failed" if error else "done"
        self._context.folder.log.finished(self._job, self._subject, result, outcome, note=error)
        if error is not None:
            raise NasError(f"the baseline could not be trained: {error}")
        bench = self._context.bench
        files = bench.variants(Generator.load(self._trained), self._trained)
        return files, fastest(bench.ratios(shipped, files, 2 * _MEASURE_S))

    @property
    def _matches(self) -> dict[str, Any]:
        path = self._folder / "match.json"
        return dict(read_json(path)) if path.is_file() else {}

    def _stored(self, sha256: str) -> Match | None:
        """Return the match to the file of ``sha256`` that an earlier process made, if it is of the same network."""
        row = self._matches.get(sha256)
        if row is None:
            return None
        generator = self._context.family.narrowed(row["factor"], self._context.experiment.seed)
        return Match(row["factor"], generator, row["ratio"]) if generator.id == row["id"] else None

    def _keep(self, sha256: str, found: Match) -> Match:
        write_json(self._folder / "match.json", {**self._matches, sha256: found.to_json()})
        return found
