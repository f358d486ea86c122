"""Streams of random numbers: no two purposes share a latent, and none is ever renumbered."""

import numpy as np

from benchmarks.inputs import InputSpec, draw_inputs
from nas.seeds import Stream

Z = (InputSpec("z", (8,), "float32", {"kind": "normal"}),)


def test_numbers_are_those_that_old_runs_were_made_with():
    assert {stream.name: int(stream) for stream in Stream} == {
        "TRAIN": 1, "CURVE": 2, "RUNG": 3, "CHOICE": 4, "STEPS": 5, "HELD_OUT": 6, "CALIBRATION": 7, "PARITY": 8,
        "TIMING": 9, "GRID": 10, "PROPOSAL": 12, "BOOTSTRAP": 13, "BANK": 14,
    }  # fmt: skip


def test_streams_share_no_latent():
    rows = np.concatenate([draw_inputs(Z, 64, (0, stream))["z"] for stream in Stream])
    assert len(np.unique(rows, axis=0)) == 64 * len(Stream)


def test_streams_of_neighbouring_seeds_differ_too():
    """(1, RUNG) is not (0, something): entropy is not added up."""
    firsts = {tuple(draw_inputs(Z, 1, (seed, stream))["z"][0]) for seed in range(8) for stream in Stream}
    assert len(firsts) == 8 * len(Stream)
