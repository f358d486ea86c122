"""What `leangen spaces show` prints: a space as a page that a person can read, wide or narrow."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from search_spaces.space import Choice, Condition, Scalar, SearchSpace

WIDE = 110  # columns from which each kind of information has its own


def print_space(space: "SearchSpace", console: "Console") -> None:
    """Print name, count, knobs, named genotypes and an example of ``space``."""
    console.print(f"{space.name}: {space.description}", style="bold", markup=False, highlight=False)
    console.print(f"{space.count():,} genotypes, {len(space.knobs)} knobs\n", highlight=False)
    console.print(_knob_table(space, wide=console.width >= WIDE))
    example = space.sample(np.random.default_rng(0))
    for title, genotype in (*space.named.items(), (f"an example (leangen spaces sample {space.name})", example)):
        console.print(f"\n{title}", style="bold", markup=False, highlight=False)
        _print_wrapped(genotype, console)


def activity(space: "SearchSpace", choice: "Choice") -> str:
    """When ``choice`` is active, in words: "start is 4, or start is 8 and last is not shuffle4"; "always"."""
    shared = _shared(choice.conditions) if len(choice.conditions) > 1 else {}
    alternatives = [
        _words(space, {knob: allowed for knob, allowed in condition.items() if knob not in shared})
        for condition in choice.conditions
    ]
    if shared:
        return f"{_words(space, shared)}, and one of: {'; '.join(alternatives)}"
    return ", or ".join(alternatives) if all(alternatives) else "always"


def _shared(conditions: "Sequence[Condition]") -> "Condition":
    """What every one of ``conditions`` asks for."""
    first, *others = conditions
    return {knob: allowed for knob, allowed in first.items() if all(other.get(knob) == allowed for other in others)}


def _words(space: "SearchSpace", condition: "Condition") -> str:
    return " and ".join(_one_of(knob, allowed, space.knobs[knob].values) for knob, allowed in condition.items())


def _one_of(knob: str, allowed: "Sequence[Scalar]", values: "Sequence[Scalar]") -> str:
    """``blocks is not 0`` where all values but one of at least three are allowed; else ``start is 4 or 8``."""
    forbidden = [value for value in values if value not in allowed]
    if len(forbidden) == 1 and len(allowed) > 1:
        return f"{knob} is not {_text(forbidden[0])}"
    *others, last = map(_text, allowed)
    return f"{knob} is {', '.join(others)} or {last}" if others else f"{knob} is {last}"


def _knob_table(space: "SearchSpace", *, wide: bool) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_lines=False, pad_edge=False, expand=False)
    table.add_column("knob", no_wrap=True, style="bold")
    table.add_column("values", max_width=30 if wide else 22)
    if wide:
        table.add_column("unit")
        table.add_column("active if", max_width=34)
        table.add_column("why", overflow="fold")
    else:
        table.add_column("when it is active, and why it is there", overflow="fold")
    for index, (knob, choice) in enumerate(space.knobs.items()):
        when, why = activity(space, choice), "; ".join(filter(None, (choice.why, _odds(choice))))
        values = ", ".join(map(_text, choice.values))
        if wide:
            table.add_row(knob, values, choice.unit, when, why)
        else:
            active = "always" if when == "always" else f"if {when}"
            table.add_row(knob, f"{values} {choice.unit}".strip(), f"{active}\n{why}")
        if index < len(space.knobs) - 1:
            table.add_row()
    return table


def _odds(choice: "Choice") -> str:
    """How often each value is drawn, if not all equally often."""
    if not choice.odds:
        return ""
    return f"a random draw takes them at {' : '.join(map(str, choice.odds))}"


def _print_wrapped(genotype: "Mapping[str, Any]", console: "Console") -> None:
    """``knob=value`` for every knob, with no line broken inside one."""
    line = " "
    for knob, value in genotype.items():
        part = f" {knob}={_text(value)}"
        if len(line) + len(part) > console.width:
            console.print(line, markup=False, highlight=False)
            line = " "
        line += part
    console.print(line, markup=False, highlight=False)


def _text(value: "Scalar") -> str:
    """As in JSON, without quotes."""
    return value if isinstance(value, str) else json.dumps(value)
