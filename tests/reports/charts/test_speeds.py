"""The histogram of what was measured."""

from reports.charts.speeds import speeds_chart
from reports.summary import parse


def test_every_measured_candidate_is_in_one_column(run):
    chart = speeds_chart(run)
    counts = {"slow": 0, "fast": 0}
    for box in chart.boxes:
        counts[box.kind] += int(box.title.split()[0])
    slow = sum(one.outcome == "infeasible" for one in run.candidates if one.ratio)
    assert counts == {"slow": slow, "fast": sum(one.ratio is not None for one in run.candidates) - slow}
    for box in chart.boxes:
        assert chart.left <= box.x <= box.x + box.width <= chart.right
        assert chart.top <= box.y <= box.y + box.height <= chart.bottom + 0.2


def test_an_early_no_has_it_too_with_the_limit(early_no):
    chart = speeds_chart(early_no)
    assert {box.kind for box in chart.boxes} == {"slow"}
    assert [label.text for label in chart.labels] == ["reference, 1×", "at least 20×"]


def test_nothing_measured_draws_nothing():
    assert speeds_chart(parse({"schema": 1, "command": "c", "family": "gan"})) is None
