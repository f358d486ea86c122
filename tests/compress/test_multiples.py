"""The multiple that widths are rounded to, of benches whose clocks are known, and of a real one."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from benchmarks.inputs import InputSpec
from benchmarks.records import Ratio, Target
from compress.generator import Generator
from compress.measure import Bench, Timing
from compress.multiples import liked_multiple
from compress.prune import channel_groups
from search_spaces.space import ImageShape

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)
ROWS = {"z": np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)}


@dataclass(frozen=True)
class Clock(Bench):
    """A file of widths (w1, w2) takes what channels take in blocks of ``block``; known to half a percent."""

    block: int = 1
    seen: list = field(default_factory=list)

    def variants(self, generator, folder):
        self.seen.append(self.cost(generator))
        return {"fp32": folder / "model.onnx"}

    def time_untrained(self, generator, against, seconds, give_up_above=np.inf):
        value = self.cost(generator) / self.seen[0]
        return Timing("fp32", Ratio(value, (value - 0.005, value + 0.005), 50), 0)

    def cost(self, generator):
        return sum(-(-group.size // self.block) for group in generator.module.channel_groups())


def liked(one, share, rows, bench, seconds):
    return liked_multiple(one, channel_groups(one.module, rows), share, rows, bench, seconds)


def generator(widths=(128, 64)):
    torch.manual_seed(0)
    arguments = {"widths": list(widths), "inputs": [spec.to_json() for spec in Z], "image": [1, 16, 16]}
    return Generator.from_factory("search_spaces.decoder:dcgan", arguments, Z)


@pytest.mark.parametrize("block", [1, 2, 4, 8, 16])
def test_no_step_is_finer_than_the_blocks_of_the_kernels(block):
    one = generator()
    clock = Clock(Target(), Z, (0,), (0,), block=block)
    assert liked(one, 0.5, ROWS, clock, 1.0) == min(block, 8)
    assert {group.size for group in one.module.channel_groups()} == {128, 64}, "it stays as it is"


@pytest.mark.parametrize("block", [1, 4])
def test_a_share_too_small_for_the_coarsest_step_is_no_obstacle(block):
    """A tenth of 16 and 24 channels leaves them whole in multiples of eight: the steps begin there."""
    assert liked(generator((24, 16)), 0.1, ROWS, Clock(Target(), Z, (0,), (0,), block=block), 1.0) == block


def test_where_no_coarser_step_can_be_taken_single_channels_go():
    assert liked(generator((8, 8)), 0.5, ROWS, Clock(Target(), Z, (0,), (0,)), 1.0) == 1


def test_convolutions_in_blocks_on_a_real_clock():
    """onnxruntime runs float convolutions of 8, 16, 24 ... channels in blocks of four and more, others far slower."""
    genotype = {
        "body": "conv", "rank": 0, "mapping": 0, "start": 8, "width": 64, "last": "shuffle4", "last_kernel": 3,
        "blocks": 2, "block": "plain", "kernel": 3, "norm": "batch", "activation": "relu", "output": "tanh",
    }  # fmt: skip
    one = Generator.from_genotype("decoder", genotype, Z, ImageShape(1, 32, 32))
    bench = Bench(Target(), Z, seed=(0, 9), calibration_seed=(0, 7), precisions=("fp32",))
    assert liked(one, 0.5, ROWS, bench, 0.5) >= 4


def test_transposed_convolutions_in_any_width_on_a_real_clock():
    """They are products of matrices there: every channel less saves time."""
    bench = Bench(Target(batch=8), Z, seed=(0, 9), calibration_seed=(0, 7), precisions=("fp32",))
    assert liked(generator((128, 64)), 0.5, ROWS, bench, 0.5) < 8
