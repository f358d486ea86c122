"""``leangen compress``: a run's winner, a module of one's own, or a bare ONNX file."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.errors import stderr_console
from nas.errors import NasError

_SOURCE = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE", help="A run folder, an experiment, package.module:function (it is run), or MODEL.onnx."
    ),
]
_OWN = "of a module or a file"
_FOR_OWN = ("budget", "inputs", "weights", "quality", "recipe", "minutes", "threads", "batch", "device", "seed")


def compress(
    context: typer.Context,
    source: _SOURCE,
    out: Annotated[
        Path | None, typer.Option("--out", help="The run folder; needed for a module or a file.", show_default=False)
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", help=f"{_OWN}: distance<=0.05 by default; several must all hold.", show_default=False),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--inputs", metavar="NAME:Nx100", help=f"{_OWN}: what it takes, such as label:N:int64:0..9."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Of a module: its safetensors.", show_default=False)
    ] = None,
    quality: Annotated[
        list[str] | None,
        typer.Option("--quality", metavar="MODULE:FUNCTION", help=f"{_OWN}: judges pictures (N, C, H, W); it is run."),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help=f"{_OWN}: auto, or quantize (no pruning).")] = "auto",
    minutes: Annotated[float, typer.Option("--minutes", min=0.0, help=f"{_OWN}: about how long.")] = 10.0,
    threads: Annotated[int, typer.Option("--threads", min=1, help=f"{_OWN}: of the target.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help=f"{_OWN}: pictures a call of the target.")] = 1,
    device: Annotated[str, typer.Option("--device", help=f"{_OWN}: cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option("--seed", min=0, help=f"{_OWN}: of everything drawn.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of an experiment: override a key.")
    ] = None,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Of a run: run the code that reference.module names: read it first.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the verdict and errors.")] = False,
) -> None:
    """Make a generator faster without making it worse: prune, quantize; a step that does not help is refused."""
    from nas.cli import run

    if not _is_own(source):
        if surplus := [f"--{name}" for name in _FOR_OWN if _is_given(context, name)]:
            raise NasError(
                f"{', '.join(surplus)} {'are' if len(surplus) > 1 else 'is'} for a module or an ONNX file; a run has "
                "its experiment: override it with --set, such as --set quality.budget=fid<=+5%"
            )
        _check_place(source)
        run.compress_winner(Path(source), out, set_ or (), trust_code=trust_code, quiet=quiet)
        return
    if out is None:
        raise NasError(f"name the folder for what comes of {source} with --out")
    if set_ or trust_code:
        option = "--set changes" if set_ else "--trust-code is about"
        raise NasError(f"{option} an experiment, and {source} has none: leave it out")
    if recipe not in ("auto", "quantize"):
        raise NasError(f"--recipe is auto or quantize, found {recipe!r}")
    from benchmarks.records import Target
    from compress.compressing import DEFAULT_BUDGET
    from nas.cli.progress import show_progress
    from nas.shrinking import Request, shrink
    from nas.sources import Source, parse_input, quality_functions

    with show_progress(stderr_console(), quiet=quiet) as progress:
        request = Request(
            Source(source, weights, tuple(map(parse_input, inputs or ()))),
            tuple(budget or (DEFAULT_BUDGET,)),
            quality_functions(quality or ()),
            tuple(quality or ()),
            Target(threads=threads, batch=batch, device=device),
            prune=recipe == "auto",
            minutes=minutes,
            seed=seed,
            command=shlex.join(["leangen", *sys.argv[1:]]),
        )
        summary = shrink(request, out, progress)
    run.leave_with(summary, out)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the option was typed, whatever its value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check_place(source: str) -> None:
    """Raise NasError, with the forms that there are, for what is no run folder and no experiment."""
    path = Path(source)
    if path.is_dir() and not (path / "experiment.yaml").is_file():
        hint = "it came of `leangen compress`: name what that was given" if (path / "request.json").is_file() else ""
        raise NasError(f"{source} is no run folder with an experiment.yaml{f'; {hint}' if hint else ''}")
    if not path.exists():
        raise NasError(f"there is no {source}: name a run folder, an experiment, MODEL.onnx or package.module:function")


def _is_own(source: str) -> bool:
    """Whether ``source`` is a module or an ONNX file: neither a folder nor an experiment."""
    path = Path(source)
    return not path.is_dir() and (path.suffix == ".onnx" or (":" in source and not path.exists()))
