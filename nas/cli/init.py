"""``leangen init``: from somebody's pictures to an experiment file."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    pictures: Annotated[
        Path,
        typer.Argument(metavar="PICTURES", help="A folder (a sub-folder per class), a .npz file, or an idx file."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.yaml", help="The file to write; NAME.yaml by default.")
    ] = None,
    family: Annotated[str, typer.Option("--family", help="gan, or cgan: generators that draw a given class.")] = "gan",
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, max=1_000_000, help="Of the search; by default by the pixels.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Look at pictures, and write an experiment for them, every key explained."""
    import shlex

    from nas.data_look import look_at
    from nas.initialise import name_of, write_experiment

    look = look_at(pictures)
    typer.echo(str(look))
    file = out or Path(f"{name_of(pictures)}.yaml")
    write_experiment(look, file, family=family, minutes=minutes, force=force)
    typer.echo(f"{file}: written; {look.size}x{look.size} pixels, family {family}. Next:")
    command = f"leangen run {shlex.quote(str(file))}"
    typer.echo(f"  {command} --dry-run\n  {command}")
