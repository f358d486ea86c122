"""Tables of the final measurement, and of what limits the files."""

from reports.finished import LatencyRow, RooflineFile
from reports.summary import Summary
from reports.views.table import Table, make_table
from reports.wording import DASH, count, number, rounded, size, speedup

_SHOWN_FLOATS = 3  # operators that are not int8, in the sentence on the share that is


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


def roofline_files(summary: Summary) -> tuple[RooflineFile, ...]:
    """The files whose limits were measured: the reference's fastest, and what ships."""
    return summary.roofline.files if summary.roofline else ()


def roofline_title(file: RooflineFile) -> str:
    """``What limits the result: export/model.int8.onnx, batch 1``."""
    who = "result" if file.who == "final" else file.who
    return f"What limits the {who}: {file.artifact}, batch {file.batch}"


def roofline_text(file: RooflineFile) -> str:
    """``0.0266 ms, 41 % of what the machine's roofs allow; bound by arithmetic.``, then what takes the time."""
    head = f"{number(file.median_ms)} ms"
    if file.fraction is not None:
        bound = "arithmetic" if file.bound == "compute" else "bandwidth"
        head += f", {_percent(file.fraction)} of what the machine's roofs allow; bound by {bound}"
    return " ".join(f"{sentence}." for sentence in (head, *_integer_text(file), *file.remarks))


def _integer_text(file: RooflineFile) -> list[str]:
    """How much of the operators' time is int8, and what else there is; nothing of a file without any."""
    spent = sum(one.ms for one in file.operators)
    if not spent or not any(one.int8 for one in file.operators):
        return []
    share = sum(one.ms for one in file.operators if one.int8) / spent
    floats = sorted((one for one in file.operators if not one.int8), key=lambda one: -one.ms)
    rest = ", ".join(f"{one.operator} {_percent(one.ms / spent)}" for one in floats[:_SHOWN_FLOATS])
    return [f"{_percent(share)} of its operators' time is int8" + (f"; the rest is {rest}" if rest else "")]


def roofline_table(file: RooflineFile) -> Table:
    """The operators of one file with time, work, and what limits them; the last row is what lies between them."""
    cells: list[tuple[str, ...]] = [
        (
            one.operator,
            "int8" if one.int8 else {"float32": "fp32"}.get(one.dtype, one.dtype),
            str(one.nodes),
            number(1e3 * one.ms),
            _percent(one.share),
            count(one.macs),
            size(one.bytes),
            number(one.gmacs_per_second),
            _percent(one.fraction),
            one.limit,
        )
        for one in file.operators
    ]
    outside = ("outside operators", "", "", number(1e3 * file.overhead_ms), _percent(file.overhead_ms / file.median_ms))
    cells.append((*outside, "", "", "", "", ""))
    numeric = ("nodes", "µs", "time", "MACs", "moved", "GMAC/s", "of roof")
    return make_table(("operator", "type", *numeric, "limited by"), cells, numeric="|".join(numeric))


def peaks_text(summary: Summary) -> str:
    """``Roofs of this machine in onnxruntime, 1 thread: fp32 102 GMAC/s, int8 393 GMAC/s; …``; empty if unknown."""
    found = summary.roofline
    if found is None:
        return ""
    if not found.files:
        return f"What limits the files was not measured: {found.reason}"
    threads = f"{found.threads} thread{'' if found.threads == 1 else 's'}"
    names = {"float32": "fp32"}
    rates = [f"{names.get(key, key)} {number(1e-9 * rate.value)} GMAC/s" for key, rate in found.macs_per_second.items()]
    sizes = sorted(found.bytes_per_second.items(), key=lambda item: int(item[0]))
    moved = [f"{size(int(key))} {number(1e-9 * rate.value)} GB/s" for key, rate in sizes]
    return (
        f"Roofs of this machine in onnxruntime, {threads}: {', '.join(rates)}; moved in arrays of {', '.join(moved)}. "
        "Times of operators are shares by onnxruntime's profiler, less its own cost; of roof: share of the rate that "
        "the peak of the type and the bandwidth allow."
    )


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.0f} %"
