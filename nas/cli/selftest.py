"""``leangen bench selftest``: the gate against models whose slowdown is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.errors import ANSWER_IS_NO, stderr_console, stdout_console
from nas.errors import NasError

if TYPE_CHECKING:
    from rich.table import Table

_TASK, _TWINS = "self-test", "twins"


def selftest(
    runs: Annotated[int, typer.Option(min=1, max=100_000, help="Gates at +5 %; three times as many at +0 %.")] = 4,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where models and results go; it goes on there.")] = Path(
        "runs/selftest"
    ),
    sizes: Annotated[str, typer.Option(help="Which models, by their time.")] = "1.5ms",
    load: Annotated[int, typer.Option(min=0, max=256, help="Processes that keep a core busy meanwhile.")] = 0,
    catch: Annotated[str, typer.Option(metavar="PERCENT", help="What the gate is to find.")] = "5%",
    budget: Annotated[str, typer.Option(metavar="SECONDS", help="Of each gate.")] = "10s",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the table.")] = False,
) -> None:
    """Count false alarms and catches of the gate on slow twins that are calibrated here; exit 1 if it failed one.

    Writes runs.jsonl and curve.json. Failing is a false alarm at +0 %, or +10 % that passes.
    """
    from benchmarks.files import write_json
    from benchmarks.fingerprint import fingerprint
    from benchmarks.selftest import cases, operating_curve, prepare, rows_of, run
    from benchmarks.twins import SIZES
    from nas.cli.gate import read_rule
    from nas.cli.progress import show_progress

    names = [name.strip() for name in sizes.split(",")]
    _check_sizes(names)
    rule, todo = read_rule(catch, budget, 1), cases(names, runs)
    with show_progress(stderr_console(), quiet=quiet) as progress:
        wanted_sizes = [size for size in SIZES if size.name in names]
        progress.start(_TWINS, len(wanted_sizes), "models")
        for number, size in enumerate(wanted_sizes, 1):
            prepare(out, size)
            progress.update(_TWINS, number, size.name)
        progress.finish(_TWINS)
        counted = len(rows_of(out, todo, load))
        progress.start(_TASK, len(todo), "gates", done=counted)

        def told(row: dict[str, Any]) -> None:
            nonlocal counted
            counted += 1
            progress.update(_TASK, counted, f"{row['size']} {row['twin']}: {row['verdict']}")

        run(out, todo, rule, load=load, on_row=told)
        progress.finish(_TASK)
    curve = operating_curve(rows_of(out, todo, load))
    facts = {"catch": rule.catch, "budget_s": rule.budget_s, "load": load, "machine": fingerprint().to_json()}
    write_json(out / f"curve-load{load}.json", {"schema": 1, **facts, "lines": curve})
    stdout_console().print(_table(curve))
    failed = [line for line in curve if _has_failed(line)]
    for line in failed:
        alarms, passes = line["regression"][0], line["pass"][0]
        typer.echo(f"failed: {line['size']} {line['twin']}: {alarms:.1%} alarms, {passes:.1%} passes of {line['runs']}")
    raise typer.Exit(ANSWER_IS_NO if failed else 0)


def _check_sizes(names: list[str]) -> None:
    from benchmarks.twins import SIZES

    known = [size.name for size in SIZES]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NasError(f"--sizes: there is no {', '.join(unknown)}; there are {', '.join(known)}")


def _has_failed(line: dict[str, Any]) -> bool:
    from benchmarks.selftest import NOTHING

    return bool((line["twin"] == NOTHING and line["regression"][0]) or (line["twin"] == "+10 %" and line["pass"][0]))


def _table(curve: list[dict[str, Any]]) -> "Table":
    from rich.table import Table

    columns = (
        "model",
        "twin",
        "load",
        "runs",
        "regression",
        "pass",
        "inconclusive",
        "naive rule",
        "median s",
        "probes",
    )
    table = Table(*columns, title="operating curve: share of runs, 95 % interval", title_justify="left")
    for line in curve:
        shares = (_share_text(line[name]) for name in ("regression", "pass", "inconclusive", "naive"))
        table.add_row(
            line["size"], line["twin"], str(line["load"]), str(line["runs"]), *shares,
            f"{line['median_seconds']:.1f}", f"{line['probe_share']:.1%}",
        )  # fmt: skip
    return table


def _share_text(share: list[float]) -> str:
    value, low, high = (100 * one for one in share)
    return f"{value:.3g} % [{low:.2g}, {high:.3g}]"
