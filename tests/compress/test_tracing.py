import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from benchmarks.inputs import InputSpec, draw_inputs
from compress.errors import CompressError
from compress.export import export_onnx, parity
from compress.generator import Generator
from compress.importance import rank_channels
from compress.origin import Origin
from compress.prune import assert_pruned_is_masked, in_units, kept_count, prune
from compress.running import run_module
from compress.tracing import WHOLE_MODULE, traced_groups
from search_spaces.channels import ChannelGroup, Slice, keep_channels
from search_spaces.space import SearchSpaceError

Z = InputSpec("z", (8,), "float32", {"kind": "normal"})
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 4})


class Transposed(nn.Module):
    """DCGAN: transposed convolutions, each behind the norm of the one before."""

    def __init__(self, width=8):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(8, 2 * width, 4, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.InstanceNorm2d(width, affine=True),
            nn.PReLU(width),
            nn.ConvTranspose2d(width, 1, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.net(z[:, :, None, None])


class Subpixel(nn.Module):
    """A linear layer that is reshaped to maps, PixelShuffle as a module and as a function."""

    def __init__(self, width=6):
        super().__init__()
        self.head, self.norm = nn.Linear(8, width * 16), nn.BatchNorm2d(width)
        self.up, self.up_norm = nn.Conv2d(width, width * 4, 3, padding=1), nn.BatchNorm2d(width)
        self.last, self.shuffle = nn.Conv2d(width, 12, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, z):
        x = functional.relu(self.norm(self.head(z).view(len(z), -1, 4, 4)), inplace=True)
        x = functional.relu(self.up_norm(functional.pixel_shuffle(self.up(x), 2)))
        return torch.tanh(self.shuffle(self.last(x)))


class Residual(nn.Module):
    """Two producers of one sum, and a head whose norm stands before the reshape."""

    def __init__(self, width=8):
        super().__init__()
        self.head, self.norm = nn.Linear(8, width * 4), nn.BatchNorm1d(width * 4)
        self.one, self.one_norm = nn.Conv2d(width, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.two, self.two_norm = nn.Conv2d(6, width, 3, padding=1), nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, 3, 1)

    def forward(self, z):
        x = functional.leaky_relu(self.norm(self.head(z)).reshape(len(z), -1, 2, 2), 0.2)
        x = x + self.two_norm(self.two(functional.relu(self.one_norm(self.one(x)))))
        return torch.tanh(self.last(functional.interpolate(functional.relu(x), scale_factor=2)))


class Skips(nn.Module):
    """Like a U-Net: maps of two layers and of the input are read side by side, behind one norm."""

    def __init__(self, width=6):
        super().__init__()
        self.head = nn.Linear(8, 64)
        self.down, self.deep = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 10, 3, 2, 1)
        self.up, self.norm = nn.ConvTranspose2d(10, 5, 4, 2, 1), nn.BatchNorm2d(width + 6)
        self.last = nn.Conv2d(width + 6, 1, 3, padding=1)

    def forward(self, z):
        x = self.head(z).view(-1, 1, 8, 8)
        a = functional.relu(self.down(x))
        b = functional.relu(self.up(functional.relu(self.deep(a))))
        return torch.tanh(self.last(functional.relu(self.norm(torch.cat([x, b, a], dim=1)))))


class Conditional(nn.Module):
    """A table beside latents, a step in time, and a scale and shift that one linear layer predicts."""

    def __init__(self, width=6):
        super().__init__()
        self.table, self.time = nn.Embedding(5, 10), nn.Linear(1, 8)
        self.mix, self.film = nn.Linear(18, 12), nn.Linear(8, 2 * width)
        self.head, self.norm = nn.Linear(12, width * 16), nn.BatchNorm2d(width, affine=False)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, z, label, t):
        mixed = functional.relu(self.mix(torch.cat([z, self.table(label)], 1)))
        x = self.norm(self.head(mixed).unflatten(1, (-1, 4, 4)))
        scale, shift = self.film(functional.silu(self.time(t)))[:, :, None, None].chunk(2, dim=1)
        return torch.tanh(self.last(functional.relu(x * scale + shift)))


class Separable(nn.Module):
    """A depthwise filter between two pointwise ones, and a mask of one channel spread over all."""

    def __init__(self, width=8):
        super().__init__()
        self.head, self.depth = nn.Linear(8, width * 16), nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.point, self.mask = nn.Conv2d(width, 6, 1), nn.Conv2d(6, 1, 1)
        self.last = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, z):
        x = functional.relu(self.point(functional.relu(self.depth(self.head(z).reshape(len(z), -1, 4, 4)))))
        return torch.tanh(self.last(x * torch.sigmoid(self.mask(x))))


class Gated(nn.Module):
    """GLU as a function: a channel owns an index in each half."""

    def __init__(self, width=6):
        super().__init__()
        self.head = nn.Linear(8, 2 * width * 16)
        self.gate, self.last = nn.Conv2d(width, 2 * width, 3, padding=1), nn.Conv2d(width, 1, 1)

    def forward(self, z):
        x = functional.glu(self.head(z).reshape(len(z), -1, 4, 4), dim=1)
        return torch.tanh(self.last(functional.glu(self.gate(x), 1)))


class Twice(nn.Module):
    """One convolution that is run two times."""

    def __init__(self, width=8):
        super().__init__()
        self.head, self.again = nn.Linear(8, width * 16), nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, z):
        x = self.head(z).reshape(len(z), -1, 4, 4)
        return torch.tanh(self.last(self.again(functional.relu(self.again(x)))))


class Attending(nn.Module):
    """Attention in the middle; what lies before and behind it can still be cut."""

    def __init__(self):
        super().__init__()
        self.head, self.first = nn.Linear(8, 6 * 16), nn.Conv2d(6, 8, 3, padding=1)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.after, self.last = nn.Conv2d(8, 10, 3, padding=1), nn.Conv2d(10, 1, 1)

    def forward(self, z):
        x = self.first(functional.relu(self.head(z).reshape(len(z), -1, 4, 4)))
        tokens = x.flatten(2).transpose(1, 2)
        x = x + self.attend(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(x.shape)
        return torch.tanh(self.last(functional.relu(self.after(x))))


class Grouped(nn.Module):
    """Group norms of 3 and of 4 channels a group, one of them inside a residual, as diffusion models have them."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 12 * 16)
        self.first, self.first_norm = nn.Conv2d(12, 12, 3, padding=1), nn.GroupNorm(4, 12)
        self.second, self.second_norm = nn.Conv2d(12, 16, 3, padding=1), nn.GroupNorm(4, 16)
        self.last = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, z):
        x = self.head(z).view(-1, self.head.out_features // 16, 4, 4)
        x = x + functional.silu(self.first_norm(self.first(x)))
        return torch.tanh(self.last(functional.silu(self.second_norm(self.second(x)))))


class Stubborn(nn.Module):
    """One layer each of what cannot be cut, with one that can be between all of them."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8 * 16)
        self.mixed, self.layer_norm = nn.Conv2d(8, 8, 1), nn.LayerNorm([8, 4, 4])
        self.one_norm, self.norm = nn.Conv2d(8, 8, 1), nn.GroupNorm(1, 8)
        self.to_grouped, self.grouped = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1, groups=2)
        self.free = nn.Conv2d(8, 12, 1)
        self.shifted, self.shift = nn.Conv2d(12, 6, 1), nn.Parameter(torch.zeros(1, 6, 1, 1))
        self.softplus, self.plain = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 4, 1)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))
        self.unused_norm = nn.GroupNorm(2, 8)
        self.fixed, self.last, self.unused = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 1, 1), nn.Linear(3, 3)

    def forward(self, z):
        x = self.layer_norm(self.mixed(functional.relu(self.head(z).reshape(len(z), 8, 4, 4))))
        x = self.norm(self.one_norm(x))
        x = functional.relu(self.grouped(self.to_grouped(x)))
        x = self.shifted(functional.relu(self.free(x))) + self.shift[:1]
        x = self.fixed(self.spectral(self.plain(functional.softplus(self.softplus(x)))))
        return torch.tanh(self.last(x.view(-1, 4, 16).view(-1, 4, 4, 4)))


ZOO = {  # group -> its channels
    Transposed: {"net.0": 16, "net.3": 8},
    Subpixel: {"head": 6, "up": 6},
    Residual: {"head": 8, "one": 6},
    Skips: {"down": 6, "deep": 10, "up": 5},
    Conditional: {"table": 10, "mix": 12, "head": 6, "time": 8},
    Separable: {"head": 8, "point": 6},
    Gated: {"head": 6, "gate": 6},
    Grouped: {"head": 4, "second": 4},
    Twice: {"head": 8},
    Attending: {"head": 6, "after": 10},
    Stubborn: {"free": 12},
}

WIDE = [kind for kind in ZOO if kind not in (Attending, Stubborn)]


def draw(kind):
    rng = np.random.default_rng(0)
    rows = {"z": rng.normal(size=(4, 8)).astype("f4")}
    if kind is Conditional:
        rows |= {"label": np.array([0, 4, 2, 2]), "t": rng.uniform(size=(4, 1)).astype("f4")}
    return rows


def make(kind, *arguments):
    torch.manual_seed(0)
    return kind(*arguments)


@pytest.mark.parametrize("kind", ZOO)
def test_groups_are_found_and_pruning_them_draws_what_masking_draws(kind):
    module, rows = make(kind), draw(kind)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    traced = traced_groups(module, rows)
    assert {group.name: group.size for group in traced.groups} == ZOO[kind], dict(traced.left_alone)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert module.training
    ranks = rank_channels(module, traced.groups)
    kept = {name: sorted(np.argsort(-ranks[name])[: -(-size * 5 // 8)].tolist()) for name, size in ZOO[kind].items()}
    pruned = make(kind)
    pruned.load_state_dict(module.state_dict())
    keep_channels(pruned, kept, traced.groups)
    assert run_module(pruned, rows).shape == run_module(module, rows).shape
    assert assert_pruned_is_masked(module, pruned, kept, rows, groups=traced.groups) <= 1e-5


@pytest.mark.parametrize("kind", ZOO)
def test_every_layer_that_makes_channels_is_in_a_group_or_says_why_not(kind):
    module = make(kind)
    traced = traced_groups(module, draw(kind))
    cut = {part.module for group in traced.groups for part in group.slices if part.axis == "out"}
    makers = {n for n, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding)}
    assert not cut & set(traced.left_alone)
    assert makers <= cut | set(traced.left_alone)
    assert all(traced.left_alone.values())


def slices_of(kind, name):
    traced = traced_groups(make(kind), draw(kind))
    return next(group.slices for group in traced.groups if group.name == name)


def test_slices_by_hand():
    """16 pixels a channel of the head; 4 indices before the shuffle, 1 behind it."""
    assert slices_of(Subpixel, "head") == (Slice("head", "out", 16), Slice("norm", "out"), Slice("up", "in"))
    assert slices_of(Subpixel, "up") == (Slice("up", "out", 4), Slice("up_norm", "out"), Slice("last", "in"))


def test_a_concatenation_is_read_at_an_offset():
    """Behind 1 channel of the input stand 5 of the upper layer, then 6 of the lower one."""
    reads = (Slice("deep", "in"), Slice("norm", "out", 1, 6), Slice("last", "in", 1, 6))
    assert slices_of(Skips, "down") == (Slice("down", "out"), *reads)
    assert slices_of(Skips, "up") == (Slice("up", "out"), Slice("norm", "out", 1, 1), Slice("last", "in", 1, 1))


def test_group_norms_lose_whole_groups():
    """Three channels of the first norm are one, four of the second; a part of a group is refused beforehand."""
    assert Slice("first_norm", "out", 3) in slices_of(Grouped, "head")
    assert slices_of(Grouped, "second") == (
        Slice("second", "out", 4),
        Slice("second_norm", "out", 4),
        Slice("last", "in", 4),
    )
    module = make(Grouped)
    keep_channels(module, {"second": [0, 2, 3]}, traced_groups(module, draw(Grouped)).groups)
    norm = module.second_norm
    assert (norm.num_channels, norm.num_groups, len(norm.weight)) == (12, 3, 12)
    single = (ChannelGroup("second", 16, (Slice("second", "out"), Slice("second_norm", "out"), Slice("last", "in"))),)
    before = make(Grouped)
    with pytest.raises(SearchSpaceError, match="whole groups of 4 channels"):
        keep_channels(before, {"second": list(range(6))}, single)
    assert before.second.out_channels == 16


def test_widths_behind_group_norms_are_rounded_in_channels(tmp_path):
    """A multiple of 8 channels is one of 2 groups of 4, so that 16 channels can become 8."""
    generator = Generator(Origin.of_factory("tests.compress.test_tracing:Grouped", {}, (Z,)), (), make(Grouped))
    pruned = prune(generator, 0.5, inputs=draw(Grouped))
    assert (pruned.module.second.out_channels, pruned.module.second_norm.num_groups) == (8, 2)
    pruned.save(tmp_path)
    export_onnx(pruned, tmp_path / "model.onnx")
    assert parity(pruned.module, tmp_path / "model.onnx", draw_inputs((Z,), 64, 0)).max_abs < 1e-5


@pytest.mark.parametrize(("size", "unit", "count"), [(32, 3, 16), (24, 4, 12), (6, 3, 3), (16, 1, 8)])
def test_widths_stay_multiples_where_a_group_is_large_enough(size, unit, count):
    """Half of 32 groups of 3 is 48 channels, a multiple of 8; of 6 groups of 3 the nearest is 9, at least 8."""
    group = ChannelGroup("g", size, (Slice("g", "out", unit),))
    assert kept_count(size, 0.5, in_units(8, group)) == count


def test_halves_go_together():
    assert slices_of(Gated, "gate") == (Slice("gate", "out", 1, 0), Slice("gate", "out", 1, 6), Slice("last", "in"))
    film = [part for part in slices_of(Conditional, "head") if part.module == "film"]
    assert film == [Slice("film", "out", 1, 0), Slice("film", "out", 1, 6)]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mixed", "meets layer_norm: no rule says how LayerNorm is cut"),
        ("layer_norm", "no rule says how LayerNorm is cut"),
        ("one_norm", "all that it makes is one channel"),  # in one group: all or nothing
        ("to_grouped", "2 groups"),
        ("grouped", "2 groups"),
        ("head", "does not run without"),  # forward() writes 8 channels out
        ("shifted", "a parameter"),
        ("softplus", "differ by"),  # softplus(0) = log 2
        ("plain", "spectral norm"),
        ("spectral", "spectral norm"),
        ("fixed", "does not run without"),
        ("last", "images"),
        ("unused", "does not call it"),
        ("unused_norm", "does not call it"),
    ],
)
def test_reasons(name, why):
    left_alone = traced_groups(make(Stubborn), draw(Stubborn)).left_alone
    assert why in left_alone[name]


class Raising(nn.Linear):
    def forward(self, z):
        raise KeyError("nothing of the sort")


class Detached(nn.Linear):
    def forward(self, z):
        return super().forward(z).detach()


class Several(nn.Linear):
    def forward(self, z):
        return super().forward(z), z


class Bare(nn.Module):
    def forward(self, z):
        return z


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (Raising(8, 8), "KeyError"),
        (Detached(8, 8), "gradients"),
        (Several(8, 8), "one tensor"),
        (Bare(), "gradients"),
        (nn.Linear(9, 8), "TypeError"),  # its argument has another name
    ],
)
def test_what_cannot_be_traced_gives_no_groups_and_one_reason(module, why):
    traced = traced_groups(module, draw(None))
    assert traced.groups == ()
    assert list(traced.left_alone) == [WHOLE_MODULE]
    assert why in traced.left_alone[WHOLE_MODULE]


class Silent(nn.Module):
    """Channels change places where no tracer sees it; a last layer of zeros, as diffusion models begin, hides it."""

    def __init__(self):
        super().__init__()
        self.head, self.last = nn.Linear(8, 6 * 4), nn.Conv2d(6, 1, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, z):
        return self.last(self.head(z).reshape(len(z), -1, 2, 2).flip(1))


def test_a_last_layer_of_zeros_hides_no_wrong_group():
    traced = traced_groups(make(Silent), draw(None))
    assert traced.groups == ()
    assert "differ by" in traced.left_alone["head"]


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.sampled_from([Transposed, Subpixel, Residual, Skips, Conditional, Separable, Gated, Twice]), st.integers(2, 9)
)
def test_any_width_is_found(kind, width):
    rows = draw(kind)
    module = make(kind, width)
    groups = traced_groups(module, rows).groups
    assert {group.name for group in groups} == set(ZOO[kind])
    kept = {group.name: list(range(1, group.size)) for group in groups}
    pruned = make(kind, width)
    keep_channels(pruned, kept, groups)
    assert_pruned_is_masked(module, pruned, kept, rows, groups=groups)


@pytest.fixture
def strangers(monkeypatch):
    module = types.ModuleType("strangers_zoo")
    monkeypatch.setattr(module, "skips", lambda: make(Skips), raising=False)
    monkeypatch.setattr(module, "nothing", lambda: nn.Linear(8, 1), raising=False)
    monkeypatch.setitem(sys.modules, "strangers_zoo", module)


def test_a_pruned_stranger_is_rebuilt_without_tracing(strangers, tmp_path, monkeypatch):
    rows = draw(Skips)
    generator = Generator.from_factory("strangers_zoo:skips", {}, (Z,), trust_code=True)
    pruned = prune(prune(generator, 0.25, multiple=1, inputs=rows), 0.3, multiple=1, importance="output", inputs=rows)
    assert [set(edit.settings) for edit in pruned.edits] == [{"kept", "groups"}] * 2
    widths = [layer.out_channels for layer in (pruned.module.down, pruned.module.deep, pruned.module.up)]
    assert widths == [4, 6, 3]  # of 6, 10 and 5
    pruned.save(tmp_path)
    monkeypatch.setattr("compress.prune.traced_groups", None)
    loaded = Generator.load(tmp_path, trust_code=True)
    assert loaded.id == pruned.id
    assert np.array_equal(run_module(loaded.module, rows), run_module(pruned.module, rows))


def test_a_stranger_that_cannot_be_pruned_says_why(strangers):
    generator = Generator.from_factory("strangers_zoo:skips", {}, (Z,), trust_code=True)
    with pytest.raises(CompressError, match=r"declares no channel groups.*pass inputs"):
        prune(generator, 0.5)
    nothing = Generator.from_factory("strangers_zoo:nothing", {}, (Z,), trust_code=True)
    with pytest.raises(CompressError, match=r"none was found \(it cannot be traced: TypeError"):
        prune(nothing, 0.5, inputs=draw(None))
