import io
import json
import re

import pytest
from rich.console import Console

from nas.cli.space_page import activity, print_space
from search_spaces import get_space, spaces
from search_spaces.space import Choice, SearchSpace


def no_build(genotype, inputs, image):
    raise AssertionError("these tests build nothing")


SHOP = SearchSpace(
    "shop",
    {
        "drink": Choice(("tea", "water"), why="what there is", odds=(3, 1)),
        "kind": Choice(("green", "black", "mint"), when={"drink": ("tea",)}),
        "temperature": Choice((60, 70), unit="°C", when={"kind": ("green", "black")}),
        "milk": Choice((True, False), when={"kind": ("black",)}),
        "sugar": Choice((0, 1, 2), unit="spoons", when=({"kind": ("black",)}, {"kind": ("mint",), "milk": (True,)})),
        "cup": Choice(
            (1, 2), when=({"drink": ("tea",), "kind": ("green", "mint")}, {"drink": ("tea",), "milk": (False,)})
        ),
    },
    no_build,
    description="what to drink",
    named={"usual": {"drink": "water"}},
)


@pytest.mark.parametrize(
    ("knob", "words"),
    [
        ("drink", "always"),
        ("kind", "drink is tea"),
        ("temperature", "kind is not mint"),
        ("milk", "kind is black"),
        ("sugar", "kind is black, or kind is mint and milk is true"),
        ("cup", "drink is tea, and one of: kind is not black; milk is false"),
    ],
)
def test_conditions_in_words(knob, words):
    assert activity(SHOP, SHOP.knobs[knob]) == words


def page(space, width):
    console = Console(file=io.StringIO(), width=width)
    print_space(space, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_everything_is_on_the_page_at_any_width(width):
    shown = page(SHOP, width)
    assert max(map(len, shown.splitlines())) <= width
    words = " ".join(re.sub(r"[─ \n]+", " ", shown).split())
    for part in ("shop: what to drink", "genotypes, 6 knobs", "60, 70", "°C", "kind is not mint", "what there is"):
        assert part in words
    for part in ("3 : 1", "usual drink=water", "an example (leangen spaces sample shop)", "drink=tea"):
        assert part in words


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", sorted(spaces()))
def test_real_spaces_fit_and_cut_no_value(name, width):
    space, shown = get_space(name), page(get_space(name), width)
    assert max(map(len, shown.splitlines())) <= width
    assert f"{space.count():,} genotypes" in shown
    assert "…" not in shown
    for knob, choice in space.knobs.items():
        assert re.search(rf"^ {knob} ", shown, re.MULTILINE), knob
        for value in choice.values:
            text = value if isinstance(value, str) else json.dumps(value)
            assert re.search(rf"(?<![\w.]){re.escape(text)}(?![\w.])", shown), (knob, value)
