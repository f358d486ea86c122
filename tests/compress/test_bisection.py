"""How the largest share is found, against one that is known."""

import math

import pytest

from compress.bisection import FINEST, MOST, Bisection


def found(largest, first=0.75):
    """Return the largest share that was kept, and how many were tried, if those up to ``largest`` are."""
    search, kept, tried = Bisection(first), 0.0, 0
    while (share := search.share) is not None:
        tried += 1
        search.tell(kept=share <= largest)
        kept = max(kept, share) if share <= largest else kept
    return kept, tried


@pytest.mark.parametrize("largest", [0.0, 0.2, 0.3, 0.5, 0.6, 0.75, 0.8, 0.88, 0.9, 0.95])
def test_it_comes_near_within_a_few_tries(largest):
    share, tried = found(largest)
    assert share <= largest
    assert math.log2((1 - share) / (1 - largest)) < FINEST
    assert tried <= 6


def test_by_hand():
    """A quarter, an eighth and a sixteenth stay; then between the last two, as 1/8 is kept and 1/16 is not."""
    search, shares = Bisection(0.75), []
    for kept in (True, True, False, False):
        shares.append(search.share)
        search.tell(kept=kept)
    assert shares == pytest.approx([0.75, 0.875, 0.9375, 1 - 2**-3.5])
    assert search.share == pytest.approx(1 - 2**-3.25)


def test_it_ends_where_everything_is_kept():
    share, _ = found(1.0)
    assert 1 - 2 ** -(MOST - 1) < share <= 1 - 2**-MOST
