"""Latencies as bars and strips."""

import pytest

from reports.charts.strips import latency_bars
from reports.finished import LatencyRow


def row(who, median, interval, quantiles=None):
    return LatencyRow(
        who=who, artifact=None, precision="fp32", runtime="onnxruntime", batch=1, threads=1, median_ms=median,
        ci95_ms=interval, p95_ms=3.0, quantiles_ms=quantiles,
    )  # fmt: skip


def test_bars_are_percent_of_the_longest_interval():
    bars = latency_bars([row("reference", 1.9, (1.8, 2.0)), row("final", 0.5, (0.4, 0.6))])
    assert [(bar.label, bar.text, bar.width, bar.low, bar.high) for bar in bars.rows] == [
        ("reference, fp32, onnxruntime", "1.9 ms", 95.0, 90.0, 100.0),
        ("result, fp32, onnxruntime", "0.5 ms", 25.0, 20.0, 30.0),
    ]


def test_old_rows_without_quantiles_have_no_strips():
    bars = latency_bars([row("final", 0.5, (0.4, 0.6))])
    assert bars.rows[0].strip is None
    assert bars.places == ()


def test_strips_of_unlike_medians_share_one_axis_relative_to_the_own_median():
    relative = {"1": 0.95, "25": 0.98, "50": 1.0, "75": 1.03, "95": 1.1, "99": 1.15}
    rows = [
        row(who, median, (0.9 * median, 1.1 * median), {key: median * value for key, value in relative.items()})
        for who, median in (("reference", 4.0), ("final", 0.5))
    ]
    bars = latency_bars(rows)
    first, second = (bar.strip for bar in bars.rows)
    assert [first.low, first.box_low, first.middle, first.box_high, first.high] == pytest.approx(
        [100 * (value + 6) / 22 for value in (-5, -2, 0, 3, 15)], abs=0.06
    )
    assert (first.low, first.middle, first.high) == (second.low, second.middle, second.high)
    assert [place.text for place in bars.places] == ["−5 %", "median", "+5 %", "+10 %", "+15 %"]
    assert first.title.startswith("4.00 ms\nquantiles in ms: 1 %: 3.80  25 %: 3.92")
