"""Parameters that forward uses itself: they are cut with the channels that they meet, or stay whole with a reason."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.inputs import InputSpec
from benchmarks.runtimes.onnx import generate
from compress.errors import CompressError
from compress.export import export_onnx
from compress.generator import Generator
from compress.importance import rank_channels
from compress.origin import Origin
from compress.prune import assert_pruned_is_masked, prune
from compress.running import run_module
from compress.tracing import traced_groups
from search_spaces.channels import ChannelGroup, Slice, keep_channels
from search_spaces.free import layer_at
from search_spaces.space import SearchSpaceError

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)
ROWS = {"z": np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)}


class Maps(nn.Module):
    """A linear layer, maps of 4 x 4 which ``mixed`` does something to, two convolutions."""

    def __init__(self, **parameters: torch.Tensor) -> None:
        super().__init__()
        self.fc, self.first = nn.Linear(16, 12 * 16), nn.Conv2d(12, 24, 3, padding=1)
        self.second = nn.Conv2d(24, 1, 3, padding=1)
        for name, values in parameters.items():
            self.register_parameter(name, nn.Parameter(values))

    def forward(self, z):
        x = self.fc(z).view(len(z), -1, 4, 4)
        return torch.tanh(self.second(torch.relu(self.mixed(self.first(x)))))

    def mixed(self, x):
        return x


class Positions(Maps):
    def __init__(self):
        super().__init__(positions=torch.randn(1, 24, 4, 4))

    def mixed(self, x):
        return x + self.positions


class PositionsInPlace(Positions):
    def mixed(self, x):
        x += self.positions
        return x


class Scale(Maps):
    """Behind a rectifier, or a scale would change nothing that a weight does not."""

    def __init__(self):
        super().__init__(scale=torch.rand(24, 1, 1) + 0.5, shift=torch.randn(1, 24, 1, 1))

    def mixed(self, x):
        return self.scale * torch.relu(x) - self.shift


class Viewed(Maps):
    def __init__(self):
        super().__init__(strength=torch.rand(24))

    def mixed(self, x):
        return x + 0.3 * self.strength.view(1, -1, 1, 1)


class Constant(Maps):
    """A learned constant is all that there is at first; the latent comes in as a style."""

    def __init__(self):
        super().__init__(constant=torch.randn(1, 12, 4, 4))
        self.style = nn.Linear(16, 24)

    def forward(self, z):
        x = self.first(self.constant.repeat(len(z), 1, 1, 1)) * self.style(z)[:, :, None, None]
        return torch.tanh(self.second(torch.relu(x)))


class Tokens(nn.Module):
    """A stream of tokens with learned positions and a scale of each branch."""

    def __init__(self, width=24):
        super().__init__()
        self.into, self.positions = nn.Linear(16, 16 * width), nn.Parameter(torch.randn(1, 16, width))
        self.norm, self.gate = nn.LayerNorm(width), nn.Parameter(torch.rand(width))
        self.wide, self.back = nn.Linear(width, 48), nn.Linear(48, width)
        self.out = nn.Linear(width, 4)

    def forward(self, z):
        x = self.into(z).view(len(z), 16, -1) + self.positions
        x = x + self.gate * self.back(torch.relu(self.wide(self.norm(x))))
        return functional.pixel_shuffle(self.out(x).transpose(1, 2).view(len(z), 4, 4, 4), 2)


def made(kind):
    torch.manual_seed(0)
    return kind().eval()


CASES = {
    Positions: {"fc": 12, "first": 24},
    PositionsInPlace: {"fc": 12, "first": 24},
    Scale: {"fc": 12, "first": 24},
    Viewed: {"fc": 12, "first": 24},
    Constant: {"constant": 12, "first": 24},
    Tokens: {"into": 24, "wide": 48},
}
CUT = {
    Positions: {"positions": (1, 12, 4, 4)},
    PositionsInPlace: {"positions": (1, 12, 4, 4)},
    Scale: {"scale": (12, 1, 1), "shift": (1, 12, 1, 1)},
    Viewed: {"strength": (12,)},
    Constant: {"constant": (1, 6, 4, 4)},
    Tokens: {"positions": (1, 16, 12), "gate": (12,)},
}


@pytest.mark.parametrize("kind", CASES)
def test_they_are_cut_with_what_they_meet(kind):
    module = made(kind)
    traced = traced_groups(module, ROWS)
    assert {group.name: group.size for group in traced.groups} == CASES[kind], traced.left_alone
    kept = {group.name: list(range(0, group.size, 2)) for group in traced.groups}
    pruned = copy.deepcopy(module)
    keep_channels(pruned, kept, traced.groups)
    assert_pruned_is_masked(module, pruned, kept, ROWS, groups=traced.groups)
    assert {name: tuple(getattr(pruned, name).shape) for name in CUT[kind]} == CUT[kind]


def test_pruned_twice_saved_and_exported(tmp_path):
    """Half of every width, and half of these; compensated, ranked by weights."""
    generator = Generator(Origin.of_factory("tests.compress.test_free_parameters:Tokens", {}, Z), (), made(Tokens))
    for _ in range(2):
        generator = prune(generator, 0.5, multiple=2, inputs=ROWS, compensate=True)
    assert generator.module.positions.shape == (1, 16, 6)
    generator.save(tmp_path)
    again = Generator.load(tmp_path, trust_code=True)
    wanted = run_module(generator.module, ROWS)
    np.testing.assert_array_equal(run_module(again.module, ROWS), wanted)
    export_onnx(again, tmp_path / "model.onnx")
    np.testing.assert_allclose(generate(tmp_path / "model.onnx", ROWS), wanted, atol=1e-5)


@pytest.mark.parametrize("by", ["weight", "output", "taylor", "latent"])
def test_a_learned_constant_is_ranked_by_itself(by):
    """Nothing else makes its channels; those of no size are the least."""
    module = made(Constant)
    with torch.no_grad():
        module.constant[:, ::2] *= 1e-6
    (group,) = [group for group in traced_groups(module, ROWS).groups if group.name == "constant"]
    ranks = rank_channels(module, [group], ROWS, by=by)["constant"]
    assert set(np.argsort(ranks)[:6]) == set(range(0, 12, 2))


class Normed(Maps):
    """A learned constant, and what scales it before anybody reads it."""

    def __init__(self, norm):
        super().__init__(constant=torch.randn(1, 12, 4, 4))
        self.norm, self.style = norm, nn.Linear(16, 24)

    def forward(self, z):
        x = self.first(self.norm(self.constant.expand(len(z), -1, -1, -1))) * self.style(z)[:, :, None, None]
        return torch.tanh(self.second(torch.relu(x)))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d, nn.PReLU])
def test_a_constant_behind_a_norm_is_ranked_by_both(norm):
    """Dead channels are the least, whatever the norm; it makes none itself."""
    torch.manual_seed(0)
    module = Normed(norm(12)).eval()
    with torch.no_grad():
        module.constant[:, :6] = 0
    groups = [group for group in traced_groups(module, ROWS).groups if "constant" in group.name]
    ranks = rank_channels(module, groups, ROWS)[groups[0].name]
    assert set(np.argsort(ranks)[:6]) == set(range(6))


class Attending(Maps):
    """A view of a parameter, and behind it views that move channels of attention."""

    def __init__(self):
        super().__init__(bias=torch.randn(24))
        self.query, self.key = nn.Conv2d(24, 8, 1), nn.Conv2d(24, 8, 1)
        self.value = nn.Conv2d(24, 24, 1)

    def mixed(self, x):
        x = x + self.bias.view(1, -1, 1, 1)
        seen = torch.softmax(self.query(x).flatten(2).transpose(1, 2) @ self.key(x).flatten(2), dim=-1)
        return x + (self.value(x).flatten(2) @ seen.transpose(1, 2)).view(len(x), -1, 4, 4)


def test_a_viewed_parameter_does_not_hide_what_attention_does():
    names = {group.name for group in traced_groups(made(Attending), ROWS).groups}
    assert names == {"fc", "first", "query"}


class Shared(Maps):
    """Positions that are read first, and meet two layers side by side."""

    def __init__(self):
        super().__init__(positions=torch.randn(1, 24, 4, 4))
        self.left, self.right = nn.Conv2d(12, 10, 1), nn.Conv2d(12, 14, 1)

    def forward(self, z):
        added = self.positions.expand(len(z), -1, -1, -1)
        x = self.fc(z).view(len(z), -1, 4, 4)
        x = torch.relu(torch.cat([self.left(x), self.right(x)], dim=1) + added)
        return torch.tanh(self.second(x))


def test_no_two_groups_have_one_name():
    names = [group.name for group in traced_groups(made(Shared), ROWS).groups]
    assert sorted(set(names)) == sorted(names)
    assert "positions" not in names


def test_parameters_in_a_list_are_called_by_their_own_names():
    class Listed(Maps):
        def __init__(self):
            super().__init__()
            self.all = nn.ParameterList([torch.randn(1, 24, 4, 4), torch.randn(5, 7)])

        def mixed(self, x):
            return x + self.all[0]

    traced = traced_groups(made(Listed), ROWS)
    assert "all" not in traced.left_alone
    assert "all.0" not in traced.left_alone
    assert "does not use it" in traced.left_alone["all.1"]


def test_a_width_that_forward_does_not_take_is_a_refusal():
    class Picky(Maps):
        def mixed(self, x):
            if x.shape[1] % 4:
                raise ValueError("multiples of four")
            return x

    generator = Generator(Origin.of_factory("tests.compress.test_free_parameters:Maps", {}, Z), (), made(Picky))
    groups = traced_groups(generator.module, ROWS).groups
    with pytest.raises(CompressError, match="must run, but"):
        assert_pruned_is_masked(made(Picky), narrow(Picky, groups), KEPT, ROWS, groups=groups)


KEPT = {"first": list(range(18))}


def narrow(kind, groups):
    module = made(kind)
    keep_channels(module, KEPT, groups)
    return module


class Equalised(Maps):
    """Its weight is scaled in every call, and made of its own parameter: no channels of a map meet it."""

    def __init__(self):
        super().__init__(weight=torch.randn(24, 24, 1, 1))

    def mixed(self, x):
        return functional.conv2d(x, self.weight * 0.2)


class Styled(Maps):
    """Every row has weights of its own."""

    def __init__(self):
        super().__init__(weight=torch.randn(24, 24, 1, 1))
        self.style = nn.Linear(16, 24)

    def forward(self, z):
        x = self.first(self.fc(z).view(len(z), -1, 4, 4))
        own = self.weight * self.style(z)[:, None, :, None, None]
        x = functional.conv2d(x.reshape(1, -1, 4, 4), own.flatten(0, 1), groups=len(z)).view(len(z), -1, 4, 4)
        return torch.tanh(self.second(x))


@pytest.mark.parametrize("kind", [Equalised, Styled])
def test_weights_of_a_stranger_s_own_stay_whole(kind):
    traced = traced_groups(made(kind), ROWS)
    assert "weight" in traced.left_alone
    assert all(part.module != "weight" for group in traced.groups for part in group.slices)


def test_a_scalar_is_in_nobody_s_way():
    class Gated(Maps):
        def __init__(self):
            super().__init__(gate=torch.zeros(1) + 0.5)

        def mixed(self, x):
            return x + self.gate * torch.relu(x)

    traced = traced_groups(made(Gated), ROWS)
    assert [group.name for group in traced.groups] == ["fc", "first"]
    assert "gate" not in traced.left_alone


@pytest.mark.parametrize(
    ("shape", "axis", "size"),
    [
        ((1, 8, 4, 4), 1, 8), ((8,), 0, 8), ((8, 1, 1), 0, 8), ((8, 4, 4), 0, 8), ((5, 8), 1, 8), ((1, 5, 8), 2, 8),
        ((), 0, 1), ((1,), 0, 1), ((1, 1, 1, 1), 1, 1), ((2, 8, 4, 4, 4), 0, 1),
    ],
)  # fmt: skip
def test_where_the_channels_of_a_parameter_lie(shape, axis, size):
    owner = nn.Module()
    owner.p = nn.Parameter(torch.zeros(shape), requires_grad=False)
    free = layer_at(owner, "p")
    assert (free.axis, free.size) == (axis, size)
    if size > 1:
        free.keep(torch.tensor([1, 3]))
        assert owner.p.shape[axis] == 2
        assert free.size == 2
        assert not owner.p.requires_grad
    assert free == layer_at(owner, "p")


def test_what_belongs_to_a_layer_is_no_free_parameter():
    module = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 1, 3))
    group = ChannelGroup("g", 4, (Slice("0.weight", "out"),))
    with pytest.raises(SearchSpaceError, match="belongs to a layer"):
        keep_channels(module, {"g": [0, 1]}, [group])
