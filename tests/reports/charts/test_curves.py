"""Places in the learning curves."""

from reports.charts.curves import curve_chart, rungs_chart
from reports.summary import parse


def test_the_curve_counts_steps_where_no_time_is_known(data):
    for point in data["curve"]:
        point["cpu_seconds"] = None
    chart = curve_chart(parse(data))
    assert chart.x_label == "training steps"
    assert [mark.title for mark in chart.marks[-2:]] == ["step 2,460: 8.30", "step 2,860: 8.10"]
    xs = [mark.x for mark in chart.marks]
    assert xs == sorted(xs)


def test_every_trained_candidate_has_a_line_and_the_winner_lies_on_top(run):
    chart = rungs_chart(run)
    trained = [one for one in run.candidates if len(one.curve) > 1]
    paths = [line.kind for line in chart.lines if line.kind.startswith("path")]
    assert len(paths) == len(trained)
    assert paths.count("path winner") == 1
    assert paths.count("path finalist") == 2
    assert set(paths[-3:]) == {"path winner", "path finalist"}
    assert [tick.text for tick in chart.x_ticks] == ["1,000", "3,000", "8,000"]


def test_a_mark_of_a_rung_tells_who_what_and_when(run):
    one = next(one for one in run.candidates if one.curve)
    title = next(mark.title for mark in rungs_chart(run).marks if mark.title.startswith(one.id))
    assert title.split("\n")[1].endswith("after 1,000 steps")
    assert f"width={one.genotype['width']}" in title


def test_nothing_learned_draws_nothing(early_no, data):
    assert curve_chart(early_no) is None
    assert rungs_chart(early_no) is None
    for one in data["candidates"]:
        one["curve"] = []
    assert rungs_chart(parse(data)) is None
