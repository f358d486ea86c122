"""Channels that follow from others can go without a loss; others take a part of theirs along."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compress.compensate import FEWEST, compensated
from compress.errors import CompressError
from compress.prune import assert_pruned_is_masked, prune
from compress.running import run_module
from search_spaces.channels import ChannelGroup, Slice, keep_channels

KEPT = {"first": [0, 2]}
SIDE = 4


class Dependent(nn.Module):
    """Three channels of 4 x 4 pixels, the second is 2 * first - third + ``shift``; then a layer that reads them."""

    def __init__(self, reader, repeat=1, shift=3):
        super().__init__()
        self.first, self.reader, self.repeat = nn.Linear(5, 3 * SIDE**2), reader, repeat
        with torch.no_grad():
            weight, bias = self.first.weight.view(3, SIDE**2, 5), self.first.bias.view(3, SIDE**2)
            weight[1], bias[1] = 2 * weight[0] - weight[2], 2 * bias[0] - bias[2] + shift

    def forward(self, z):
        maps = self.first(z).reshape(len(z), -1, SIDE, SIDE)
        read = self.reader(maps.flatten(1) if self.repeat > 1 else maps)
        return read.reshape(len(z), 1, 1, -1) if self.repeat > 1 else read

    def groups(self):
        reader = Slice("reader", "in", self.repeat)
        return (ChannelGroup("first", 3, (Slice("first", "out", SIDE**2), reader)),)


READERS = {
    "convolution": (nn.Conv2d(3, 2, 3), 1),
    "transposed": (
        nn.ConvTranspose2d(3, 2, 2, stride=2),
        1,
        0,
    ),  # a constant makes another shift in each of four pixels
    "linear": (nn.Linear(3 * SIDE**2, 7), SIDE**2),
}


@pytest.fixture
def rows(rng):
    return {"z": rng.standard_normal((64, 5), dtype="f4")}


@pytest.mark.parametrize("name", READERS)
def test_a_channel_that_follows_from_others_costs_nothing(name, rows, monkeypatch):
    monkeypatch.setattr("compress.compensate.RIDGE", 1e-12)
    module = Dependent(*READERS[name])
    before = {key: value.clone() for key, value in module.state_dict().items()}
    wanted = run_module(module, rows)
    plain, changed = copy.deepcopy(module), compensated(module, module.groups(), KEPT, rows)
    for one in (plain, changed):
        keep_channels(one, KEPT, module.groups())
    assert np.abs(run_module(plain, rows) - wanted).max() > 0.1
    np.testing.assert_allclose(run_module(changed, rows), wanted, atol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_too_few_pixels_foretell_nothing(rows):
    module = Dependent(*READERS["convolution"])
    few = {"z": rows["z"][:1]}
    assert FEWEST * (len(KEPT["first"]) + 1) <= SIDE**2
    changed = compensated(module, module.groups(), KEPT, few)
    assert not torch.equal(changed.reader.weight, module.reader.weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("compress.compensate.FEWEST", SIDE**2)
        same = compensated(module, module.groups(), KEPT, few)
    assert torch.equal(same.reader.weight, module.reader.weight)


class Unwatched(Dependent):
    """Uses its reader's weight without calling it, or calls it by keyword."""

    def forward(self, z):
        maps = self.first(z).reshape(len(z), -1, SIDE, SIDE)
        if self.repeat == 1:
            return self.reader(input=maps)
        return nn.functional.linear(maps.flatten(1), self.reader.weight).reshape(len(z), 1, 1, -1)


@pytest.mark.parametrize("name", ["convolution", "linear"])
def test_a_layer_that_cannot_be_watched_stays_as_it_is(name, rows):
    module = Unwatched(*READERS[name])
    changed = compensated(module, module.groups(), KEPT, rows)
    assert torch.equal(changed.reader.weight, module.reader.weight)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_a_pruned_generator_begins_nearer(dcgan16, latents, share):
    """Half of the squared error at most; what is compensated is still what the masked one draws."""
    wanted = run_module(dcgan16.module, latents)
    plain, near = (prune(dcgan16, share, inputs=latents, compensate=one) for one in (False, True))
    errors = [float(np.mean((run_module(one.module, latents) - wanted) ** 2)) for one in (plain, near)]
    assert errors[1] < errors[0] / 2
    assert near.id == plain.id
    kept = near.edits[-1].settings["kept"]
    whole = compensated(dcgan16.module, dcgan16.module.channel_groups(), kept, latents)
    few = {"z": latents["z"][:8]}
    assert assert_pruned_is_masked(whole, near.module, kept, few) <= 1e-5


class Scaled(nn.Conv2d):
    """Equalized learning rate (Karras et al. 2018): what it takes is not its weight but a share of that."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight * 0.1, self.bias)


def test_a_weight_that_is_scaled_or_tied_stays_as_it_is(rows):
    scaled = Dependent(Scaled(3, 2, 3))
    assert torch.equal(compensated(scaled, scaled.groups(), KEPT, rows).reader.weight, scaled.reader.weight)
    tied = Dependent(nn.Conv2d(3, 2, 3))
    tied.other = nn.Conv2d(3, 2, 3)
    tied.other.weight = tied.reader.weight
    assert torch.equal(compensated(tied, tied.groups(), KEPT, rows).reader.weight, tied.reader.weight)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_small_activations_are_foretold_as_well(rows, scale):
    """The same function, with small activations and large weights behind them."""
    module = Dependent(nn.Conv2d(3, 2, 3))
    with torch.no_grad():
        module.first.weight.mul_(scale)
        module.first.bias.mul_(scale)
        module.reader.weight.div_(scale)
    wanted = run_module(module, rows)
    changed = compensated(module, module.groups(), KEPT, rows)
    keep_channels(changed, KEPT, module.groups())
    assert np.mean((run_module(changed, rows) - wanted) ** 2) < 1e-4 * wanted.var()


def test_the_shift_of_a_transposed_convolution(rows, monkeypatch):
    """Kernel 2, stride 2, all taps alike: each pixel meets one of four, so a constant shifts all of them alike."""
    monkeypatch.setattr("compress.compensate.RIDGE", 1e-12)
    module = Dependent(nn.ConvTranspose2d(3, 2, 2, stride=2))
    with torch.no_grad():
        module.reader.weight.copy_(module.reader.weight[..., :1, :1].expand(3, 2, 2, 2))
    wanted = run_module(module, rows)
    changed = compensated(module, module.groups(), KEPT, rows)
    keep_channels(changed, KEPT, module.groups())
    np.testing.assert_allclose(run_module(changed, rows), wanted, atol=1e-4)


def test_what_does_not_help_is_not_taken(dcgan16, latents, monkeypatch):
    """A compensation that goes wrong leaves the plain one."""
    plain = prune(dcgan16, 0.5, inputs=latents)

    def spoil(module, groups, kept, inputs):
        worse = copy.deepcopy(module)
        with torch.no_grad():
            for weight in worse.parameters():
                weight.mul_(9)
        return worse

    monkeypatch.setattr("compress.prune.compensated", spoil)
    kept = prune(dcgan16, 0.5, inputs=latents, compensate=True)
    assert all(torch.equal(a, b) for a, b in zip(kept.module.parameters(), plain.module.parameters(), strict=True))


def test_it_needs_latents(dcgan16):
    with pytest.raises(CompressError, match="Compensating needs latents"):
        prune(dcgan16, 0.25, compensate=True)
