"""The command ``leangen``: what a person types becomes calls; what goes wrong, a short message and an exit code.

    run       run, search, compress, export, report        spaces    list, show, count, sample, check
    bench     bench compare                                sample    a grid of pictures from an ONNX file
    doctor    what is installed, what is missing           progress  bars, or plain lines where nobody watches

Exit codes: 0 done, 1 the answer is no, 2 bad input, 70 our own bug, 130 Ctrl-C.
Everything heavy (torch, onnx, pandas ...) is imported inside the commands: ``leangen --help`` answers at once.
"""

from typing import Annotated

import typer

from nas.cli import bench, doctor, run, sample, spaces
from nas.cli.errors import CarefulGroup, version

app = typer.Typer(
    cls=CarefulGroup,
    help="Finds, shrinks and ships image generators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.register(app)
app.add_typer(spaces.app, name="spaces")
app.add_typer(bench.app, name="bench")
app.command()(sample.sample)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"leangen {version()}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Finds, shrinks and ships image generators: experiment in, fast ONNX file and measured report out."""


def main() -> None:
    """The entry point of the installed command; ends the process with one of the exit codes above."""
    app(prog_name="leangen")
