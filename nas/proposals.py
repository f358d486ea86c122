"""Who proposes genotypes: Optuna's storage and samplers, made for a search that may be killed and resumed."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from nas.seeds import Stream

STUDY = "search"  # not the experiment's name: a renamed experiment goes on in the same folder

Suggest = Callable[[str, tuple[Any, ...]], Any]


def suggest_genotype(knobs: Mapping[str, Any], suggest: Suggest) -> dict[str, Any]:
    """Return a genotype: ``suggest(name, values)`` decides each knob that is active under those before it."""
    settings: dict[str, Any] = {}
    for name, choice in knobs.items():
        if choice.holds(settings):
            settings[name] = suggest(name, choice.values)
    return settings


def make_sampler(name: str, seed: int, trial: int) -> BaseSampler:
    """Return a sampler whose random numbers follow from ``seed`` and the number of the trial.

    A sampler's random state is not in the storage: one that is seeded once repeats its proposals after a resume.
    """
    mixed = (seed * 1_000_003 + int(Stream.PROPOSAL) * 7919 + trial) % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "random":
            return RandomSampler(seed=mixed)
        if name == "nsga2":
            return NSGAIISampler(seed=mixed, population_size=20)
        return TPESampler(seed=mixed, group=True, multivariate=True)


def open_study(path: Path) -> optuna.Study:
    """Return the study in the SQLite file ``path``, new or as it was left; ``optuna-dashboard`` opens it too."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{path}", study_name=STUDY, directions=["minimize", "minimize"], load_if_exists=True
    )
    with warnings.catch_warnings():  # names in the dashboard are worth an interface that may change
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["fid", "latency ratio"])
    return study
