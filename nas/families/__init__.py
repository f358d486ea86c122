"""Families: how a kind of generator learns and is sampled. Adding one adds a file to this folder, nothing else."""

import importlib
import pkgutil

from nas.errors import NasError
from nas.experiment import Experiment
from nas.families.base import DataShape, Family, SizeError

_TOOLS = frozenset({"base", "adversary", "observing", "training"})  # modules of this folder that declare no family


def families() -> tuple[str, ...]:
    """Return the names of all families: the files of this folder."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in _TOOLS))


def get_family(experiment: Experiment, shape: DataShape) -> Family:
    """Return the family that ``experiment`` names, with its options, for data of this shape.

    Raises:
        NasError: there is no such family, it has no such option, or it cannot draw such data.
    """
    name = experiment.family.name
    if name not in families():
        message = f"families are {', '.join(families())}; found {name!r}; choose one of them"
        raise experiment.problem(("family",), message)
    module = importlib.import_module(f"{__name__}.{name}")
    options = experiment.options("family", module.Options)
    try:
        family: Family = module.make(options, experiment.reference, shape)
    except NasError as error:
        place = ("data", "size") if isinstance(error, SizeError) else ("family",)
        raise experiment.problem(place, str(error)) from error
    if family.name != name:
        raise NasError(f"nas/families/{name}.py makes a family called {family.name!r}: give both one name")
    return family
