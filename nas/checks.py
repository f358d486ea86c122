"""What is wrong with an experiment, said with its line before any picture is read and anything is trained."""

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from benchmarks.records import BackendMissing, BenchmarkError, Target
from benchmarks.runtimes.sessions import check_device
from compress.quality import METRICS
from nas.data import DataError, cache_folder
from nas.data_sources import Survey, survey
from nas.device_profile import DeviceProfile
from nas.errors import NasError
from nas.experiment import Experiment
from nas.families import get_family
from nas.families.base import DataShape, Family
from nas.quality.extractors import CLASSIFIER, check_extractor
from nas.quality.judge import ACCURACY, SEARCHED
from search_spaces import get_space
from search_spaces.space import ImageShape, SearchSpace, SearchSpaceError

_TRIED = 8  # genotypes: at some sizes a space refuses some


def check(experiment: Experiment) -> None:
    """Raise what is wrong with ``experiment``, with its line, before any picture is read and anything is trained.

    Raises:
        NasError: metric, pictures' folder or file, device, family, space or extractor cannot be used.
    """
    data, device = experiment.data, experiment.target.device
    pictures = _check_pictures(experiment)
    try:
        check_device(device)
    except BackendMissing as error:
        raise experiment.problem(("target", "device"), str(error)) from error
    image = ImageShape(data.channels, data.size, data.size)
    family = get_family(experiment, DataShape(image, pictures.counts))
    _check_fit(experiment, space_of(experiment), family, image)
    _check_profile(experiment, family, image)
    _check_metrics(experiment, family)
    for key, names in (("extractor", (experiment.quality.extractor,)), ("also", experiment.quality.also)):
        for name in names:
            try:
                check_extractor(name, image, cache_folder())
            except NasError as error:
                raise experiment.problem(("quality", key), f"quality.{key}: {error}") from error


def _check_profile(experiment: Experiment, family: Family, image: ImageShape) -> None:
    """Raise ExperimentError if there is a device profile that cannot be read, or is of something else."""
    path, target = experiment.search.device, experiment.target
    if path is None:
        return
    runs = Target(target.runtime, target.device, threads=target.threads, batch=target.batch)
    try:
        DeviceProfile.read(path).predictor(space_of(experiment), family.inputs, image, runs)
    except (BenchmarkError, NasError) as error:
        raise experiment.problem(("search", "device"), f"search.device: {error}") from error


def _check_pictures(experiment: Experiment) -> Survey:
    """Return how many pictures of which classes there are. Raises ExperimentError if they cannot be used."""
    data, quality = experiment.data, experiment.quality
    try:
        found = survey(data)
    except DataError as error:
        raise experiment.problem(("data", data.source), str(error)) from error
    if CLASSIFIER in (quality.extractor, *quality.also) and len(found.classes) < 2:
        raise experiment.problem(
            ("quality", "extractor" if quality.extractor == CLASSIFIER else "also"),
            "the extractor 'classifier' learns to tell classes apart, and needs at least two; found only "
            f"{found.classes[0]!r} in {data.folder or data.npz or data.idx}. Set quality.extractor: "
            "efficientnet-lite0, which needs none, or give classes: a sub-folder each, or an array or file of labels",
        )
    return found


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


def space_of(experiment: Experiment) -> SearchSpace:
    """Return the space that ``experiment`` names. Raises ExperimentError if there is none, or it has options."""
    try:
        space = get_space(experiment.space.name)
    except SearchSpaceError as error:
        raise experiment.problem(("space",), str(error)) from error
    experiment.options("space", _NoOptions)
    return space


def _check_fit(experiment: Experiment, space: SearchSpace, family: Family, image: ImageShape) -> None:
    """Raise ExperimentError if the space cannot build a generator with the family's inputs, or none of this size."""
    rng = np.random.default_rng(0)
    for genotype in (*space.named.values(), *(space.sample(rng) for _ in range(_TRIED))):
        try:
            with torch.device("meta"):
                space.build(genotype, family.inputs, image)
        except SearchSpaceError as error:
            refused = error
        else:
            return
    raise experiment.problem(
        ("space",), f"space {space.name} builds no generator for family {experiment.family.name}: {refused}"
    )


def _check_metrics(experiment: Experiment, family: Family) -> None:
    """Raise ExperimentError for budgets that nobody could search by or judge, before anything is trained for them."""
    budgets = experiment.quality.budgets
    first = budgets[0].metric.name
    if first not in SEARCHED:
        raise experiment.problem(
            ("quality", "budget"),
            f"the first quality.budget is what the search goes by: it must be one of {' or '.join(SEARCHED)}; found "
            f"{first}: write [fid<=+10%|+2, {budgets[0].text}]",
        )
    for budget in budgets:
        if budget.metric.name not in METRICS:
            raise experiment.problem(
                ("quality", "budget"),
                f"pictures of a data set are judged by {', '.join(METRICS)}; found {budget.text}: leave it out",
            )
    accuracy = [budget for budget in budgets if budget.metric.name == ACCURACY]
    if accuracy and family.label is None:
        raise experiment.problem(
            ("quality", "budget"),
            f"accuracy is whether a generator draws the class that it is asked for, and those of family {family.name} "
            f"are asked for none: leave {accuracy[0].text} out of quality.budget, or take family: cgan",
        )
