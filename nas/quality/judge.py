"""The judge: scores generators on one set of real pictures and one set of latents, and compares them in pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.files import sha256_file
from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.runtimes.onnx import generate
from compress.quality import Score
from compress.task import Evaluation
from nas.pictures import shown
from nas.progress import Progress
from nas.quality import frechet
from nas.quality.classes import Labelled, Labels, accuracy
from nas.quality.classifier import Labeller
from nas.quality.coverage import MAX_ROWS as MANIFOLD_ROWS
from nas.quality.coverage import Manifold, coverage
from nas.quality.estimates import Array, Linear, Measured
from nas.quality.extractors import Extractor
from nas.quality.kernel import MAX_ROWS as KERNEL_ROWS
from nas.quality.kernel import Side, kid
from nas.seeds import Stream

FID, KID, PRECISION, RECALL, ACCURACY = "fid", "kid", "precision", "recall", "accuracy"
METRICS = (FID, KID, PRECISION, RECALL)  # of every generator; accuracy only where it is asked for a class
SEARCHED = (FID, KID)  # metrics that a search can follow: they fall steadily while a generator learns

Images = NDArray[np.float32]
Draw = Callable[[Mapping[str, np.ndarray]], Images]

COLLAPSED_BELOW = 0.02  # standard deviation over pictures, of values in [-1, 1]: all pictures are then alike
_QUICK_DRAWS = 50  # of the bootstrap, for scores on the way: the standard error's own error is 10 %
_KEPT = 4  # files whose features are kept (or as many as were judged last): 2,048 of 5,000 pictures are 80 MB


@dataclass(frozen=True, eq=False)
class Drawn:
    """What became of one generator's pictures: features ``(N, D)``, and the classes seen in them ``(N,)``, if asked."""

    features: Array
    seen: Labels | None = None


@dataclass(eq=False)
class Judge:
    """Scores generators against ``real`` pictures on ``samples`` generated ones.

    Args:
        extractor: Whose features count.
        real: Pictures ``(N, C, H, W)``, float32 in [-1, 1].
        inputs: What generators take.
        samples: Pictures drawn for one score.
        seed: The experiment's.
        stream: Which latents: no two purposes share a stream.
        threads: For drawing and for the extractor.
        metrics: What ``evaluate`` scores; the first is the primary one, which ``score``, ``floor`` and ``blank`` give.
        labels: ``(N,)`` classes of the real pictures, where there are any.
        label_input: Name of the input that says which class to draw; needed for accuracy, like ``labeller``.
        labeller: Who says which class a picture shows.
        progress: Hears of slow extractors.
    """

    extractor: Extractor
    real: Images
    inputs: tuple[InputSpec, ...]
    samples: int
    seed: int
    stream: Stream
    threads: int = 1
    metrics: tuple[str, ...] = (FID,)
    labels: Labels | None = None
    label_input: str | None = None
    labeller: Labeller | None = None
    progress: Progress | None = None
    _kept: dict[str, Drawn] = field(default_factory=dict, init=False)

    def latents(self) -> dict[str, np.ndarray]:
        """Return the inputs that every score of this judge is taken on."""
        return draw_inputs(self.inputs, self.samples, (self.seed, self.stream))

    @cached_property
    def real_features(self) -> Array:
        """Features ``(N, D)`` of the real pictures."""
        return self._features(self.real)

    @cached_property
    def wanted(self) -> Labels:
        """``(samples,)``: the class that each latent asks for."""
        assert self.label_input is not None, "a generator that is asked for no class has no accuracy"
        return self.latents()[self.label_input].astype(np.int64)

    def score(self, draw: Draw) -> tuple[Score, str | None]:
        """Return the primary score of what ``draw`` makes of the latents, and what is wrong with it (``diagnose``)."""
        images = draw(self.latents())
        drawn = self._drawn(images, [self.metrics[0]])
        return self._scored(self.metrics[0], self._measure(self.metrics[0], [drawn], _QUICK_DRAWS)[0]), diagnose(images)

    def evaluate(self, files: Mapping[str, Path]) -> dict[str, Evaluation]:
        """Return scores of ONNX files on the same latents, and paired differences between all of them."""
        drawn = [self.drawn(path) for path in files.values()]
        found = {
            metric: dict(zip(files, self._measure(metric, drawn, frechet.DRAWS), strict=True))
            for metric in self.metrics
        }
        for oldest in list(self._kept)[: -max(_KEPT, len(files))]:
            del self._kept[oldest]
        return {name: self._evaluation(name, files, found) for name in files}

    def _evaluation(
        self, name: str, files: Mapping[str, Path], found: Mapping[str, Mapping[str, Measured]]
    ) -> Evaluation:
        scores = {metric: self._scored(metric, of[name]) for metric, of in found.items()}
        others = [other for other in files if other != name]
        return Evaluation(
            scores, {other: {metric: of[name].minus(of[other]) for metric, of in found.items()} for other in others}
        )

    def drawn(self, path: Path) -> Drawn:
        """Return the features of what the file draws, and the classes seen in it; kept for the next time."""
        key = sha256_file(path)
        found = self._kept.pop(key, None)
        if found is None:
            images = generate(path, self.latents(), batch=250, threads=self.threads)
            found = self._drawn(images, self.metrics)
        self._kept[key] = found
        return found

    def labelled(self, path: Path) -> Labelled:
        """Return the file's pictures by class: what was asked for, and what the labeller sees."""
        drawn = self.drawn(path)
        assert drawn.seen is not None
        return Labelled(drawn.features, self.wanted, drawn.seen)

    @cached_property
    def real_labelled(self) -> Labelled:
        """The real pictures by class."""
        assert self.labeller is not None
        assert self.labels is not None
        return Labelled(self.real_features, self.labels, self.labeller.predict(self.real, self.threads))

    def floor(self, others: Array) -> Score:
        """Return the primary score of other real pictures, by their features ``(N, D)``: a perfect generator's."""
        found = self._measure(self.metrics[0], [Drawn(others)], _QUICK_DRAWS)[0]
        return self._scored(self.metrics[0], found, len(others))

    def blank(self) -> Score:
        """Return the score of the mean picture, drawn again and again: a generator above it has not started."""
        mean = self.real.mean(axis=0, keepdims=True)
        features = np.repeat(self._features(mean), len(self.real), axis=0)
        if self.metrics[0] == KID:
            value = kid(self._real_side, Side(features[:KERNEL_ROWS])).value
        else:
            value = frechet.fid(self.real_features, features)
        return self._scored(self.metrics[0], Linear(value, len(self.real), np.zeros(1)))

    def _features(self, images: Images) -> Array:
        return self.extractor.features(images, self.threads, self.progress)

    def _drawn(self, images: Images, metrics: Sequence[str]) -> Drawn:
        images = shown(images)
        seen = None
        if ACCURACY in metrics:
            assert self.labeller is not None, "accuracy needs a labeller"
            seen = self.labeller.predict(images, self.threads)
        return Drawn(self._features(images), seen)

    def _measure(self, metric: str, drawn: Sequence[Drawn], draws: int) -> Sequence[Measured]:
        if metric == FID:
            features = [one.features for one in drawn]
            return frechet.measure(self.real_features, features, seed=self._bootstrap_seed, draws=draws)
        return [self._measure_one(metric, one) for one in drawn]

    def _measure_one(self, metric: str, one: Drawn) -> Linear:
        if metric == KID:
            return kid(self._real_side, Side(one.features[:KERNEL_ROWS]))
        if metric == ACCURACY:
            assert one.seen is not None
            return accuracy(self.wanted, one.seen)
        rows = one.features[:MANIFOLD_ROWS]
        if metric == PRECISION:
            return coverage(self._real_manifold, rows, generated=len(rows))
        assert metric == RECALL, metric
        return coverage(Manifold.of(rows), self._real_manifold.features, generated=len(rows))

    @cached_property
    def _real_side(self) -> Side:
        return Side(self.real_features[:KERNEL_ROWS])

    @cached_property
    def _real_manifold(self) -> Manifold:
        return Manifold.of(self.real_features[:MANIFOLD_ROWS])

    @property
    def _bootstrap_seed(self) -> int:
        return self.seed * 1000 + Stream.BOOTSTRAP

    def _scored(self, metric: str, found: Measured, n: int | None = None) -> Score:
        extractor = self.extractor.label
        if metric == ACCURACY:
            assert self.labeller is not None
            extractor = self.labeller.label
        seeds = (self.seed, int(self.stream))
        return Score(metric, extractor, n or found.n, seeds, found.value, found.error)


def enough_for_fid(features: int, *counts: int) -> bool:
    """Return whether a FID and its error can be taken: of many features, each side needs more pictures than those.

    With fewer, covariances are singular and the distance is mostly bias. Few features (of the data set's own
    classifier) are resampled, which bears that, so that tiny sets can be tried at all.
    """
    return features <= frechet.BOOTSTRAPPED or min(counts) > features


def diagnose(images: Images) -> str | None:
    """Return what is plainly wrong with generated pictures ``(N, C, H, W)``, or ``None``: divergence or collapse."""
    if not np.isfinite(images).all():
        return "diverged: pictures hold NaN or infinity"
    if len(images) > 1 and float(images.std(axis=0).mean()) < COLLAPSED_BELOW:
        return "collapsed: all pictures are alike"
    return None
