import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from compress.errors import CompressError
from compress.generator import Edit, Generator
from compress.importance import rank_channels
from compress.prune import _nearest, assert_pruned_is_masked, best_channels, kept_count, prune
from search_spaces.channels import ChannelGroup, Slice, keep_channels
from search_spaces.norms import ConditionalNorm


@pytest.mark.parametrize(
    ("size", "ratio", "multiple", "kept"),
    [
        (64, 0.5, 8, 32),
        (48, 0.25, 8, 40),  # 36 lies halfway between 32 and 40: halves go up
        (48, 0.3, 8, 32),
        (16, 0.9, 8, 8),  # at least one multiple
        (8, 0.9, 8, 8),
        (5, 0.5, 8, 5),  # or all, if there are no more
        (10, 0.5, 1, 5),
        (12, 0.01, 8, 8),  # the nearest multiple, however little was asked for
    ],
)
def test_kept_count(size, ratio, multiple, kept):
    assert kept_count(size, ratio, multiple) == kept


@pytest.mark.parametrize(("ratio", "multiple"), [(0, 8), (1, 8), (-0.1, 8), (float("nan"), 8), (0.5, 0)])
def test_kept_count_refuses(ratio, multiple):
    with pytest.raises(CompressError):
        kept_count(16, ratio, multiple)


def test_best_channels_are_stable_and_sorted():
    assert best_channels(np.array([1.0, 3.0, 3.0, 2.0]), 2) == [1, 2]
    assert best_channels(np.array([1.0, 1.0, 1.0]), 2) == [0, 1]


class Toy(nn.Module):
    """Linear (2 channels of 2 x 2 pixels) -> BatchNorm2d -> 1x1 Conv to one channel."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(1, 8, bias=False), nn.BatchNorm2d(2, eps=0.0), nn.Conv2d(2, 1, 1)

    def forward(self, z):
        return self.last(self.norm(self.first(z).reshape(-1, len(self.norm.weight), 2, 2)))

    def channel_groups(self):
        slices = (Slice("first", "out", 4), Slice("norm", "out"), Slice("last", "in"))
        return (ChannelGroup("only", len(self.norm.weight), slices),)


def test_importance_by_hand():
    """Channel 0: sqrt(4 * 3^2) = 6, gamma 0.5, var 1 -> 3. Channel 1: sqrt(4 * 1^2) = 2, gamma -4, var 4 -> 4."""
    toy = Toy()
    with torch.no_grad():
        toy.first.weight.copy_(torch.tensor([3.0] * 4 + [1.0] * 4)[:, None])
        toy.norm.weight.copy_(torch.tensor([0.5, -4.0]))
        toy.norm.running_var.copy_(torch.tensor([1.0, 4.0]))
    assert rank_channels(toy, toy.channel_groups())["only"].tolist() == [3.0, 4.0]


class Carried(nn.Module):
    """Two producers of two channels, each with its norm, added; then a depthwise filter and a norm per class."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False)
        self.norm = nn.BatchNorm1d(2, eps=0.0)
        self.filter = nn.Conv2d(2, 2, 1, groups=2, bias=False)
        self.classes = ConditionalNorm(nn.BatchNorm2d(2, eps=0.0, affine=False), 2)


def test_importance_of_channels_that_are_added_and_carried_on():
    """Channel 0: (1 * 2)² + (2 * 3 * 4)² = 580: the norm scales the first producer, filter and classes the second.

    Channel 1: (3 * 1)² + (1 * 5 * 1)² = 34. Scales of two classes count by their root mean square: 4 = rms(0, 5.66).
    """
    toy = Carried()
    with torch.no_grad():
        for layer, values in ((toy.one, [1.0, 3.0]), (toy.two, [2.0, 1.0]), (toy.filter, [3.0, -5.0])):
            layer.weight.copy_(torch.tensor(values).reshape(layer.weight.shape))
        toy.norm.weight.copy_(torch.tensor([2.0, 1.0]))
        toy.classes.gamma.weight.copy_(torch.tensor([[0.0, 1.0], [32**0.5, -1.0]]))
        toy.classes.beta.weight.fill_(100.0)
    carried = ("filter", "classes.norm", "classes.gamma", "classes.beta")
    slices = [Slice(name, "out") for name in ("one", "norm", "two", *carried)]
    ranks = rank_channels(toy, (ChannelGroup("sum", 2, tuple(slices)),))["sum"]
    assert ranks == pytest.approx([580**0.5, 34**0.5])


def test_output_change_by_hand():
    """z = 1: channel 0 adds 2 to every pixel, channel 1 adds 0.5: mean squares 4 and 0.25."""
    toy = Toy()
    with torch.no_grad():
        toy.first.weight.fill_(1.0)
        toy.last.weight.copy_(torch.tensor([2.0, 0.5]).reshape(1, 2, 1, 1))
    before = {name: tensor.clone() for name, tensor in toy.state_dict().items()}
    inputs = {"z": np.ones((3, 1), dtype="f4")}
    ranks = rank_channels(toy, toy.channel_groups(), inputs, by="output")
    assert ranks["only"] == pytest.approx([4.0, 0.25])
    assert all(torch.equal(before[name], tensor) for name, tensor in toy.state_dict().items())
    with pytest.raises(CompressError, match="needs latents"):
        rank_channels(toy, toy.channel_groups(), by="output")


def test_derivatives_by_hand(monkeypatch):
    """The same channels: what they add is linear in a gate, so that the first order is all of it.

    A step d of the latent changes pictures by 2.5 |d|, of which 2 |d| and 0.5 |d| come through the channels.
    """
    monkeypatch.setattr("compress.importance.PROBES", 500)
    toy = Toy()
    with torch.no_grad():
        toy.first.weight.fill_(1.0)
        toy.last.weight.copy_(torch.tensor([2.0, 0.5]).reshape(1, 2, 1, 1))
    inputs = {"z": np.ones((3, 1), dtype="f4")}
    taylor = rank_channels(toy, toy.channel_groups(), inputs, by="taylor")["only"]
    assert taylor == pytest.approx([4.0, 0.25], rel=0.15)
    assert taylor[0] / taylor[1] == pytest.approx(16)
    latent = rank_channels(toy, toy.channel_groups(), inputs, by="latent")["only"]
    assert latent[0] / latent[1] == pytest.approx(4)
    assert latent[0] == pytest.approx(2 * 0.5 * (2 / np.pi) ** 0.5, rel=0.15)  # mean of |step|
    assert all(weight.grad is None for weight in toy.parameters())
    with pytest.raises(CompressError, match="input of floats"):
        rank_channels(toy, toy.channel_groups(), {"z": np.ones((3, 1), dtype="i8")}, by="latent")


def test_first_order_tells_what_the_output_tells(dcgan16, latents):
    """Also with shifts, activations and several layers behind: the ranks go together."""
    few = {"z": latents["z"][:16]}
    groups = dcgan16.module.channel_groups()
    wanted = rank_channels(dcgan16.module, groups, few, by="output")
    found = rank_channels(dcgan16.module, groups, few, by="taylor")
    for group in groups:
        assert spearmanr(wanted[group.name], found[group.name]).statistic > 0.5


@pytest.mark.parametrize("importance", ["weight", "output", "taylor", "latent"])
@pytest.mark.parametrize("name", ["low16", "dcgan16"])
def test_pruned_is_masked(request, name, importance, latents):
    generator = request.getfixturevalue(name)
    few = {"z": latents["z"][:4]}
    pruned = prune(generator, 0.5, importance=importance, inputs=few)
    assert pruned.id != generator.id
    for before, after in zip(generator.module.channel_groups(), pruned.module.channel_groups(), strict=True):
        assert after.size == max(8, before.size // 2)
    kept = pruned.edits[-1].settings["kept"]
    assert assert_pruned_is_masked(generator.module, pruned.module, kept, few) <= 1e-5


def test_a_ranking_that_is_not_there(low16):
    with pytest.raises(CompressError, match="weight, output, taylor, latent; found 'l1'"):
        prune(low16, 0.5, importance="l1")


def test_pictures_that_are_no_numbers_are_the_farthest(low16, latents):
    broken = replace(low16, module=copy.deepcopy(low16.module))
    with torch.no_grad():
        for weight in broken.module.parameters():
            weight.fill_(np.nan)
    assert _nearest(low16, [broken, low16], latents) is low16


def test_widths_by_name(dcgan16, latents):
    first, second, third = (group.name for group in dcgan16.module.channel_groups())
    pruned = prune(dcgan16, {first: 5, third: 16}, inputs=latents)
    assert [group.size for group in pruned.module.channel_groups()] == [5, 32, 16]
    for widths in ({"nothing": 4}, {first: 0}, {first: 5.5}, {first: True}, {second: 33}, {third: 16}, {}):
        with pytest.raises(CompressError, match=r"Correct the name or the width|leave every group"):
            prune(dcgan16, widths)


def test_pruning_twice_replays(low16, dcgan16, tmp_path, latents):
    twice = prune(prune(dcgan16, 0.25), 0.25)
    twice.save(tmp_path)
    loaded = Generator.load(tmp_path)
    assert loaded.id == twice.id
    z = torch.from_numpy(latents["z"])
    with torch.inference_mode():
        assert torch.equal(loaded.module.eval()(z=z), twice.module.eval()(z=z))


def test_the_wrong_channels_do_not_pass_for_the_right_ones(low16, latents):
    kept = {"layers.0": list(range(8))}
    other = {"layers.0": list(range(8, 16))}
    pruned = low16.with_edit(Edit("prune", {"kept": kept}))
    with pytest.raises(CompressError, match="differ by"):
        assert_pruned_is_masked(low16.module, pruned.module, other, latents)
    with pytest.raises(CompressError, match="cannot be masked"):
        assert_pruned_is_masked(low16.module, pruned.module, {"nothing": [0]}, latents)


class Mixing(Toy):
    """Divides by the root mean square over all channels, as a GroupNorm does: silent channels still count."""

    def forward(self, z):
        maps = self.norm(self.first(z).reshape(-1, len(self.norm.weight), 2, 2))
        return self.last(maps / (maps.square().mean(dim=1, keepdim=True) + 0.1).sqrt())


def test_a_norm_over_several_channels_is_caught():
    torch.manual_seed(0)
    before = Mixing()
    after = copy.deepcopy(before)
    keep_channels(after, {"only": [0]})
    with pytest.raises(CompressError, match="norm over several channels"):
        assert_pruned_is_masked(before, after, {"only": [0]}, {"z": np.ones((2, 1), dtype="f4")})


def test_what_cannot_be_pruned_says_why(low16):
    narrow = prune(low16, 0.5)
    with pytest.raises(CompressError, match="leaves every width"):
        prune(narrow, 0.5)
    plain = Generator(low16.origin, (), nn.Linear(2, 2))
    with pytest.raises(CompressError, match="Linear declares no channel groups"):
        prune(plain, 0.5)
