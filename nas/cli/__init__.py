"""The command ``leangen``: what a person types becomes calls; what goes wrong, a short message and an exit code.

    init      an experiment file for your pictures
    run       run, search, compress, export, report        spaces    list, show, count, sample, check
    pick      another point of the front, to the end
    bench     bench compare                                sample    a grid of pictures from an ONNX file
    score     the quality of an ONNX file, as a run judges it
    doctor    what is installed, what is missing           progress  bars, or plain lines where nobody watches

Exit codes: 0 done, 1 the answer is no, 2 bad input, 70 our own bug, 130 Ctrl-C, 143 SIGTERM
(both save what is under way).
Everything heavy (torch, onnx, pandas ...) is imported inside the commands: ``leangen --help`` answers at once.
"""

from typing import Annotated

import typer

from nas.cli import bench, doctor, init, pick, run, sample, score, spaces
from nas.cli.errors import CarefulGroup, version

app = typer.Typer(
    cls=CarefulGroup,
    help="Finds, shrinks and ships image generators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init.init)
run.register(app)
app.command()(pick.pick)
app.add_typer(spaces.app, name="spaces")
app.add_typer(bench.app, name="bench")
app.command()(sample.sample)
app.command()(score.score)
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
