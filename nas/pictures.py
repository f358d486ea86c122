"""Generated images as one picture for people."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

_SHOWN_SIDE = 128  # pixels that a small image is enlarged to
WORST_FILE = "worst.png"  # in the report's folder: where shipped files differ most from their source


def grid_png(images: np.ndarray, columns: int = 8, scale: int = 2) -> bytes:
    """The images row by row in a grid, as a PNG file; places left over at the end are black.

    Args:
        images: (N, C, H, W) float in [-1, 1], C 1 or 3; values outside are clipped, NaN is black.
        columns: Images per row; fewer if there are fewer images.
        scale: Pixels of the PNG per pixel of an image, along each side.

    Raises:
        ValueError: no images, another shape, or ``columns`` or ``scale`` below 1.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"a grid is made of images (N, 1 or 3, H, W); found the shape {images.shape}")
    if columns < 1 or scale < 1:
        raise ValueError(f"columns and scale must be at least 1; found {columns} and {scale}")
    count, channels, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count] = to_bytes(images).transpose(0, 2, 3, 1)
    grid = cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = grid.reshape(rows * height, columns * width, channels).repeat(scale, axis=0).repeat(scale, axis=1)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, format="PNG", optimize=True)
    return file.getvalue()


def differences_png(pairs: Sequence[tuple[np.ndarray, np.ndarray]], scale: int | None = None) -> bytes:
    """A row for each pair of images: the first, the second, and how far apart they are, white being the most there.

    Args:
        pairs: Of (C, H, W) float in [-1, 1], C 1 or 3.
        scale: Pixels of the PNG per pixel of an image; by default small images are enlarged to 128, large ones not.
    """
    scale = scale or max(1, _SHOWN_SIDE // max(pairs[0][0].shape))
    rows = []
    for first, second in pairs:
        apart = np.abs(first - second)
        rows += [first, second, 2 * apart / (apart.max() or 1.0) - 1]
    return grid_png(np.stack(rows), columns=3, scale=scale)


def shown(images: np.ndarray) -> np.ndarray:
    """Images as a viewer sees them: clipped to [-1, 1], which int8 files leave by some thousandths.

    NaN and infinity stay: such a generator has diverged, and no score may hide it.
    """
    return np.where(np.isfinite(images), np.clip(images, -1.0, 1.0), images)


def to_bytes(images: np.ndarray) -> np.ndarray:
    """[-1, 1] as uint8 0..255, rounded; the inverse of ``nas.data.to_float``. NaN becomes 0."""
    levels: np.ndarray = np.rint((np.clip(images, -1.0, 1.0) + 1.0) * 127.5)
    bytes_: np.ndarray = np.nan_to_num(levels, nan=0.0).astype(np.uint8)
    return bytes_
