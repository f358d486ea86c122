"""A search space as data: knobs, the conditions under which they are active, and what follows from those alone.

Nothing here imports torch: listing, counting, checking and sampling a space costs milliseconds.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from search_spaces.choices import Choice, Condition, Genotype, Scalar, SearchSpaceError, index_of, match_value, nearest

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from benchmarks.inputs import InputSpec
    from search_spaces.outline import Operator

__all__ = [
    "Choice",
    "Condition",
    "Genotype",
    "ImageShape",
    "Scalar",
    "SearchSpace",
    "SearchSpaceError",
    "genotype_id",
    "nearest",
]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_CHANNELS, _MAX_SIDE = 64, 4096


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
        outline: ``(genotype, inputs, image) -> operators``: what ``build`` would compute, said without torch, so that
            thousands of genotypes are ranked in seconds; None: they are built, without memory, to see.

    Raises:
        SearchSpaceError: a name is malformed, a condition is unknown or late, a knob can never be active, or a
            named genotype is none of the space.
    """

    name: str
    knobs: Mapping[str, Choice]
    build: Callable[[Genotype, Sequence[InputSpec], ImageShape], nn.Module]
    description: str = ""
    named: Mapping[str, Genotype] = field(default_factory=dict)
    outline: Callable[[Genotype, Sequence[InputSpec], ImageShape], Sequence[Operator]] | None = None

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
                    match_value(f"knob {knob!r}: the condition on {parent!r}", value, earlier[parent].values)
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
            settings[knob] = match_value(f"knob {knob!r} of space {self.name!r}", genotype[knob], choice.values)
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
        """One genotype, decided knob by knob: each active knob takes a value with its ``Choice.shares``.

        Not uniform over genotypes: most of a large space lies where most knobs are active, and its simplest networks
        would never be drawn.

        Args:
            rng: Source of randomness; one draw is taken from it for the branch, one per free knob.
            fixed: Knob -> value that the genotype must have (active); then drawn as above among those that do.

        Raises:
            SearchSpaceError: ``fixed`` names an unknown knob or value, or knobs that are never active together.
        """
        fixed = self._match_all(fixed or {})
        branches, shares = self._admitted(tuple(fixed.items()))
        branch = branches[int(rng.choice(len(branches), p=shares))]
        settings = dict(branch.settings)
        for leaf in branch.leaves:
            choice = self.knobs[leaf]
            drawn = choice.values[int(rng.choice(len(choice.values), p=choice.shares()))]
            settings[leaf] = fixed.get(leaf, drawn)
        return self._ordered(settings)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - spaces live as long as their process
    def _admitted(self, fixed: tuple[tuple[str, Scalar], ...]) -> tuple[tuple[_Branch, ...], tuple[float, ...]]:
        """The branches with the settings ``fixed``, and the probability of each."""
        branches = tuple(branch for branch in self._branches if self._admits(branch, dict(fixed)))
        if not branches:
            raise SearchSpaceError(f"no genotype of space {self.name!r} has {dict(fixed)}; free one of these knobs")
        weights = [math.prod(self._share(*setting) for setting in branch.settings.items()) for branch in branches]
        return branches, tuple(weight / sum(weights) for weight in weights)

    def _share(self, knob: str, value: Scalar) -> float:
        choice = self.knobs[knob]
        index = index_of(value, choice.values)
        assert index is not None
        return choice.shares()[index]

    def _match_all(self, fixed: Genotype) -> dict[str, Scalar]:
        self._check_known(fixed)
        return {k: match_value(f"knob {k!r} of space {self.name!r}", v, self.knobs[k].values) for k, v in fixed.items()}

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
