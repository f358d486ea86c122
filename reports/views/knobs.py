"""What each knob did, as a table."""

from reports.searched import Knob
from reports.summary import Summary
from reports.views.table import Table, make_table
from reports.wording import DASH, metric_name, number


def knobs_table(summary: Summary) -> Table | None:
    """Knobs with what they explain, and the median speed-up and score of their values; null before a search."""
    if summary.knobs is None or not summary.knobs.knobs:
        return None
    rows = [
        (
            knob.name,
            _percent(knob.importance.latency),
            _percent(knob.importance.quality),
            _medians(knob, speed=True),
            _medians(knob, speed=False),
        )
        for knob in summary.knobs.knobs
    ]
    metric = metric_name(summary.reference_seen)
    columns = ("knob", "of latency", "of quality", "median speed-up by value", f"median {metric} by value")
    return make_table(columns, rows, numeric="of latency|of quality", code="knob")


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f} %"


def _medians(knob: Knob, *, speed: bool) -> str:
    found = []
    for one in knob.values:
        spread = one.speedup if speed else one.quality
        if spread:
            found.append(f"{'off' if one.value is None else one.value}: {number(spread.median)}{'×' if speed else ''}")
    return ", ".join(found) or DASH
