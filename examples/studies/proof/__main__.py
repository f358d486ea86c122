"""The command line of the proof.

python -m examples.studies.proof all               every missing piece, two at a time, and the table
python -m examples.studies.proof piece gan 0       one piece
python -m examples.studies.proof time gan 0        its final timings again
python -m examples.studies.proof table             docs/results.md from docs/results/*.json
"""

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.records import BenchmarkError
from compress.errors import CompressError
from examples.studies.proof.layout import FAMILIES, SEEDS, Piece, Proof, ProofError
from examples.studies.proof.piece import JUDGED, make_piece, time_piece
from examples.studies.proof.table import write_results
from examples.studies.proof.together import Together, end_with_parent
from nas.cli.progress import PlainProgress
from nas.errors import NasError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_USUAL = Proof()
_say = functools.partial(print, flush=True)

Family = Annotated[str, typer.Argument(help="gan or cgan.")]
Seed = Annotated[int, typer.Argument(help="Of everything random.", min=0)]


@app.callback()
def settings(
    context: typer.Context,
    experiments: Annotated[
        Path, typer.Option(help="Folder of proof-gan.yaml and proof-cgan.yaml.")
    ] = _USUAL.experiments,
    runs: Annotated[Path, typer.Option(help="Gets the run folders.")] = _USUAL.runs,
    results: Annotated[Path, typer.Option(help="Gets one JSON file a piece.")] = _USUAL.results,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="search.trials=9, of every experiment alike.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Of each search: --set search.minutes=N.")] = None,
    processes: Annotated[int, typer.Option(help="Fresh processes of final timings.", min=1)] = _USUAL.processes,
    seconds: Annotated[float, typer.Option(help="Of paired timing in each, a batch.")] = _USUAL.seconds,
) -> None:
    """Every number of the README, with its interval and the command that makes it."""
    changed = [*(overrides or []), *([f"search.minutes={minutes:g}"] if minutes is not None else [])]
    context.obj = Proof(experiments, runs, results, tuple(changed), processes, seconds)


@app.command()
def piece(
    context: typer.Context,
    family: Family,
    seed: Seed,
    timings: Annotated[bool, typer.Option("--time/--no-time", help="Also take the final timings.")] = True,
) -> None:
    """Make one piece, or go on with it: our run, random search, the rivals, their scores and their timings."""
    one = Piece.parse(f"{family}-{seed}", context.obj)
    make_piece(one, PlainProgress(_say))
    if timings:
        _time(one)


@app.command(name="time")
def time_(context: typer.Context, family: Family, seed: Seed) -> None:
    """Take the final timings of a piece that is made, and write its JSON file."""
    _time(Piece.parse(f"{family}-{seed}", context.obj))


@app.command(name="all")
def all_(
    context: typer.Context,
    pieces: Annotated[str, typer.Option(help="Only these, such as gan-0,cgan-1.")] = "",
) -> None:
    """Make every missing piece, two at a time, then the table; the same command goes on where it was stopped."""
    proof: Proof = context.obj
    names = pieces.split(",") if pieces else [f"{family}-{seed}" for seed in SEEDS for family in FAMILIES]
    wanted = [Piece.parse(name, proof) for name in names]
    failed = Together(_say, lambda one: one.part(JUDGED) is not None).make(wanted)
    if any(proof.results.glob("*.json")):
        _say(f"written: {write_results(proof.results)}")
    if failed:
        raise ProofError(f"failed: {', '.join(one.name for one in failed)}; their logs are in {proof.runs}")


@app.command()
def table(context: typer.Context) -> None:
    """Build the page and its pictures from the JSON files of finished pieces."""
    _say(f"written: {write_results(context.obj.results)}")


def _time(one: Piece) -> None:
    time_piece(one, PlainProgress(_say))
    _say(f"written: {one.result}")


def main() -> None:
    """Run the command; what a person can put right is one line, without a traceback."""
    end_with_parent()
    try:
        app()
    except (ProofError, NasError, CompressError, BenchmarkError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
