"""``leangen bench record`` and ``leangen bench gate``: a CI job that fails on a real slowdown and not on noise."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nas.cli.errors import ANSWER_IS_NO, stderr_console
from nas.errors import NasError
from nas.progress import Progress

if TYPE_CHECKING:
    from benchmarks.bundle import Bundle
    from benchmarks.decision import Look, Rule
    from benchmarks.gate import Outcome
    from benchmarks.sides import Side

PASSED, INCONCLUSIVE, NOT_COMPARABLE, OUTPUTS_DIFFER = 0, 3, 4, 5
_SEVERITY = (NOT_COMPARABLE, OUTPUTS_DIFFER, ANSWER_IS_NO, INCONCLUSIVE, PASSED)  # of several models the first counts
_TASK = "gate"

Row = dict[str, Any]
Pythons = tuple[str | None, str | None]  # interpreters of the baseline's and the candidate's environment


def record(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model that later ones are compared with.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="The folder to make.")],
    inputs: Annotated[
        Path | None, typer.Option(help="An .npz file with an array for each input; else its metadata tells.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=65536, help="Rows of one inference.")] = 1,
    threads: Annotated[
        int, typer.Option(min=1, max=1024, help="Threads of one inference; 1 is by far the sharpest.")
    ] = 1,
    device: Annotated[str, typer.Option(help="Of onnxruntime.")] = "cpu",
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="To measure, for the numbers that are shown.")
    ] = 2.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Keep a model as a baseline: itself, its inputs, versions, machine and raw samples, each with its SHA-256."""
    from benchmarks import bundle

    options = bundle.Options(device=device, threads=threads, batch=batch)
    made = bundle.record(model, out, options, inputs=inputs, seconds=seconds)
    if not quiet:
        latency = made.baseline.latency_ms
        low, high = latency["ci95"]
        typer.echo(f"{out}: {latency['median']:.4g} ms [{low:.4g}, {high:.4g}] here, now; a gate measures it again")
        typer.echo(f"next: leangen bench gate {out} CANDIDATE.onnx")


def gate(
    pairs: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE CANDIDATE.onnx ...", help="A baseline and its candidate; or several."),
    ],
    catch: Annotated[str, typer.Option(metavar="PERCENT", help="Find slowdowns of this size.")] = "5%",
    budget: Annotated[str, typer.Option(metavar="SECONDS", help="Longest time to measure, each model.")] = "10s",
    inconclusive: Annotated[
        Literal["pass", "fail", "warn"],
        typer.Option(help="What an inconclusive answer does: exit 0, 3, or 0 and a warning."),
    ] = "warn",
    tolerance: Annotated[
        float | None, typer.Option(min=0, max=10, help="Largest difference of outputs, as a share of their range.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of turns.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result there.")] = None,
    junit_xml: Annotated[
        Path | None, typer.Option("--junit-xml", metavar="FILE", help="Write test cases there.")
    ] = None,
    baseline_python: Annotated[
        str | None, typer.Option(metavar="PYTHON", help="Interpreter of the baseline's environment, if it is another.")
    ] = None,
    candidate_python: Annotated[
        str | None, typer.Option(metavar="PYTHON", help="Interpreter of the candidate's environment, likewise.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Measure a recorded baseline and a candidate side by side; exit 1 if the candidate is slower.

    Exit codes: 0 pass (or inconclusive), 1 regression, 2 bad input, 3 inconclusive (--inconclusive fail), 4 not
    comparable, 5 outputs differ, 70 our own bug.
    """
    from benchmarks import bundle
    from benchmarks.decision import percent
    from benchmarks.sides import TOLERANCE
    from nas.cli import ci
    from nas.cli.progress import show_progress

    if len(pairs) % 2:
        raise NasError(
            "every baseline needs its candidate: leangen bench gate BUNDLE CANDIDATE.onnx [BUNDLE CANDIDATE.onnx ...]"
        )
    named = [(bundle.load(folder), candidate) for folder, candidate in zip(pairs[::2], pairs[1::2], strict=True)]
    rule = read_rule(catch, budget, len(named))
    allowed = TOLERANCE if tolerance is None else tolerance
    pythons = baseline_python, candidate_python
    with show_progress(stderr_console(), quiet=quiet) as progress:
        rows = _gate_all(named, rule, seed, allowed, pythons, progress)
    codes = [_code(row["verdict"], inconclusive) for row in rows]
    result = _result(rows, codes, rule)
    typer.echo(f"finds slowdowns of {percent(2 * rule.line)}; the decision line lies at {percent(rule.line)}")
    for row in rows:
        typer.echo(f"{row['model']}: {row['line']}")
        if row["verdict"] != "pass":
            typer.echo(f"  {row['reason']}")
        for note in row["notes"]:
            typer.echo(f"  {note}")
    _write(result, rows, json_file, junit_xml, inconclusive == "fail")
    ci.annotate(rows, inconclusive)
    raise typer.Exit(result["exit_code"])


def read_rule(catch: str, budget: str, models: int) -> "Rule":
    """Return the rule for each of several models: ``5%`` and ``10s``; the error is shared between them.

    Raises:
        NasError: not a percentage, not seconds.
    """
    from benchmarks.decision import Rule

    return Rule(_number(catch, "%", "--catch 5%") / 100, _number(budget, "s", "--budget 10s"), alpha=0.05 / models)


def _number(text: str, unit: str, example: str) -> float:
    found = re.fullmatch(rf"\s*(\d+(?:\.\d+)?)\s*{unit}?\s*", text)
    if not found:
        raise NasError(f"{text!r} is not a number with the unit {unit}: write {example}")
    return float(found[1])


def _gate_all(
    named: "Sequence[tuple[Bundle, Path]]", rule: "Rule", seed: int, tolerance: float, pythons: Pythons,
    progress: Progress,
) -> list[Row]:  # fmt: skip
    """Return a row for each model, also where it is not comparable or computes something else."""
    from benchmarks.gate import gate as measure
    from benchmarks.gate import step_down
    from benchmarks.records import BackendMissing
    from benchmarks.sides import NotComparable, OutputsDiffer

    outcomes: dict[int, Outcome] = {}
    rows: dict[int, Row] = {}
    sides = [_sides(baseline, candidate, pythons) for baseline, candidate in named]
    for index, (pair, (_, candidate)) in enumerate(zip(sides, named, strict=True)):
        task = f"{_TASK} {candidate.name}"
        progress.start(task, rule.budget_s, "s")

        def told(look: "Look", task: str = task) -> None:
            progress.update(task, round(look.seconds, 1))

        try:
            outcomes[index] = measure(*pair, rule, seed=seed, tolerance=tolerance, on_look=told)
        except (NotComparable, BackendMissing) as error:
            rows[index] = _unmeasured("not comparable", str(error))
        except OutputsDiffer as error:
            rows[index] = _unmeasured("outputs differ", str(error))
        progress.finish(task)
    alpha = rule.alpha * len(named)
    stepped = step_down(list(outcomes.values()), [sides[index] for index in outcomes], alpha, seed)
    for index, outcome in zip(outcomes, stepped, strict=True):
        notes = [*outcome.notes, *_notes(named[index][0], pythons)]
        rows[index] = {**outcome.to_json(), "line": outcome.line(), "notes": notes}
    return [{**_facts(*pair), **rows[index]} for index, pair in enumerate(named)]


def _facts(baseline: "Bundle", candidate: Path) -> Row:
    """What a row says whatever came out."""
    from benchmarks.fingerprint import fingerprint

    return {
        "model": str(candidate),
        "baseline": str(baseline.folder),
        "fingerprints": {"recorded": baseline.baseline.machine, "here": fingerprint().to_json()},
        "recorded_latency_ms": baseline.baseline.latency_ms,
    }


def _sides(baseline: "Bundle", candidate: Path, pythons: Pythons) -> "tuple[Side, Side]":
    """Both sides, each with the interpreter of its environment: both or none have one of their own."""
    import sys
    from dataclasses import replace

    first, second = pythons if pythons == (None, None) else (one or sys.executable for one in pythons)
    side = replace(baseline.side, python=first)
    return side, replace(side, model=candidate, python=second)


def _notes(baseline: "Bundle", pythons: Pythons) -> list[str]:
    """What a reader of the verdict should know of the recorded runtime."""
    from importlib import metadata

    recorded, here = baseline.baseline.versions.get("onnxruntime"), metadata.version("onnxruntime")
    if recorded == here or pythons[0]:
        return []
    return [
        f"recorded with onnxruntime {recorded}; here both models run in {here}, so a slower runtime does not show. To "
        "compare the versions, name the old one's interpreter with --baseline-python"
    ]


def _unmeasured(verdict: str, reason: str) -> Row:
    nothing = dict.fromkeys(("kind", "ratio", "ci95", "would_have_caught", "confirmation"))
    return {"verdict": verdict, "reason": reason, "line": verdict, "seconds": 0.0, "looks": [], "notes": [], **nothing}


def _code(verdict: str, inconclusive: str) -> int:
    if verdict == "inconclusive":
        return INCONCLUSIVE if inconclusive == "fail" else PASSED
    return {"pass": PASSED, "regression": ANSWER_IS_NO, "not comparable": NOT_COMPARABLE}.get(verdict, OUTPUTS_DIFFER)


def _result(rows: Sequence[Row], codes: Sequence[int], rule: "Rule") -> Row:
    """The whole answer: that of the worst model, and all of them."""
    code = next(one for one in _SEVERITY if one in codes)
    order = ("outputs differ", "not comparable", "regression", "inconclusive", "pass")
    worst = min(
        zip(rows, codes, strict=True), key=lambda pair: (_SEVERITY.index(pair[1]), order.index(pair[0]["verdict"]))
    )[0]
    return {"schema": 1, "exit_code": code, **worst, "alpha": rule.alpha, "models": list(rows)}


def _write(
    result: Row, rows: Sequence[Row], json_file: Path | None, junit_xml: Path | None, inconclusive_fails: bool
) -> None:
    from benchmarks.files import write_json, write_text
    from reports.junit import junit

    if json_file:
        write_json(json_file, result)
    if junit_xml:
        write_text(junit_xml, junit(rows, inconclusive_fails=inconclusive_fails))
