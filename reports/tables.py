"""The report as text: ``latency.csv`` and ``report.md``."""

import re
from dataclasses import asdict, dataclass

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from reports import advice, wording
from reports.finished import LatencyRow
from reports.summary import Summary
from reports.views import checks, headline, latency, quality, search
from reports.views.knobs import knobs_table
from reports.views.table import Table

# An interval such as [0.2, 1.4] is text to Markdown; what follows the bar it or the HTML inside it reads as markup.
_MARKUP = re.compile(
    r"(?P<plain>\[[\d.,\s−-]+\](?![\[(:]))"
    r"|[\\`*~\[\]]|<(?=[a-zA-Z/!?])|&(?=[#\w])|^[>#]|^[+-](?=\s)|(?<!\w)_|_(?!\w)"
)


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One line of ``latency.csv``; milliseconds per call, MiB, ratio = time ÷ the reference's fastest file's."""

    who: str
    artifact: str | None
    precision: str
    runtime: str
    batch: int
    threads: int
    median_ms: float
    ci95_low_ms: float
    ci95_high_ms: float
    p95_ms: float
    peak_mib: float | None
    quantile_01_ms: float | None
    quantile_25_ms: float | None
    quantile_75_ms: float | None
    quantile_99_ms: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None


def latency_csv(summary: Summary) -> str:
    """The latency table as CSV with a header line; empty fields are unknown."""
    rows = [asdict(_csv_row(row)) for row in summary.latency or ()]
    frame = pd.DataFrame(rows, columns=list(CsvRow.__dataclass_fields__))
    return frame.to_csv(index=False, lineterminator="\n")


def render_markdown(template: str, **facts: object) -> str:
    """The template ``template`` as Markdown, with ``| text`` for what must be escaped."""
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = escape_markdown
    text = environment.get_template(template).render(facts)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def report_markdown(summary: Summary) -> str:
    """The facts of the page as Markdown (GitHub's tables); text from the summary is escaped."""
    return render_markdown(
        "report.md.j2",
        summary=summary,
        words=wording,
        advice=advice,
        headline=headline,
        latency=latency,
        search=search,
        quality=quality,
        checks=checks,
        knobs=knobs_table(summary),
        table=markdown_table,
        code=markdown_code,
    )


def markdown_table(table: Table) -> str:
    """``table`` in GitHub's notation, numbers flush right."""
    marks = ["---:" if name in table.numeric else "---" for name in table.columns]
    lines = [list(table.columns), marks]
    for index, row in enumerate(table.rows):
        cells = [escape_markdown(cell).replace("|", "\\|") for cell in row]
        lines.append([f"**{cell}**" if cell and index in table.strong else cell for cell in cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def markdown_code(text: str) -> str:
    """``text`` as an indented code block, which needs no escape."""
    return "\n".join("    " + line for line in text.splitlines())


def escape_markdown(text: object) -> str:
    """``text`` on one line, nothing in it read as markup."""
    return _MARKUP.sub(lambda found: found["plain"] or "\\" + found[0], " ".join(str(text).split()))


def _csv_row(row: LatencyRow) -> CsvRow:
    low, high = row.ratio.ci95 if row.ratio else (None, None)
    quantiles = row.quantiles_ms or {}
    return CsvRow(
        row.who,
        row.artifact,
        row.precision,
        row.runtime,
        row.batch,
        row.threads,
        row.median_ms,
        *row.ci95_ms,
        row.p95_ms,
        row.peak_mib,
        quantiles.get("1"),
        quantiles.get("25"),
        quantiles.get("75"),
        quantiles.get("99"),
        row.ratio.value if row.ratio else None,
        low,
        high,
    )
