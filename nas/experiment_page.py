"""The tables of ``docs/experiment.md``: every key of the experiment file, made from the models that check it.

``python -m nas.experiment_page docs/experiment.md`` writes them between the markers of that page.
"""

import importlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from benchmarks.files import write_text
from compress.quality import METRICS, Budget
from nas.cli.space_page import activity
from nas.experiment import Experiment
from nas.families import families
from nas.marked import fill
from nas.quality.judge import SEARCHED
from search_spaces import spaces
from search_spaces.choices import Choice, Scalar
from search_spaces.space import SearchSpace

Rule = Mapping[str, Any]  # a JSON Schema

_PLAIN = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
_HOMES = {"family": "families", "space": "spaces"}  # sections that are names -> where the page lists these
_COMPUTED = {"name": "the file's stem", "data.size": "the pictures'", "data.channels": "the pictures'"}
_EXAMPLES = ("fid<=+10%", "fid<=+2", "fid<=+10%|+2", "fid<=30", "kid<=+5%", "accuracy>=-2pt", "recall>=0.6")
_REFERENCES = {"fid": (5.0, 40.0), "kid": (0.02,), "accuracy": (0.97,), "recall": (0.7,)}


def update_page(page: str) -> str:
    """Return the page with the tables of today's models.

    Raises:
        NasError: a marker is missing.
    """
    parts = {"budgets": _budgets(), "keys": _keys(), "families": _families(), "spaces": _spaces()}
    for part, lines in parts.items():
        page = fill(page, part, "\n".join(lines))
    return page


def _keys() -> Iterable[str]:
    """Yield one table for the file's top, then one for each of its sections and what is inside them."""
    schema = Experiment.model_json_schema()
    yield from ("### The top of the file", "", *_table(schema))
    for key, rule in schema["properties"].items():
        if "$ref" in rule and key not in _HOMES:
            yield from _section(key, schema["$defs"], rule["$ref"])


def _section(key: str, records: Mapping[str, Rule], reference: str) -> Iterable[str]:
    record = records[_last(reference)]
    yield from (f"### {key}", "", _prose(record["description"]), "", *_table(record, key))
    for inner, rule in record["properties"].items():
        below = [choice["$ref"] for choice in rule.get("anyOf", ()) if "$ref" in choice]
        for found in below:
            yield from _section(f"{key}.{inner}", records, found)


def _table(record: Rule, section: str = "") -> Iterable[str]:
    required = record.get("required", ())
    rows = [
        (f"`{key}`", _type_text(rule, path), _default_text(path, rule, key in required), rule["description"])
        for key, rule in record["properties"].items()
        for path in [f"{section}.{key}".strip(".")]
    ]
    return _markdown(("key", "type", "default", "meaning"), rows)


def _type_text(rule: Rule, path: str) -> str:
    """Return a JSON Schema rule in words: ``whole number, 1 to 1024``; sections as links to their table."""
    if "$ref" in rule:
        return f"a name, or [name and settings](#{_HOMES[path]})" if path in _HOMES else _link(path)
    if "anyOf" in rule:
        return " or ".join(_type_text(choice, path) for choice in rule["anyOf"])
    if "const" in rule or "enum" in rule:
        return " or ".join(f"`{_flow(value)}`" for value in rule.get("enum", [rule.get("const")]))
    if rule["type"] == "array":
        return f"list, each: {_type_text(rule['items'], path)}"
    if rule["type"] == "object":
        return "mapping"
    if rule.get("format") == "path":
        return "path"
    return ", ".join(filter(None, (_PLAIN[rule["type"]], _range_text(rule))))


def _link(path: str) -> str:
    return f"[section](#{path.replace('.', '')})"


def _range_text(rule: Rule) -> str:
    """Return ``1 to 1024``, ``above 0 and below 1``, ``at least 50``; empty where there are no limits."""
    low, high = rule.get("minimum"), rule.get("maximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    words = {"at least": low, "above": rule.get("exclusiveMinimum"), "at most": high}
    words["below"] = rule.get("exclusiveMaximum")
    return " and ".join(f"{word} {limit:,}" for word, limit in words.items() if limit is not None)


def _default_text(path: str, rule: Rule, required: bool) -> str:
    if required:
        return "required"
    if path in _COMPUTED:
        return _COMPUTED[path]
    if path in _HOMES:
        return f"`{rule['default']['name']}`"
    if "default" not in rule or "$ref" in rule:
        return "`{}`" if rule.get("type") == "object" else "its own"
    return f"`{_flow(rule['default'])}`"


def _flow(value: Any) -> str:
    """Return ``value`` as it is written in YAML, on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _families() -> Iterable[str]:
    """Yield one table for all families that take the same settings."""
    alike: dict[str, list[str]] = {}
    for name in families():
        schema = _options(name).model_json_schema()
        alike.setdefault(json.dumps(schema["properties"], sort_keys=False), []).append(name)
        yield f"- `{name}`: {_about(name)}"
    for properties, names in alike.items():
        yield from ("", f"### {' and '.join(f'`{name}`' for name in names)}", "")
        yield from _table({"properties": json.loads(properties)})


def _options(name: str) -> type[BaseModel]:
    found: type[BaseModel] = importlib.import_module(f"nas.families.{name}").Options
    return found


def _about(name: str) -> str:
    """Return what a family is, from the first line of its module: ``The family ``gan``: unconditional ...``."""
    first = str(importlib.import_module(f"nas.families.{name}").__doc__).partition("\n")[0]
    return _prose(first.partition(": ")[2])


def _spaces() -> Iterable[str]:
    """Yield a table for each space, the smallest first; a knob that one before has just so is only named."""
    shown: dict[str, SearchSpace] = {}
    for name, space in sorted(spaces().items(), key=lambda item: len(item[1].knobs)):
        yield from (f"### `{name}`", "", f"{space.description}. {space.count():,} genotypes.", "")
        rest = dict(space.knobs)
        for earlier, other in shown.items():
            same = [knob for knob, choice in rest.items() if other.knobs.get(knob) == choice]
            if same:
                yield from (f"As in `{earlier}`: {', '.join(f'`{knob}`' for knob in same)}.", "")
            rest = {knob: choice for knob, choice in rest.items() if knob not in same}
        rows = [_knob_row(space, knob, choice) for knob, choice in rest.items()]
        yield from _markdown(("knob", "values", "drawn", "active if", "why"), rows)
        shown[name] = space


def _knob_row(space: SearchSpace, knob: str, choice: Choice) -> tuple[str, ...]:
    values = ", ".join(_scalar(value) for value in choice.values)
    drawn = " : ".join(map(str, choice.odds)) or "evenly"
    return f"`{knob}`", f"{values} {choice.unit}".strip(), drawn, activity(space, choice), choice.why


def _scalar(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _budgets() -> Iterable[str]:
    """Yield the metrics that a budget may name, and what some budgets allow."""
    metrics = [
        (f"`{name}`", metric.direction, f"{metric.point:g}" if metric.point else "–", "yes" if name in SEARCHED else "")
        for name, metric in METRICS.items()
    ]
    yield from _markdown(("metric", "better", "one `pt`", "may come first"), metrics)
    rows = [
        (f"`{budget.text}`", f"{reference:g}", f"{budget.allowed(reference):g}")
        for budget in map(Budget.parse, _EXAMPLES)
        for reference in _REFERENCES[budget.metric.name]
    ]
    yield from _markdown(("budget", "with a reference at", "allows"), rows)


def _markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"  # a bare pipe ends a cell
    yield ""


def _prose(docstring: str) -> str:
    return docstring.replace("``", "`")


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


if __name__ == "__main__":
    PAGE = Path(sys.argv[1])
    write_text(PAGE, update_page(PAGE.read_text(encoding="utf-8")))
