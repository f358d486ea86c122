"""A task for a generator of which nothing is known but its inputs: judged on the prior, recovered by distillation.

Quality is what functions of pictures say, or, where there is no such function, how far the pictures are from those of
the generator that was given: that is only a distance, and says nothing of how good they are.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.files import sha256_bytes
from benchmarks.inputs import InputSpec, covering_rows, draw_inputs
from benchmarks.runtimes.onnx import generate
from compress.errors import CompressError
from compress.quality import Z95, Difference, Score
from compress.running import Array
from compress.task import Evaluation

if TYPE_CHECKING:
    from torch import nn

    from compress.generator import Generator

Measure = Callable[[Array, Mapping[str, Array]], float]
"""Pictures (n, C, H, W) and the inputs that they were drawn from -> a value of its metric."""

DISTANCE = "distance"
KEPT_BYTES = 2**28  # of pictures of the generator that was given
_T975 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""97.5 % quantiles of Student's t for 1 to 15 degrees of freedom."""


@dataclass(frozen=True)
class PriorTask:
    """The ``Task`` of a stranger's generator.

    Args:
        inputs: What generators take.
        measures: By metric, a name in ``quality.METRICS``; the first is the primary.
        teacher: What damaged generators learn from; None where only a file is there.
        seed: Of the latents that are judged; others give another sample.
        rows: Pictures a draw.
        draws: Independent draws; their spread is the error. At least 2, at most 16.
        recover_s: Seconds of one recovery.
        batch: Of the recovery.
        keep: Folder of its checkpoints, from which a recovery that was cut short goes on.
    """

    inputs: tuple[InputSpec, ...]
    measures: Mapping[str, Measure]
    teacher: nn.Module | None = None
    seed: tuple[int, ...] = (0,)
    rows: int = 128
    draws: int = 8
    recover_s: float = 60.0
    batch: int = 64
    keep: Path | None = None
    _kept: dict[Path, Mapping[str, Array]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 2 <= self.draws <= len(_T975) + 1:
            raise CompressError(f"Draws are 2 to {len(_T975) + 1}, found {self.draws}. 8 are usual.")

    def with_seed(self, *seed: int) -> PriorTask:
        """Return the same task on other latents."""
        return replace(self, seed=seed, _kept={})

    def measuring(self, measures: Mapping[str, Measure]) -> PriorTask:
        """Return the same task with other measures."""
        return replace(self, measures=measures, _kept={})

    def evaluate(self, files: Mapping[str, Path]) -> Mapping[str, Evaluation]:
        """Score every ONNX file on the same latents; see ``Task``."""
        values = {key: self._values(path) for key, path in files.items()}
        return {
            key: Evaluation(
                {metric: self._score(metric, own[metric]) for metric in self.measures},
                {
                    other: {metric: difference(own[metric] - theirs[metric]) for metric in self.measures}
                    for other, theirs in values.items()
                    if other != key
                },
            )
            for key, own in values.items()
        }

    def recover(self, generator: Generator, folder: Path) -> Generator:  # noqa: ARG002  the protocol's
        """Distil ``generator`` from the teacher for ``recover_s`` seconds; checkpoints go to ``keep``, not ``folder``.

        Raises:
            CompressError: there is no teacher, or it draws something that is not finite.
        """
        if self.teacher is None:
            raise CompressError("There is no module to learn from. Give the module's factory and weights.")
        from compress.recovery import recover

        return recover(
            generator,
            self.teacher,
            inputs=self.inputs,
            seconds=self.recover_s,
            batch=self.batch,
            seed=self.seed,
            keep=self.keep,
        )

    def _values(self, path: Path) -> Mapping[str, Array]:
        """Return by metric the value of each draw, (draws,)."""
        stamp = path.stat()
        key = path / f"{stamp.st_mtime_ns}-{stamp.st_size}"  # a file may be written again
        if key not in self._kept:
            self._kept[key] = self._measured(path)
        return self._kept[key]

    def _measured(self, path: Path) -> Mapping[str, Array]:
        found: dict[str, list[float]] = {metric: [] for metric in self.measures}
        for draw in range(self.draws):
            inputs = draw_inputs(self.inputs, covering_rows(self.inputs, self.rows), (*self.seed, draw))
            pictures = generate(path, inputs)
            for metric, measure in self.measures.items():
                found[metric].append(_measure(metric, measure, pictures, inputs))
        return {metric: np.asarray(values) for metric, values in found.items()}

    def _score(self, metric: str, values: Array) -> Score:
        """Return the mean; its standard error is widened so that 1.96 of them make the interval of so few draws."""
        n = covering_rows(self.inputs, self.rows) * self.draws
        error = float(values.std(ddof=1) / math.sqrt(len(values))) * _T975[len(values) - 2] / Z95
        return Score(metric, "", n, self.seed, float(values.mean()), error)


def difference(values: Array) -> Difference:
    """Return the mean of paired differences (draws,) with its t-interval; NaN and infinities give NaN."""
    if not np.isfinite(values).all():
        return Difference(math.nan, (math.nan, math.nan))
    mean = float(values.mean())
    half = _T975[len(values) - 2] * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Difference(mean, (mean - half, mean + half))


def distance_to(reference: Path, half_range: float = 1.0) -> Measure:
    """Return the measure of how far pictures are from those of ``reference`` for the same inputs.

    Root mean square over all pixels, as a share of ``half_range``, which is 1 for pixels in [-1, 1]; the peak
    signal-to-noise ratio is 20 log10(2 / distance) decibels. ``reference`` is slow by assumption, so what it drew is
    kept, up to ``KEPT_BYTES``; the file must not change.
    """
    kept: dict[str, Array] = {}

    def draw(inputs: Mapping[str, Array]) -> Array:
        key = sha256_bytes(b"".join(name.encode() + values.tobytes() for name, values in sorted(inputs.items())))
        if key not in kept:
            drawn = generate(reference, dict(inputs))
            if sum(one.nbytes for one in kept.values()) + drawn.nbytes > KEPT_BYTES:
                return drawn
            kept[key] = drawn
        return kept[key]

    def distance(pictures: Array, inputs: Mapping[str, Array]) -> float:
        wanted = draw(inputs).astype(np.float64)
        return float(np.sqrt(np.mean((pictures - wanted) ** 2))) / half_range

    return distance


def as_measure(function: Callable[..., Any]) -> Measure:
    """Return a user's function of pictures, or of pictures and ``inputs`` by that name, as a measure."""
    try:
        takes_inputs = "inputs" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # written in C
        takes_inputs = False

    def measure(pictures: Array, inputs: Mapping[str, Array]) -> float:
        return float(function(pictures, inputs=inputs) if takes_inputs else function(pictures))

    return measure


def _measure(metric: str, measure: Measure, pictures: Array, inputs: Mapping[str, Array]) -> float:
    try:
        return measure(pictures, inputs)
    except Exception as error:  # a user's code may raise anything
        raise CompressError(
            f"The function that measures {metric} failed on pictures {pictures.shape}: {type(error).__name__}: {error}."
        ) from error
