"""The gate proves that it can fail, and that it does not without cause: many gates of models and their slow twins.

Twins are calibrated on the machine at hand, and each is verified by a long measurement. Every run of the gate is a line
of ``runs.jsonl``; a self-test that was stopped goes on there. Beside the gate's verdicts stands the naive rule on the
same timings: the mean of a candidate's calls against the mean that the baseline had in the run before, 5 % apart.
"""

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.binomial import proportion_interval
from benchmarks.decision import INCONCLUSIVE, PASS, REGRESSION, Rule
from benchmarks.files import FileError, read_json, sha256_bytes, write_bytes, write_json
from benchmarks.gate import gate
from benchmarks.inputs import draw_inputs
from benchmarks.looks import BASELINE, CANDIDATE, measure_ratio
from benchmarks.paired import measure_interleaved
from benchmarks.records import Ratio, Sample
from benchmarks.restarts import pool
from benchmarks.runtimes.onnx import input_specs
from benchmarks.sides import Side
from benchmarks.twins import SIZES, Size, build

NOTHING, WAITS = "+0 %", "waits"
SLOWDOWNS = {"+2.5 %": 0.025, "+5 %": 0.05, "+10 %": 0.10}
SHARES = {NOTHING: 3.0, "+5 %": 1.0, "+10 %": 0.5, "+2.5 %": 0.1, WAITS: 0.1}  # runs of each, times ``runs``
NAIVE_LINE = 1.05
WAIT_S = 0.2  # of the baseline's time, as a share, that the waiting twin sleeps; at least WAIT_MIN_S
WAIT_MIN_S = 1e-4
_CALIBRATIONS = 5
_FIRST = 4  # times the branch of the base: the first width that is tried
_OPENINGS = 8  # of both models, in one ratio
_MEDIAN_S, _CALIBRATE_S, _VERIFY_S = 0.5, 4.0, 20.0
_BUSY = "while True: pass"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One gate to be run: which model against which twin, and its number among those of its kind."""

    size: str
    twin: str
    number: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from others."""
        return self.size, self.twin, self.number


def cases(sizes: Sequence[str], runs: int, seed: int = 0) -> list[Case]:
    """Return all gates of a self-test in the order in which they run, which ``seed`` fixes beforehand."""
    found = [
        Case(size, twin, number)
        for size in sizes
        for twin, share in SHARES.items()
        for number in range(max(1, round(share * runs)))
    ]
    return [found[int(index)] for index in np.random.default_rng(seed).permutation(len(found))]


def prepare(folder: Path, size: Size) -> Mapping[str, Any]:
    """Return what is known of a model's twins, calibrating and verifying those that are not in ``folder`` yet.

    Raises:
        FileError: those in ``folder`` are of another model.
    """
    path, made = folder / size.name / "twins.json", sha256_bytes(build(size))
    if path.is_file():
        known = dict(read_json(path))
        if known.get("sha256") != made:
            raise FileError(f"{path} is of other models than this version makes: name another folder with --out.")
        return known
    base = folder / size.name / "model.onnx"
    write_bytes(base, build(size))
    inputs = folder / size.name / "inputs.npz"
    values = draw_inputs(input_specs(base), 1, 0)
    np.savez(inputs, **values)  # type: ignore[arg-type]
    found: dict[str, Any] = {"sha256": made, "median_ms": 1e3 * float(np.median(_sample(Side(base, inputs)).seconds))}
    for name, slowdown in SLOWDOWNS.items():
        twin = folder / size.name / f"{name.strip('+ %')}.onnx"
        extra = _calibrate(size, slowdown, base, twin, inputs)
        true = _ratio(base, twin, inputs, _VERIFY_S)
        found[name] = {"file": twin.name, "extra": extra, **true.to_json()}
    write_json(path, found)
    return found


def _calibrate(size: Size, slowdown: float, base: Path, twin: Path, inputs: Path) -> int:
    """Write the twin to ``twin`` and return how much wider its branch is: width by width through the last ratio."""
    wanted, points = math.log1p(slowdown), list[tuple[int, float]]()
    extra = _FIRST * size.branch
    for _ in range(_CALIBRATIONS):
        write_bytes(twin, build(size, extra))
        points.append((extra, math.log(_ratio(base, twin, inputs, _CALIBRATE_S).value)))
        slope = points[-1][1] / extra
        extra = min(max(8, round(wanted / slope)), 64 * extra) if slope > 0 else 2 * extra
    best = min(points, key=lambda point: abs(point[1] - wanted))[0]
    write_bytes(twin, build(size, best))
    return best


def _ratio(base: Path, twin: Path, inputs: Path, seconds: float) -> Ratio:
    """Return the twin's time over the base's, over sessions: who is opened first, and lies better, alternates."""
    found = []
    for number in range(_OPENINGS):
        order = (base, twin) if number % 2 == 0 else (twin, base)
        sides = {path.name: Side(path, inputs) for path in order}
        timers = {name: side.timer(name, side.open()) for name, side in sides.items()}
        measured = {name: timers[name] for name in (base.name, twin.name)}
        found.append(measure_ratio(measured, seconds / _OPENINGS, seed=number))
    return pool(found)


def _sample(side: Side) -> Sample:
    return measure_interleaved({"model": side.open()}, seconds=_MEDIAN_S)["model"]


def run(
    folder: Path,
    todo: Sequence[Case],
    rule: Rule,
    *,
    load: int = 0,
    on_row: Callable[[Row], None] | None = None,
) -> None:
    """Run the gates of ``todo`` that ``folder`` has no row of yet, beside ``load`` busy processes.

    Args:
        folder: Models and rows.
        todo: Which gates.
        rule: Of every gate.
        load: Processes that keep a core busy meanwhile; rows of another load are other rows.
        on_row: Hears of every new row.
    """
    known = {(row["size"], row["twin"], row["number"]) for row in rows_of(folder, todo, load)}
    sizes = {case.size for case in todo}
    twins = {size.name: prepare(folder, size) for size in SIZES if size.name in sizes}  # with nobody busy
    with busy(load):
        for case in todo:
            if case.key in known:
                continue
            row = {**_run_one(folder, case, twins[case.size], rule), "load": load}
            _append(folder, row)
            if on_row:
                on_row(row)


def _run_one(folder: Path, case: Case, twins: Mapping[str, Any], rule: Rule) -> Row:
    where = folder / case.size
    baseline = Side(where / "model.onnx", where / "inputs.npz")
    wait_s = max(WAIT_MIN_S, WAIT_S * twins["median_ms"] / 1e3) if case.twin == WAITS else 0.0
    file = twins[case.twin]["file"] if case.twin in SLOWDOWNS else "model.onnx"
    seed = int.from_bytes(f"{case.key}".encode()) % 2**32
    outcome = gate(baseline, Side(where / file, baseline.inputs, wait_s=wait_s), rule, seed=seed)
    samples, result = outcome.measured.samples, outcome.to_json()
    kept = ("verdict", "kind", "reason", "ratio", "ci95", "would_have_caught", "seconds", "confirmation", "probe_share")
    return {
        "size": case.size,
        "twin": case.twin,
        "number": case.number,
        "verified": _verified(twins.get(case.twin)),
        **{name: result[name] for name in kept},
        "preempted": result["preempted"][BASELINE],
        "means": [float(np.mean(samples[name].seconds)) for name in (BASELINE, CANDIDATE)],
    }


def _verified(twin: Any) -> list[float] | None:
    """What a twin's long measurement found: its ratio and 95 % interval; None for what needs none."""
    return None if twin is None else [twin["value"], *twin["ci95"]]


def _append(folder: Path, row: Row) -> None:
    with (folder / "runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rows_of(folder: Path, todo: Iterable[Case], load: int) -> list[Row]:
    """Return the rows of ``todo`` that there are beside ``load`` busy processes. Raises what ``read_rows`` does."""
    keys = {case.key for case in todo}
    rows = [row for row in read_rows(folder) if row["load"] == load]
    return [row for row in rows if (row["size"], row["twin"], row["number"]) in keys]


def read_rows(folder: Path) -> list[Row]:
    """Return the rows of ``runs.jsonl``; a last line that was cut off is left out.

    Raises:
        FileError: another line is no row.
    """
    path = folder / "runs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(dict(json.loads(line)))
        except ValueError as error:
            if number < len(lines):
                raise FileError(f"{path}:{number}: is not a row of a self-test: {error}.") from error
    return rows


def operating_curve(rows: Sequence[Row]) -> list[Row]:
    """Return one line for each model, twin and load: how often which verdict, and the naive rule on the same timings.

    Shares are triples: share, and the ends of its exact 95 % interval.
    """
    kinds = sorted({(row["load"], row["size"], row["twin"]) for row in rows}, key=_order)
    return [_line(kind, rows) for kind in kinds]


def _order(kind: tuple[int, str, str]) -> tuple[int, int, int]:
    load, size, twin = kind
    return load, [one.name for one in SIZES].index(size), [NOTHING, *SLOWDOWNS, WAITS].index(twin)


def _line(kind: tuple[int, str, str], everybody: Sequence[Row]) -> Row:
    load, size, twin = kind
    rows = [row for row in everybody if (row["load"], row["size"], row["twin"]) == kind]
    verdicts = [row["verdict"] for row in rows]
    stored = [row["means"][0] for row in everybody if row["load"] == load and row["size"] == size]
    return {
        "load": load,
        "size": size,
        "twin": twin,
        "runs": len(rows),
        "verified": rows[0].get("verified"),
        **{verdict: share(verdicts.count(verdict), len(rows)) for verdict in (PASS, REGRESSION, INCONCLUSIVE)},
        "naive": share(_naive_alarms(rows, stored), len(rows)),
        "kinds": sorted({row["kind"] for row in rows if row["kind"]}),
        "median_seconds": float(np.median([row["seconds"] for row in rows])),
        "probe_share": float(np.median([row["probe_share"] for row in rows])),
        "preempted": float(np.mean([row["preempted"] for row in rows])),
    }


def _naive_alarms(rows: Sequence[Row], stored: Sequence[float]) -> int:
    """How often a candidate's mean is 5 % above the mean that the baseline had in another run, one after the other."""
    return sum(row["means"][1] > NAIVE_LINE * stored[index % len(stored)] for index, row in enumerate(rows, 1))


def share(hits: int, n: int) -> list[float]:
    """``hits`` of ``n`` with the exact 95 % interval."""
    return [hits / n, *proportion_interval(hits, n)]


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute, inside the block."""
    running = [subprocess.Popen([sys.executable, "-I", "-c", _BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()
