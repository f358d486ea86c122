"""What can be timed."""

from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt


@runtime_checkable
class Runner(Protocol):
    """One model on one runtime, ready to go, with its inputs already in place.

    Its life: the constructor loads, checks and places everything, so that its errors come there; ``run`` is then
    called many thousand times; ``outputs`` tells what the model computed, to be checked before a time is believed.
    """

    @property
    def name(self) -> str:
        """What reports and errors call it, e.g. ``onnxruntime cpu, 1 thread``."""
        ...

    def run(self) -> object:
        """One inference, from an idle device to an idle device: it returns when the result is there."""
        ...

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """What one inference computes, by output name; (batch, ...) each. Runs the model."""
        ...
