"""Places in the picture of the search."""

import pytest

from reports.charts.front import front_chart
from reports.summary import parse

BASE = {"schema": 1, "command": "c", "family": "gan"}


def fid(value, error=None):
    return {"metric": "fid", "extractor": "a", "n": 10, "value": value, "standard_error": error}


def candidate(name, speed, value, outcome="complete"):
    ratio = {"value": 1 / speed, "ci95": [0.9 / speed, 1.1 / speed]}
    return {"id": name, "genotype": {"width": 8}, "outcome": outcome, "ratio": ratio, "quality": value and fid(value)}


def test_the_front_joins_what_no_other_beats():
    trials = [candidate("a", 4, 30), candidate("b", 2, 10), candidate("c", 2, 20), candidate("d", 8, 90, "dominated")]
    chart = front_chart(parse(BASE | {"candidates": trials}))
    places = {mark.title.split(",")[0]: (mark.x, mark.y) for mark in chart.marks}
    front = next(line for line in chart.lines if line.kind == "front")
    (ax, ay), (bx, by) = places["a"], places["b"]
    assert front.path == f"M{ax} {ay}H{bx}V{by}"
    assert bx < ax < places["d"][0]
    assert by > ay > places["d"][1]


def test_intervals_are_drawn_round_the_point():
    trial = candidate("a", 4, 30) | {"quality": fid(30, 2.0)}
    mark = front_chart(parse(BASE | {"candidates": [trial]})).marks[0]
    assert mark.x_ends[0] < mark.x < mark.x_ends[1]
    assert mark.y_ends[1] < mark.y < mark.y_ends[0]


def test_too_slow_candidates_are_short_lines_on_the_axis_or_counted():
    trials = [candidate("a", 40, 30), candidate("c", 38, None, "infeasible"), candidate("b", 2, None, "infeasible")]
    chart = front_chart(parse(BASE | {"candidates": trials, "target": {"min_speedup": 37.0}}))
    assert [mark.kind for mark in chart.marks] == ["complete"]
    assert [line.title for line in chart.lines if line.kind == "rug"] == ["too slow, 38× [35, 42]"]
    assert "◂ 1 slower" in [label.text for label in chart.labels]


def test_the_axis_reaches_the_reference_only_where_that_costs_little():
    for speed, reaches in ((1.2, True), (40.0, False)):
        trials = [candidate("a", speed, 30), candidate("b", 2 * speed, 60)]
        chart = front_chart(parse(BASE | {"candidates": trials, "reference_seen": fid(8.0)}))
        teacher = next(mark for mark in chart.marks if mark.kind == "teacher")
        assert ("lies to the left" not in teacher.title) == reaches
        assert (teacher.x > chart.left) == reaches


def test_the_corner_inside_limit_and_budget_is_marked(run):
    chart = front_chart(run)
    goal = next(box for box in chart.boxes if box.kind == "goal")
    winner, baseline = (next(m for m in chart.marks if m.kind == kind) for kind in ("winner", "baseline"))
    assert goal.x <= winner.x <= goal.x + goal.width
    assert goal.y <= winner.y <= goal.y + goal.height
    assert baseline.y < goal.y
    assert any(label.text == "budget, 10.0" for label in chart.labels)


def test_nothing_scored_draws_nothing(early_no):
    assert front_chart(early_no) is None


@pytest.mark.parametrize("size", [(960, 460), (400, 400)])
def test_everything_lies_inside_the_picture(run, size):
    chart = front_chart(run, *size)
    assert {mark.kind for mark in chart.marks} >= {"complete", "dominated", "finalist", "winner", "baseline", "result"}
    for mark in chart.marks:
        assert chart.left <= mark.x <= chart.right
        assert chart.top <= mark.y <= chart.bottom
    assert any(label.text == "reference, 8.0 ± 0.2" for label in chart.labels)


def test_a_reference_scored_elsewhere_says_so(data):
    data["reference_seen"] = None
    assert any(label.text == "reference, 8.1 ± 0.2 (held_out)" for label in front_chart(parse(data)).labels)
