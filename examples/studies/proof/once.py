"""One fresh process of final timings: a request (JSON) on standard input, ratios (JSON) on standard output.

Two processes with the same files differ by more than one process's own interval tells, because memory lies elsewhere:
so intervals come from several of these. Nothing heavy is imported here.
"""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.inputs import draw_inputs, load_specs
from benchmarks.paired import measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.runtimes.onnx import OnnxRunner
from benchmarks.statistics import ratio, summarize


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Return by batch and file: median milliseconds, and time ÷ that of each of the reference's files.

    Args:
        request: ``files`` (paths by name), ``against`` (names among them), ``inputs`` (JSON text), ``seed``,
            ``batches``, ``threads``, ``seconds`` (of paired timing, a batch), ``turns`` (seed of the order).
    """
    specs, found = load_specs(request["inputs"]), {}
    for batch in request["batches"]:
        values = draw_inputs(specs, batch, request["seed"])
        runners = {
            name: OnnxRunner(Path(path), values, threads=request["threads"]) for name, path in request["files"].items()
        }
        probe = probe_for(request["threads"])
        samples = measure_interleaved(runners, seconds=request["seconds"], seed=request["turns"], probe=probe)
        found[str(batch)] = {
            name: {
                "median_ms": 1e3 * summarize(sample).median.value,
                "ratios": {other: ratio(samples[other], sample).value for other in request["against"]},
            }
            for name, sample in samples.items()
        }
    return found


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
