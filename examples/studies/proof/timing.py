"""Final timings of a piece: all files in turns, in fresh processes one after the other, at batch 1 and 32."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.inputs import dump_specs
from examples.studies.proof.layout import ProofError
from nas.context import Context
from nas.final import BATCHES
from nas.progress import Progress

_LIMIT_S = 600.0  # of one process
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Timings = dict[str, dict[str, dict[str, Any]]]


def time_files(
    context: Context,
    files: Mapping[str, Path],
    against: list[str],
    progress: Progress,
    *,
    processes: int,
    seconds: float,
) -> Timings:
    """Return by batch and file: median milliseconds, and each process's time ÷ that of the fastest of ``against``.

    Args:
        context: Of our run: inputs and threads.
        files: By name; all are timed in turns.
        against: Names of the reference's own files.
        progress: Hears of each process.
        processes: How many.
        seconds: Of paired timing in each, a batch.

    Raises:
        ProofError: a process failed.
    """
    request = {
        "files": {name: str(path) for name, path in files.items()},
        "against": against,
        "inputs": dump_specs(context.family.inputs),
        "seed": list(context.bench.seed),
        "batches": sorted(BATCHES),
        "threads": context.bench.target.threads,
        "seconds": seconds,
    }
    found = list[Timings]()
    progress.start("time", processes, "processes")
    for number in range(processes):
        found.append(_once({**request, "turns": number}))
        progress.update("time", number + 1)
    progress.finish("time")
    return {batch: _joined([one[batch] for one in found], against) for batch in found[0]}


def _once(request: dict[str, Any]) -> Timings:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "examples.studies.proof.once"]
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": path}
    done = subprocess.run(
        command, input=json.dumps(request), env=environment, capture_output=True, text=True, timeout=_LIMIT_S
    )
    if done.returncode != 0:
        raise ProofError(f"a process of final timings failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def _joined(processes: list[dict[str, dict[str, Any]]], against: list[str]) -> dict[str, dict[str, Any]]:
    """Return the processes' results by file, each ratio to the file of ``against`` that is fastest over all of them."""
    first = against[0]
    fastest = min(against, key=lambda name: fmean(math.log(one[name]["ratios"][first]) for one in processes))
    return {
        name: {
            "median_ms": median(one[name]["median_ms"] for one in processes),
            "ratios": [one[name]["ratios"][fastest] for one in processes],
        }
        for name in processes[0]
    }
