"""What every stage and every worker of one run needs: data, family, space, extractor, judges, built from the folder."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.inputs import draw_inputs
from benchmarks.records import Target
from compress.measure import FP32, PRECISIONS, Bench
from nas.bank import BANK_FILE, read_bank
from nas.checks import check, space_of
from nas.data import Splits, cache_folder, load_images, split, to_float
from nas.experiment import Experiment
from nas.families import get_family
from nas.families.base import DataShape, Family, Pictures, Teacher
from nas.folder import FolderError, RunFolder
from nas.progress import Progress
from nas.quality.classifier import Labeller, get_labeller
from nas.quality.extractors import Extractor, get_extractor
from nas.quality.judge import ACCURACY, FID, METRICS, Judge, enough_for_fid
from nas.seeds import Stream
from search_spaces.space import ImageShape, SearchSpace


@dataclass(frozen=True, eq=False)
class Context:
    """One run's fixed surroundings; the same in the driver and in every worker."""

    experiment: Experiment
    folder: RunFolder
    splits: Splits
    image: ImageShape
    family: Family
    space: SearchSpace
    extractor: Extractor
    trust_code: bool = False

    @classmethod
    def build(
        cls,
        experiment: Experiment,
        folder: RunFolder,
        progress: Progress | None = None,
        *,
        trust_code: bool = False,
    ) -> "Context":
        """Return the surroundings of ``experiment``: reads the data and, once per data set, trains the extractor.

        Args:
            experiment: What is asked for.
            folder: Of the run.
            progress: Hears of data and extractor.
            trust_code: Code that the experiment file names may be imported and run, see ``check_trust``.

        Raises:
            NasError: data, family, space or extractor cannot be used; nothing has been trained then.
        """
        check(experiment)
        splits = split(load_images(experiment.data, progress=progress))
        image = ImageShape(*splits.seen.images.shape[1:])
        family = get_family(experiment, DataShape(image, splits.seen.counts))
        space = space_of(experiment)
        extractor = get_extractor(experiment.quality.extractor, splits.seen, cache_folder(), progress)
        context = cls(experiment, folder, splits, image, family, space, extractor, trust_code)
        context._check_enough()
        if family.label is not None:  # here, and not by each worker that finds none in the cache
            get_labeller(splits.seen, cache_folder() / "extractors", progress)
        return context

    def _check_enough(self) -> None:
        """Raise ExperimentError if a budget limits a FID that has more features than there are pictures."""
        if FID in self.metrics and FID not in self.final_metrics(self.extractor):
            raise self.experiment.problem(
                ("quality", "extractor"),
                f"a FID needs more pictures on both sides than there are features ({self._width(self.extractor):,} of "
                f"{self.extractor.name}); held out are {len(self.splits.held_out):,}, and quality.samples is "
                f"{self.experiment.quality.samples:,}: write the budget for kid, which needs fewer, e.g. kid<=+10%, "
                "or take the extractor classifier",
            )

    def check_scored_alike(self) -> None:
        """Raise FolderError if the reference was scored by another metric or extractor than would be used now."""
        record = self.folder.record("reference")
        if record is None:
            return
        found = (record["quality_seen"]["metric"], record["quality_seen"]["extractor"])
        now = (self.metrics[0], self.extractor.label)
        if found != now:
            raise FolderError(
                f"the reference in {self.folder.path} was scored by {found[0]} ({found[1]}), and now it would be "
                f"{now[0]} ({now[1]}); unlike scores are never compared: put back the extractor's file or the first "
                "budget's metric, or write to another folder with --out"
            )

    @classmethod
    @functools.lru_cache(maxsize=2)
    def of_folder(cls, path: Path) -> "Context":
        """Return the surroundings of the run in ``path``, kept for the next job of this process."""
        folder = RunFolder(path)
        return cls.build(Experiment.load(folder.experiment_file), folder)

    @functools.cached_property
    def data(self) -> Pictures:
        """Return what is trained on: ``seen``, on the training device."""
        images, labels = torch.from_numpy(self._seen), torch.from_numpy(self.splits.seen.labels)
        return Pictures(images.to(self.device), labels.to(self.device))

    @functools.cached_property
    def _seen(self) -> NDArray[np.float32]:
        """One copy for training and for every judge: of 10,000 pictures of 3x64x64 it takes half a gigabyte."""
        return to_float(self.splits.seen.images)

    @property
    def device(self) -> torch.device:
        """Where training happens: the first GPU if there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @functools.cached_property
    def bench(self) -> Bench:
        """How latency is measured for the experiment's target."""
        target, seed = self.experiment.target, self.experiment.seed
        return Bench(
            Target(target.runtime, target.device, threads=target.threads, batch=target.batch),
            self.family.inputs,
            seed=(seed, Stream.TIMING),
            calibration_seed=(seed, Stream.CALIBRATION),
            opset=self.experiment.export.opset,
            precisions=PRECISIONS if self.experiment.compress.quantize else (FP32,),
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """What decisions need: the metrics of the budgets, that of the search first."""
        return tuple(budget.metric.name for budget in self.experiment.quality.budgets)

    def final_metrics(self, extractor: Extractor) -> tuple[str, ...]:
        """Return all metrics of the final table, the search's first; no FID where there are too few pictures for it."""
        chosen = dict.fromkeys((*self.metrics, *METRICS, ACCURACY))
        left_out = {ACCURACY} if self.family.label is None or extractor is not self.extractor else set[str]()
        if not enough_for_fid(self._width(extractor), len(self.splits.held_out), self.experiment.quality.samples):
            left_out.add(FID)
        return tuple(metric for metric in chosen if metric not in left_out)

    def _width(self, extractor: Extractor) -> int:
        """Return how many features ``extractor`` gives a picture."""
        features = extractor.features(to_float(self.splits.held_out.images[:1]))
        return len(features[0])

    @functools.cached_property
    def labeller(self) -> Labeller:
        """Who judges which class a generated picture shows; trained once per data set."""
        return get_labeller(self.splits.seen, cache_folder() / "extractors")

    @functools.cached_property
    def also(self) -> tuple[Extractor, ...]:
        """The extractors of ``quality.also``."""
        names = self.experiment.quality.also
        return tuple(get_extractor(name, self.splits.seen, cache_folder()) for name in names)

    def judge(
        self,
        stream: Stream,
        *,
        held_out: bool = False,
        threads: int = 1,
        metrics: tuple[str, ...] | None = None,
        extractor: Extractor | None = None,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Judge:
        """Return a judge on ``seen`` pictures (or ``held_out``, for the final table only) and the stream's latents.

        Args:
            stream: Which latents.
            held_out: Judge by these pictures.
            threads: For drawing and for the extractor.
            metrics: What is scored; by default what decisions need.
            extractor: The run's own by default.
            seed: The experiment's by default.
            progress: Hears of slow extractors.
        """
        real = self.splits.held_out if held_out else self.splits.seen
        metrics = metrics or self.metrics
        return Judge(
            extractor=extractor or self.extractor,
            real=to_float(real.images) if held_out else self._seen,
            inputs=self.family.inputs,
            samples=self.experiment.quality.samples,
            seed=self.experiment.seed if seed is None else seed,
            stream=stream,
            threads=threads,
            metrics=metrics,
            labels=real.labels,
            label_input=self.family.label,
            labeller=self.labeller if ACCURACY in metrics else None,
            progress=progress,
        )

    @functools.lru_cache(maxsize=4)  # noqa: B019 - contexts live as long as their process
    def judge_of(self, stream: Stream) -> Judge:
        """Return the judge of ``stream`` on ``seen``, kept: the real pictures' features are computed once."""
        return self.judge(stream)

    @functools.cached_property
    def teacher(self) -> Teacher:
        """The trained reference. Raises FolderError if there is none yet."""
        self.folder.need("reference", "leangen search")
        path = self.folder.path / "reference"
        return Teacher(read_bank(path / BANK_FILE, self.family.inputs, (self.experiment.seed, Stream.BANK)), path)

    def inputs(self, stream: Stream, n: int) -> dict[str, NDArray[np.generic]]:
        """Return ``n`` rows of every input, from the latents of ``stream``."""
        return draw_inputs(self.family.inputs, n, (self.experiment.seed, stream))

    def grid(self, rows: int = 8, columns: int = 8) -> tuple[dict[str, NDArray[np.generic]], int]:
        """Return the inputs of a grid of pictures, row by row, and its columns; where there are classes, one a column.

        In a row of classes all other inputs are the same. Of more than ten classes the first ten are shown.
        """
        label = self.family.label
        if label is None:
            return self.inputs(Stream.GRID, rows * columns), columns
        columns = min(len(self.splits.seen.classes), 10)
        drawn = {name: np.repeat(values, columns, axis=0) for name, values in self.inputs(Stream.GRID, rows).items()}
        drawn[label] = np.tile(np.arange(columns), rows).astype(drawn[label].dtype)
        return drawn, columns
