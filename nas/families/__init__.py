"""Families: how a kind of generator learns and is sampled. Adding one adds a file to this folder, nothing else."""

import importlib
import pkgutil

from nas.errors import NasError
from nas.experiment import Experiment
from nas.families.base import Family
from search_spaces.space import ImageShape

_TOOLS = frozenset({"base", "adversary"})  # modules of this folder that declare no family


def families() -> tuple[str, ...]:
    """Return the names of all families: the files of this folder."""
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in _TOOLS))


def get_family(experiment: Experiment, image: ImageShape) -> Family:
    """Return the family that ``experiment`` names, with its options, for pictures of shape ``image``.

    Raises:
        NasError: there is no such family, or it has no such option.
    """
    name = experiment.family.name
    if name not in families():
        message = f"families are {', '.join(families())}; found {name!r}; choose one of them"
        raise experiment.problem(("family",), message)
    module = importlib.import_module(f"{__name__}.{name}")
    options = experiment.options("family", module.Options)
    try:
        family: Family = module.make(options, experiment.reference, image)
    except NasError as error:
        raise experiment.problem(("data", "size"), str(error)) from error
    if family.name != name:
        raise NasError(f"nas/families/{name}.py makes a family called {family.name!r}: give both one name")
    return family
