"""``leangen bench``: two ONNX files against each other, in turns, on this machine."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.errors import stderr_console
from nas.cli.gate import gate, record
from nas.cli.profile_device import profile_device
from nas.cli.roofline import roofline
from nas.cli.selftest import selftest
from nas.errors import NasError
from nas.progress import Progress

if TYPE_CHECKING:
    from benchmarks.probes import Probe
    from benchmarks.records import Ratio, Sample
    from benchmarks.runtimes.onnx import OnnxRunner

app = typer.Typer(help="Measure models.", no_args_is_help=True)

_TICK_S = 0.5
_SAME = 0.005  # whoever comes first in the turns may gain a little: a file against itself shows up to 0.2 %
_TASK = "timing A and B in turns"


@app.callback()
def _group() -> None:
    """Measure models."""


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A.onnx", help="What is compared with.")],
    b: Annotated[Path, typer.Argument(metavar="B.onnx", help="What is compared.")],
    batch: Annotated[int, typer.Option("--batch", min=1, max=65536, help="Rows of one inference.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of one inference.")] = 1,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=86400, help="To measure, both together.")] = 10.0,
    restarts: Annotated[
        int, typer.Option("--restarts", min=0, max=10, help="Fresh processes that share the time with this one.")
    ] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the inputs.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers there.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Time of B in terms of A's, with its 95 % interval: both take turns on the same inputs, process by process."""
    from benchmarks.restarts import pool
    from benchmarks.statistics import ratio
    from nas.cli.progress import show_progress

    runners, share = {"A": a, "B": b}, seconds / (1 + restarts)
    prepared, inputs = _prepare(a, b, batch, threads, seed)
    with show_progress(stderr_console(), quiet=quiet) as progress:
        samples = _measure(dict(zip(runners, prepared, strict=True)), share, threads, progress)
        ratios = [ratio(samples["A"], samples["B"]), *_again(a, b, inputs, threads, share, restarts, progress)]
    result = pool(ratios)
    for name, path in runners.items():
        typer.echo(f"{name}: {_latency_text(samples[name])}  {path}")
    typer.echo(describe(result, batch, threads, 1 + restarts))
    if json_file:
        from benchmarks.files import write_json

        settings = {"batch": batch, "threads": threads, "seconds": seconds, "seed": seed, "processes": 1 + restarts}
        each = {"ratio_by_process": [one.to_json() for one in ratios]}
        write_json(json_file, {**_record(runners, samples, result, settings), **each})


def _again(
    a: Path, b: Path, inputs: "Mapping[str, Any]", threads: int, seconds: float, restarts: int, progress: Progress
) -> "list[Ratio]":
    """The ratio as fresh processes find it."""
    import tempfile

    import numpy as np

    from benchmarks.restarts import ratio_over_restarts
    from benchmarks.sides import Side

    if not restarts:
        return []
    task, done = "timing A and B in fresh processes", 0
    progress.start(task, restarts, "processes")

    def told(_: "Ratio") -> None:
        nonlocal done
        done += 1
        progress.update(task, done)

    with tempfile.TemporaryDirectory(prefix="leangen-compare-") as folder:
        file = Path(folder) / "inputs.npz"
        np.savez(file, **inputs)
        sides = (Side(path, file, threads) for path in (a, b))
        found = ratio_over_restarts(*sides, seconds=seconds, restarts=restarts, on_restart=told)
    progress.finish(task)
    return found


def describe(ratio: "Ratio", batch: int, threads: int, processes: int = 1) -> str:
    """``B takes 0.52 [0.51, 0.53] of A's time: 1.92x faster (batch 1, 1 thread, 3 processes, 480 pairs)``."""
    low, high = ratio.ci95
    if low <= 1 <= high:
        verdict = "no difference shown"
    elif abs(ratio.value - 1) < _SAME:
        verdict = f"the same within {_SAME:.1%}"
    elif high < 1:
        verdict = f"{1 / ratio.value:.3g}x faster"
    else:
        verdict = f"{ratio.value:.3g}x slower"
    counts = ((threads, "thread"), (processes, "process"), (ratio.pairs, "pair"))
    setting = f"batch {batch}, " + ", ".join(_counted(number, word) for number, word in counts)
    return f"B takes {ratio.value:.3g} [{low:.3g}, {high:.3g}] of A's time: {verdict} ({setting})"


def _counted(number: int, word: str) -> str:
    plural = {"process": "processes"}.get(word, f"{word}s")
    return f"{number} {word if number == 1 else plural}"


def _prepare(
    a: Path, b: Path, batch: int, threads: int, seed: int
) -> "tuple[tuple[OnnxRunner, OnnxRunner], Mapping[str, Any]]":
    """Both models at the same inputs, and these, drawn as A's metadata says.

    Raises:
        NasError: they do not do the same job.
    """
    from benchmarks.inputs import draw_inputs
    from benchmarks.runtimes.onnx import OnnxRunner, input_specs

    specs = {path: input_specs(path) for path in (a, b)}
    inputs_a, inputs_b = ({spec.name: f"{spec.dtype} {spec.shape}" for spec in specs[path]} for path in (a, b))
    _check_alike("inputs", inputs_a, inputs_b)
    inputs = draw_inputs(specs[a], batch, seed, root=a.parent)
    first, second = (OnnxRunner(path, inputs, threads=threads) for path in (a, b))
    outputs = [{name: str(value.shape) for name, value in runner.outputs().items()} for runner in (first, second)]
    _check_alike("outputs", *outputs)
    return (first, second), inputs


def _check_alike(what: str, a: Mapping[str, str], b: Mapping[str, str]) -> None:
    if dict(a) != dict(b):
        raise NasError(
            f"two models are compared at the same job, so names and shapes of their {what} must agree; "
            f"A has {_list(a)}, B has {_list(b)}"
        )


def _list(ports: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {shape}" for name, shape in ports.items())


def _measure(
    runners: "Mapping[str, OnnxRunner]", seconds: float, threads: int, progress: Progress
) -> "dict[str, Sample]":
    from benchmarks.paired import measure_interleaved
    from benchmarks.probes import probe_for

    probe = probe_for(threads)
    progress.start(_TASK, seconds, "s")
    samples = measure_interleaved(runners, seconds=seconds, probe=_ticking(probe, seconds, progress))
    progress.finish(_TASK)
    return samples


def _ticking(probe: "Probe", seconds: float, progress: Progress) -> "Probe":
    """``probe`` that also moves the progress: it is asked between timings, so drawing is in none of them."""
    import time

    began = told = time.monotonic()

    def switches() -> int:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TICK_S:
            told = now
            progress.update(_TASK, min(round(now - began, 1), seconds))
        return probe.switches()

    ticking: Callable[[], int] = switches
    return replace(probe, switches=ticking)


def _latency_text(sample: "Sample") -> str:
    from benchmarks.statistics import summarize

    latency = summarize(sample).to_milliseconds()
    low, high = latency["ci95"]
    return f"{latency['median']:.4g} ms [{low:.4g}, {high:.4g}]"


def _record(
    paths: Mapping[str, Path], samples: "Mapping[str, Sample]", ratio: "Ratio", settings: Mapping[str, Any]
) -> dict[str, Any]:
    from benchmarks.files import sha256_file
    from benchmarks.fingerprint import fingerprint
    from benchmarks.statistics import summarize

    models = {
        name.lower(): {
            "file": str(path),
            "sha256": sha256_file(path),
            "latency_ms": summarize(samples[name]).to_milliseconds(),
        }
        for name, path in paths.items()
    }
    return {
        "schema": 1,
        **models,
        "ratio": ratio.to_json(),
        "speedup": ratio.speedup.to_json(),
        **settings,
        "machine": fingerprint().to_json(),
    }


app.command()(record)
app.command()(gate)
app.command()(selftest)
app.command()(roofline)
app.command()(profile_device)
