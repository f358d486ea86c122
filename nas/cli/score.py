"""``leangen score``: the quality of one generator file, by the data, the extractor and the latents of a run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nas.cli.errors import stderr_console, stdout_console
from nas.errors import NasError

if TYPE_CHECKING:
    from compress.quality import Score
    from nas.context import Context
    from nas.quality.judge import Judge


def score(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="A generator's self-contained ONNX file.")],
    run: Annotated[Path, typer.Option("--run", metavar="RUN", help="A run folder: whose data and extractor count.")],
    stream: Annotated[
        Literal["held_out", "choice", "steps"],
        typer.Option(
            "--stream",
            help="The latents and pictures of the final table, or of a decision on `seen`: choice, steps.",
        ),
    ] = "held_out",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Other latents of that stream; the run's own by default.")
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            "--extractor", help="Another one, e.g. efficientnet-lite0 or FILE.onnx; the run's own by default."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Score a generator alone: held_out repeats the numbers of the run's report; a seed tells what chance does."""
    from benchmarks.files import sha256_file
    from nas.cli.progress import show_progress
    from nas.folder import RunFolder

    folder = RunFolder(run.absolute())
    if not folder.experiment_file.is_file():
        raise NasError(f"--run names a run folder, which has an experiment.yaml; {run} has none")
    with show_progress(stderr_console(), quiet=as_json) as progress:
        context = _context(folder, progress)
        judge = _judge(context, extractor, stream, seed, progress)
        scores = judge.evaluate({"model": model})["model"].scores
    if as_json:
        found = {metric: one.to_json() for metric, one in scores.items()}
        typer.echo(json.dumps({"file": str(model), "sha256": sha256_file(model), "stream": stream, "scores": found}))
        return
    _print_scores(list(scores.values()), f"{model}, {stream}, seed {judge.seed}")


def _context(folder: Any, progress: Any) -> "Context":
    """Return the surroundings of a run as they were; raises NasError if its pictures or extractor are others now."""
    from nas.context import Context
    from nas.experiment import Experiment

    context = Context.build(Experiment.load(folder.experiment_file), folder, progress)
    splits = context.splits
    folder.check_data({"seen": splits.seen.digest, "held_out": splits.held_out.digest})
    context.check_scored_alike()
    return context


def _judge(context: "Context", extractor: str | None, stream: str, seed: int | None, progress: Any) -> "Judge":
    from nas.data import cache_folder
    from nas.held_out import final_judge
    from nas.quality.extractors import get_extractor
    from nas.seeds import Stream

    other = None
    if extractor not in (None, context.experiment.quality.extractor):
        other = get_extractor(extractor, context.splits.seen, cache_folder(), progress)
    return final_judge(context, other, stream=Stream[stream.upper()], seed=seed, progress=progress)


def _print_scores(scores: "list[Score]", title: str) -> None:
    from rich.table import Table

    typer.echo(title)
    table = Table("metric", "extractor")
    for column in ("n", "value", "standard error"):
        table.add_column(column, justify="right")
    for one in scores:
        table.add_row(one.metric, one.extractor, f"{one.n:,}", f"{one.value:.6g}", f"{one.standard_error:.3g}")
    stdout_console().print(table)
