import itertools

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.inputs import InputSpec
from search_spaces.channels import ChannelGroup, Slice
from search_spaces.decoder import DECODER
from search_spaces.space import Choice, ImageShape, SearchSpace
from search_spaces.testing import ContractError, check_space, covering_genotypes

IMAGE = ImageShape(1, 4, 4)


class Tiny(nn.Module):
    """Two linear layers, 8 hidden features; subclasses break one rule each."""

    def __init__(self, inputs, image):
        super().__init__()
        self.first, self.second = nn.Linear(100, 8), nn.Linear(8, 16)
        self.inputs, self.image = tuple(inputs), image

    def hidden(self, z):
        return self.first(z).relu()

    def forward(self, **named):
        return self.second(self.hidden(named["z"])).tanh().reshape(-1, 1, 4, 4)

    def channel_groups(self):
        return (ChannelGroup("hidden", self.first.out_features, (Slice("first", "out"), Slice("second", "in"))),)


class Loud(Tiny):
    def forward(self, **named):
        return 2 + super().forward(**named)


class Flat(Tiny):
    def forward(self, **named):
        return super().forward(**named).flatten(1)


class Precise(Tiny):
    def forward(self, **named):
        return super().forward(**named).double()


class Deaf(Tiny):
    """Draws from its inputs, but its first layer cannot learn."""

    def hidden(self, z):
        return super().hidden(z).detach()


class Idle(Tiny):
    def __init__(self, inputs, image):
        super().__init__(inputs, image)
        self.unused = nn.Linear(1, 1)


class Crossed(Tiny):
    """The groups say that channel c feeds index c, but it feeds index c + 1."""

    def hidden(self, z):
        return super().hidden(z).roll(1, 1)


class Stale(Tiny):
    def channel_groups(self):
        return (ChannelGroup("hidden", 8, (Slice("first", "out"), Slice("second", "in"))),)


class Sighted(Tiny):
    """Reads its label from a table that starts alike for all classes."""

    def __init__(self, inputs, image):
        super().__init__(inputs, image)
        self.table = nn.Embedding(10, 8)
        nn.init.zeros_(self.table.weight)

    def hidden(self, z):
        return self.first(z).relu()

    def forward(self, **named):
        x = self.hidden(named["z"]) + self.table(named["label"])
        return self.second(x).tanh().reshape(-1, 1, 4, 4)

    def channel_groups(self):
        slices = (Slice("first", "out"), Slice("table", "out"), Slice("second", "in"))
        return (ChannelGroup("hidden", self.first.out_features, slices),)


class Groupless(Tiny):
    channel_groups = None


class Nameless(Tiny):
    def __init__(self, inputs, image):
        super().__init__(inputs, image)
        self.inputs = ()


class Moody(Tiny):
    moods = itertools.count()

    def __init__(self, inputs, image):
        super().__init__(inputs, image)
        nn.init.constant_(self.first.bias, next(self.moods))


def space_of(kind: type[Tiny]) -> SearchSpace:
    return SearchSpace("tiny", {"only": Choice((1,))}, lambda genotype, inputs, image: kind(inputs, image))


def test_a_sound_space_passes(z, export, run):
    check_space(space_of(Tiny), z, IMAGE, export=export, run=run)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Loud, r"must lie in \[-1, 1\]"),
        (Flat, "must have shape"),
        (Precise, "must be float32"),
        (Deaf, "no usable gradient reaches first"),
        (Idle, "no usable gradient reaches unused.weight"),
        (Crossed, "pruned and masked differ by"),
        (Stale, "sizes after pruning"),
        (Groupless, "has channel_groups"),
        (Nameless, "`inputs` must be those asked for"),
        (Moody, "differ in their weights"),
    ],
)
def test_every_broken_rule_is_found(z, export, run, kind, message):
    with pytest.raises(ContractError, match=rf"space 'tiny', genotype {{\"only\": 1}}: .*{message}"):
        check_space(space_of(kind), z, IMAGE, export=export, run=run)


LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})


def test_a_label_whose_table_starts_at_zero_passes(z, export, run):
    check_space(space_of(Sighted), (*z, LABEL), IMAGE, export=export, run=run)


def test_a_label_that_changes_nothing_is_found(z, export, run):
    with pytest.raises(ContractError, match="images must depend on label"):
        check_space(space_of(Tiny), (*z, LABEL), IMAGE, export=export, run=run)


@pytest.mark.parametrize(
    ("distort", "message"),
    [
        (lambda images: images + 0.001, "the runtime is off by 1.0e-03"),
        (lambda images: images[:1], r"output has shape \(1, 1, 4, 4\)"),
        (lambda images: images * np.nan, "off by nan"),
    ],
)
def test_an_export_that_draws_other_images_is_found(z, export, run, distort, message):
    with pytest.raises(ContractError, match=message):
        check_space(space_of(Tiny), z, IMAGE, export=export, run=lambda *arguments: distort(run(*arguments)))


def test_the_random_state_is_left_as_it_was(z, export, run):
    before = torch.random.get_rng_state()
    check_space(space_of(Tiny), z, IMAGE, export=export, run=run)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_covering_set_is_small_complete_and_repeatable():
    """The knob with most values (10 widths) is a lower bound."""
    genotypes = covering_genotypes(DECODER, np.random.default_rng(0))
    seen = set(itertools.chain.from_iterable(genotype.items() for genotype in genotypes))
    assert seen == {(knob, value) for knob, choice in DECODER.knobs.items() for value in choice.values}
    assert 10 <= len(genotypes) <= 20
    assert genotypes == covering_genotypes(DECODER, np.random.default_rng(0))
