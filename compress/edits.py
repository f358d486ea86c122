"""What was done to a module since its origin, recorded so that it can be done again.

A kind of edit is a function in ``EDITS``; whoever adds one registers it there.
"""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from compress.errors import CompressError
from compress.plain import plain_json, require_list
from search_spaces.channels import keep_channels
from search_spaces.space import SearchSpaceError

MAX_EDITS = 256


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
    """Keep the channels in ``{"kept": {group: [indices]}}``."""
    kept = settings.get("kept")
    if set(settings) != {"kept"} or not isinstance(kept, dict) or not all(isinstance(v, list) for v in kept.values()):
        raise CompressError(f"The edit prune is {{'kept': {{group: [indices]}}}}, found {reprlib.repr(settings)}.")
    keep_channels(module, kept)
    return module


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
