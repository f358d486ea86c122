"""What each knob did, as strips and shares."""

from reports.charts.knobs import MAX_KNOBS, importances, knob_effects
from reports.summary import parse


def test_the_most_important_knobs_with_their_values(run):
    effects = knob_effects(run)
    assert [one.name for one in effects] == ["width", "upsampling", "blocks", "kernel"]
    assert effects[0].about == "71 % of latency, 20 % of quality"
    assert [one.value for one in effects[1].effects] == ["nearest", "transposed", "off"]
    middles = [one.speed.middle for one in effects[0].effects]
    assert middles == sorted(middles, reverse=True)
    assert effects[0].effects[0].speed_text == "34.0×"


def test_knobs_of_one_value_and_all_beyond_the_fourth_are_left_out(data):
    knobs = data["knobs"]["knobs"]
    data["knobs"]["knobs"] = [knobs[0] | {"values": knobs[0]["values"][:1]}, *(4 * knobs)]
    effects = knob_effects(parse(data))
    assert len(effects) == MAX_KNOBS
    assert all(len(one.effects) > 1 for one in effects)


def test_shares_that_are_unknown_stay_unknown(data, early_no):
    assert importances(early_no) == ()
    data["knobs"]["knobs"][0]["importance"]["quality"] = None
    first = importances(parse(data))[0]
    assert (first.name, first.latency, first.quality) == ("width", 71.0, None)


def test_no_knobs_draw_nothing(data):
    run = parse(data | {"knobs": None})
    assert knob_effects(run) == ()
    assert importances(run) == ()
