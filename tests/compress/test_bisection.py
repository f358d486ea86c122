"""How the most that can go is found, against what is known."""

import math

import pytest

from compress.bisection import FINEST, MOST, Bisection


def found(largest, first=0.75, used=lambda halvings, largest: math.nan):
    """Return the largest share that was kept, and how many were tried, if those up to ``largest`` are."""
    search, kept, tried = Bisection(first), 0.0, 0
    while (share := search.share) is not None:
        tried += 1
        search.tell(kept=share <= largest, used=used(-math.log2(1 - share), -math.log2(1 - largest)))
        kept = max(kept, share) if share <= largest else kept
    return kept, tried


def convex(halvings, largest):
    """Loss doubles with every halving; at ``largest`` it is all that the budget allows."""
    return (2**halvings - 1) / (2**largest - 1) if largest else math.inf


@pytest.mark.parametrize("used", [lambda *_: math.nan, convex])
@pytest.mark.parametrize("largest", [0.0, 0.2, 0.3, 0.5, 0.6, 0.75, 0.8, 0.88, 0.9, 0.95])
def test_it_comes_near_within_a_few_tries(largest, used):
    share, tried = found(largest, used=used)
    assert share <= largest
    assert math.log2((1 - share) / (1 - largest)) <= FINEST
    assert tried <= 8


def test_halves_until_one_is_refused_and_then_less():
    """A quarter stays and an eighth, a sixteenth does not; what they used is not known, so the middle is next."""
    search, halvings = Bisection(0.75), []
    for kept in (True, True, False, False, True):
        halvings.append(-math.log2(1 - search.share))
        search.tell(kept=kept)
    assert halvings == pytest.approx([2, 3, 4, 3.5, 3.25])
    assert search.share == pytest.approx(1 - 2 ** -(3.25 + FINEST))


@pytest.mark.parametrize(
    ("kept", "refused", "place"),
    [
        (0.4, 1.6, 0.5),  # a line through both is at 1 half-way
        (0.4, 1.2, 0.75),
        (0.6, 2.0, 2 / 7),
        (0.66, 4.0, 0.25),  # nearer to the kept one than is worth a try
        (0.2, 1.01, 0.75),  # at the refused one
        (0.5, 0.6, 0.75),  # refused for another reason than quality
        (0.5, 0.4, 0.5),
        (math.nan, 2.0, 0.5),
        (0.5, math.inf, 0.25),
    ],
)
def test_what_was_used_of_the_budget_says_where_its_limit_is(kept, refused, place):
    search = Bisection(0.75)
    search.tell(kept=True, used=kept)
    search.tell(kept=False, used=refused)
    assert search.share == pytest.approx(1 - 2 ** -(2 + place))


@pytest.mark.parametrize(
    ("first", "second", "halvings"),
    [
        (0.2, 0.4, 1.0),  # a fifth a halving: three would be left, one is tried
        (0.2, 0.6, 1.0),
        (0.3, 0.8, 0.4),  # a half a halving
        (-0.2, 0.7, 1 / 3),
        (0.3, 0.99, FINEST),
        (0.3, 1.2, FINEST),  # kept for another reason than the budget
        (0.3, 0.2, 1.0),
        (math.nan, 0.5, 1.0),
    ],
)
def test_what_the_last_share_used_says_how_far_the_next_may_go(first, second, halvings):
    search = Bisection(0.75)
    search.tell(kept=True, used=first)
    assert search.share == pytest.approx(0.875), "half as much stays"
    search.tell(kept=True, used=second)
    assert search.share == pytest.approx(1 - 2 ** -(3 + halvings))


def test_it_ends_where_everything_is_kept():
    share, _ = found(1 - 1e-9)
    assert 1 - 2 ** -(MOST - 1) < share <= 1 - 2**-MOST
