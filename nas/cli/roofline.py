"""``leangen bench roofline``: what this machine can do at best, and what limits a model on it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.errors import stderr_console, stdout_console

if TYPE_CHECKING:
    from benchmarks.peaks import Peaks, Rate
    from benchmarks.roofline import Roofline, Row

_NOTE = (
    "Operator times: the profiler's, less its own cost, scaled as shares of the time measured without it. Roof: the "
    "peak of the data type, or the bandwidth of caches or memory, whichever takes longer. MACs without padding."
)
_NUMERIC = ("nodes", "us", "time", "MACs", "bytes", "GMAC/s", "of roof")


def roofline(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.onnx]", help="What is looked at; without it only the machine is.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=65536, help="Rows of one inference.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of one inference.")] = 1,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=3600, help="To measure, machine and model each.")
    ] = 2.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the inputs.")] = 0,
    nodes: Annotated[bool, typer.Option("--nodes", help="Every node, in the order in which they run.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers there.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Peak rates of this machine in onnxruntime, and what each operator of a model reaches of them."""
    from benchmarks.peaks import measure_peaks
    from nas.cli.progress import show_progress

    inputs = _inputs(model, batch, seed) if model else {}
    with show_progress(stderr_console(), quiet=quiet) as progress:
        progress.start("measuring", 2 if model else 1, "parts")
        peaks = measure_peaks(threads, seconds)
        progress.update("measuring", 1)
        found = _measure(model, inputs, peaks, seconds) if model else None
        progress.finish("measuring")
    _print_peaks(peaks)
    if found is not None:
        _print_model(found, str(model), nodes=nodes)
    if json_file:
        from benchmarks.files import write_json

        write_json(json_file, _record(model, peaks, found, {"seconds": seconds, "seed": seed}))


def _inputs(model: Path, batch: int, seed: int) -> "dict[str, Any]":
    from benchmarks.inputs import draw_inputs
    from benchmarks.runtimes.onnx import input_specs

    return draw_inputs(input_specs(model), batch, seed, root=model.parent)


def _measure(model: Path, inputs: Mapping[str, Any], peaks: "Peaks", seconds: float) -> "Roofline":
    from benchmarks.roofline import roofline as hold_against

    return hold_against(model, inputs, peaks, seconds=seconds)


def _print_peaks(peaks: "Peaks") -> None:
    from benchmarks.bottlenecks import amount, dtype_name

    threads = peaks.threads
    rows = [(f"{dtype_name(dtype)} peak", rate, "GMAC/s") for dtype, rate in peaks.macs.items()]
    rows += [(f"bandwidth, {amount(size, 'B')}", rate, "GB/s") for size, rate in peaks.bandwidth.items()]
    typer.echo(f"this machine, in onnxruntime, {threads} thread{'' if threads == 1 else 's'}")
    _print_table(
        ("", "best [95 %]", "measured on"), [(what, _rate(rate, unit), rate.graph) for what, rate, unit in rows]
    )


def _rate(rate: "Rate", unit: str) -> str:
    value, (low, high) = rate.per_second.value, rate.per_second.ci95
    return f"{1e-9 * value:.3g} [{1e-9 * low:.3g}, {1e-9 * high:.3g}] {unit}"


def _print_model(found: "Roofline", title: str, *, nodes: bool) -> None:
    from benchmarks.bottlenecks import amount, bottlenecks, headline
    from benchmarks.roofline import LIMITS

    rows = found.nodes if nodes else found.operators
    columns = ("node", "operator") if nodes else ("operator",)
    cells = [_cells(row, found.seconds, named=nodes) for row in rows]
    outside = ["a call, outside its operators", *([""] * (len(columns) + 1)), "", _us(found.overhead_s)]
    cells.append([*outside, f"{found.overhead_s / found.seconds:.1%}", *([""] * 4), ""])
    typer.echo(f"\n{title}, batch {found.batch}: {headline(found)}")
    _print_table((*columns, "type", "int8", *_NUMERIC, "limited by"), cells)
    if (total := found.total) is not None:
        typer.echo(f"in all {amount(total.macs)} MACs, {amount(total.bytes, 'B')}")
    for limit in dict.fromkeys(row.limit for row in rows):
        typer.echo(f"  {limit}: {LIMITS[limit]}")
    for line in bottlenecks(found):
        typer.echo(f"- {line}")
    typer.echo(_NOTE)


def _cells(row: "Row", whole_s: float, *, named: bool) -> list[str]:
    from benchmarks.bottlenecks import amount, dtype_name

    return [
        *([row.name] if named else []),
        row.operator,
        dtype_name(row.dtype),
        "yes" if row.int8 else "no",
        str(row.nodes),
        _us(row.seconds),
        f"{row.seconds / whole_s:.1%}",
        amount(row.macs),
        amount(row.bytes, "B"),
        "–" if row.macs is None else f"{1e-9 * row.macs / row.seconds:.3g}",
        "–" if row.fraction is None else f"{row.fraction:.0%}",
        row.limit,
    ]


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:.3g}"


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMERIC else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    stdout_console().print(table)


def _record(
    model: Path | None, peaks: "Peaks", found: "Roofline | None", settings: Mapping[str, Any]
) -> dict[str, Any]:
    from benchmarks.bottlenecks import bottlenecks
    from benchmarks.files import sha256_file
    from benchmarks.fingerprint import fingerprint

    record: dict[str, Any] = {"schema": 1, "peaks": peaks.to_json(), **settings, "machine": fingerprint().to_json()}
    if model is not None and found is not None:
        record["model"] = {
            "file": str(model),
            "sha256": sha256_file(model),
            **found.to_json(),
            "remarks": list(bottlenecks(found)),
        }
    return record
