import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from search_spaces.space import Choice, ImageShape, SearchSpace, SearchSpaceError, genotype_id


def no_build(genotype, inputs, image):
    raise AssertionError("these tests build nothing")


def toy(**knobs: Choice) -> SearchSpace:
    return SearchSpace("toy", knobs, no_build)


# A shop: tea comes in three kinds, only tea is brewed, only green tea has a temperature; cake is its own choice.
SHOP = toy(
    drink=Choice(("tea", "water")),
    kind=Choice(("green", "black", "mint"), when={"drink": ("tea",)}),
    temperature=Choice((60, 70, 80, 90), unit="°C", when={"kind": ("green",)}, why="hot water spoils it"),
    cake=Choice((True, False)),
)


def brute_force(space: SearchSpace) -> set[str]:
    """Oracle: every combination of all values, conditions ignored, then reduced to the canonical form."""
    combinations = itertools.product(*(choice.values for choice in space.knobs.values()))
    return {
        json.dumps(space.canonical(dict(zip(space.knobs, values, strict=True))), sort_keys=True)
        for values in combinations
    }


def test_count_by_hand():
    """Water 1 + green with 4 temperatures + black + mint = 7; each with or without cake."""
    assert SHOP.count() == 14
    assert len(brute_force(SHOP)) == 14
    assert len(list(SHOP.genotypes())) == 14


def test_any_of_several_conditions():
    space = toy(a=Choice((0, 1)), b=Choice((0, 1)), c=Choice(("x", "y", "z"), when=({"a": (1,)}, {"b": (1,)})))
    assert space.count() == 1 + 3 * 3  # only a = b = 0 has no c
    assert space.active({"a": 0, "b": 1}) == ("a", "b", "c")
    assert space.active({"a": 0, "b": 0}) == ("a", "b")


def test_count_of_a_space_too_large_to_enumerate():
    space = toy(**{f"knob{index}": Choice(tuple(range(10))) for index in range(40)})
    assert space.count() == 10**40
    assert set(space.sample(np.random.default_rng(0))) == set(space.knobs)


def test_active_asks_knob_by_knob():
    assert SHOP.active({}) == ("drink", "cake")
    assert SHOP.active({"drink": "tea"}) == ("drink", "kind", "cake")
    assert SHOP.active({"drink": "tea", "kind": "green"}) == ("drink", "kind", "temperature", "cake")
    assert SHOP.active({"drink": "water", "kind": "green"}) == (
        "drink",
        "cake",
    )  # an inactive parent switches nothing on


def test_validate_drops_inactive_knobs_and_keeps_declared_order():
    genotype = SHOP.validate({"cake": True, "kind": "black", "temperature": 1000, "drink": "tea"})
    assert list(genotype.items()) == [("drink", "tea"), ("kind", "black"), ("cake", True)]


def test_validate_returns_values_as_declared():
    """JSON writers turn 1.0 into 1; the id must not depend on it. A boolean is no number, though 1 == True."""
    space = toy(taper=Choice((0.5, 1.0)))
    assert type(space.validate({"taper": 1})["taper"]) is float
    assert space.id({"taper": 1}) == space.id({"taper": 1.0})
    with pytest.raises(SearchSpaceError, match="found True"):
        space.validate({"taper": True})


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ([], "maps knobs to values, found \\[\\]"),
        ({"drink": "water", "cakes": True}, "found 'cakes'; remove or rename it; did you mean 'cake'?"),
        ({"drink": "tee", "cake": True}, "'drink'.*found 'tee'; choose one; did you mean 'tea'?"),
        ({"drink": "tea", "cake": True}, "'kind'.*is active here and must be set.*'green', 'black', 'mint'"),
        ({"drink": "tea", "kind": "green", "temperature": 72, "cake": True}, "found 72; choose one; did you mean 70?"),
        ({"drink": "tea", "kind": "green", "temperature": 10**400, "cake": True}, "found 1000"),
        ({"drink": ["tea"], "cake": True}, "found \\['tea'\\]"),
        ({"drink": "water", "cake": float("nan")}, "found nan"),
        ({"drink": "water", "cake": 1}, "found 1"),
        ({3: 4}, "found 3; remove"),
    ],
)
def test_validate_says_rule_value_and_remedy(genotype, message):
    with pytest.raises(SearchSpaceError, match=message):
        SHOP.validate(genotype)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"a": Choice((1,), when={"b": (1,)}), "b": Choice((1,))}, "declared before it, found 'b'"),
        ({"a": Choice((1,), when={"a": (1,)})}, "declared before it, found 'a'"),
        ({"a": Choice((1, 2)), "b": Choice((1,), when={"a": (3,)})}, "condition on 'a' must be one of .*found 3"),
        ({"Width": Choice((1,))}, "lower-case identifiers, found 'Width'"),
        (
            {"a": Choice((1, 2)), "b": Choice((1,), when={"a": (1,)}), "c": Choice((1,), when={"a": (2,), "b": (1,)})},
            r"\['c'\] never are",
        ),
    ],
)
def test_a_space_that_cannot_work_is_refused(knobs, message):
    with pytest.raises(SearchSpaceError, match=message):
        toy(**knobs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((), "at least one value"),
        ([1, 2], "needs a tuple"),
        ((1, 1.0), "found 1.0 twice"),
        ((float("inf"),), "finite numbers"),
        ((None,), "finite numbers"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(values, message):
    with pytest.raises(SearchSpaceError, match=message):
        Choice(values)


def test_when_needs_a_condition():
    with pytest.raises(SearchSpaceError, match="leave it out"):
        Choice((1,), when=())


def test_one_and_true_are_two_values():
    assert toy(a=Choice((1, True))).count() == 2


def test_named_genotypes_are_checked_and_canonical():
    space = SearchSpace("toy", SHOP.knobs, no_build, named={"usual": {"cake": False, "drink": "water", "kind": "mint"}})
    assert space.named == {"usual": {"drink": "water", "cake": False}}
    with pytest.raises(SearchSpaceError, match=r"'cake'.*must be set"):
        SearchSpace("toy", SHOP.knobs, no_build, named={"usual": {"drink": "water"}})


def test_build_sees_only_canonical_genotypes():
    space = SearchSpace("toy", SHOP.knobs, lambda genotype, inputs, image: (genotype, inputs, image))
    assert space.build({"drink": "water", "kind": "mint", "cake": True}, (), None) == (
        {"drink": "water", "cake": True},
        (),
        None,
    )
    with pytest.raises(SearchSpaceError, match="found 'milk'"):
        space.build({"drink": "milk", "cake": True}, (), None)


def test_id_is_stable():
    """The first 12 hex digits of sha256 of the JSON below, computed once with coreutils' sha256sum."""
    # printf '{"genotype":{"cake":true,"drink":"water"},"space":"toy"}' | sha256sum
    assert genotype_id("toy", {"drink": "water", "cake": True}) == "507c9ed9ea9d"
    assert SHOP.id({"cake": True, "drink": "water", "kind": "mint"}) == "507c9ed9ea9d"


def test_sample_decides_knob_by_knob():
    """Water 1/2, green tea at each temperature 1/2 * 1/3 * 1/4, black and mint 1/6 each; half of each with cake.

    12,000 draws of 14 genotypes: chi² with 13 degrees of freedom is below 34.5 in 99.9 % of cases (fixed seed).
    """
    shares = {"water": 1 / 2, "black": 1 / 6, "mint": 1 / 6, "green": 1 / 24}
    rng = np.random.default_rng(0)
    drawn = Counter(json.dumps(SHOP.sample(rng)) for _ in range(12_000))
    expected = {
        json.dumps(genotype): 12_000 * shares[str(genotype.get("kind", genotype["drink"]))] / 2
        for genotype in SHOP.genotypes()
    }
    assert set(drawn) == set(expected)
    assert sum((drawn[name] - count) ** 2 / count for name, count in expected.items()) < 34.5


def test_sample_with_a_fixed_knob_is_the_same_distribution_with_the_rest_left_out():
    """Without cake: 7 genotypes, and water is still half of them."""
    rng = np.random.default_rng(0)
    drawn = Counter(json.dumps(SHOP.sample(rng, {"cake": False})) for _ in range(12_000))
    water = drawn[json.dumps({"drink": "water", "cake": False})]
    assert len(drawn) == 7
    assert abs(water - 6000) < 4 * 55  # standard deviation sqrt(12,000 / 4) = 55


def test_odds_weigh_values():
    """3 : 1 for tea; 4,000 draws, standard deviation sqrt(4,000 * 3 / 16) = 27."""
    space = toy(drink=Choice(("tea", "water"), odds=(3, 1)), cups=Choice((1, 2), when={"drink": ("tea",)}))
    rng = np.random.default_rng(0)
    drawn = Counter(str(space.sample(rng)["drink"]) for _ in range(4_000))
    assert abs(drawn["tea"] - 3000) < 4 * 27
    assert space.knobs["drink"].shares() == (0.75, 0.25)
    assert space.to_json()["knobs"][0]["odds"] == [3, 1]


@pytest.mark.parametrize("odds", [(1,), (1, 0), (1, -1), (0.5, 0.5), (True, 1)])
def test_odds_that_are_none_are_refused(odds):
    with pytest.raises(SearchSpaceError, match="one positive integer for each of"):
        Choice(("tea", "water"), odds=odds)


def test_sample_refuses_what_cannot_be():
    rng = np.random.default_rng(0)
    assert SHOP.sample(rng, {"temperature": 80})["kind"] == "green"
    with pytest.raises(SearchSpaceError, match="free one of these knobs"):
        SHOP.sample(rng, {"temperature": 80, "drink": "water"})
    with pytest.raises(SearchSpaceError, match=r"did you mean 'drink'\?"):
        SHOP.sample(rng, {"drnk": "water"})


def test_to_json_is_json():
    data = json.loads(json.dumps(SHOP.to_json()))
    assert data["count"] == 14
    assert data["knobs"][2] == {
        "knob": "temperature",
        "values": [60, 70, 80, 90],
        "unit": "°C",
        "why": "hot water spoils it",
        "odds": [],
        "when": [{"kind": ["green"]}],
    }
    assert data["knobs"][0]["when"] == []


@st.composite
def toy_spaces(draw) -> SearchSpace:
    """Up to six knobs of up to three values, each with up to two conditions on up to two earlier knobs."""
    knobs: dict[str, Choice] = {}
    for index in range(draw(st.integers(1, 6))):
        conditions = []
        for _ in range(draw(st.integers(0, 2)) if knobs else 0):
            parents = draw(st.lists(st.sampled_from(list(knobs)), min_size=1, max_size=2, unique=True))
            conditions.append(
                {
                    parent: tuple(draw(st.lists(st.sampled_from(knobs[parent].values), min_size=1, unique=True)))
                    for parent in parents
                }
            )
        knobs[f"k{index}"] = Choice(tuple(range(draw(st.integers(1, 3)))), when=tuple(conditions) or {})
    try:
        return toy(**knobs)
    except SearchSpaceError as error:  # conditions that contradict each other: a knob that is never active
        assume("never are" not in str(error))
        raise


@settings(deadline=None, max_examples=60)
@given(toy_spaces(), st.integers(0, 2**32))
def test_counting_listing_and_sampling_agree_with_brute_force(space, seed):
    expected = brute_force(space)
    listed = [json.dumps(genotype, sort_keys=True) for genotype in space.genotypes()]
    assert space.count() == len(listed) == len(expected)
    assert set(listed) == expected
    genotype = space.sample(np.random.default_rng(seed))
    assert json.dumps(genotype, sort_keys=True) in expected
    assert space.validate(genotype) == genotype
    assert list(space.active(genotype)) == list(genotype)


def test_image_shape_from_json():
    shape = ImageShape(3, 16, 32)
    assert ImageShape.from_json(shape.to_json()) == ImageShape.from_json([3, 16, 32]) == ImageShape.from_json(shape)


@pytest.mark.parametrize(
    "data", [[1, 32], "1x32", {"channels": 1}, [0, 32, 32], [1, 32.0, 32], [True, 32, 32], [1, 32, 10**9]]
)
def test_image_shape_refuses_what_is_none(data):
    with pytest.raises(SearchSpaceError, match="found"):
        ImageShape.from_json(data)
