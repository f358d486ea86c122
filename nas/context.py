"""What every stage and every worker of one run needs: data, family, space, extractor, judges, built from the folder."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from benchmarks.inputs import draw_inputs
from benchmarks.records import BackendMissing, Target
from benchmarks.runtimes.onnx import check_device
from compress.measure import FP32, PRECISIONS, Bench
from nas.bank import BANK_FILE, read_bank
from nas.data import Splits, cache_folder, load_images, split, to_float
from nas.experiment import Experiment
from nas.families import get_family
from nas.families.base import DataShape, Family, Pictures, Teacher
from nas.folder import RunFolder
from nas.progress import Progress
from nas.quality.extractors import EXTRACTORS, Extractor, get_extractor
from nas.quality.judge import METRIC, Judge
from nas.seeds import Stream
from search_spaces import get_space
from search_spaces.space import ImageShape, SearchSpace, SearchSpaceError


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
        space = _get_space(experiment)
        extractor = get_extractor(experiment.quality.extractor, splits.seen, cache_folder(), progress)
        return cls(experiment, folder, splits, image, family, space, extractor, trust_code)

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

    def judge(self, stream: Stream, *, held_out: bool = False, threads: int = 1) -> Judge:
        """Return a judge on ``seen`` pictures (or ``held_out``, for the final table only) and the stream's latents."""
        return Judge(
            extractor=self.extractor,
            real=to_float(self.splits.held_out.images) if held_out else self._seen,
            inputs=self.family.inputs,
            samples=self.experiment.quality.samples,
            seed=self.experiment.seed,
            stream=stream,
            threads=threads,
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


def check(experiment: Experiment) -> None:
    """Raise what is wrong with ``experiment``, with its line, before any picture is read and anything is trained.

    Raises:
        NasError: metric, pictures' folder, device, family, space or extractor cannot be used.
    """
    _check_metrics(experiment)
    data, device = experiment.data, experiment.target.device
    if data.folder is not None and not data.folder.is_dir():
        found = "a file" if data.folder.exists() else "nothing"
        raise experiment.problem(
            ("data", "folder"),
            f"data.folder must be a folder; found {found} at {data.folder}. It is relative to the experiment file",
        )
    try:
        check_device(device)
    except BackendMissing as error:
        raise experiment.problem(("target", "device"), str(error)) from error
    # How many classes there are is known once the pictures are read; ``build`` asks the family again.
    get_family(experiment, DataShape(ImageShape(data.channels, data.size, data.size), (1, 1)))
    _get_space(experiment)
    if experiment.quality.extractor not in EXTRACTORS:
        message = f"quality.extractor must be one of {', '.join(EXTRACTORS)}, found {experiment.quality.extractor!r}"
        raise experiment.problem(("quality", "extractor"), message)


def check_trust(experiment: Experiment, *, trust_code: bool) -> None:
    """Raise ExperimentError if ``experiment`` names code to import, and nobody said that it is trusted."""
    module = experiment.reference.module
    if module is not None and not trust_code:
        raise experiment.problem(
            ("reference", "module"),
            f"reference.module {module} is code that would be imported and run on this machine: read it, and if you "
            "trust it, give the same command with --trust-code",
        )


class _NoOptions(BaseModel):
    """What a space can be told in the experiment file besides its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _get_space(experiment: Experiment) -> SearchSpace:
    """Return the space that ``experiment`` names. Raises ExperimentError if there is none, or it has options."""
    try:
        space = get_space(experiment.space.name)
    except SearchSpaceError as error:
        raise experiment.problem(("space",), str(error)) from error
    experiment.options("space", _NoOptions)
    return space


def _check_metrics(experiment: Experiment) -> None:
    """Raise ExperimentError for a budget that nobody could judge, before anything is trained for it."""
    for budget in experiment.quality.budgets:
        if budget.metric.name != METRIC:
            raise experiment.problem(
                ("quality", "budget"),
                f"family {experiment.family.name} is scored by {METRIC}, found a budget of {budget.metric.name}: "
                f"write {METRIC}<=+10%|+2",
            )
