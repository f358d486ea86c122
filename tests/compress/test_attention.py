"""Attention: channels of query and key, of value, and whole heads go together; behind a layer norm, what it reads."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.inputs import InputSpec, draw_inputs
from compress.carried import product_of
from compress.export import export_onnx, parity
from compress.generator import Generator
from compress.importance import rank_channels
from compress.origin import Origin
from compress.prune import assert_pruned_is_masked, prune
from compress.running import run_module
from compress.tracing import traced_groups
from search_spaces.channels import ChannelGroup, Slice, keep_channels, zero_channels

Z = InputSpec("z", (8,), "float32", {"kind": "normal"})


class Sagan(nn.Module):
    """Attention of pixels, as SAGAN has it: query and key of 4 channels, a value of 6."""

    def __init__(self):
        super().__init__()
        self.head, self.norm = nn.Linear(8, 12 * 9), nn.BatchNorm2d(12)
        self.query, self.key = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 4, 1)
        self.value, self.out = nn.Conv2d(12, 6, 1), nn.Conv2d(6, 12, 1)
        self.gain, self.last = nn.Parameter(torch.tensor([0.5])), nn.Conv2d(12, 1, 3, padding=1)

    def attend(self, query, key, value):
        query, key, value = (x.view(len(x), -1, 9) for x in (query, key, value))
        attention = torch.softmax(torch.bmm(query.permute(0, 2, 1), key), dim=-1)
        return torch.bmm(value, attention.permute(0, 2, 1))

    def forward(self, z):
        x = functional.relu(self.norm(self.head(z).view(len(z), -1, 3, 3)))
        seen = self.attend(self.query(x), self.key(x), self.value(x)).view(len(z), -1, 3, 3)
        return torch.tanh(self.last(x + self.gain * self.out(seen)))


class ByLetters(Sagan):
    """The same by torch.einsum."""

    def attend(self, query, key, value):
        query, key, value = (x.flatten(2) for x in (query, key, value))
        attention = torch.einsum("bci,bcj->bij", query, key).softmax(dim=-1)
        return torch.einsum("bij, bcj -> bci", attention, value)


class ByOneCall(Sagan):
    """The same by PyTorch's own function, on tokens of one head."""

    def attend(self, query, key, value):
        query, key, value = (x.flatten(2).transpose(1, 2) for x in (query, key, value))
        return functional.scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2)


class Heads(nn.Module):
    """A transformer on 9 tokens: 4 heads of 3, made by three layers; as many heads as there are left."""

    def __init__(self):
        super().__init__()
        self.head, self.first, self.second = nn.Linear(8, 9 * 16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.query, self.key, self.value = (nn.Linear(16, 12) for _ in range(3))
        self.project, self.up, self.down, self.last = (
            nn.Linear(12, 16), nn.Linear(16, 20), nn.Linear(20, 16), nn.Linear(16, 4),
        )  # fmt: skip

    def attend(self, x):
        query, key, value = (
            layer(x).view(len(x), 9, -1, 3).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        attention = (query @ key.transpose(-1, -2) * 3**-0.5).softmax(dim=-1)
        return (attention @ value).transpose(1, 2).contiguous().view(len(x), 9, -1)

    def forward(self, z):
        x = self.head(z).view(len(z), 9, -1)
        x = x + self.project(self.attend(self.first(x)))
        x = x + self.down(functional.gelu(self.up(self.second(x))))
        return torch.tanh(functional.pixel_shuffle(self.last(x).transpose(1, 2).reshape(len(z), 4, 3, 3), 2))


class Fused(Heads):
    """The three layers are one."""

    def __init__(self):
        super().__init__()
        del self.query, self.key, self.value
        self.together = nn.Linear(16, 3 * 12)

    def attend(self, x):
        query, key, value = self.together(x).reshape(len(x), 9, 3, -1, 3).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return seen.transpose(1, 2).reshape(len(x), 9, -1)


class Unbound(Fused):
    """The parts are taken from the front."""

    def attend(self, x):
        query, key, value = self.together(x).unflatten(2, (3, -1, 3)).transpose(1, 3).unbind(2)
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class ClassToken(Heads):
    """Behind the 9 tokens stands one of the latents; what it makes once is made in the first call."""

    def __init__(self):
        super().__init__()
        self.token, self.places = nn.Linear(8, 16), None

    def attend(self, x):
        query, key, value = (
            layer(x).view(len(x), 10, -1, 3).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    def forward(self, z):
        if self.places is None:
            self.places = torch.linspace(0, 1, 10).view(1, 10).flatten(0).reshape(1, 10, 1)
        x = torch.cat([self.head(z).view(len(z), 9, -1), self.token(z)[:, None]], dim=1) * self.places
        x = x + self.project(self.attend(self.first(x)))
        x, _ = self.second(x).split([9, 1], dim=1)
        x = self.down(functional.gelu(self.up(x)))
        return torch.tanh(functional.pixel_shuffle(self.last(x).transpose(1, 2).reshape(len(z), 4, 3, 3), 2))


class Counted(Fused):
    """Its forward names how many heads there are, so that none can go."""

    def attend(self, x):
        query, key, value = self.together(x).reshape(len(x), 9, 3, 4, 3).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(len(x), 9, -1)


STREAM = {"head": 16, "up": 20}
ZOO = {
    Sagan: {"head": 12, "query": 4, "value": 6},
    ByLetters: {"head": 12, "query": 4, "value": 6},
    ByOneCall: {"head": 12, "query": 4, "value": 6},
    Heads: {**STREAM, "query": 4},
    Fused: {**STREAM, "together": 4},
    Unbound: {**STREAM, "together": 4},
    ClassToken: {**STREAM, "query": 4, "down": 16},
    Counted: STREAM,
}


def make(kind):
    torch.manual_seed(0)
    return kind()


def rows(count=8):
    return draw_inputs((Z,), count, 0)


@pytest.mark.parametrize("kind", ZOO)
def test_groups_are_found_and_pruning_them_draws_what_masking_draws(kind):
    module = make(kind)
    traced = traced_groups(module, rows())
    assert {group.name: group.size for group in traced.groups} == ZOO[kind], dict(traced.left_alone)
    ranks = rank_channels(module, traced.groups)
    kept = {name: sorted(np.argsort(-ranks[name])[: size * 5 // 8].tolist()) for name, size in ZOO[kind].items()}
    pruned = make(kind)
    keep_channels(pruned, kept, traced.groups)
    assert run_module(pruned, rows()).shape == run_module(module, rows()).shape
    assert assert_pruned_is_masked(module, pruned, kept, rows(), groups=traced.groups) <= 1e-5


def test_slices_by_hand():
    """Query and key lose the same channels; a head has 3 rows in each of the three parts of one layer."""
    slices = {group.name: group.slices for group in traced_groups(make(Sagan), rows()).groups}
    assert slices["query"] == (Slice("query", "out"), Slice("key", "out"))
    assert slices["value"] == (Slice("value", "out"), Slice("out", "in"))
    slices = {group.name: group.slices for group in traced_groups(make(Fused), rows()).groups}
    parts = (Slice("together", "out", 3, 0), Slice("together", "out", 3, 12), Slice("together", "out", 3, 24))
    assert slices["together"] == (*parts, Slice("project", "in", 3))
    assert slices["head"][:2] == (Slice("head", "out", 1, 0), Slice("head", "out", 1, 16)), "a row of every token"


def test_heads_that_forward_counts_stay_and_it_says_why():
    assert "does not run without" in traced_groups(make(Counted), rows()).left_alone["together"]


@pytest.mark.parametrize("importance", ["weight", "output", "taylor"])
def test_a_transformer_without_half_of_its_channels_is_saved_and_exported(tmp_path, importance):
    generator = Generator(Origin.of_factory("tests.compress.test_attention:Fused", {}, (Z,)), (), make(Fused))
    pruned = prune(generator, 0.5, multiple=2, importance=importance, inputs=rows(256), compensate=True)
    module = pruned.module
    assert (module.together.out_features, module.together.in_features) == (3 * 6, 8)
    assert (module.first.normalized_shape, module.up.out_features) == ((8,), 10)
    pruned.save(tmp_path)
    again = Generator.load(tmp_path, trust_code=True)
    assert np.array_equal(run_module(again.module, rows()), run_module(module, rows()))
    export_onnx(pruned, tmp_path / "model.onnx")
    assert parity(module, tmp_path / "model.onnx", rows(64)).max_abs < 1e-5


def test_a_masked_layer_norm_takes_its_statistics_over_what_stays():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    nn.init.normal_(module[1].weight)
    group = ChannelGroup("g", 4, (Slice("0", "out"), Slice("1", "out"), Slice("2", "in")))
    zero_channels(module, {"g": [0, 2, 3]}, [group])
    x = torch.randn(5, 3)
    seen = module[:2](x)
    own = module[0](x)[:, [0, 2, 3]]
    wanted = functional.layer_norm(own, (3,), module[1].weight[[0, 2, 3]], module[1].bias[[0, 2, 3]])
    assert torch.equal(seen[:, 1], torch.zeros(5))
    torch.testing.assert_close(seen[:, [0, 2, 3]], wanted)


def test_a_second_mask_adds_to_the_first():
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    group = ChannelGroup("g", 4, (Slice("0", "out"), Slice("1", "out"), Slice("2", "in")))
    zero_channels(module, {"g": [0, 1, 2]}, [group])
    zero_channels(module, {"g": [1, 2, 3]}, [group])
    x = torch.randn(5, 3)
    before = module(x)
    keep_channels(module, {"g": [1, 2]}, [group])
    torch.testing.assert_close(module(x), before)


class OverMaps(nn.LayerNorm):
    """The second axis is normalised, as ConvNeXt does."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def test_a_norm_with_a_forward_of_its_own_is_left_alone():
    module = nn.Sequential(nn.Linear(8, 6 * 9), nn.Unflatten(1, (6, 3, 3)), OverMaps(6), nn.Conv2d(6, 1, 1))
    traced = traced_groups(Named(module), rows())
    assert not traced.groups
    assert "no rule says how OverMaps is cut" in traced.left_alone["module.0"]


class Named(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, z):
        return self.module(z)


@pytest.mark.parametrize("importance", ["weight", "taylor"])
def test_a_norm_beside_the_stream_does_not_rank_it(importance):
    """What the norm scales up and the layers behind it scale down again changes no picture, and no rank."""
    module, scaled = make(Heads), make(Heads)
    with torch.no_grad():
        by = torch.linspace(0.1, 10, 16)
        scaled.first.weight.mul_(by)
        for layer in (scaled.query, scaled.key, scaled.value):
            layer.weight.div_(by)
    groups = traced_groups(module, rows()).groups
    ranks, same = (rank_channels(one, groups, rows(), by=importance)["head"] for one in (module, scaled))
    np.testing.assert_allclose(same, ranks, rtol=1e-4)


def test_products_by_letters():
    a, b = torch.ones(2, 3, 4, requires_grad=True), torch.ones(2, 4, 5, requires_grad=True)
    assert product_of(torch.matmul, (a, b)).letters == ("Amk", "Akn")
    assert product_of(torch.einsum, ("bij,bjk -> bik", a, b)).made == "bik"
    assert product_of(torch.einsum, ("b...j,b...k->bjk", a, b)) is None
    assert product_of(torch.matmul, (a, b.detach())) is None, "only one of them is made of layers"
    assert product_of(torch.add, (a, a)) is None


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x * 2


def scored(x, other):
    return x * torch.einsum("bchw,bc->bhw", x, other.mean((2, 3)))[:, None]


def scaled_by_one(x, other):
    return torch.einsum("bchw,b->bchw", x, other.sum((1, 2, 3)) / 50)


def in_place(x, _):
    first, second = torch.sigmoid(x).chunk(2, dim=1)
    first.relu_()
    return torch.cat([first, second], dim=1)


def by_keyword(x, _):
    return torch.reshape(input=torch.reshape(x, (len(x), -1)), shape=x.shape)


def without_backward(x, _):
    return NoBackward.apply(x)


class Odd(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change
        self.head, self.first = nn.Linear(8, 6 * 9), nn.Conv2d(6, 10, 3, padding=1)
        self.second, self.last = nn.Conv2d(10, 8, 1), nn.Conv2d(8, 1, 1)

    def forward(self, z):
        x = functional.relu(self.first(self.head(z).view(len(z), -1, 3, 3)))
        return torch.tanh(self.last(self.second(self.change(x, x))))


@pytest.mark.parametrize(
    ("change", "groups"),
    [
        (scored, {"head", "first", "second"}),
        (scaled_by_one, {"head", "first", "second"}),
        (in_place, {"head", "second"}),  # a sigmoid maps 0 to 1/2
        (by_keyword, {"head", "first", "second"}),
        (without_backward, {"head", "first", "second"}),
    ],
)
def test_what_one_call_does_not_tell_costs_no_other_group(change, groups):
    torch.manual_seed(0)
    traced = traced_groups(Odd(change), rows())
    assert {group.name for group in traced.groups} == groups, dict(traced.left_alone)


def test_a_group_in_too_many_places_is_left_alone(monkeypatch):
    """A file of edits holds no more, so that it cannot be made to fill memory."""
    monkeypatch.setattr("compress.tracing.MAX_SLICES", 12)
    traced = traced_groups(make(Heads), rows())
    assert {group.name for group in traced.groups} == {"query", "up"}
    assert "places" in traced.left_alone["head"]
