"""The bank: pictures that the reference drew once, so that every student learns from them without drawing them again.

Drawing is what distillation spends most of its time on, and a search distils dozens of students. The latents are not
stored: they are those of the stream, drawn again from the seed.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.files import replacing
from benchmarks.inputs import InputSpec, draw_inputs
from nas.errors import NasError

BANK_FILE = "bank.npy"
PICTURES = 65_536
MAX_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Bank:
    """Inputs ``(N, *shape)`` by name, and the pictures ``(N, C, H, W)``, float16, that the teacher drew from them."""

    inputs: dict[str, NDArray[np.generic]]
    pictures: NDArray[np.float16]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return ``size`` random rows: inputs by name, and pictures as float32 in channels-last layout."""
        rows = rng.integers(0, len(self.pictures), size)
        inputs = {name: torch.from_numpy(values[rows]) for name, values in self.inputs.items()}
        pictures = torch.from_numpy(self.pictures[rows].astype(np.float32))
        return inputs, pictures.contiguous(memory_format=torch.channels_last)


def bank_size(shape: tuple[int, ...], pictures: int = PICTURES) -> int:
    """Return how many pictures of ``shape`` ``(C, H, W)`` a bank holds: at most ``pictures`` and ``MAX_BYTES``."""
    return min(pictures, MAX_BYTES // (2 * math.prod(shape)))


def write_bank(path: Path, pictures: NDArray[np.float16]) -> None:
    """Write the teacher's ``pictures`` ``(N, C, H, W)``, float16, to ``path``, a .npy file, atomically."""
    with replacing(path) as beside, beside.open("wb") as file:
        np.save(file, pictures, allow_pickle=False)


def read_bank(path: Path, specs: tuple[InputSpec, ...], seed: tuple[int, ...]) -> Bank:
    """Return the bank at ``path``; pictures stay on disk and are shared by all processes that read them.

    Raises:
        NasError: the file is damaged.
    """
    try:
        pictures = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:  # EOFError: the file is empty
        raise NasError(f"{path} cannot be read ({error}): delete it and run again, it is drawn anew") from error
    if pictures.dtype != np.float16 or pictures.ndim != 4:
        raise NasError(f"{path} is no bank of pictures: delete it and run again, it is drawn anew")
    return Bank(draw_inputs(specs, len(pictures), seed), pictures)
