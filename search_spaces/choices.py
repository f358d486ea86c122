"""One knob of a space: its values, the conditions under which it is active, and how often each value is drawn."""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Scalar: TypeAlias = int | float | str | bool
Genotype: TypeAlias = Mapping[str, Scalar]
"""One setting of every active knob; plain JSON."""

Condition: TypeAlias = Mapping[str, tuple[Scalar, ...]]
"""Knob -> the values it may have; holds if every named knob is active and has one of its values."""


class SearchSpaceError(ValueError):
    """A space, a genotype or a channel selection breaks a rule; the message says which, and what to do."""


@dataclass(frozen=True)
class Choice:
    """What one knob may be set to, and when the knob exists at all.

    Args:
        values: Distinct JSON scalars (finite numbers, strings, booleans), at least one.
        unit: Plural noun, or empty.
        why: One line for whoever chooses what to search.
        when: The knob is active if this condition holds: knob -> values, all of which must hold. A tuple of such
            conditions means "any of them"; the empty mapping means always.
        odds: How often ``SearchSpace.sample`` draws each value, relative to the others; empty: all equally often.

    Raises:
        SearchSpaceError: a value is no scalar or stands twice, a condition allows nothing, or the odds are not one
            positive integer per value.
    """

    values: tuple[Scalar, ...]
    unit: str = ""
    why: str = ""
    when: Condition | tuple[Condition, ...] = field(default_factory=dict)
    odds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_values("a choice", self.values)
        if isinstance(self.when, tuple) and not self.when:
            raise SearchSpaceError("`when` must hold at least one condition, found (); leave it out for 'always'")
        for condition in self.conditions:
            for knob, allowed in condition.items():
                _check_values(f"the condition on {knob!r}", allowed)
        whole = all(isinstance(odd, int) and not isinstance(odd, bool) and odd > 0 for odd in self.odds)
        if self.odds and not (whole and len(self.odds) == len(self.values)):
            raise SearchSpaceError(
                f"odds are one positive integer for each of {list(self.values)}, found {reprlib.repr(self.odds)}; "
                "correct them"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of which one must hold; ``({},)`` for a knob that is always active."""
        return self.when if isinstance(self.when, tuple) else (self.when,)

    def holds(self, settings: Genotype) -> bool:
        """Whether this knob is active beside ``settings``, which must hold active knobs only."""
        return any(
            all(
                knob in settings and index_of(settings[knob], allowed) is not None
                for knob, allowed in condition.items()
            )
            for condition in self.conditions
        )

    def shares(self) -> tuple[float, ...]:
        """The probability with which ``SearchSpace.sample`` draws each value where the knob is free; sums to 1."""
        odds = self.odds or (1,) * len(self.values)
        return tuple(odd / sum(odds) for odd in odds)

    def to_json(self) -> dict[str, Any]:
        """``values, unit, why, odds`` and ``when``, a list of conditions (empty: always active)."""
        when = [{knob: list(allowed) for knob, allowed in condition.items()} for condition in self.conditions]
        return {
            "values": list(self.values),
            "unit": self.unit,
            "why": self.why,
            "odds": list(self.odds),
            "when": [condition for condition in when if condition],
        }


def index_of(value: object, values: Sequence[Scalar]) -> int | None:
    """Where ``value`` stands in ``values``; 1 and 1.0 are equal, 1 and True are not."""
    for index, candidate in enumerate(values):
        if isinstance(candidate, bool) == isinstance(value, bool) and candidate == value:
            return index
    return None


def match_value(rule: str, value: object, values: tuple[Scalar, ...]) -> Scalar:
    """The value among ``values`` that equals ``value``, as it is declared.

    Raises:
        SearchSpaceError: there is none; the message opens with ``rule``.
    """
    index = index_of(value, values)
    if index is None:
        raise SearchSpaceError(
            f"{rule} must be one of {list(values)}, found {reprlib.repr(value)}; choose one{nearest(value, values)}"
        )
    return values[index]


def nearest(found: object, options: Sequence[Scalar]) -> str:
    """``"; did you mean …?"``: nearest in size among numbers, in spelling otherwise; empty if nothing is near."""
    numbers = [o for o in options if isinstance(o, int | float) and not isinstance(o, bool)]
    if isinstance(found, int | float) and not isinstance(found, bool):
        near = min(numbers, key=lambda number: abs(number - found)) if numbers and -1e300 < found < 1e300 else None
        return "" if near is None else f"; did you mean {near!r}?"
    spelled = {str(option): option for option in options}
    close = difflib.get_close_matches(str(found)[:64], list(spelled), n=1)
    return f"; did you mean {spelled[close[0]]!r}?" if close else ""


def _check_values(what: str, values: object) -> None:
    if not isinstance(values, tuple) or not values:
        raise SearchSpaceError(f"{what} needs a tuple of at least one value, found {reprlib.repr(values)}; list them")
    for index, value in enumerate(values):
        if not isinstance(value, int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
            raise SearchSpaceError(f"{what} holds finite numbers, strings or booleans, found {value!r}; replace it")
        if index_of(value, values[:index]) is not None:
            raise SearchSpaceError(f"{what} lists each value once, found {value!r} twice; remove one")
