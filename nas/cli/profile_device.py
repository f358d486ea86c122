"""``leangen bench profile-device``: a latency predictor of a space for this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.errors import STOPPED, stderr_console
from nas.errors import NasError

if TYPE_CHECKING:
    from benchmarks.inputs import InputSpec
    from search_spaces.space import ImageShape, SearchSpace

_CLASSES = 10  # of a family that is told the class: their number hardly changes a latency


def profile_device(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="As `leangen spaces list` names it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The profile; measurements stand beside it.")],
    members: Annotated[int, typer.Option("--members", min=40, max=100_000, help="Genotypes to fit to.")] = 300,
    held_out: Annotated[int, typer.Option("--held-out", min=20, max=10_000, help="Genotypes to judge by.")] = 100,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="At most; fits to what was measured.")] = 60.0,
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of one inference.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, max=65536, help="Rows of one inference.")] = 1,
    image: Annotated[str, typer.Option("--image", metavar="CxHxW", help="What is drawn.")] = "1x32x32",
    family: Annotated[str, typer.Option("--family", help="Whose inputs generators take: gan, cgan.")] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the genotypes.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Measure members of SPACE here and fit what predicts the latency of all others, with its error on held-out ones.

    It only ranks: `search.device: FILE` in an experiment keeps a search from measuring what is far too slow. Takes
    some ten minutes on an idle machine; Ctrl-C loses nothing, the same command goes on.
    """
    from benchmarks.records import Target
    from nas.cli.progress import show_progress
    from nas.device_profile import describe
    from nas.profiling import Assignment, Profiler
    from search_spaces import get_space

    found, shape = get_space(space), _image(image)
    inputs = _inputs(found, family, shape)
    job = Assignment(found, inputs, shape, Target(threads=threads, batch=batch), members, held_out, seed)
    log = out.with_suffix(".jsonl")
    try:
        with show_progress(stderr_console(), quiet=quiet) as progress:
            profile = Profiler(job, log, progress).run(minutes)
    except KeyboardInterrupt:
        typer.echo(f"stopped: {log} keeps what was measured; run the same command to go on", err=True)
        raise typer.Exit(STOPPED) from None
    profile.write(out)
    typer.echo(f"fitted to {profile.members} genotypes; on {profile.held_out.members} others")
    typer.echo(describe("predictor", profile.held_out))
    typer.echo(describe("MACs", profile.macs) + " (of their best monotone curve)")
    typer.echo(f"{out}: write `device: {out}` under `search:` of an experiment to have it used")


def _image(text: str) -> "ImageShape":
    from search_spaces.space import ImageShape

    try:
        channels, height, width = map(int, text.lower().split("x"))
    except ValueError:
        raise NasError(f"--image is channels x height x width, for example 1x32x32, not {text[:40]!r}") from None
    return ImageShape(channels, height, width)


def _inputs(space: "SearchSpace", family: str, image: "ImageShape") -> "tuple[InputSpec, ...]":
    """The inputs of ``family``; of the first that ``space`` takes the inputs of, if none is named."""
    from nas.experiment import Experiment
    from nas.families import families, get_family
    from nas.families.base import DataShape
    from nas.outlines import operators_of
    from search_spaces.space import SearchSpaceError

    complaints = []
    for name in (family,) if family else families():
        experiment = Experiment.model_validate({"data": "mnist-5k", "family": name, "space": space.name})
        inputs = get_family(experiment, DataShape(image, (1,) * _CLASSES)).inputs
        try:
            for genotype in space.named.values():
                operators_of(space, genotype, inputs, image)
        except SearchSpaceError as error:
            complaints.append(f"{name}: {error}")
        else:
            return inputs
    raise NasError(f"space {space.name} takes the inputs of no such family: " + "; ".join(complaints))
