"""Prices of terms: recovered from exact times, never negative, not moved by a few wild timings."""

import numpy as np
import pytest

from nas.costs import cost, fit_prices, terms_of
from search_spaces.outline import CONV, DEPTHWISE, LINEAR, TRANSPOSED, Operator


def test_terms_by_hand():
    """A 3 x 3 convolution from 8 to 20 channels on 4 x 4 pixels, and the relu behind it."""
    terms = terms_of([Operator(CONV, 8, 20, 3, 16, 16), Operator("relu", 20, 20, 1, 16, 16)])
    assert terms == {
        "call": 1,
        "conv nodes": 1,
        "conv wider nodes": 1,
        "conv 3 macs": 8 * 20 * 9 * 16,
        "conv blocked macs": 16 * 32 * 9 * 16,  # channels in whole registers
        "conv columns": 8 * 9 * 16,
        "conv weights": 8 * 20 * 9,
        "conv made": 20 * 16,
        "conv read": 8 * 16,
        "conv loose macs": 8 * 20 * 9 * 16,
        "conv loose read": 8 * 16,
        "conv few nodes": 1,  # fewer inputs than a register
        "conv few macs": 8 * 20 * 9 * 16,
        "conv few columns": 8 * 9 * 16,
        "relu nodes": 1,
        "relu made": 20 * 16,
    }


def test_a_narrow_convolution_of_one_pixel_has_other_terms():
    terms = terms_of([Operator(CONV, 8, 1, 1, 16, 16)])
    assert terms["conv columns"] == 0  # its pixels are its columns
    assert (terms["conv narrow macs"], terms["conv narrow columns"]) == (8 * 16, 8 * 16)


def test_a_depthwise_convolution_whose_channels_fill_registers_has_other_terms():
    assert "depthwise blocked 3 macs" in terms_of([Operator(DEPTHWISE, 32, 32, 3, 16, 16)])
    assert "depthwise loose 3 macs" in terms_of([Operator(DEPTHWISE, 24, 24, 3, 16, 16)])


def test_weights_beyond_the_cache_have_a_term():
    assert terms_of([Operator(LINEAR, 1024, 512)])["linear uncached macs"] == 2**19 - 2**18
    assert terms_of([Operator(LINEAR, 256, 512)])["linear uncached macs"] == 0


@pytest.mark.parametrize("kind", [LINEAR, DEPTHWISE, TRANSPOSED, "shuffle"])
def test_every_kind_has_a_node_and_amounts(kind):
    terms = terms_of([Operator(kind, 8, 8, 4, 64, 16)])
    assert terms[f"{kind} nodes"] == 1
    assert sum(amount for name, amount in terms.items() if name.startswith(kind)) > 1


def some_terms(rng: np.random.Generator, n: int) -> list[dict[str, float]]:
    return [
        {"call": 1.0, "a": rng.uniform(1, 50), "b": rng.uniform(1, 50), "idle": rng.uniform(1, 50)} for _ in range(n)
    ]


def test_prices_of_exact_times_are_found_but_for_the_shrinkage():
    terms = some_terms(np.random.default_rng(0), 200)
    true = {"call": 20.0, "a": 1.0, "b": 3.0}
    found = fit_prices(terms, np.array([cost(one, true) for one in terms]))
    assert found["b"] == pytest.approx(3.0, rel=0.2)
    predicted = np.array([cost(one, found) for one in terms])
    assert np.median(np.abs(predicted / [cost(one, true) for one in terms] - 1)) < 0.03


def test_prices_are_never_negative_and_terms_that_cost_nothing_have_none():
    terms = some_terms(np.random.default_rng(1), 100)
    times = np.array([max(1.0, 100 - one["a"]) for one in terms])  # more of it takes less time
    found = fit_prices(terms, times)
    assert "a" not in found
    assert all(price > 0 for price in found.values())


def test_a_few_wild_timings_move_nothing():
    terms = some_terms(np.random.default_rng(2), 100)
    times = np.array([cost(one, {"call": 20.0, "a": 1.0, "b": 3.0}) for one in terms])
    wild = times.copy()
    wild[:5] *= 20  # a core that was taken away
    calm, shaken = fit_prices(terms, times), fit_prices(terms, wild)
    changes = [cost(one, shaken) / cost(one, calm) for one in terms]
    assert np.median(np.abs(np.array(changes) - 1)) < 0.03


def test_what_has_no_price_costs_nothing():
    assert cost({"call": 1.0, "never seen": 9.0}, {"call": 2.0}) == 2.0
