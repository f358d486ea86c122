"""Which multiple the widths of pruned layers are rounded to: the finest one that the runtime rewards, as measured.

Kernels that compute channels in blocks take as long for a part of a block as for all of it; others do not. Nobody can
tell from outside which of them a graph will meet, so a few widths are timed. Weights change no time: none is trained.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.errors import CompressError
from compress.generator import Generator
from compress.measure import Bench
from compress.prune import in_units, kept_count, prune
from compress.running import Array
from compress.steps import WORTH
from search_spaces.channels import ChannelGroup

COARSEST = 8
FINER = (1, 2, 4)
WORTHWHILE = 0.5  # of the time that its share of a step of ``COARSEST`` saves


def liked_multiple(
    generator: Generator,
    groups: Sequence[ChannelGroup],
    share: float,
    inputs: Mapping[str, Array],
    bench: Bench,
    seconds: float,
) -> int:
    """Return the finest multiple at which every step of the widths saves time, ``COARSEST`` if no finer one does.

    Timed are ``generator`` without ``share`` of its channels, in multiples of ``COARSEST`` (which may be all of them),
    and one step narrower: by ``COARSEST`` and by each of ``FINER``, which has to save ``WORTHWHILE`` of its share of
    that, and ``WORTH``, at the worse end of its interval. Layers that are too narrow for a step stay as they are.

    Args:
        generator: Stays as it is.
        groups: Of its module.
        share: About how much will be removed.
        inputs: A few latents, (n, *shape) a name.
        bench: Times the fastest file of each.
        seconds: Of timing, each.

    Raises:
        CompressError: the generator cannot be pruned to those widths.
    """
    sizes = {group.name: group.size for group in groups}
    widths = {group.name: kept_count(group.size, share, in_units(COARSEST, group)) for group in groups}
    if all(widths[group.name] <= in_units(COARSEST, group) for group in groups):
        return 1  # no coarser step can be taken

    def narrower(by: int) -> Generator:
        steps = {group.name: in_units(by, group) for group in groups}
        fewer = {name: width - steps[name] if width > steps[name] else width for name, width in widths.items()}
        return prune(generator, fewer, inputs=inputs, groups=groups)

    with tempfile.TemporaryDirectory(prefix="leangen-widths-") as folder:
        base = prune(generator, widths, inputs=inputs, groups=groups) if widths != sizes else generator
        against = bench.fastest_file(bench.variants(base, Path(folder)), seconds)

        def saved(by: int) -> tuple[float, float]:
            """Return the share of the time that is saved, and its worse end; nothing where it cannot run."""
            try:
                ratio = bench.time_untrained(narrower(by), against, seconds).ratio
            except CompressError:
                return 0.0, -math.inf
            return 1 - ratio.value, 1 - ratio.ci95[1]

        coarse, _ = saved(COARSEST)
        for multiple in FINER:
            if saved(multiple)[1] > max(WORTH, WORTHWHILE * coarse * multiple / COARSEST):
                return multiple
    return COARSEST
