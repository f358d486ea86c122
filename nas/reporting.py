"""Writing the report of a run folder from its summary; needs neither torch nor optuna."""

from pathlib import Path

from benchmarks.files import read_bytes, write_text
from reports.page import PICTURES, render_page
from reports.summary import load
from reports.tables import latency_csv, report_markdown

_MAX_PICTURE = 32 * 2**20


def write_report(folder: Path) -> Path:
    """Write ``report/index.html``, ``report/report.md`` and ``export/latency.csv`` of ``folder``; return the page.

    Raises:
        SummaryError: ``summary.json`` is not valid.
    """
    summary = load(folder / "summary.json")
    report = folder / "report"
    files = {name: report / f"{name}.png" for name in PICTURES}
    pictures = {name: read_bytes(path, _MAX_PICTURE) for name, path in files.items() if path.is_file()}
    page = report / "index.html"
    write_text(page, render_page(summary, pictures))
    write_text(report / "report.md", report_markdown(summary))
    if summary.latency:
        write_text(folder / "export" / "latency.csv", latency_csv(summary))
    return page
