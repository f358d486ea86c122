"""The bank of the teacher's pictures: its size, and that latents and pictures stay together."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.inputs import InputSpec, draw_inputs
from nas.bank import MAX_BYTES, Bank, bank_size, read_bank, write_bank
from nas.errors import NasError

Z = (InputSpec("z", (3,), "float32", {"kind": "normal"}),)


def test_size_is_limited_by_pictures_and_by_bytes():
    assert bank_size((1, 32, 32)) == 65_536
    assert bank_size((3, 256, 256)) == MAX_BYTES // (2 * 3 * 256 * 256) == 1365
    assert bank_size((1, 32, 32), pictures=10) == 10


def test_read_draws_the_latents_of_the_stream_again(tmp_path: Path):
    pictures = np.arange(4 * 4, dtype=np.float16).reshape(4, 1, 2, 2)
    write_bank(tmp_path / "bank.npy", pictures)
    bank = read_bank(tmp_path / "bank.npy", Z, (7, 14))
    np.testing.assert_array_equal(bank.pictures, pictures)
    np.testing.assert_array_equal(bank.inputs["z"], draw_inputs(Z, 4, (7, 14))["z"])
    assert isinstance(bank.pictures, np.memmap)


def test_a_batch_keeps_rows_together():
    """Picture i shows the number i, and so does latent i."""
    rows = np.arange(50, dtype=np.float32)
    bank = Bank({"z": np.repeat(rows[:, None], 3, 1)}, np.tile(rows[:, None, None, None], (1, 2, 4, 4)).astype("f2"))
    inputs, pictures = bank.batch(np.random.default_rng(0), 16)
    assert pictures.shape == (16, 2, 4, 4)
    assert pictures.dtype == torch.float32
    assert pictures.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(inputs["z"][:, 0], pictures[:, 0, 0, 0])
    again, _ = bank.batch(np.random.default_rng(0), 16)
    torch.testing.assert_close(again["z"], inputs["z"])


@pytest.mark.parametrize("content", [b"", b"no numpy", None])
def test_a_damaged_bank_says_what_to_do(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "bank.npy").write_bytes(content)
    with pytest.raises(NasError, match="delete it and run again"):
        read_bank(tmp_path / "bank.npy", Z, (0,))


def test_pickles_and_other_arrays_are_refused(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "b.npy", np.zeros((2, 2), np.float16))
    np.save(tmp_path / "c.npy", np.zeros((2, 1, 2, 2), np.float32))
    for name in "abc":
        with pytest.raises(NasError):
            read_bank(tmp_path / f"{name}.npy", Z, (0,))
