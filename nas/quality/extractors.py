"""Feature extractors: an ONNX file, named by its hash; and the small classifier that is trained on a data set.

A score is only comparable with another of the same extractor, so every extractor is a file whose sha256 stands in the
score. The classifier is trained on ``seen`` pictures only, once, and cached by the data's hash and by ``VERSION``.
"""

import itertools
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
from nas.data import ImageSet, to_float
from nas.errors import NasError
from nas.progress import Progress, Silent

EXTRACTORS = ("classifier",)
VERSION = 1  # raise it when the classifier's architecture or training changes: its features are then others
FEATURES = 64
EPOCHS = 14
LEAST_STEPS = 300  # for sets so small that their passes are few
BATCH = 64


@dataclass(frozen=True)
class Extractor:
    """An ONNX file that turns pictures ``(N, C, H, W)``, float32 in [-1, 1], into features ``(N, D)``."""

    name: str
    path: Path
    digest: str

    @property
    def label(self) -> str:
        """Name and hash, as scores record it."""
        return f"{self.name}@{self.digest[:12]}"

    def features(self, images: NDArray[np.float32], threads: int = 1) -> NDArray[np.float64]:
        """Return ``(N, D)`` features of ``images`` ``(N, C, H, W)``, float32 in [-1, 1]."""
        features = generate(self.path, {"pixels": images}, batch=250, threads=threads)
        return features.reshape(len(images), -1).astype(np.float64)


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


class _Features(nn.Module):
    """The classifier without its head, exportable like a generator: it names its input."""

    def __init__(self, classifier: Classifier, spec: InputSpec) -> None:
        super().__init__()
        self.classifier = classifier
        self.inputs = (spec,)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.classifier.features(pixels)[:, :, None, None]  # (N, D, 1, 1): the exporter writes pictures


def _shifted(images: torch.Tensor, rng: torch.Generator, pixels: int = 2) -> torch.Tensor:
    """Return the batch moved by up to ``pixels`` in each direction, edges repeated: a cheap augmentation."""
    size = images.shape[-1]
    top, left = torch.randint(0, 2 * pixels + 1, (2,), generator=rng).tolist()
    padded = functional.pad(images, (pixels,) * 4, mode="replicate")
    return padded[:, :, top : top + size, left : left + size]


def train_classifier(images: ImageSet, *, seed: int = 0, progress: Progress | None = None) -> Classifier:
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
    told.start("classifier", steps, "steps")
    for step in range(steps):
        rows = torch.randint(0, len(pictures), (BATCH,), generator=rng)
        with autocast(pictures.device):
            scores = model(_shifted(pictures[rows], rng))
        loss = functional.cross_entropy(scores.float(), labels[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        told.update("classifier", step + 1)
    told.finish("classifier")
    return model.eval()


def get_extractor(name: str, seen: ImageSet, cache: Path, progress: Progress | None = None) -> Extractor:
    """Return the extractor called ``name`` for a run whose training pictures are ``seen``.

    Raises:
        NasError: there is none of that name.
    """
    if name not in EXTRACTORS:
        raise NasError(f"quality.extractor must be one of {', '.join(EXTRACTORS)}, found {name!r}")
    return classifier_extractor(seen, cache / "extractors", progress)


def classifier_extractor(seen: ImageSet, cache: Path, progress: Progress | None = None) -> Extractor:
    """Return the data set's own extractor, trained on ``seen`` once and then read from ``cache``."""
    path = cache / f"classifier-v{VERSION}-{seen.digest[:16]}.onnx"
    if not path.is_file():
        model = train_classifier(seen, progress=progress)
        channels, size = seen.images.shape[1], seen.images.shape[2]
        spec = InputSpec("pixels", (channels, size, size), "float32", {"kind": "uniform", "low": -1.0, "high": 1.0})
        try:
            export_onnx(_Features(model, spec), path)
        except OSError as error:
            raise NasError(
                f"the extractor cannot be kept in {path.parent} ({error.strerror or error}): "
                "set LEANGEN_CACHE to a folder that can be written"
            ) from error
    return Extractor("classifier", path, sha256_file(path))
