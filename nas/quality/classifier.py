"""The small classifier that is trained on a data set: its features are an extractor, its answers a labeller.

Both are trained on ``seen`` pictures only, from different seeds, once, and cached by the data's hash and
by ``VERSION``.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.files import sha256_file
from benchmarks.inputs import InputSpec
from benchmarks.runtimes.onnx import generate
from compress.devices import autocast
from compress.export import export_onnx
from nas.augment import shifted
from nas.data import ImageSet, to_float
from nas.errors import NasError
from nas.progress import Progress, Silent

VERSION = 1  # raise it when the classifier's architecture or training changes: its features are then others
FEATURES = 64
EPOCHS = 14
LEAST_STEPS = 300  # for sets so small that their passes are few
BATCH = 64
PIXELS = "pixels"  # the input of every extractor that is made here
_LABELLER_SEED = 1  # the extractor's is 0: what it was fooled by in training should not fool its judge


@dataclass(frozen=True)
class Labeller:
    """An ONNX file that turns pictures ``(N, C, H, W)``, float32 in [-1, 1], into scores of the classes."""

    path: Path
    digest: str

    @property
    def label(self) -> str:
        """Name and hash, as scores record it."""
        return f"labeller@{self.digest[:12]}"

    def predict(self, images: NDArray[np.float32], threads: int = 1) -> NDArray[np.int64]:
        """Return ``(N,)`` the most likely class of each picture; -1 for what is not a picture (NaN, infinity)."""
        scores = generate(self.path, {PIXELS: images}, batch=250, threads=threads).reshape(len(images), -1)
        return np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)


class Classifier(nn.Module):
    """Three strided convolutions and a hidden layer of ``FEATURES`` units; for pictures of 16 pixels and more."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        widths = (channels, 32, 64, 64)
        self.body = nn.Sequential(
            *[
                nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in itertools.pairwise(widths)
            ],
            nn.AdaptiveAvgPool2d(4) if size > 32 else nn.Identity(),
            nn.Flatten(),
            nn.LazyLinear(FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, classes)
        self.features(torch.zeros(2, channels, size, size))

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Return ``(N, FEATURES)`` of pictures ``(N, C, H, W)`` in [-1, 1]."""
        result: torch.Tensor = self.body(image)
        return result

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return class scores ``(N, classes)``."""
        result: torch.Tensor = self.head(self.features(image))
        return result


class _Exportable(nn.Module):
    """The classifier, or its features alone; exportable like a generator: it names its input."""

    def __init__(self, classifier: Classifier, spec: InputSpec, *, head: bool) -> None:
        super().__init__()
        self.classifier = classifier
        self.inputs = (spec,)
        self.head = head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found = self.classifier(pixels) if self.head else self.classifier.features(pixels)
        result: torch.Tensor = found[:, :, None, None]  # (N, D, 1, 1): the exporter writes pictures
        return result


def train_classifier(
    images: ImageSet, *, seed: int = 0, progress: Progress | None = None, task: str = "classifier"
) -> Classifier:
    """Return a classifier of ``images`` trained for ``EPOCHS`` passes with Adam and a falling rate (deterministic)."""
    told = progress or Silent()
    pictures, labels = torch.from_numpy(to_float(images.images)), torch.from_numpy(images.labels)
    rng = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Classifier(pictures.shape[1], pictures.shape[2], len(images.classes))
    steps = max(EPOCHS * len(pictures) // BATCH, LEAST_STEPS)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    told.start(task, steps, "steps")
    for step in range(steps):
        rows = torch.randint(0, len(pictures), (BATCH,), generator=rng)
        with autocast(pictures.device):
            scores = model(shifted(pictures[rows], rng))
        loss = functional.cross_entropy(scores.float(), labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        told.update(task, step + 1)
    told.finish(task)
    return model.eval()


def classifier_file(seen: ImageSet, cache: Path, progress: Progress | None = None) -> Path:
    """Return the file of the data set's own features, trained on ``seen`` once and then read from ``cache``."""
    return _cached("classifier", seen, cache, progress, seed=0, head=False)


def get_labeller(seen: ImageSet, cache: Path, progress: Progress | None = None) -> Labeller:
    """Return the classifier that judges which class a picture shows, trained on ``seen`` once and then cached."""
    path = _cached("labeller", seen, cache, progress, seed=_LABELLER_SEED, head=True)
    return Labeller(path, sha256_file(path))


def _cached(name: str, seen: ImageSet, cache: Path, progress: Progress | None, *, seed: int, head: bool) -> Path:
    path = cache / f"{name}-v{VERSION}-{seen.digest[:16]}.onnx"
    if not path.is_file():
        model = train_classifier(seen, seed=seed, progress=progress, task=name)
        shape = seen.images.shape[1:]
        spec = InputSpec(PIXELS, shape, "float32", {"kind": "uniform", "low": -1.0, "high": 1.0})
        export_cached(_Exportable(model, spec, head=head), path)
    return path


def export_cached(module: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write ``module`` to ``path`` in the cache.

    Raises:
        NasError: the cache cannot be written.
    """
    try:
        export_onnx(module, path, metadata=metadata)
    except OSError as error:
        raise NasError(
            f"the extractor cannot be kept in {path.parent} ({error.strerror or error}): "
            "set LEANGEN_CACHE to a folder that can be written"
        ) from error
