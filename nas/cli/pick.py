"""``leangen pick``: another point of the front, trained to the end, compressed and exported."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.errors import stderr_console, stdout_console
from nas.cli.run import QUIET, TRUST, leave_with


def pick(
    run: Annotated[Path, typer.Argument(metavar="RUN_FOLDER", help="A run folder whose search is finished.")],
    candidate: Annotated[
        str | None,
        typer.Argument(metavar="CANDIDATE", help="Its id, or the beginning of it; without one the front is listed."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The new run folder; RUN_FOLDER/picked/ID by default.", show_default=False),
    ] = None,
    trust_code: TRUST = False,
    quiet: QUIET = False,
) -> None:
    """Take another candidate of the front through final training, compression and export; the run itself stays."""
    from nas import picking
    from nas.cli.progress import show_progress

    if candidate is None:
        _print_front(run)
        return
    with show_progress(stderr_console(), quiet=quiet) as progress:
        summary, folder = picking.pick(run, candidate, out, progress=progress, trust_code=trust_code)
    leave_with(summary, folder)


def _print_front(run: Path) -> None:
    from rich.table import Table

    from nas import picking
    from nas.folder import RunFolder

    table = Table("candidate", title="the front: complete candidates that no other beats in both", title_justify="left")
    for column in ("speed-up", "score at the last rung"):
        table.add_column(column, justify="right")
    for row in picking.describe_front(picking.read_candidates(RunFolder(run.absolute()))):
        table.add_row(*row)
    stdout_console().print(table)
