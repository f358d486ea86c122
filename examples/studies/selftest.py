"""Put what the long self-test of the speed gate found into the page on it, and draw it.

python -m examples.studies.selftest docs/speed-gate.md

Reads the ``curve-load*.json`` files that ``leangen bench selftest`` wrote from the folder ``selftest`` beside the page,
and writes ``selftest.svg`` beside it.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.files import write_text
from benchmarks.selftest import NOTHING
from benchmarks.twins import SIZES
from examples.studies.selftest_curves import Curve, Line, Share, read_curves
from examples.studies.selftest_plot import draw
from nas.marked import fill

PART = "selftest"
LOADS = (0, 2)  # at which the goals have to be reached
SURE = (NOTHING, "+5 %")
NO_RESULT = (
    "No result of the long form is in this repository yet, so nothing is claimed here. The table will have a line for "
    "each model, twin and load, with exact binomial intervals, and the naive rule."
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What the gate must reach for every model and load.

    Args:
        what: In words.
        limit: In words.
        twins: Whose lines it is about.
        runs: Fewer gates show nothing.
        value: Of a line; larger is worse.
        most: What it may be.
    """

    what: str
    limit: str
    twins: tuple[str, ...]
    runs: int
    value: Callable[[Line], float]
    most: float


GOALS = (
    Goal("false alarms at +0 %", "≤ 1 % (upper end)", (NOTHING,), 300, lambda line: line.regression[2], 0.01),
    Goal("missed at +5 %", "≤ 5 %", ("+5 %",), 100, lambda line: 1 - line.regression[0], 0.05),
    Goal("missed at +10 %", "0", ("+10 %",), 50, lambda line: 1 - line.regression[0], 0.0),
    Goal("inconclusive at +0 % and +5 %", "≤ 5 %", SURE, 100, lambda line: line.inconclusive[0], 0.05),
    Goal("median time to verdict at +0 % and +5 %", "≤ 3 s", SURE, 100, lambda line: line.median_seconds, 3.0),
    Goal("cost of the probes", "≤ 2 %", (NOTHING,), 1, lambda line: line.probe_share, 0.02),
)


def update_page(page: str, curves: Sequence[Curve], picture: str) -> str:
    """Return the page with what ``curves`` say; ``picture`` is the path of theirs, from the page.

    Raises:
        NasError: the page has no place for it.
    """
    if not curves:
        return fill(page, PART, NO_RESULT)
    alt = "Share of gates that call each twin a regression, by model and load"
    parts = [f"![{alt}]({picture})", *(part for curve in curves for part in _curve(curve)), *_goals(curves)]
    return fill(page, PART, "\n\n".join(parts))


def _curve(curve: Curve) -> Iterable[str]:
    machine = curve.machine
    facts = f"{machine.cpu}, {machine.cores} cores, onnxruntime {machine.onnxruntime}"
    beside = f"Beside {curve.load} busy processes" if curve.load else "Without a load of ours"
    yield f"**{beside}** ({facts}; `--catch {100 * curve.catch:g}%`, `--budget {curve.budget_s:g}s`):"
    columns = ("model", "twin", "gates", "regression", "pass", "inconclusive", "naive rule", "median time", "preempted")
    yield _table(columns, map(_row, curve.lines))


def _row(line: Line) -> list[str]:
    shares = [share_text(share) for share in (line.regression, line.passed, line.inconclusive, line.naive)]
    return [line.size, _twin(line), str(line.runs), *shares, f"{line.median_seconds:.1f} s", f"{line.preempted:.0%}"]


def _twin(line: Line) -> str:
    """``+5 % (measured: +4.9 % [4.8, 5.0])``."""
    if line.verified is None:
        return line.twin
    value, low, high = (f"{100 * (one - 1):.1f}" for one in line.verified)
    return f"{line.twin} (measured: +{value} % [{low}, {high}])"


def share_text(share: Share) -> str:
    """``95 % [88.8, 98.4]``."""
    value, low, high = (f"{100 * one:.3g}" for one in share)
    return f"{value} % [{low}, {high}]"


def _goals(curves: Sequence[Curve]) -> Iterable[str]:
    lines = {(line.load, line.size, line.twin): line for curve in curves for line in curve.lines}
    yield "Against what was promised before it was measured, of the worst model and load:"
    yield _table(("what", "promised", "found", "reached"), (_goal(goal, lines) for goal in GOALS))


def _goal(goal: Goal, lines: dict[tuple[int, str, str], Line]) -> list[str]:
    keys = [(load, size.name, twin) for load in LOADS for size in SIZES for twin in goal.twins]
    there = [lines[key] for key in keys if key in lines]
    if not there:
        return [goal.what, goal.limit, "–", "not measured"]
    worst = max(there, key=goal.value)
    value = round(goal.value(worst), 9)  # 1 - 0.95 is above 0.05
    text = f"{value:.1f} s" if goal.limit.endswith(" s") else f"{100 * value:.2g} %"
    found = f"{text} ({worst.size}, {worst.twin}, load {worst.load}, {worst.runs} gates)"
    return [goal.what, goal.limit, found, _reached(goal, value, there, len(keys))]


def _reached(goal: Goal, value: float, there: Sequence[Line], wanted: int) -> str:
    """Whether ``value``, the worst of ``there``, is what ``goal`` asks for: of all lines, each of enough gates."""
    fewest = min(line.runs for line in there)
    if fewest < goal.runs:
        return f"too few gates: {fewest} of {goal.runs}"
    if value > goal.most:
        return "**no**"
    if len(there) < wanted:
        return f"so far: {len(there)} of {wanted} lines were measured"
    return "yes"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def main(page: Path) -> None:
    """Write the page, and the picture if there is something to draw."""
    curves = read_curves(page.parent / PART)
    picture = page.with_name(f"{PART}.svg")
    text = update_page(page.read_text(encoding="utf-8"), curves, picture.name)
    if curves:
        write_text(picture, draw([line for curve in curves for line in curve.lines]))
    write_text(page, text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
