"""Tables of the final measurement."""

from reports.finished import LatencyRow
from reports.summary import Summary
from reports.views.table import Table, make_table
from reports.wording import number, rounded, speedup


def latency_table(summary: Summary, batch: int) -> Table:
    """The rows of one batch, in the order measured; the fastest of the result stands out."""
    rows = latency_rows(summary, batch)
    cells = []
    for row in rows:
        who = "result" if row.who == "final" else row.who
        median, low, high = rounded(row.median_ms, *row.ci95_ms)
        file = f"{row.precision}, {row.runtime}"
        cells.append(
            (who, file, f"{median} [{low}, {high}]", number(row.p95_ms), speedup(row.ratio), number(row.peak_mib))
        )
    columns = ("", "file", "median ms [95 % interval]", "p95 ms", "speed-up", "peak MiB")
    results = [index for index, row in enumerate(rows) if row.who == "final"]
    fastest = sorted(results, key=lambda index: rows[index].median_ms)[:1]
    return make_table(columns, cells, numeric="|".join(columns[2:]), strong=fastest)


def latency_rows(summary: Summary, batch: int) -> list[LatencyRow]:
    """The measured rows of one batch."""
    return [row for row in summary.latency or () if row.batch == batch]


def latency_title(summary: Summary, batch: int) -> str:
    """``Batch 32, 1 thread``; every number of threads where the rows differ."""
    threads = sorted({row.threads for row in latency_rows(summary, batch)})
    return f"Batch {batch}, {' and '.join(map(str, threads))} thread{'' if threads == [1] else 's'}"


def latency_batches(summary: Summary) -> list[int]:
    """Batches of the latency table, smallest first."""
    return sorted({row.batch for row in summary.latency or ()})
