"""The model card that ships beside a generator: what it is, how good, how fast, where that was measured, its limits."""

from collections.abc import Mapping

from reports import wording
from reports.summary import Summary
from reports.tables import markdown_table, render_markdown
from reports.views import headline, quality
from reports.views.table import Table, make_table


def model_card(summary: Summary, files: Mapping[str, str], data: str) -> str:
    """The card as Markdown.

    Args:
        summary: Of the finished run.
        files: Names of the files beside the card, by precision.
        data: What the generator was trained on, one line.
    """
    return render_markdown(
        "card.md.j2",
        summary=summary,
        files=files,
        data=data,
        words=wording,
        generators=headline.generators_table(summary),
        quality=quality,
        speed=speed_table(summary),
        table=markdown_table,
    )


def speed_table(summary: Summary) -> Table | None:
    """Latency of the file that ships and its speed-up, by batch; null where nothing was measured."""
    found = summary.final.latency_ms if summary.final else None
    if not found:
        return None
    rows = []
    for batch in wording.batches(found):
        median, low, high = wording.rounded(found[batch].median, *found[batch].ci95)
        ratio = wording.interval((summary.speedup or {}).get(batch), unit="×")
        rows.append((batch, found[batch].precision or wording.DASH, f"{median} ({low}–{high})", ratio))
    columns = ("pictures a call", "fastest file", "milliseconds a call", "times as fast as the reference")
    return make_table(columns, rows, numeric="pictures a call|milliseconds a call|times as fast as the reference")
