"""The final measurement: reference, baseline and result in turns, workers at rest; and their pictures."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.files import write_bytes, write_json
from benchmarks.inputs import draw_inputs
from benchmarks.memory import peak_mib
from benchmarks.paired import measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.records import Ratio, Sample
from benchmarks.restarts import pool, ratio_over_restarts
from benchmarks.runtimes.base import Runner
from benchmarks.runtimes.onnx import generate, optimised_operators
from benchmarks.runtimes.torch import TorchRunner
from benchmarks.sides import Side
from benchmarks.statistics import quantiles, ratio, summarize
from compress.generator import Generator
from compress.measure import Bench
from nas.context import Context
from nas.folder import Record
from nas.pictures import grid_png

BATCHES = (1, 32)
MEASURE_S = 5.0  # a batch, everybody in turns
RESTARTS = 6  # fresh processes for the speed-up alone: an interval of one process is too narrow
RESTART_S = 0.6  # of timing in each: processes differ more than minutes do, so many short ones
PERCENT = (1, 5, 10, 25, 50, 75, 90, 95, 99)  # quantiles that are kept of every sample
GRIDS = "grids.json"  # what stands above the columns of the grids beside it
EAGER = "torch eager"
ONNX = "onnxruntime"


@dataclass(frozen=True)
class Scene:
    """Where the final measurement takes place.

    Args:
        bench: Target, inputs and seeds.
        root: The run folder.
        seed: Of the order of turns.
        module: Makes the reference as a torch module; None where it is a file.
        batches: What is timed beside the target's batch; a file with a fixed batch takes no other.
    """

    bench: Bench
    root: Path
    seed: int
    module: Callable[[], nn.Module] | None
    batches: tuple[int, ...] = BATCHES

    @classmethod
    def of(cls, context: Context) -> "Scene":
        """Return that of a run."""
        root = context.folder.path
        return cls(
            context.bench,
            root,
            context.experiment.seed,
            lambda: Generator.load(root / "reference", context.trust_code).module,
        )

    def relative(self, path: Path) -> str:
        """Return ``path``, which lies in the run folder, as records name it."""
        return path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Contestant:
    """A file, or a module in torch eager, of the final table."""

    who: str
    precision: str
    path: Path | None

    @property
    def key(self) -> str:
        """Name it by who, runtime and precision."""
        return f"{self.who} {self.precision} {ONNX if self.path else EAGER}"


def contestants(scene: Scene, records: Mapping[str, Record]) -> list[Contestant]:
    """Return everybody in the final table: every variant of each file, and the reference in torch eager if it can be.

    Args:
        scene: Where.
        records: By who ("reference", "baseline", "final"): records with ``files``, by precision from the run folder.
    """
    found = []
    for who, record in records.items():
        found += [Contestant(who, precision, scene.root / path) for precision, path in record["files"].items()]
    return [*found, *([Contestant("reference", "fp32", None)] if scene.module else [])]


def measure_latency(scene: Scene, everybody: list[Contestant], shipped: str) -> Record:
    """Return the latency table, and speed-ups by batch; those over torch eager where that was measured.

    Args:
        scene: Where.
        everybody: Who is timed; all in turns, in this process; the speed-up of what ships also in fresh ones.
        shipped: Precision of the file that ships; the reference is taken by its fastest file at each batch.
    """
    target, by_key = scene.bench.target, {one.key: one for one in everybody}
    after = by_key[f"final {shipped} {ONNX}"]
    eager = Contestant("reference", "fp32", None).key
    rows, speedup, speedup_vs_eager = list[Record](), dict[str, Any](), dict[str, Any]()
    for batch in sorted({*scene.batches, target.batch}):
        runners = {one.key: _runner(scene, one, batch) for one in everybody}
        probe = probe_for(target.threads)
        samples = measure_interleaved(runners, seconds=MEASURE_S, seed=scene.seed, probe=probe)
        before = by_key[f"reference {_best(samples, 'reference')} {ONNX}"]
        ratios = {key: ratio(samples[before.key], sample) for key, sample in samples.items()}
        ratios[after.key] = pool([ratios[after.key], *_again(scene, before, after, batch)])
        rows += [_row(scene, one, batch, samples[one.key], ratios[one.key]) for one in everybody]
        speedup[str(batch)] = _speedup(ratios[after.key])
        if eager in by_key:
            speedup_vs_eager[str(batch)] = _speedup(ratio(samples[eager], samples[after.key]))
    return {"rows": rows, "speedup": speedup, "speedup_vs_eager": speedup_vs_eager}


def _again(scene: Scene, before: Contestant, after: Contestant, batch: int) -> list[Ratio]:
    """Return the ratio of two files as fresh processes find it."""
    assert before.path is not None
    assert after.path is not None
    target = scene.bench.target
    with tempfile.TemporaryDirectory(prefix="leangen-final-") as folder:
        file = Path(folder) / "inputs.npz"
        np.savez(file, allow_pickle=False, **draw_inputs(scene.bench.inputs, batch, scene.bench.seed))
        sides = (Side(one.path, file, target.threads, target.device) for one in (before, after) if one.path)
        return ratio_over_restarts(*sides, seconds=RESTART_S, restarts=RESTARTS, seed=scene.seed)


def _runner(scene: Scene, one: Contestant, batch: int) -> Runner:
    if one.path is not None:
        return scene.bench.at_batch(batch).runner(one.path)
    assert scene.module is not None
    target, values = scene.bench.target, draw_inputs(scene.bench.inputs, batch, scene.bench.seed)
    return TorchRunner(scene.module(), values, threads=target.threads, device=target.device)


def _best(samples: Mapping[str, Sample], who: str) -> str:
    """Return the precision of the fastest file of ``who`` at this batch."""
    times = {
        key.split()[1]: summarize(sample).median.value
        for key, sample in samples.items()
        if key.startswith(f"{who} ") and key.endswith(ONNX)
    }
    return min(times, key=lambda precision: times[precision])


def _speedup(found: Ratio) -> Record:
    estimate = found.speedup
    return {"value": estimate.value, "ci95": list(estimate.ci95)}


def _row(scene: Scene, one: Contestant, batch: int, sample: Sample, compared: Ratio) -> Record:
    latency = summarize(sample).to_milliseconds()
    threads = scene.bench.target.threads
    return {
        "who": one.who,
        "artifact": scene.relative(one.path) if one.path else None,
        "precision": one.precision,
        "runtime": ONNX if one.path else EAGER,
        "batch": batch,
        "threads": threads,
        "median_ms": latency["median"],
        "ci95_ms": latency["ci95"],
        "p95_ms": latency["p95"],
        "quantiles_ms": {str(percent): 1e3 * value for percent, value in quantiles(sample, PERCENT).items()},
        "peak_mib": peak_mib(one.path, batch, threads) if one.path else None,
        "ratio": {"value": compared.value, "ci95": list(compared.ci95)},
    }


def write_grids(context: Context, files: Mapping[str, Path], folder: Path) -> None:
    """Write one grid a file, all of the same latents, to ``folder/<name>.png``, and what its columns are."""
    rows, columns = context.grid()
    classes = context.splits.seen.classes[:columns] if context.family.label else ()
    write_json(folder / GRIDS, {"columns": list(classes)})
    for name, path in files.items():
        write_bytes(folder / f"{name}.png", grid_png(generate(path, rows), columns))


def operators_of(scene: Scene, files: Mapping[str, Path]) -> Record:
    """Return by file what onnxruntime really runs: operator and data type, with how many."""
    return {
        scene.relative(path): {" ".join(key): count for key, count in optimised_operators(path).items()}
        for path in files.values()
    }
