"""The field tables of ``docs/summary.md``, made from the models.

``python -m reports.schema docs/summary.md`` writes them between the two markers of that page.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reports.summary import Summary, SummaryError

BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"
_PLAIN = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def schema_markdown() -> str:
    """One Markdown table (field, type, meaning) for each record of the summary, the summary first."""
    schema = Summary.model_json_schema(by_alias=True)
    records = {"Summary": schema, **{name: schema["$defs"][name] for name in _in_order(schema)}}
    return "\n".join(_section(name, record) for name, record in records.items())


def update_page(text: str) -> str:
    """``text`` with what stands between the markers replaced by the tables of today's models.

    Raises:
        SummaryError: the markers are not there, once each and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SummaryError(f"the page needs the lines {BEGIN} and {END}, one was not found; put them back")
    return f"{before}{BEGIN}\n{schema_markdown()}{END}{after}"


def _in_order(schema: Mapping[str, Any]) -> list[str]:
    """Names of the records in the order in which a reader of the summary meets them."""
    names: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, Mapping):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name != "JsonValue" and name not in names:
                names.append(name)
                visit(schema["$defs"][name].get("properties", {}))
            for key, value in node.items():
                if key != "$defs":
                    visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit(schema["properties"])
    return names


def _section(name: str, record: Mapping[str, Any]) -> str:
    required = record.get("required", [])
    rows = [
        f"| `{field}` | {_type_text(rule)}{', required' if field in required else ''} | {_cell(rule)} |"
        for field, rule in record["properties"].items()
    ]
    return "\n".join(
        [f"### {name}", "", record["description"], "", "| field | type | meaning |", "|---|---|---|", *rows, "", ""]
    )


def _cell(rule: Mapping[str, Any]) -> str:
    return str(rule["description"]).replace("|", "\\|")  # a table cell ends at a bare pipe, in backticks too


def _type_text(rule: Mapping[str, Any]) -> str:
    """A JSON Schema rule in words: ``list of [Score](#score)``, ``number or null``."""
    if "$ref" in rule:
        name = rule["$ref"].rpartition("/")[2]
        return "any JSON" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if "anyOf" in rule:
        return " or ".join(_type_text(choice) for choice in rule["anyOf"])
    if "const" in rule:
        return f"`{rule['const']}`"
    if "enum" in rule:
        return " or ".join(f"`{value}`" for value in rule["enum"])
    if "prefixItems" in rule:
        return "[" + ", ".join(_type_text(item) for item in rule["prefixItems"]) + "]"
    if rule.get("type") == "array":
        return f"list of {_type_text(rule['items'])}"
    if rule.get("type") == "object":
        values = next(iter(rule.get("patternProperties", {}).values()), rule.get("additionalProperties", {}))
        return f"map to {_type_text(values)}"
    return _PLAIN[rule["type"]] if "type" in rule else "any JSON"


def _write(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(temporary, path.stat().st_mode)
    os.replace(temporary, path)


if __name__ == "__main__":
    PAGE = Path(sys.argv[1])
    _write(PAGE, update_page(PAGE.read_text(encoding="utf-8")))
