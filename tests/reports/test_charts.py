"""Places in the pictures."""

import pytest

from reports.charts import Bar, curve_chart, front_chart, latency_bars
from reports.summary import LatencyRow, parse

BASE = {"schema": 1, "command": "c", "family": "gan"}


def fid(value, error=None):
    return {"metric": "fid", "extractor": "a", "n": 10, "value": value, "standard_error": error}


def candidate(name, speed, value, outcome="complete"):
    ratio = {"value": 1 / speed, "ci95": [0.9 / speed, 1.1 / speed]}
    return {"id": name, "genotype": {"width": 8}, "outcome": outcome, "ratio": ratio, "quality": value and fid(value)}


def test_bars_are_percent_of_the_longest_interval():
    rows = [
        LatencyRow(
            who=who,
            artifact=None,
            precision="fp32",
            runtime="onnxruntime",
            batch=1,
            threads=1,
            median_ms=median,
            ci95_ms=interval,
            p95_ms=3.0,
        )
        for who, median, interval in (("reference", 1.9, (1.8, 2.0)), ("final", 0.5, (0.4, 0.6)))
    ]
    assert latency_bars(rows) == (
        Bar("reference", "reference, fp32, onnxruntime", "1.9 ms", 95.0, 90.0, 100.0),
        Bar("final", "result, fp32, onnxruntime", "0.5 ms", 25.0, 20.0, 30.0),
    )


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


def test_infeasible_candidates_are_short_lines_on_the_axis():
    trials = [candidate("a", 4, 30), candidate("b", 2, None, "infeasible")]
    chart = front_chart(parse(BASE | {"candidates": trials}))
    assert [mark.kind for mark in chart.marks] == ["complete"]
    assert [line.title for line in chart.lines if line.kind == "rug"] == ["infeasible, 2.0× [1.8, 2.2]"]


def test_nothing_scored_draws_nothing(early_no):
    assert front_chart(early_no) is None
    assert curve_chart(early_no) is None


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


def test_the_curve_counts_steps_where_no_time_is_known(data):
    for point in data["curve"]:
        point["cpu_seconds"] = None
    chart = curve_chart(parse(data))
    assert chart.x_label == "training steps"
    assert [mark.title for mark in chart.marks[-2:]] == ["step 2,460: 8.30", "step 2,860: 8.10"]
    xs = [mark.x for mark in chart.marks]
    assert xs == sorted(xs)
