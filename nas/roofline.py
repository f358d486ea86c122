"""What limits the file that ships, and the one that it is compared with: rooflines of both on this machine."""

from benchmarks.bottlenecks import bottlenecks
from benchmarks.inputs import draw_inputs
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.records import BenchmarkError
from benchmarks.roofline import roofline
from nas.final import Scene
from nas.folder import Record

MEASURE_S = 1.0  # the machine, and each file; with the warm-ups of all it is about five seconds


def roofline_of(scene: Scene, latency: Record, shipped: str) -> Record | None:
    """Return the rooflines of the reference's fastest file at the target's batch and of the file that ships.

    Null where the target is no CPU. A file that cannot be counted costs its own roofline and nothing else.

    Args:
        scene: Where.
        latency: The final latency table.
        shipped: The file that ships, from the run folder.
    """
    target = scene.bench.target
    if target.device != "cpu":
        return None
    rows = [row for row in latency["rows"] if row["who"] == "reference" and row["artifact"]]
    fastest = min((row for row in rows if row["batch"] == target.batch), key=lambda row: float(row["median_ms"]))
    files = {"reference": str(fastest["artifact"]), "final": shipped}
    try:
        peaks = measure_peaks(target.threads, MEASURE_S)
        found = [_of_file(scene, who, file, peaks) for who, file in files.items()]
    except BenchmarkError as error:
        return {"threads": target.threads, "reason": str(error)}
    return {
        "threads": target.threads,
        "macs_per_second": {dtype: _estimate(rate.to_json()) for dtype, rate in peaks.macs.items()},
        "bytes_per_second": {str(size): _estimate(rate.to_json()) for size, rate in peaks.bandwidth.items()},
        "files": found,
    }


def _of_file(scene: Scene, who: str, file: str, peaks: Peaks) -> Record:
    values = draw_inputs(scene.bench.inputs, scene.bench.target.batch, scene.bench.seed)
    path = scene.root / file
    found = roofline(path, values, peaks, seconds=MEASURE_S)
    whole = found.to_json(nodes=False)
    kept = ("batch", "median_ms", "overhead_ms", "macs", "bytes", "bound", "fraction")
    operators = [{key: row[key] for key in _OPERATOR} for row in whole["operators"]]
    return {
        "who": who,
        "artifact": file,
        **{key: whole[key] for key in kept},
        "operators": operators,
        "remarks": list(bottlenecks(found)),
    }


_OPERATOR = (
    "operator",
    "dtype",
    "int8",
    "nodes",
    "ms",
    "share",
    "macs",
    "bytes",
    "gmacs_per_second",
    "fraction",
    "limit",
)


def _estimate(rate: Record) -> Record:
    return {key: rate[key] for key in ("value", "ci95")}
