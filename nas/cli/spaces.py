"""``leangen spaces``: look into a search space, draw from it, check a genotype."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.errors import stdout_console
from nas.errors import NasError

if TYPE_CHECKING:
    from search_spaces.space import Choice, SearchSpace

app = typer.Typer(help="Search spaces: what may vary in a generator.", no_args_is_help=True)

_NAME = Annotated[str, typer.Argument(metavar="NAME", help="A space; `leangen spaces list` names them.")]
_MAX_FILE_BYTES = 1 << 20


@app.command("list")
def list_spaces() -> None:
    """Every space, with the number of its genotypes."""
    from rich.table import Table

    from search_spaces import spaces

    table = Table("name")
    table.add_column("genotypes", justify="right")
    table.add_column("what")
    for name, space in sorted(spaces().items()):
        table.add_row(name, f"{space.count():,}", space.description)
    stdout_console().print(table)


@app.command()
def show(name: _NAME) -> None:
    """The knobs of a space: values, when they are active, why."""
    from rich.table import Table

    space = _space(name)
    table = Table("knob", "values", "when", "why", title=f"{name}: {space.description}", title_justify="left")
    for knob, choice in space.knobs.items():
        values = ", ".join(str(value) for value in choice.values)
        table.add_row(knob, f"{values} {choice.unit}".strip(), _condition(choice), choice.why)
    console = stdout_console()
    console.print(table)
    for genotype_name, genotype in space.named.items():
        console.print(f"{genotype_name}: {json.dumps(genotype)}", soft_wrap=True, markup=False)
    console.print(f"{space.count():,} genotypes")


@app.command()
def count(name: _NAME) -> None:
    """The exact number of genotypes."""
    typer.echo(_space(name).count())


@app.command()
def sample(name: _NAME, seed: Annotated[int, typer.Option("--seed", min=0, help="Which one.")] = 0) -> None:
    """One genotype as JSON, drawn uniformly; `leangen spaces check` reads it."""
    import numpy as np

    space = _space(name)
    genotype = space.sample(np.random.default_rng(seed))
    typer.echo(json.dumps({"space": name, "genotype": genotype, "id": space.id(genotype)}, indent=2))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help='{"space": NAME, "genotype": {...}}')],
) -> None:
    """Whether a genotype is one of its space; prints it in canonical form."""
    from benchmarks.files import read_json

    value = read_json(file, max_bytes=_MAX_FILE_BYTES)
    name, genotype = _named_genotype(file, value)
    space = _space(name)
    canonical = space.validate(genotype)
    identity = space.id(canonical)
    if value.get("id", identity) != identity:
        raise NasError(f"{file}: the id of this genotype is {identity}; found {value['id']!r}. Correct or remove 'id'")
    typer.echo(json.dumps({"space": name, "genotype": canonical, "id": identity}, indent=2))


def _space(name: str) -> "SearchSpace":
    from search_spaces import get_space

    return get_space(name)


def _named_genotype(file: Path, value: Any) -> tuple[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("space"), str) or "genotype" not in value:
        raise NasError(
            f'{file}: a genotype file is {{"space": NAME, "genotype": {{knob: value}}}}; '
            "`leangen spaces sample NAME` writes an example"
        )
    unknown = sorted(set(value) - {"space", "genotype", "id"})
    if unknown:
        raise NasError(f"{file}: a genotype file has the keys space, genotype and id; found also {', '.join(unknown)}")
    return value["space"], value["genotype"]


def _condition(choice: "Choice") -> str:
    """``body = conv or mlp, blocks = 1``; alternatives on lines of their own."""
    lines = [
        ", ".join(f"{knob} = {' or '.join(str(value) for value in allowed)}" for knob, allowed in condition.items())
        for condition in choice.conditions
    ]
    return "\n".join(line for line in lines if line) or "always"
