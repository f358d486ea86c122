"""What compression of searched winners gains: the file that ships beside the float file that it began with.

python -m examples.studies.gain_of_compression run runs/proof/gan-0 ...   gives docs/compression/gains.json
python -m examples.studies.gain_of_compression table docs/compression.md

Speed-ups are those of fresh processes, in turns. Beside them: how much of the operators' time is int8, and what is not.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.files import read_json, write_json, write_text
from benchmarks.fingerprint import fingerprint
from benchmarks.inputs import draw_inputs
from benchmarks.peaks import Peaks, measure_peaks
from benchmarks.restarts import pool, ratio_over_restarts
from benchmarks.roofline import roofline
from benchmarks.runtimes.onnx import input_specs
from benchmarks.sides import Side
from nas.marked import fill

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
BATCHES = (1, 32)
THREADS = 1
MACHINE_S = 1.0  # of measuring the machine, and of each file's operators
RESULT = Path("docs/compression/gains.json")
BEGAN = Path("compressed/00-start/model.onnx")


@app.command(name="run")
def run_(
    sources: Annotated[list[Path], typer.Argument(help="Run folders with all of their stages.")],
    restarts: Annotated[int, typer.Option(min=2, max=10, help="Fresh processes, a batch.")] = 6,
    seconds: Annotated[float, typer.Option(help="Of timing in each.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Gets a row a run.")] = RESULT,
) -> None:
    """Time both files of every run, and the operators of the one that ships."""
    peaks = measure_peaks(THREADS, MACHINE_S)
    rows = []
    for source in sources:
        rows.append(_row(source, peaks, restarts, seconds))
        print(f"{source.name}: {_speedups(rows[-1])}", flush=True)
    facts = {"restarts": restarts, "seconds": seconds, "machine": fingerprint().to_json()}
    write_json(out, {**facts, "rows": rows})


def _row(source: Path, peaks: Peaks, restarts: int, seconds: float) -> dict[str, Any]:
    before, after = source / BEGAN, source / read_json(source / "export" / "record.json")["shipped"]
    found = {}
    with tempfile.TemporaryDirectory(prefix="leangen-gain-") as folder:
        for batch in BATCHES:
            values = draw_inputs(input_specs(after), batch, 0)
            inputs = Path(folder) / f"{batch}.npz"
            np.savez(inputs, allow_pickle=False, **values)
            sides = [Side(file, inputs, THREADS) for file in (before, after)]
            ratio = pool(ratio_over_restarts(*sides, seconds=seconds, restarts=restarts))
            operators = [one.to_json(1.0) for one in roofline(after, values, peaks, seconds=MACHINE_S).operators]
            kept = ("operator", "int8", "ms", "nodes")
            found[str(batch)] = {
                "ratio": ratio.to_json(),
                "operators": [{key: one[key] for key in kept} for one in operators],
            }
    return {"name": source.name, "shipped": after.relative_to(source).as_posix(), "batches": found}


@app.command()
def table(
    page: Annotated[Path, typer.Argument(help="docs/compression.md")],
    result: Annotated[Path, typer.Option(help="What run wrote.")] = RESULT,
) -> None:
    """Put the gains into the page."""
    write_text(page, fill(page.read_text(encoding="utf-8"), "gains", told(read_json(result))))


def told(record: Mapping[str, Any]) -> str:
    """Return the table: a line a run."""
    head = [f"batch {batch}" for batch in BATCHES] + [f"int8, batch {batch}" for batch in BATCHES]
    lines = [f"| run | {' | '.join(head)} | not int8, batch {BATCHES[0]} |", f"| --- |{' --- |' * (len(head) + 1)}"]
    for row in record["rows"]:
        gains = [_speedup(row, batch) for batch in BATCHES]
        shares = [f"{_int8_share(_operators(row, batch)):.0%}" for batch in BATCHES]
        lines.append(f"| {row['name']} | {' | '.join([*gains, *shares])} | {_others(row)} |")
    machine = record["machine"]
    facts = f"{record['restarts']} processes of {record['seconds']:g} s a batch, {THREADS} thread"
    return "\n".join([*lines, "", f"{machine['cpu']} with onnxruntime {machine['onnxruntime']}; {facts}."])


def _operators(row: Mapping[str, Any], batch: int) -> list[Mapping[str, Any]]:
    return list(row["batches"][str(batch)]["operators"])


def _int8_share(operators: list[Mapping[str, Any]]) -> float:
    return float(sum(one["ms"] for one in operators if one["int8"]) / sum(one["ms"] for one in operators))


def _others(row: Mapping[str, Any]) -> str:
    """``QuantizeLinear 3%, DequantizeLinear 3%``: the operators that are not int8, slowest first."""
    operators = _operators(row, BATCHES[0])
    spent = sum(one["ms"] for one in operators)
    rest = sorted((one for one in operators if not one["int8"]), key=lambda one: -float(one["ms"]))
    return ", ".join(f"{one['operator']} {one['ms'] / spent:.0%}" for one in rest) or "–"


def _speedup(row: Mapping[str, Any], batch: int) -> str:
    """``1.76× [1.74, 1.78]``."""
    ratio = row["batches"][str(batch)]["ratio"]
    low, high = (1 / end for end in reversed(ratio["ci95"]))
    return f"{1 / ratio['value']:.2f}× [{low:.2f}, {high:.2f}]"


def _speedups(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{_speedup(row, batch)} at batch {batch}" for batch in BATCHES)


if __name__ == "__main__":
    app()
