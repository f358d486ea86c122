"""``leangen run`` and the commands for one stage: an experiment or its run folder in, a verdict out.

``compress`` takes strangers' generators too and has a module of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.compress import compress
from nas.cli.errors import ANSWER_IS_NO, stderr_console, stdout_console
from nas.errors import NasError

if TYPE_CHECKING:
    from nas.experiment import Experiment

RUNS = Path("runs")

# What each command does; a stage that is finished is not done again. None: every stage.
_STAGES: Mapping[str, tuple[str, ...] | None] = {
    "run": None,
    "search": ("data", "reference", "search", "finalists"),
    "compress": ("compress",),
    "export": ("export",),
}

_FILE = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT.yaml", help="An experiment file, or a run folder to resume.")
]
_TARGET = Annotated[
    Path, typer.Argument(metavar="RUN_FOLDER_OR_EXPERIMENT", help="A run folder or an experiment file.")
]
_OUT = Annotated[Path | None, typer.Option("--out", help="The run folder; runs/NAME by default.", show_default=False)]
_SET = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. search.trials=60; may be repeated."),
]
TRUST = Annotated[
    bool, typer.Option("--trust-code", help="Import and run the code that reference.module names: read it first.")
]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the verdict and errors.")]


def register(app: typer.Typer) -> None:
    """Put the commands of this module on ``app``, in the order in which they are used."""
    for command in (run, search, compress, export, report):
        app.command()(command)


def compress_winner(target: Path, out: Path | None, overrides: Sequence[str], *, trust_code: bool, quiet: bool) -> None:
    """Compress the winner of a run, given by its folder or its experiment."""
    _run_stages("compress", *_resolve(target, out, overrides), trust_code=trust_code, quiet=quiet)


def run(
    experiment: _FILE,
    out: _OUT = None,
    set_: _SET = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every setting and the plan, and do nothing.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Rename an older run folder out of the way first.")] = False,
    trust_code: TRUST = False,
    reference_from: Annotated[
        Path | None,
        typer.Option(
            "--reference-from",
            metavar="RUN_FOLDER",
            help="Take over that run's finished reference, if it is the same, instead of training it.",
            show_default=False,
        ),
    ] = None,
    quiet: QUIET = False,
) -> None:
    """Every stage, resuming what is done: reference, search, finalists, compress, export, report."""
    loaded, folder = _resolve(experiment, out, set_ or ())
    if dry_run:
        _print_plan(loaded, folder)
        return
    _run_stages("run", loaded, folder, fresh=fresh, trust_code=trust_code, reference_from=reference_from, quiet=quiet)


def search(
    target: _TARGET, out: _OUT = None, set_: _SET = None, trust_code: TRUST = False, quiet: QUIET = False
) -> None:
    """Search, and train the finalists (and the reference, if it is not there yet)."""
    _run_stages("search", *_resolve(target, out, set_ or ()), trust_code=trust_code, quiet=quiet)


def export(
    target: _TARGET, out: _OUT = None, set_: _SET = None, trust_code: TRUST = False, quiet: QUIET = False
) -> None:
    """Write the ONNX files and TensorRT plans, and measure them."""
    _run_stages("export", *_resolve(target, out, set_ or ()), trust_code=trust_code, quiet=quiet)


def report(target: _TARGET, out: _OUT = None) -> None:
    """Write the report of a run folder again, from its summary."""
    from nas.reporting import write_report

    folder = out or (target if target.is_dir() else _resolve(target, None, ())[1])
    if not (folder / "summary.json").is_file():
        raise NasError(f"a report is made from summary.json, and {folder} has none: `leangen run` writes it")
    typer.echo(f"report: {write_report(folder)}")


def _resolve(target: Path, out: Path | None, overrides: Sequence[str]) -> "tuple[Experiment, Path]":
    """The experiment and its run folder, from either of them."""
    from nas.experiment import Experiment

    if target.is_dir():
        file = target / "experiment.yaml"
        if not file.is_file():
            raise NasError(f"a run folder has an experiment.yaml, and {target} has none: give an experiment file")
        return Experiment.load(file, overrides), out or target
    experiment = Experiment.load(target, overrides)
    return experiment, out or RUNS / experiment.name


def _run_stages(
    command: str,
    experiment: "Experiment",
    folder: Path,
    *,
    fresh: bool = False,
    trust_code: bool,
    reference_from: Path | None = None,
    quiet: bool,
) -> None:
    from nas.cli.progress import show_progress
    from nas.stages import run as run_stages

    with show_progress(stderr_console(), quiet=quiet) as progress:
        summary = run_stages(
            experiment,
            folder,
            stages=_STAGES[command],
            fresh=fresh,
            progress=progress,
            trust_code=trust_code,
            reference_from=reference_from,
        )
    leave_with(summary, folder)


def leave_with(summary: Mapping[str, Any], folder: Path) -> None:
    """Print the verdict of the run in ``folder``; where it is no, end with that exit code."""
    _print_verdict(summary, folder)
    verdict = summary.get("verdict")
    if verdict is not None and not verdict["met"]:
        raise typer.Exit(ANSWER_IS_NO)


def _print_verdict(summary: Mapping[str, Any], folder: Path) -> None:
    from reports.summary import parse
    from reports.wording import verdict_sentence

    typer.echo(verdict_sentence(parse(summary)))
    page = folder / "report" / "index.html"
    typer.echo(f"report: {page}" if page.is_file() else f"run folder: {folder}")


def _print_plan(experiment: "Experiment", folder: Path) -> None:
    """Every setting, then a row a stage and the sum: minutes and disk add up, memory is that of the hungriest stage."""
    from rich.table import Table

    from nas.stages import plan

    rows = plan(experiment)
    typer.echo(experiment.to_yaml())
    table = Table("stage", "what", title=f"plan, into {folder}", title_justify="left")
    for column in ("minutes", "disk MB", "memory MB"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["stage"]), str(row["what"]), *_quantities(row["minutes"], row["disk_mb"], row["memory_mb"])
        )
    table.add_section()
    minutes, disk = (sum(float(row[key]) for row in rows) for key in ("minutes", "disk_mb"))
    memory = max((float(row["memory_mb"]) for row in rows), default=0.0)
    table.add_row("all", "memory: the largest, per process", *_quantities(minutes, disk, memory))
    stdout_console().print(table)


def _quantities(minutes: float, disk_mb: float, memory_mb: float) -> tuple[str, str, str]:
    return f"{minutes:.1f}", f"{disk_mb:,.0f}", f"{memory_mb:,.0f}"
