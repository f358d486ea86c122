"""What compression needs to know of the outside: how good is a file, and how does a damaged generator recover?

``compress`` never imports ``nas``. It is handed a ``Task``, so that it works as well on a generator that leangen has
never seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.inputs import InputSpec
from compress.quality import Difference, Score

if TYPE_CHECKING:  # judging needs no torch
    from compress.generator import Generator


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of one file, and its paired differences (this minus the other) to the files it was taken with.

    Args:
        scores: By metric; the first one is the primary: what the search follows and the first budget limits.
        differences: By the other file's key, then by metric.
    """

    scores: Mapping[str, Score]
    differences: Mapping[str, Mapping[str, Difference]]

    @property
    def primary(self) -> Score:
        """The score of the first metric."""
        return next(iter(self.scores.values()))

    def primary_difference(self, other: str) -> Difference:
        """Return the difference to the file ``other`` in the first metric."""
        return self.differences[other][self.primary.metric]


class Task(Protocol):
    """Inputs, score and recovery of one generator family on one data set."""

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What the generators take."""

    def evaluate(self, files: Mapping[str, Path]) -> Mapping[str, Evaluation]:
        """Score every ONNX file on the same inputs; the differences are paired and name the other files' keys."""

    def recover(self, generator: Generator, folder: Path) -> Generator:
        """Return ``generator`` trained until it has regained what an edit cost; ``folder`` keeps its checkpoints."""
