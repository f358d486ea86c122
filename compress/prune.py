"""Structured pruning by channel groups: of a module that says which channels live and die together, or of a stranger,
whose groups are traced.

Removing a channel behind batch normalisation is the same as silencing it, so the pruned module's output must equal
that of the old module with those channels at zero. ``assert_pruned_is_masked`` checks it on real inputs.
"""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from compress.compensate import compensated
from compress.edits import groups_to_json
from compress.errors import CompressError
from compress.generator import Edit, Generator
from compress.importance import Importance, rank_channels, silence
from compress.running import Array, run_module
from compress.tracing import traced_groups
from search_spaces.channels import ChannelGroup, HasChannelGroups

FEW = 16  # latents that suffice to compare two modules


def prune(
    generator: Generator,
    ratio: float | Mapping[str, int],
    *,
    multiple: int = 8,
    importance: Importance = "weight",
    inputs: Mapping[str, Array] | None = None,
    compensate: bool = False,
    groups: Sequence[ChannelGroup] | None = None,
) -> Generator:
    """Return ``generator`` without the least important ``ratio`` of the channels of every group, not yet recovered.

    Args:
        generator: Its module declares ``channel_groups()``, or they are traced on ``inputs``. Stays as it is.
        ratio: Share to remove, above 0 and below 1. Widths are rounded to a multiple, see ``kept_count``. Or how many
            channels stay in each named group, from 1; the others stay whole.
        multiple: Kernels like widths that are multiples of 8 (16 for int8).
        importance: How channels are ranked, see ``rank_channels``.
        inputs: Latents, (n, *shape) a name. Needed to trace, to compensate (some hundred), and to rank by anything
            but "weight" (the first ``FEW``). If given, pruned = masked is asserted on the first ``FEW``.
        compensate: The layers that read removed channels read the others more, see ``compress.compensate``, if the
            pictures are nearer to the old ones then; otherwise the weights that stay are as they were.
        groups: What ``channel_groups`` returns of the module, where that is known already.

    Raises:
        CompressError: the module declares no groups and none can be traced, ``ratio`` or ``multiple`` is out of
            range, no group is wide enough to lose a channel, ``inputs`` are needed and missing, or the pruned module
            differs from the masked one.
    """
    few = {name: values[:FEW] for name, values in inputs.items()} if inputs else None
    groups = channel_groups(generator.module, few) if groups is None else groups
    counts = _named_widths(groups, ratio) if isinstance(ratio, Mapping) else equal_shares(groups, ratio, multiple)
    ranks = rank_channels(generator.module, groups, few, by=importance)
    kept = {
        group.name: best_channels(ranks[group.name], counts[group.name])
        for group in groups
        if counts[group.name] < group.size
    }
    cut = [group for group in groups if group.name in kept]
    traced = {} if declared_groups(generator.module) else {"groups": groups_to_json(cut)}
    edit = Edit("prune", {"kept": kept} | traced)
    pruned = _cut(generator, edit, groups, few)
    if not compensate:
        return pruned
    if inputs is None or few is None:
        raise CompressError("Compensating needs latents to draw, found none. Pass inputs.")
    whole = replace(generator, module=compensated(generator.module, groups, kept, inputs))
    return _nearest(generator, [pruned, _cut(whole, edit, groups, few)], few)


def _cut(
    generator: Generator, edit: Edit, groups: Sequence[ChannelGroup], rows: Mapping[str, Array] | None
) -> Generator:
    pruned = generator.with_edit(edit)
    if rows is not None:
        assert_pruned_is_masked(generator.module, pruned.module, edit.settings["kept"], rows, groups=groups)
    return pruned


def _nearest(whole: Generator, others: Sequence[Generator], rows: Mapping[str, Array]) -> Generator:
    """Return the one of ``others`` that draws the nearest pictures to those of ``whole``.

    Of equals the first; NaN is the farthest.
    """
    wanted = run_module(whole.module, rows)
    errors = [float(np.mean((run_module(one.module, rows) - wanted) ** 2)) for one in others]
    return others[int(np.argmin(np.nan_to_num(errors, nan=np.inf)))]


def equal_shares(groups: Sequence[ChannelGroup], ratio: float, multiple: int) -> dict[str, int]:
    """Return how many channels each group keeps if each loses ``ratio`` of them.

    Raises:
        CompressError: ``ratio`` or ``multiple`` is out of range, or no group would lose a channel.
    """
    counts = {group.name: kept_count(group.size, ratio, in_units(multiple, group)) for group in groups}
    if all(counts[group.name] == group.size for group in groups):
        sizes = ", ".join(f"{group.name} {group.size}" for group in groups)
        raise CompressError(
            f"Removing {ratio:.0%} in multiples of {multiple} leaves every width as it is ({sizes}). "
            "Take a larger ratio or a smaller multiple."
        )
    return counts


def _named_widths(groups: Sequence[ChannelGroup], widths: Mapping[str, int]) -> dict[str, int]:
    sizes = {group.name: group.size for group in groups}
    for name, width in widths.items():
        if type(width) is not int or not 1 <= width <= sizes.get(name, 0):
            raise CompressError(
                f"A group keeps 1 channel up to all of its own; found {name!r}: {width}, and there are {sizes}. "
                "Correct the name or the width."
            )
    if all(width == sizes[name] for name, width in widths.items()):
        raise CompressError(f"These widths leave every group as it is: {dict(widths)}. Take smaller ones.")
    return sizes | dict(widths)


def declared_groups(module: nn.Module) -> tuple[ChannelGroup, ...]:
    """Return the groups that ``module`` declares, perhaps none."""
    return module.channel_groups() if isinstance(module, HasChannelGroups) else ()


def channel_groups(module: nn.Module, inputs: Mapping[str, Array] | None = None) -> tuple[ChannelGroup, ...]:
    """Return the groups that ``module`` declares, or else those that can be traced on ``inputs``.

    Raises:
        CompressError: there are none.
    """
    if declared := declared_groups(module):
        return declared
    found = "nothing says which channels can go together"
    if inputs is not None:
        traced = traced_groups(module, inputs)
        if traced.groups:
            return traced.groups
        reasons = "; ".join(f"{name}: {why}" if name else why for name, why in traced.left_alone.items())
        found = f"they were traced, and none was found ({textwrap.shorten(reasons, 500) or 'it has no layers'})"
    raise CompressError(
        f"{type(module).__name__} declares no channel groups, and {found}. Give it a method channel_groups() (see "
        f"search_spaces.channels), {'' if inputs else 'pass inputs to trace them, '}or leave pruning out of the recipe."
    )


def kept_count(size: int, ratio: float, multiple: int) -> int:
    """Return how many of ``size`` channels stay: ``size * (1 - ratio)`` to the nearest multiple, halves up.

    At least one multiple stays, or all of them if there are no more than that.

    Raises:
        CompressError: ``ratio`` is not between 0 and 1, or ``multiple`` is below 1.
    """
    if not 0 < ratio < 1:
        raise CompressError(
            f"A pruning ratio lies between 0 and 1, both excluded, found {ratio}. 0.25 removes a quarter."
        )
    if multiple < 1:
        raise CompressError(f"Widths are rounded to a multiple of at least 1, found {multiple}. 8 suits most kernels.")
    nearest = multiple * int(size * (1 - ratio) / multiple + 0.5)
    return min(size, max(multiple, nearest))


def in_units(multiple: int, group: ChannelGroup) -> int:
    """Return the multiple for a group whose channels are several everywhere, as those of a group norm are.

    So many of these make a multiple of channels; where the group has fewer, as many as make at least that many.
    """
    unit = min(part.repeat for part in group.slices)
    exact = multiple // math.gcd(multiple, unit)
    return exact if exact < group.size else math.ceil(multiple / unit)


def best_channels(importance: Array, count: int) -> list[int]:
    """Return the ``count`` most important channels, increasing; of equal ones those with the lower index."""
    order = np.argsort(-importance, kind="stable")[:count]
    return sorted(int(channel) for channel in order)


def assert_pruned_is_masked(
    before: nn.Module,
    after: nn.Module,
    kept: Mapping[str, Sequence[int]],
    inputs: Mapping[str, Array],
    tolerance: float = 1e-5,
    *,
    groups: Sequence[ChannelGroup] | None = None,
) -> float:
    """Return the largest difference between ``after`` and ``before`` with the removed channels silenced.

    Silenced: weights and biases of the layers that make them, scale and shift of their norms. Both are run in eval
    mode, before any recovery. ``groups`` default to those that ``before`` declares.

    Raises:
        CompressError: their images differ in shape or by more than ``tolerance`` (images are in [-1, 1]); so do a
            norm over channels that stay and channels that go, and an activation that does not map 0 to 0.
    """
    masked = copy.deepcopy(before)
    silence(masked, kept, groups)
    wanted = run_module(masked, inputs)
    try:
        found = run_module(after, inputs)
    except Exception as error:  # a stranger's forward may want certain widths
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CompressError(f"A pruned module must run, but: {reason}. Take another ratio or multiple.") from error
    difference = float(np.abs(wanted - found).max()) if wanted.shape == found.shape else np.inf
    if not difference <= tolerance:
        raise CompressError(
            f"A pruned module must draw what the masked one draws, but they differ by {difference:.3g} "
            f"(allowed {tolerance:.3g}). Look for a norm over several channels, or an activation with f(0) != 0."
        )
    return difference
