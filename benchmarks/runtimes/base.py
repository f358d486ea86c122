"""What can be timed."""

from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt


@runtime_checkable
class Runner(Protocol):
    """One model on one runtime, ready to go, with its inputs already in place.

    Its life: the constructor loads, compiles, checks and places everything, so that its errors come there and no
    timing holds them; ``run`` is then called many thousand times; ``outputs`` tells what the model computed, to be
    checked before a time is believed. ``tests/benchmarks/runtimes/test_contract.py`` holds all runners to this.
    """

    @property
    def name(self) -> str:
        """What reports and errors call it, e.g. ``onnxruntime 1.31.1 cpu, 1 thread``."""
        ...

    def run(self) -> object:
        """One inference, from an idle device to an idle device: it returns when the result is there.

        What it returns is the runtime's own and may be overwritten by the next call.
        """
        ...

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """What one inference computes, by output name; (batch, ...) copies. Runs the model."""
        ...


def count_threads(threads: int) -> str:
    """``1 thread``, ``2 threads``: for names."""
    return f"{threads} thread" if threads == 1 else f"{threads} threads"
