"""An experiment's YAML text as plain values, with the place where each key was written.

Everything here is hostile until checked: size, aliases (which can unfold into gigabytes), depth, tags, double keys.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nas.experiment_errors import ExperimentError, Location, Problem, Source

MAX_BYTES = 1 << 20  # 1 MiB; a long hand-written experiment has a few KiB

_MAX_DEPTH = 20

# Sections that may be written as a bare name: `family: gan` is short for `family: {name: gan}`.
SHORTHANDS = ("data", "family", "space")


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 2e-4 is a number: YAML 1.1, which PyYAML reads, wants a dot and a sign (2.0e-4)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Parsed:
    """Plain values (dict, list, str, int, float, bool, None, date) and the node tree with its line marks."""

    value: Any
    node: yaml.Node | None


def read_experiment(path: Path, overrides: Sequence[str], defaults: Mapping[str, Any]) -> tuple[dict[str, Any], Source]:
    """The values of the file at ``path`` over ``defaults``, with ``overrides`` (``search.trials=60``) put in.

    Also where each was written.

    Raises:
        ExperimentError: the file is missing, too big, no YAML, no mapping, has a key twice or an alias; or an
            override is not ``KEY=VALUE`` or goes through a value that has no keys.
    """
    parsed = parse_yaml(_read_text(path), str(path))
    if not isinstance(parsed.value, dict):
        found = "nothing" if parsed.value is None else type(parsed.value).__name__
        message = f"an experiment is a mapping of keys to values; found {found}. See examples/mnist.yaml"
        raise ExperimentError(str(path), [Problem(message)])
    places = dict(_places(parsed.node, ())) if parsed.node else {}
    values = {**defaults, **parsed.value}
    for override in overrides:
        location, value = parse_override(override)
        values = _replace(values, location, value, override)
        places[location] = f"--set {override}"
    return values, Source(path=str(path), places=places)


def parse_yaml(text: str, origin: str) -> Parsed:
    """``text`` as plain values; raises ExperimentError with line and column where it is not YAML we accept."""
    try:
        _refuse_bombs(text, origin)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Parsed(None, None)
            _refuse_bad_keys(node, origin)
            return Parsed(loader.construct_document(node), node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else None
        reason = " ".join(part for part in (error.context, error.problem) if part)
        message = f"this is not YAML: {reason}. Check the indentation, colons and quotes just before it"
        raise ExperimentError(origin, [Problem(message, place)]) from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ExperimentError):
            raise
        raise ExperimentError(origin, [Problem(f"a value cannot be read: {error}. Put it in quotes")]) from error


def parse_override(text: str) -> tuple[Location, Any]:
    """``search.trials=60`` as (("search", "trials"), 60); the value is YAML."""
    key, equals, value = text.partition("=")
    location = tuple(part.strip() for part in key.split("."))
    if not equals or not all(location):
        raise ExperimentError(
            f"--set {text}", [Problem("an override is KEY=VALUE with dots in KEY, for example search.trials=60")]
        )
    return location, parse_yaml(value, f"--set {text}").value


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ExperimentError(str(path), [Problem("there is no such file; start from examples/mnist.yaml")]) from None
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}. Give the path of an experiment's YAML file"
        raise ExperimentError(str(path), [Problem(message)]) from error
    if len(data) > MAX_BYTES:
        message = f"an experiment file has at most {MAX_BYTES} bytes, and this has more. Is it the right file?"
        raise ExperimentError(str(path), [Problem(message)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"an experiment file is UTF-8 text; byte {error.start} is not. Save it as UTF-8"
        raise ExperimentError(str(path), [Problem(message)]) from error


def _refuse_bombs(text: str, origin: str) -> None:
    """Stop at aliases, which unfold, and at depth, which costs the parser time by its square."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        place = f"line {event.start_mark.line + 1}" if event.start_mark else None
        if isinstance(event, yaml.AliasEvent):
            message = f"aliases are not allowed; found '*{event.anchor}'. Write the value out"
            raise ExperimentError(origin, [Problem(message, place)])
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            message = (
                f"values are nested at most {_MAX_DEPTH} deep, and these are deeper. An experiment needs three levels"
            )
            raise ExperimentError(origin, [Problem(message, place)])


def _refuse_bad_keys(node: yaml.Node, origin: str) -> None:
    problems = []
    for mapping in _mappings(node):
        first: dict[str, int] = {}
        for key, _ in mapping.value:
            line = key.start_mark.line + 1
            if key.tag != "tag:yaml.org,2002:str":
                shown = f"; found {key.value!r}. Put it in quotes" if isinstance(key.value, str) else ""
                problems.append(Problem(f"a key must be text{shown}", f"line {line}"))
            elif key.value in first:
                message = f"the key {key.value!r} was given before, in line {first[key.value]}. Keep one of them"
                problems.append(Problem(message, f"line {line}"))
            else:
                first[key.value] = line
    if problems:
        raise ExperimentError(origin, problems)


def _mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
        for _, value in node.value:
            yield from _mappings(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _mappings(value)


def _places(node: yaml.Node, location: Location) -> Iterator[tuple[Location, str]]:
    """Every key's and entry's location with the line where it begins (keys count, not their values)."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*location, str(key.value))
            yield below, f"line {key.start_mark.line + 1}"
            yield from _places(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*location, index), f"line {value.start_mark.line + 1}"
            yield from _places(value, (*location, index))


def _replace(values: dict[str, Any], location: Location, value: Any, override: str) -> dict[str, Any]:
    """``values`` with ``value`` at ``location``; mappings on the way are made where there are none."""
    key, rest = str(location[0]), location[1:]
    if not rest:
        return {**values, key: value}
    inner = values.get(key)
    if inner is None:
        inner = {}
    elif isinstance(inner, str) and key in SHORTHANDS:
        inner = {"name": inner}
    if not isinstance(inner, dict):
        message = f"{key!r} has no keys below it: its value is {inner!r}. Override {key!r} itself"
        raise ExperimentError(f"--set {override}", [Problem(message)])
    return {**values, key: _replace(inner, rest, value, override)}
