"""A search space as data: knobs, the conditions under which they are active, and what follows from those alone.

Nothing here imports torch: listing, counting, checking and sampling a space costs milliseconds.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import itertools
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from benchmarks.inputs import InputSpec

Scalar: TypeAlias = int | float | str | bool
Genotype: TypeAlias = Mapping[str, Scalar]
"""One setting of every active knob; plain JSON."""

Condition: TypeAlias = Mapping[str, tuple[Scalar, ...]]
"""Knob -> the values it may have; holds if every named knob is active and has one of its values."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_CHANNELS, _MAX_SIDE = 64, 4096


class SearchSpaceError(ValueError):
    """A space, a genotype or a channel selection breaks a rule; the message says which, and what to do."""


@dataclass(frozen=True)
class ImageShape:
    """Size of one image: ``channels`` (1 to 64), ``height`` and ``width`` in pixels (1 to 4096).

    Raises:
        SearchSpaceError: a size is no integer, or out of range.
    """

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        limits = {"channels": _MAX_CHANNELS, "height": _MAX_SIDE, "width": _MAX_SIDE}
        for name, limit in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
                raise SearchSpaceError(
                    f"image {name} must be an integer from 1 to {limit}, found {reprlib.repr(value)}; correct it"
                )

    def to_json(self) -> dict[str, int]:
        """``{"channels": C, "height": H, "width": W}``."""
        return {"channels": self.channels, "height": self.height, "width": self.width}

    @classmethod
    def from_json(cls, data: object) -> ImageShape:
        """The shape written as a mapping (see ``to_json``) or as a list ``[channels, height, width]``.

        Raises:
            SearchSpaceError: ``data`` is neither, or a size is out of range.
        """
        if isinstance(data, ImageShape):
            return data
        if isinstance(data, Mapping) and set(data) == {"channels", "height", "width"}:
            return cls(**data)
        if isinstance(data, list | tuple) and len(data) == 3:
            return cls(*data)
        raise SearchSpaceError(
            "an image shape is {channels, height, width} or [channels, height, width], "
            f"found {reprlib.repr(data)}; write for example [1, 32, 32]"
        )


@dataclass(frozen=True)
class Choice:
    """What one knob may be set to, and when the knob exists at all.

    Args:
        values: Distinct JSON scalars (finite numbers, strings, booleans), at least one.
        unit: Plural noun, or empty.
        why: One line for whoever chooses what to search.
        when: The knob is active if this condition holds: knob -> values, all of which must hold. A tuple of such
            conditions means "any of them"; the empty mapping means always.

    Raises:
        SearchSpaceError: a value is no scalar or stands twice, or a condition allows nothing.
    """

    values: tuple[Scalar, ...]
    unit: str = ""
    why: str = ""
    when: Condition | tuple[Condition, ...] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_values("a choice", self.values)
        if isinstance(self.when, tuple) and not self.when:
            raise SearchSpaceError("`when` must hold at least one condition, found (); leave it out for 'always'")
        for condition in self.conditions:
            for knob, allowed in condition.items():
                _check_values(f"the condition on {knob!r}", allowed)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of which one must hold; ``({},)`` for a knob that is always active."""
        return self.when if isinstance(self.when, tuple) else (self.when,)

    def holds(self, settings: Genotype) -> bool:
        """Whether this knob is active beside ``settings``, which must hold active knobs only."""
        return any(
            all(knob in settings and _index(settings[knob], allowed) is not None for knob, allowed in condition.items())
            for condition in self.conditions
        )

    def to_json(self) -> dict[str, Any]:
        """``values, unit, why`` and ``when``, a list of conditions (empty: always active)."""
        when = [{knob: list(allowed) for knob, allowed in condition.items()} for condition in self.conditions]
        return {"values": list(self.values), "unit": self.unit, "why": self.why, "when": [c for c in when if c]}


@dataclass(frozen=True)
class _Branch:
    """One setting of the knobs that others depend on, with the remaining knobs that are then active."""

    settings: dict[str, Scalar]
    leaves: tuple[str, ...]
    count: int


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """A named set of genotypes and the function that builds a generator from one.

    Knobs stand in the order in which they are decided: a condition names only knobs declared before its own, so
    conditions may chain and never form a circle.

    Args:
        name: Lower-case identifier.
        knobs: Knob -> choice, in order.
        build: ``(genotype, inputs, image) -> generator``: a ``torch.nn.Module`` with ``inputs``, ``image``,
            ``channel_groups()`` and ``forward(**named) -> (N, C, H, W)`` float32 in [-1, 1]. Weights come from torch's
            global random state. The attribute ``build`` validates first: the function sees canonical genotypes only.
        description: One line.
        named: Genotypes worth a name, such as the stock reference; stored in canonical form.

    Raises:
        SearchSpaceError: a name is malformed, a condition is unknown or late, a knob can never be active, or a
            named genotype is none of the space.
    """

    name: str
    knobs: Mapping[str, Choice]
    build: Callable[[Genotype, Sequence[InputSpec], ImageShape], nn.Module]
    description: str = ""
    named: Mapping[str, Genotype] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.name, *self.knobs):
            if not _NAME.fullmatch(name):
                raise SearchSpaceError(f"names are lower-case identifiers, found {name!r}; write for example 'width'")
        self._check_conditions()
        unreachable = [knob for knob in self.knobs if not any(_decides(branch, knob) for branch in self._branches)]
        if unreachable:
            raise SearchSpaceError(f"every knob must be active somewhere, {unreachable} never are; relax their `when`")
        build = self.build
        object.__setattr__(self, "build", lambda genotype, *rest: build(self.validate(genotype), *rest))
        object.__setattr__(self, "named", {name: self.validate(named) for name, named in self.named.items()})

    def _check_conditions(self) -> None:
        earlier: dict[str, Choice] = {}
        for knob, choice in self.knobs.items():
            for parent, allowed in itertools.chain.from_iterable(c.items() for c in choice.conditions):
                if parent not in earlier:
                    raise SearchSpaceError(
                        f"knob {knob!r}: a condition names knobs declared before it, found {parent!r}; "
                        f"declare that one first{nearest(parent, tuple(earlier))}"
                    )
                for value in allowed:
                    _match(f"knob {knob!r}: the condition on {parent!r}", value, earlier[parent].values)
            earlier[knob] = choice

    def active(self, genotype: Genotype) -> tuple[str, ...]:
        """Knobs that are active under ``genotype``, in order.

        A partial genotype is welcome: whoever decides knob by knob asks again after each. A knob whose condition
        names an undecided or inactive knob is inactive.
        """
        settings: dict[str, Scalar] = {}
        names = []
        for knob, choice in self.knobs.items():
            if choice.holds(settings):
                names.append(knob)
                if knob in genotype:
                    settings[knob] = genotype[knob]
        return tuple(names)

    def canonical(self, genotype: Genotype) -> dict[str, Scalar]:
        """``genotype`` without its inactive and unknown knobs, in declared order; values are not checked."""
        return {knob: genotype[knob] for knob in self.active(genotype) if knob in genotype}

    def validate(self, genotype: object) -> dict[str, Scalar]:
        """The canonical form of ``genotype``, every value as declared (JSON may have turned 1.0 into 1).

        Raises:
            SearchSpaceError: it is no mapping, names an unknown knob, lacks an active one, or a value of an active
                knob is not among its choices. Inactive knobs are dropped, whatever their value.
        """
        if not isinstance(genotype, Mapping):
            raise SearchSpaceError(
                f"a genotype of space {self.name!r} maps knobs to values, found {reprlib.repr(genotype)}; "
                "write an object"
            )
        self._check_known(genotype)
        settings: dict[str, Scalar] = {}
        for knob, choice in self.knobs.items():
            if not choice.holds(settings):
                continue
            if knob not in genotype:
                raise SearchSpaceError(
                    f"knob {knob!r} of space {self.name!r} is active here and must be set, found nothing; "
                    f"choose one of {list(choice.values)}"
                )
            settings[knob] = _match(f"knob {knob!r} of space {self.name!r}", genotype[knob], choice.values)
        return settings

    def id(self, genotype: Genotype) -> str:
        """``genotype_id`` of the validated, canonical ``genotype``."""
        return genotype_id(self.name, self.validate(genotype))

    @functools.cached_property
    def _branches(self) -> tuple[_Branch, ...]:
        """Every setting of the knobs named in a condition. Each genotype lies in exactly one branch."""
        conditions = itertools.chain.from_iterable(choice.conditions for choice in self.knobs.values())
        parents = set(itertools.chain.from_iterable(conditions))
        partial: list[dict[str, Scalar]] = [{}]
        for knob, choice in self.knobs.items():
            if knob in parents:
                partial = [
                    extended
                    for settings in partial
                    for extended in (
                        [{**settings, knob: value} for value in choice.values] if choice.holds(settings) else [settings]
                    )
                ]
        return tuple(self._branch(settings, parents) for settings in partial)

    def _branch(self, settings: dict[str, Scalar], parents: set[str]) -> _Branch:
        leaves = tuple(k for k, choice in self.knobs.items() if k not in parents and choice.holds(settings))
        return _Branch(settings, leaves, math.prod(len(self.knobs[leaf].values) for leaf in leaves))

    def count(self) -> int:
        """Exact number of genotypes: the product over free knobs, summed over the settings that conditions read."""
        return sum(branch.count for branch in self._branches)

    def genotypes(self) -> Iterator[dict[str, Scalar]]:
        """Every genotype once, in canonical form. There are ``count()``: look before you loop."""
        for branch in self._branches:
            for values in itertools.product(*(self.knobs[leaf].values for leaf in branch.leaves)):
                yield self._ordered({**branch.settings, **dict(zip(branch.leaves, values, strict=True))})

    def sample(self, rng: np.random.Generator, fixed: Genotype | None = None) -> dict[str, Scalar]:
        """One genotype, uniform over all genotypes (not over values knob by knob), in canonical form.

        Args:
            rng: Source of randomness; one draw is taken from it for the branch, one per free knob.
            fixed: Knob -> value that the genotype must have (active); uniform over those genotypes.

        Raises:
            SearchSpaceError: ``fixed`` names an unknown knob or value, or knobs that are never active together.
        """
        fixed = self._match_all(fixed or {})
        weights = [branch.count if self._admits(branch, fixed) else 0 for branch in self._branches]
        weights = [
            weight // math.prod(len(self.knobs[k].values) for k in fixed if k in branch.leaves)
            for weight, branch in zip(weights, self._branches, strict=True)
        ]
        total = sum(weights)
        if not total:
            raise SearchSpaceError(f"no genotype of space {self.name!r} has {dict(fixed)}; free one of these knobs")
        branch = self._branches[int(rng.choice(len(weights), p=[weight / total for weight in weights]))]
        settings = dict(branch.settings)
        for leaf in branch.leaves:
            values = self.knobs[leaf].values
            settings[leaf] = fixed[leaf] if leaf in fixed else values[int(rng.integers(len(values)))]
        return self._ordered(settings)

    def _match_all(self, fixed: Genotype) -> dict[str, Scalar]:
        self._check_known(fixed)
        return {k: _match(f"knob {k!r} of space {self.name!r}", v, self.knobs[k].values) for k, v in fixed.items()}

    def _check_known(self, genotype: Mapping[Any, Any]) -> None:
        for knob in genotype:
            if knob not in self.knobs:
                raise SearchSpaceError(
                    f"knobs of space {self.name!r} are {', '.join(self.knobs)}; found {reprlib.repr(knob)}; "
                    f"remove or rename it{nearest(knob, tuple(self.knobs))}"
                )

    def _admits(self, branch: _Branch, fixed: Genotype) -> bool:
        return all(
            knob in branch.leaves or (knob in branch.settings and branch.settings[knob] == value)
            for knob, value in fixed.items()
        )

    def _ordered(self, settings: Genotype) -> dict[str, Scalar]:
        return {knob: settings[knob] for knob in self.knobs if knob in settings}

    def to_json(self) -> dict[str, Any]:
        """``name, description, count, knobs`` (a list, in order: knob, values, unit, why, when) and ``named``."""
        return {
            "name": self.name,
            "description": self.description,
            "count": self.count(),
            "knobs": [{"knob": knob, **choice.to_json()} for knob, choice in self.knobs.items()],
            "named": {name: dict(genotype) for name, genotype in self.named.items()},
        }


def genotype_id(space_name: str, genotype: Genotype) -> str:
    """Twelve hex digits of the SHA-256 of space and genotype as JSON with sorted keys.

    ``genotype`` must be canonical (``SearchSpace.validate``): inactive knobs would change the id.
    """
    content = {"space": space_name, "genotype": dict(genotype)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _decides(branch: _Branch, knob: str) -> bool:
    return knob in branch.settings or knob in branch.leaves


def _index(value: object, values: Sequence[Scalar]) -> int | None:
    """Where ``value`` stands in ``values``; 1 and 1.0 are equal, 1 and True are not."""
    for index, candidate in enumerate(values):
        if isinstance(candidate, bool) == isinstance(value, bool) and candidate == value:
            return index
    return None


def _match(rule: str, value: object, values: tuple[Scalar, ...]) -> Scalar:
    index = _index(value, values)
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
        if _index(value, values[:index]) is not None:
            raise SearchSpaceError(f"{what} lists each value once, found {value!r} twice; remove one")
