"""Variants of what compression tried: beside what ships, the smallest file and the one of the best quality.

What ships is the fastest file, decided step by step. The others are what somebody takes whose limit is the download, or
who would rather have a better picture than a faster one; they are inside every budget, and what ships is unless
nothing was (``steps``, clauses 2 and 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.records import Ratio
from compress.measure import Bench
from compress.quality import Difference, Score, get_metric
from compress.steps import REFERENCE
from compress.task import Evaluation

FASTEST, SMALLEST, BEST = "fastest", "smallest", "best quality"
MEASURE_S = 2.0  # of paired timing, all files together


@dataclass(frozen=True, slots=True)
class Judged:
    """A file that a step left and that was scored.

    Args:
        name: The step's; several belong to what was kept one after the other.
        file: ONNX file.
        precision: ``fp32`` or ``int8``.
        is_inside: Whether it is inside every budget.
        found: Its scores, and the differences to the reference.
        is_near: Whether at least its measured values are inside every budget, whatever their errors.
        used: What it used of a budget, of that one of which it used the most: 1 is the limit, NaN unknown.
    """

    name: str
    file: Path
    precision: str
    is_inside: bool
    found: Evaluation
    is_near: bool = False
    used: float = math.nan

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.file.stat().st_size


@dataclass(frozen=True, slots=True)
class Variant:
    """A file that could be taken.

    Args:
        roles: Of ``FASTEST``, ``SMALLEST``, ``BEST``; one file may have several.
        name: The step that left it.
        file: ONNX file.
        precision: ``fp32`` or ``int8``.
        bytes: Size of the file.
        score: In the primary metric.
        difference: To the reference, on the same inputs.
        ratio: Its time ÷ that of the float file that compression began with; None for that file itself.
    """

    roles: tuple[str, ...]
    name: str
    file: Path
    precision: str
    bytes: int
    score: Score
    difference: Difference
    ratio: Ratio | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "roles": list(self.roles),
            "step": self.name,
            "file": str(self.file),
            "precision": self.precision,
            "bytes": self.bytes,
            "quality": self.score.to_json(),
            "difference": self.difference.to_json(),
            "ratio": None if self.ratio is None else self.ratio.to_json(),
        }


def choose(judged: Sequence[Judged], kept: Path, start: Path) -> list[Variant]:
    """Return ``kept``, and of all inside the budgets the smallest and the best in the primary metric.

    The smallest has to be smaller than ``start``, the float file that all began with.

    Args:
        judged: Everything that was scored; a file that stands there twice counts as it was scored last.
        kept: The file that was decided to be the fastest, step by step.
        start: What everybody has who does nothing.
    """
    latest = {one.file: one for one in judged}
    inside = [one for one in latest.values() if one.is_inside]
    roles = dict[Path, list[str]]()
    if kept in latest:
        roles[kept] = [FASTEST]
    smaller = [one for one in inside if one.bytes < start.stat().st_size]
    if smaller:
        roles.setdefault(min(smaller, key=lambda one: one.bytes).file, []).append(SMALLEST)
    if inside:
        roles.setdefault(min(inside, key=_badness).file, []).append(BEST)
    return [_variant(latest[file], tuple(names)) for file, names in roles.items()]


def measured(variants: Sequence[Variant], start: Path, bench: Bench) -> tuple[Variant, ...]:
    """Return ``variants`` with the time of every file, in turns with ``start``, the float file that all began with.

    What is only the best, and neither better than the reference nor faster than ``start``, is left out.
    """
    files = {str(one.file): one.file for one in variants if one.file != start}
    ratios: Mapping[str, Ratio] = bench.ratios(start, files, MEASURE_S) if files else {}
    timed = (replace(one, ratio=ratios.get(str(one.file))) for one in variants)
    return tuple(one for one in timed if one.roles != (BEST,) or _is_worth_it(one))


def _is_worth_it(one: Variant) -> bool:
    better = get_metric(one.score.metric).badness(one.difference.value) < 0
    return better or (one.ratio is not None and one.ratio.ci95[1] < 1)


def _badness(judged: Judged) -> float:
    """How much worse than the reference, in the primary metric: the smaller the better, whatever its direction."""
    metric = get_metric(judged.found.primary.metric)
    return metric.badness(judged.found.primary_difference(REFERENCE).value)


def _variant(judged: Judged, roles: tuple[str, ...]) -> Variant:
    found = judged.found
    difference = found.primary_difference(REFERENCE)
    return Variant(roles, judged.name, judged.file, judged.precision, judged.bytes, found.primary, difference)
