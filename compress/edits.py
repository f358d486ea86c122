"""What was done to a module since its origin, recorded so that it can be done again.

A kind of edit is a function in ``EDITS``; whoever adds one registers it there.
"""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from compress.errors import CompressError
from compress.plain import plain_json, require_list
from search_spaces.channels import ChannelGroup, Slice, keep_channels
from search_spaces.space import SearchSpaceError

MAX_EDITS = 256
MAX_GROUPS, MAX_SLICES, MAX_CHANNELS = 2**12, 2**12, 2**24


@dataclass(frozen=True)
class Edit:
    """One recorded change of a module: a key of ``EDITS`` and its settings, plain JSON.

    Raises:
        CompressError: an unknown kind, or settings that are not a JSON object.
    """

    kind: str
    settings: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in EDITS:
            raise CompressError(f"Kinds of edits are {', '.join(EDITS)}; found {reprlib.repr(self.kind)}. Correct it.")
        object.__setattr__(self, "settings", plain_json(f"settings of the edit {self.kind}", self.settings))

    def to_json(self) -> dict[str, Any]:
        """Return ``{"kind", "settings"}``."""
        return {"kind": self.kind, "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, data: object) -> Edit:
        """Read what ``to_json`` wrote.

        Raises:
            CompressError: it is no such object, or a field breaks its rule.
        """
        if not isinstance(data, Mapping) or set(data) != {"kind", "settings"}:
            raise CompressError(f"An edit is an object with kind and settings, found {reprlib.repr(data)}. Correct it.")
        return cls(data["kind"], data["settings"])


EditFunction = Callable[[nn.Module, Mapping[str, Any]], nn.Module]
"""Applies an edit, in place or not, and returns the edited module; settings may come from a hostile file."""


def _apply_prune(module: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Keep the channels in ``{"kept": {group: [indices]}}``, of ``"groups"`` or else of those the module declares."""
    kept = settings.get("kept")
    known = set(settings) <= {"kept", "groups"}
    if not known or not isinstance(kept, dict) or not all(isinstance(v, list) for v in kept.values()):
        raise CompressError(
            "The edit prune is {'kept': {group: [indices]}}, and 'groups' if these were traced, "
            f"found {reprlib.repr(settings)}."
        )
    keep_channels(module, kept, read_groups(settings["groups"]) if "groups" in settings else None)
    return module


def groups_to_json(groups: Iterable[ChannelGroup]) -> list[dict[str, Any]]:
    """Return what ``read_groups`` reads: ``{"name", "size", "slices"}`` each; a slice of a whole axis has no offset."""
    return [
        {
            "name": group.name,
            "size": group.size,
            "slices": [{k: v for k, v in asdict(part).items() if v is not None} for part in group.slices],
        }
        for group in groups
    ]


def read_groups(data: object) -> tuple[ChannelGroup, ...]:
    """Return channel groups from JSON; whether they fit a module is checked where they are applied.

    Raises:
        CompressError: a field is missing, surplus or of the wrong type or range; there are too many of something.
    """
    values = require_list("groups", data)
    groups = tuple(_read_group(value) for value in values[: MAX_GROUPS + 1])
    if len(groups) > MAX_GROUPS or len({group.name for group in groups}) != len(groups):
        raise CompressError(f"There are at most {MAX_GROUPS} groups, each of its own name. Is it the right file?")
    return groups


def _read_group(data: object) -> ChannelGroup:
    if not isinstance(data, dict) or set(data) != {"name", "size", "slices"}:
        raise CompressError(f"A group is an object with name, size and slices, found {reprlib.repr(data)}. Correct it.")
    slices = require_list("slices", data["slices"])
    if not 0 < len(slices) <= MAX_SLICES:
        raise CompressError(f"A group has 1 to {MAX_SLICES} slices, found {len(slices)}. Is it the right file?")
    parts = tuple(_read_slice(value) for value in slices)
    return ChannelGroup(_text("name", data["name"]), _count("size", data["size"], 1), parts)


def _read_slice(data: Any) -> Slice:
    needed = {"module", "axis", "repeat"}
    if (
        not isinstance(data, dict)
        or not needed <= set(data) <= needed | {"offset"}
        or data["axis"] not in ("out", "in")
    ):
        raise CompressError(
            "A slice is an object with module, axis ('out' or 'in'), repeat and perhaps offset, "
            f"found {reprlib.repr(data)}. Correct it."
        )
    offset = _count("offset", data["offset"], 0) if "offset" in data else None
    return Slice(_text("module", data["module"]), data["axis"], _count("repeat", data["repeat"], 1), offset)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise CompressError(f"The {name} must be a text that is not empty, found {reprlib.repr(value)}. Correct it.")
    return value


def _count(name: str, value: object, low: int) -> int:
    if type(value) is not int or not low <= value <= MAX_CHANNELS:
        raise CompressError(
            f"The {name} must be a whole number from {low} to {MAX_CHANNELS}, found {reprlib.repr(value)}. Correct it."
        )
    return value


_QUANTIZE_SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "target": str,
    "per_channel": bool,
    "calibration_seed": (int, list),
    "calibration_rows": int,
    "exclude": list,
}
_OPTIONAL_SETTINGS: Mapping[str, type] = {"unfold": bool, "calibration": str}


def _apply_quantize(module: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Return the module as it is: quantization is applied to the exported graph (``quantize.quantize``)."""
    for name, kind in _QUANTIZE_SETTINGS.items():
        if not isinstance(settings.get(name), kind):
            raise CompressError(f"The edit quantize lacks a proper {name!r}, found {reprlib.repr(settings.get(name))}.")
    known = {**_QUANTIZE_SETTINGS, **_OPTIONAL_SETTINGS}
    if surplus := set(settings) - set(known):
        raise CompressError(f"The edit quantize has {', '.join(known)}; remove {sorted(surplus)}.")
    if wrong := [name for name, kind in _OPTIONAL_SETTINGS.items() if not isinstance(settings.get(name, kind()), kind)]:
        raise CompressError(f"The edit quantize has no proper {wrong[0]!r}: {reprlib.repr(settings[wrong[0]])}.")
    return module


def _apply_clean(module: nn.Module, settings: Mapping[str, Any]) -> nn.Module:
    """Return the module as it is: a graph is cleaned up when its file is written (``onnx_generator.clean``)."""
    if settings:
        raise CompressError(f"The edit clean has no settings, found {reprlib.repr(settings)}. Remove them.")
    return module


EDITS: dict[str, EditFunction] = {"prune": _apply_prune, "quantize": _apply_quantize, "clean": _apply_clean}
"""Kind -> function. Register a further kind here before a file that uses it is read."""


def apply_edits(module: nn.Module, edits: Iterable[Edit]) -> nn.Module:
    """Return ``module`` after these edits, in order; it may have been changed in place.

    Raises:
        CompressError: an edit does not fit the module.
    """
    for edit in edits:
        try:
            module = EDITS[edit.kind](module, edit.settings)
        except SearchSpaceError as error:
            raise CompressError(f"The edit {edit.kind} does not fit this generator: {error}") from error
    return module


def read_edits(data: object) -> tuple[Edit, ...]:
    """Return the edits in a JSON list; nothing is applied.

    Raises:
        CompressError: no list, more than ``MAX_EDITS``, a malformed edit, or one after a quantization.
    """
    values = require_list("edits", data)
    if len(values) > MAX_EDITS:
        raise CompressError(f"A generator has at most {MAX_EDITS} edits, found {len(values)}. Is it the right file?")
    edits = tuple(Edit.from_json(value) for value in values)
    check_order(edits)
    return edits


def check_order(edits: Sequence[Edit]) -> None:
    """Raise a ``CompressError`` if anything follows a quantization."""
    late = [edit.kind for before, edit in itertools.pairwise(edits) if before.kind == "quantize"]
    if late:
        raise CompressError(f"Quantization is the last edit, found {late[0]} behind it. Edit first, then quantize.")
