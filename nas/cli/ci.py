"""What a gate says to GitHub: annotations on its standard output, and a table in the job's summary."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

_LEVELS = {"warn": "warning", "fail": "error", "pass": None}  # of what is inconclusive, by --inconclusive
_BAR = 41  # characters of an interval's picture; the middle is no difference
_REACH = 2.0  # times what is to be caught, at either end of it


def annotate(rows: Sequence[Mapping[str, Any]], inconclusive: str) -> None:
    """On GitHub, print an annotation for each model that did not pass, and append the table to the job's summary.

    Args:
        rows: Of all models.
        inconclusive: What an inconclusive answer does: pass says nothing, warn warns, fail is an error.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for row in rows:
        level = {"pass": None, "inconclusive": _LEVELS[inconclusive]}.get(row["verdict"], "error")
        if level:
            text = _escape(f"{row['line']}: {row['reason']}")
            typer.echo(f"::{level} title=speed gate: {_escape(row['model'])}::{text}")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(table(rows))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown table of all models, each with a picture of its interval."""
    lines = ["### Speed gate", "", "| model | verdict | time | interval | would have caught |", "|---|---|---|---|---|"]
    for row in rows:
        if row["ratio"] is None:
            lines.append(f"| `{row['model']}` | {row['verdict']} | – | {_cell(row['reason'])} | – |")
            continue
        low, high = (100 * (end - 1) for end in row["ci95"])
        caught = row["would_have_caught"]
        lines.append(
            f"| `{row['model']}` | {row['verdict']} | {100 * (row['ratio'] - 1):+.1f} % [{low:+.1f}, {high:+.1f}] "
            f"| `{bar(low, high, 100 * row['catch'])}` | {f'+{100 * caught:.1f} %' if caught is not None else '–'} |"
        )
    return "\n".join([*lines, "", ""])


def bar(low: float, high: float, catch: float) -> str:
    """Return a picture of an interval in percent: ``=``, beside ``|`` for no difference and for the decision line."""
    reach = _REACH * catch

    def place(value: float) -> int:
        return round((min(max(value, -reach), reach) + reach) / (2 * reach) * (_BAR - 1))

    cells = ["·"] * _BAR
    for mark in (0.0, catch / 2):
        cells[place(mark)] = "|"
    for index in range(place(low), place(high) + 1):
        cells[index] = "#" if cells[index] == "|" else "="
    return "".join(cells)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _escape(text: str) -> str:
    """As GitHub wants it in a command's message."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
