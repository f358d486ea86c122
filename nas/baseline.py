"""The baseline: the reference narrowed to the shipped file's time and trained like a finalist, without search."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from compress.generator import Generator
from compress.measure import Timing
from nas.context import Context
from nas.errors import NasError
from nas.executors import Executor, Result, result_of
from nas.families.base import total_steps
from nas.finalists import final_schedule
from nas.folder import Record
from nas.worker import error_of, train_job

FOLDER = "baseline"
WINDOW = (1.0, 1.1)  # of the shipped file's time
_MEASURE_S = 0.8
_HALVINGS = 9


@dataclass(frozen=True)
class Match:
    """A narrowed reference, and the ratio of its fastest file's time to that of the file it was matched to."""

    factor: float
    generator: Generator
    timing: Timing

    @property
    def fits(self) -> bool:
        """Whether it takes 1.0 to 1.1 times as long."""
        return WINDOW[0] <= self.timing.ratio.value <= WINDOW[1]


def match(context: Context, shipped: Path) -> Match:
    """Return the reference narrowed until its fastest file takes 1.0 to 1.1 times as long as ``shipped``.

    Widths are whole channels, so there may be no such network: then the fastest that is no faster than ``shipped`` is
    taken, which favours the baseline.
    """
    low, high = 0.0, 1.0
    best: Match | None = None
    for _ in range(_HALVINGS):
        factor = (low + high) / 2
        generator = context.family.narrowed(factor, context.experiment.seed)
        found = Match(factor, generator, context.bench.time_untrained(generator, shipped, _MEASURE_S))
        if found.fits:
            return found
        if found.timing.ratio.value < WINDOW[0]:
            low = factor
        else:
            high, best = factor, found
    return best or found


class Baseline:
    """The baseline on its way: ``begin`` it beside other work, ``finish`` it once the shipped file is known."""

    def __init__(self, context: Context, executor: Executor) -> None:
        self._context, self._executor = context, executor
        self._folder = context.folder.path / FOLDER
        self._match: Match | None = None
        self._future: Future[Result] | None = None

    def begin(self, shipped: Path) -> None:
        """Match the baseline to ``shipped`` and train it in a worker."""
        self._match = match(self._context, shipped)
        schedule = final_schedule(self._context)
        out = self._folder / self._match.generator.id
        origin = self._match.generator.origin
        job = train_job(self._context, out, schedule, until=total_steps(schedule), origin=origin)
        self._future = self._executor.submit(job)

    def finish(self, shipped: Path) -> Record:
        """Wait for the training, once more if ``shipped`` is not what it was matched to; return the record."""
        files = self._train_to_end()
        ratio = min(self._context.bench.ratios(shipped, files, 2 * _MEASURE_S).items(), key=lambda item: item[1].value)
        assert self._match is not None
        if not WINDOW[0] - 0.02 <= ratio[1].value <= WINDOW[1] + 0.02 and self._match.fits:
            self.begin(shipped)
            files = self._train_to_end()
            ratio = min(
                self._context.bench.ratios(shipped, files, 2 * _MEASURE_S).items(), key=lambda item: item[1].value
            )
        return self._context.folder.finish(
            FOLDER,
            {
                "id": self._match.generator.id,
                "factor": self._match.factor,
                "folder": self._context.folder.relative(self._trained),
                "files": {name: self._context.folder.relative(path) for name, path in files.items()},
                "fastest": ratio[0],
                "ratio_to_shipped": ratio[1].to_json(),
            },
        )

    @property
    def _trained(self) -> Path:
        assert self._match is not None
        return self._folder / self._match.generator.id

    def _train_to_end(self) -> dict[str, Path]:
        assert self._future is not None
        error = error_of(result_of(self._future))
        if error is not None:
            raise NasError(f"the baseline could not be trained: {error}")
        return self._context.bench.variants(Generator.load(self._trained), self._trained)
