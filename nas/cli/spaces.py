"""``leangen spaces``: look into a search space, draw from it, check a genotype."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.errors import stdout_console
from nas.errors import NasError

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

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
def show(
    name: _NAME,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, for programs.")] = False,
) -> None:
    """A space on one page: its knobs, when each is active and why it is there, and genotypes worth knowing."""
    from nas.cli.space_page import print_space

    space = _space(name)
    if as_json:
        typer.echo(json.dumps(space.to_json(), indent=2))
    else:
        print_space(space, stdout_console())


@app.command()
def count(name: _NAME) -> None:
    """The exact number of genotypes."""
    typer.echo(_space(name).count())


@app.command()
def sample(name: _NAME, seed: Annotated[int, typer.Option("--seed", min=0, help="Which one.")] = 0) -> None:
    """One genotype as JSON, drawn knob by knob; `leangen spaces check` reads it."""
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
