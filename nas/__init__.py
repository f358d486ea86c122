"""The search for a generator: experiments, data, families, stages and the command line.

``from nas import Experiment, run`` is the whole of it in Python: ``run(Experiment.load("mnist.yaml"))``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.experiment import Experiment
    from nas.stages import run

__all__ = ["Experiment", "run"]

_HOMES = {"Experiment": "nas.experiment", "run": "nas.stages"}


def __getattr__(name: str) -> object:
    """The public names, imported when they are first asked for: `import nas` alone imports no torch (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
