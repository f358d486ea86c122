"""What is wrong with an experiment file, told so that it can be put right: rule, value found, remedy, line.

Nothing here knows the sections of an experiment; it turns pydantic's list of errors, and where each key was
written, into sentences.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from nas.errors import NasError

Location = tuple[str | int, ...]

_LONGEST_VALUE_SHOWN = 60

# What pydantic calls an error -> the rule that was broken; the braces are filled from the error's context.
_RULES = {
    "missing": "is required",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "path_type": "must be a path",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
}


@dataclass(frozen=True)
class Source:
    """Where an experiment came from, and where each key was written (``line 14``, ``--set search.trials=x``).

    All sources compare equal: where an experiment was written does not make it another experiment.
    """

    path: str = field(default="experiment", compare=False)
    places: Mapping[Location, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)

    def place(self, location: Location) -> str | None:
        """Where ``location``, or else the nearest key above it, was written; None if nowhere in the source."""
        for depth in range(len(location), 0, -1):
            if location[:depth] in self.places:
                return self.places[location[:depth]]
        return None


@dataclass(frozen=True)
class Problem:
    """One mistake: what is wrong and what to do, and where it was written (None: nowhere, e.g. a missing key)."""

    message: str
    place: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class ExperimentError(NasError):
    """An experiment cannot be used as it is written; lists every mistake that was found."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            super().__init__(f"{path}, {self.problems[0]}" if self.problems[0].place else f"{path}: {self.problems[0]}")
        else:
            listing = "".join(f"\n  {problem}" for problem in self.problems)
            super().__init__(f"{path} has {len(self.problems)} mistakes:{listing}")


def explain(error: ValidationError, model: type[BaseModel], source: Source, prefix: Location = ()) -> ExperimentError:
    """The error to raise for pydantic's ``error`` on ``model``, whose keys stand below ``prefix`` in the source."""
    errors = error.errors(include_url=False)
    problems = [
        Problem(_sentence(details, model, prefix), source.place(prefix + details["loc"]))
        for details in errors
        if not _follows(details, errors)
    ]
    return ExperimentError(source.path, sorted(problems, key=_by_line))


def _follows(details: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Whether this follows from another mistake, which is listed: a list whose one entry is wrong is not empty."""
    if details["type"] == "too_short":
        location = details["loc"]
        return any(other["loc"][: len(location)] == location and other["loc"] != location for other in errors)
    return details["type"] == "default_factory_not_called"


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The entry of ``known`` that ``word`` was most likely meant to be, or None."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _by_line(problem: Problem) -> tuple[int, int]:
    """First what stands in the file, from its top; then overrides, then what is written nowhere."""
    kind, _, number = (problem.place or "").partition(" ")
    return (0, int(number)) if kind == "line" else (1 if problem.place else 2, 0)


def _sentence(details: ErrorDetails, model: type[BaseModel], prefix: Location) -> str:
    location = details["loc"]
    if details["type"] == "extra_forbidden":
        return _unknown_key(location, model, prefix)
    known = _known_part(location, model)
    name = _dotted(prefix + known) or "the file"
    rule = _rule(details)
    info = _field(known, model)
    if details["type"] == "missing":
        return f"{name} {rule}{_advice(info)}"
    if "found " in rule:  # a whole message of its own, from a room that knows no experiment
        return f"{name}: {rule}"
    guess = _did_you_mean(details)
    return f"{name} {rule}; found {_show(details['input'])}{guess}{_advice(info)}"


def _rule(details: ErrorDetails) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    if details["type"] == "value_error":
        return str(context["error"])
    if details["type"] == "literal_error":  # pydantic spells Python's True, the file YAML's true
        return f"must be {context['expected']}".replace("True", "true").replace("False", "false")
    template = _RULES.get(details["type"])
    return template.format(**context) if template else details["msg"]


def _unknown_key(location: Location, model: type[BaseModel], prefix: Location) -> str:
    key, parent = str(location[-1]), location[:-1]
    siblings = sorted(_fields_at(parent, model))
    guess = nearest(key, siblings)
    if guess is None:
        homes = [section for section in sorted(model.model_fields) if key in _fields_at((section,), model)]
        if homes and not parent:
            return f"there is no key {key!r} here; it belongs under {homes[0]!r}"
    hint = f"; did you mean {guess!r}?" if guess else "."
    return f"there is no key {_dotted(prefix + location)!r}{hint} The keys here are {', '.join(siblings)}"


def _did_you_mean(details: ErrorDetails) -> str:
    if details["type"] != "literal_error":
        return ""
    choices = [part.strip(" '") for part in str(details["ctx"]["expected"]).replace(" or ", ", ").split(",")]
    guess = nearest(str(details["input"]), choices)
    return f" (did you mean {guess!r}?)" if guess else ""


def _advice(info: FieldInfo | None) -> str:
    """What the key is for and what leaving it out does."""
    if info is None:
        return ""
    purpose = f". {info.description.rstrip('.')}" if info.description else ""
    if info.is_required() or info.default_factory is not None or isinstance(info.default, BaseModel):
        return purpose
    return f"{purpose}; leave the key out for {_show(info.default)}"


def _known_part(location: Location, model: type[BaseModel]) -> Location:
    """``location`` without what pydantic adds to tell the members of a union apart."""
    known: Location = ()
    for part in location:
        is_key = isinstance(part, int) or part in _fields_at(known, model)
        if not is_key:
            break
        known = (*known, part)
    return known


def _field(location: Location, model: type[BaseModel]) -> FieldInfo | None:
    names = [part for part in location if isinstance(part, str)]
    return _fields_at(tuple(names[:-1]), model).get(names[-1]) if names else None


def _fields_at(location: Location, model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """The keys that a mapping at ``location`` may have; none if it is not a section."""
    current: type[BaseModel] | None = model
    for part in location:
        info = current.model_fields.get(str(part)) if current else None
        current = _model_in(info.annotation) if info else None
    return current.model_fields if current else {}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if get_origin(annotation) in (Union, UnionType):
        return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _dotted(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _show(value: object) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, tuple):
        text = repr(list(value))
    return text if len(text) <= _LONGEST_VALUE_SHOWN else text[: _LONGEST_VALUE_SHOWN - 3] + "..."
