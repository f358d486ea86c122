"""Scales and round values, worked by hand; any finite data gives an axis that keeps it inside."""

from hypothesis import given
from hypothesis import strategies as st

from reports.axes import Axis, Tick, linear_axis, log_axis


def test_log_positions():
    axis = Axis(low=1.0, high=100.0, start=0.0, end=200.0, log=True)
    assert [axis.at(value) for value in (1, 10, 100, 0.001, 1e9)] == [0.0, 100.0, 200.0, 0.0, 200.0]


def test_a_decade_has_five_ticks_and_more_decades_three_each():
    for high, texts in ((21.0, "1 2 3 5 7 10 20"), (210.0, "1 2 5 10 20 50 100 200")):
        ticks = Axis(low=0.9, high=high, start=0.0, end=100.0, log=True).ticks()
        assert [tick.text for tick in ticks] == texts.split()


def test_many_decades_keep_only_the_powers_of_ten():
    ticks = Axis(low=0.01, high=10_000.0, start=0.0, end=100.0, log=True).ticks()
    assert [tick.text for tick in ticks] == ["0.01", "0.1", "1", "10", "100", "1,000", "10,000"]


def test_a_narrow_log_axis_has_equal_steps():
    ticks = Axis(low=8.1, high=9.0, start=0.0, end=100.0, log=True).ticks()
    assert [tick.text for tick in ticks] == ["8.2", "8.4", "8.6", "8.8", "9"]


def test_linear_axis_starts_at_zero():
    assert linear_axis([20.0, 100.0], 0.0, 50.0).ticks() == tuple(
        Tick(at, text)
        for at, text in ((0.0, "0"), (10.0, "20"), (20.0, "40"), (30.0, "60"), (40.0, "80"), (50.0, "100"))
    )


def test_pixels_may_run_downwards():
    assert linear_axis([4.0], 100.0, 0.0).at(1.0) == 75.0


def test_scores_below_zero_get_a_linear_axis():
    assert not log_axis([-0.1, 0.5], 0.0, 100.0).log


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=6))
def test_every_value_lies_on_the_axis(values):
    for axis in (log_axis(values, 10.0, 90.0), linear_axis(values, 10.0, 90.0)):
        assert axis.low <= min(values) <= max(values) <= axis.high
        assert all(10.0 <= tick.at <= 90.0 for tick in axis.ticks())
        assert len(axis.ticks()) <= 12
