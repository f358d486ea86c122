"""A grid of images: places, levels, refusals."""

import io

import numpy as np
import pytest
from PIL import Image

from nas.data import to_float
from nas.pictures import differences_png, grid_png, shown, to_bytes


def read(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_grid_by_hand():
    """Three grey 1x2 images in two columns: row by row, the fourth place black."""
    images = np.array([[-1, 1], [0, 0.5], [1, -1]], np.float32).reshape(3, 1, 1, 2)
    assert read(grid_png(images, columns=2, scale=1)).tolist() == [[0, 255, 128, 191], [255, 0, 0, 0]]


def test_colours_and_scale():
    red = np.array([1, -1, -1], np.float32).reshape(1, 3, 1, 1)
    pixels = read(grid_png(red, columns=8, scale=3))
    assert pixels.shape == (3, 3, 3), "fewer images than columns make a narrower grid"
    assert (pixels == [255, 0, 0]).all()


def test_values_outside_are_clipped_and_nan_is_black():
    assert to_bytes(np.array([-9.0, 9.0, np.nan, np.inf])).tolist() == [0, 255, 0, 255]


def test_what_is_shown_is_clipped_and_what_diverged_stays():
    found = shown(np.array([-1.004, 1.004, 0.5, np.nan, -np.inf], np.float32))
    assert found.dtype == np.float32
    assert found[:3].tolist() == [-1, 1, 0.5]
    assert not np.isfinite(found[3:]).any()


def test_inverse_of_to_float():
    levels = np.arange(256, dtype=np.uint8)
    assert (to_bytes(to_float(levels)) == levels).all()


@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (2, 2, 2), (1, 2, 4, 4), (1, 1, 0, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="a grid is made of images"):
        grid_png(np.zeros(shape, np.float32))


@pytest.mark.parametrize("setting", [{"columns": 0}, {"scale": 0}])
def test_settings_below_one_are_refused(setting: dict[str, int]):
    with pytest.raises(ValueError, match="at least 1"):
        grid_png(np.zeros((1, 1, 2, 2), np.float32), **setting)


def test_differences_are_shown_beside_what_differs():
    """Source, file, difference; white where it is largest in the row, black where there is none."""
    first, second = np.zeros((2, 1, 4, 4), np.float32)
    second[0, 1, 2] = 0.01
    found = read(differences_png([(first, second), (first, first)], scale=1))
    assert found.shape[:2] == (8, 12)
    assert found[1, 8 + 2].max() == 255
    assert found[:4, 8:].astype(int).sum() == found[1, 8 + 2].astype(int).sum()
    assert found[4:, 8:].max() == 0
