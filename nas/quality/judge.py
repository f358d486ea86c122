"""The judge: scores generators on one set of real pictures and one set of latents, and compares them in pairs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.files import sha256_file
from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.runtimes.onnx import generate
from compress.quality import Difference, Score
from compress.task import Evaluation
from nas.quality import frechet
from nas.quality.extractors import Extractor
from nas.seeds import Stream

METRIC = "fid"

Images = NDArray[np.float32]
Draw = Callable[[Mapping[str, np.ndarray]], Images]

COLLAPSED_BELOW = 0.02  # standard deviation over pictures, of values in [-1, 1]: all pictures are then alike


@dataclass(eq=False)
class Judge:
    """Scores by Fréchet distance to ``real`` pictures on ``samples`` generated ones.

    Args:
        extractor: Whose features count.
        real: Pictures ``(N, C, H, W)``, float32 in [-1, 1].
        inputs: What generators take.
        samples: Pictures drawn for one score.
        seed: The experiment's.
        stream: Which latents: no two purposes share a stream.
        threads: For drawing and for the extractor.
    """

    extractor: Extractor
    real: Images
    inputs: tuple[InputSpec, ...]
    samples: int
    seed: int
    stream: Stream
    threads: int = 1
    _features: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def latents(self) -> dict[str, np.ndarray]:
        """Return the inputs that every score of this judge is taken on."""
        return draw_inputs(self.inputs, self.samples, (self.seed, self.stream))

    @property
    def real_features(self) -> NDArray[np.float64]:
        """Features ``(N, D)`` of the real pictures."""
        return self._cached("real", lambda: self.real)

    def _cached(self, key: str, images: Callable[[], Images]) -> NDArray[np.float64]:
        if key not in self._features:
            self._features[key] = self.extractor.features(images(), self.threads)
        return self._features[key]

    def _of_file(self, path: Path) -> NDArray[np.float64]:
        return self._cached(sha256_file(path), lambda: generate(path, self.latents(), batch=250, threads=self.threads))

    def score(self, draw: Draw) -> tuple[Score, str | None]:
        """Return the score of what ``draw`` makes of the latents, and what is wrong with it (see ``diagnose``)."""
        images = draw(self.latents())
        features = self.extractor.features(images, self.threads)
        draws = frechet.bootstrap(self.real_features, [features], seed=self._bootstrap_seed, draws=50)
        return self._score(features, draws[:, 0]), diagnose(images)

    def evaluate(self, files: Mapping[str, Path]) -> dict[str, Evaluation]:
        """Return scores of ONNX files on the same latents, and paired differences between all of them."""
        features = {name: self._of_file(path) for name, path in files.items()}
        draws = frechet.bootstrap(self.real_features, list(features.values()), seed=self._bootstrap_seed)
        columns = dict(zip(features, draws.T, strict=True))
        scores = {name: self._score(features[name], column) for name, column in columns.items()}
        return {name: Evaluation(scores[name], _differences(name, scores, columns)) for name in files}

    @property
    def _bootstrap_seed(self) -> int:
        return self.seed * 1000 + Stream.BOOTSTRAP

    def _score(self, features: NDArray[np.float64], draws: NDArray[np.float64]) -> Score:
        return Score(
            metric=METRIC,
            extractor=self.extractor.label,
            n=self.samples,
            seeds=(self.seed, int(self.stream)),
            value=frechet.fid(self.real_features, features),
            standard_error=float(draws.std(ddof=1)),
        )

    def floor(self, others: Images) -> Score:
        """Return the distance of other real pictures to this judge's: what a perfect generator would get."""
        features = self.extractor.features(others, self.threads)
        draws = frechet.bootstrap(self.real_features, [features], seed=self._bootstrap_seed, draws=50)
        return self._reference_score(features, len(others), draws)

    def blank(self) -> Score:
        """Return the score of the mean picture, drawn again and again: a generator above it has not started."""
        mean = self.real.mean(axis=0, keepdims=True)
        features = np.repeat(self.extractor.features(mean, self.threads), len(self.real), axis=0)
        return self._reference_score(features, len(self.real), None)

    def _reference_score(self, features: NDArray[np.float64], n: int, draws: NDArray[np.float64] | None) -> Score:
        error = 0.0 if draws is None else float(draws.std(ddof=1))
        value = frechet.fid(self.real_features, features)
        return Score(METRIC, self.extractor.label, n, (self.seed, int(self.stream)), value, error)


def _differences(
    name: str, scores: Mapping[str, Score], columns: Mapping[str, NDArray[np.float64]]
) -> dict[str, Difference]:
    differences = {}
    for other in scores:
        if other != name:
            value = scores[name].value - scores[other].value
            interval = frechet.centred_interval(value, columns[name] - columns[other])
            differences[other] = Difference(value, interval)
    return differences


def diagnose(images: Images) -> str | None:
    """Return what is plainly wrong with generated pictures ``(N, C, H, W)``, or ``None``: divergence or collapse."""
    if not np.isfinite(images).all():
        return "diverged: pictures hold NaN or infinity"
    if len(images) > 1 and float(images.std(axis=0).mean()) < COLLAPSED_BELOW:
        return "collapsed: all pictures are alike"
    return None
