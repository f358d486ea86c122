"""How many channels go: shares of them are removed, what is left recovers, and is kept if that helped."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.files import read_json, write_json
from benchmarks.inputs import draw_inputs
from compress.bisection import Bisection
from compress.errors import CompressError
from compress.generator import Generator
from compress.ledger import Kept, Ledger
from compress.measure import FP32
from compress.multiples import COARSEST, FINER, liked_multiple
from compress.prune import FEW, channel_groups, prune
from compress.running import Array
from compress.steps import WORTH
from search_spaces.channels import ChannelGroup

AGAIN = ", recovered again"
_PRUNE_ROWS = 1024


class Shares:
    """Prunes what is kept.

    Args:
        ledger: Decides.
        multiple: Widths of pruned layers are multiples of it; None for what the runtime likes, as measured.
        until: On ``time.monotonic``: begin no further share, or recovery.
    """

    def __init__(self, ledger: Ledger, multiple: int | None, until: float) -> None:
        self._ledger, self._multiple, self._until = ledger, multiple, until
        self._tried = set[str]()  # ids of pruned generators

    def try_each(self, current: Kept, shares: Sequence[float]) -> Kept:
        """Try one share after the other, each on what was kept before."""
        for share in shares:
            if not self._may_try(current, share):
                break
            current = self._try_share(current, current, share)
        return current

    def find_most(self, given: Kept, first: float) -> Kept:
        """Look by bisection for how much can go, from ``first`` on; each share is cut out of ``given``.

        One deep cut with two recoveries comes nearer than several with one each (docs/compression.md).
        """
        search, current = Bisection(first), given
        while (share := search.share) is not None and self._may_try(given, share):
            before, seen = current, len(self._ledger.judged)
            current = self._try_share(before, given, share)
            used = self._ledger.judged[-1].used if len(self._ledger.judged) > seen else math.nan
            search.tell(kept=current is not before, used=used)
        return current

    def _may_try(self, current: Kept, share: float) -> bool:
        """Return whether there are time and a module; otherwise the step is recorded as refused."""
        why = ""
        if time.monotonic() > self._until:
            why = "no time is left"
        elif not isinstance(current.generator, Generator):
            why = "an ONNX file has no module that could be trained after it: give the module's factory"
        if why:
            self._ledger.refuse(f"prune {share:.0%}", why, {"ratio": share})
        return not why

    def _try_share(self, current: Kept, given: Kept, share: float) -> Kept:
        """Try ``given`` without a share of its channels against ``current``."""
        generator, name = given.generator, f"prune {share:.0%}"
        assert isinstance(generator, Generator)
        rows = draw_inputs(generator.inputs, _PRUNE_ROWS, self._ledger.bench.calibration_seed)
        try:
            groups = channel_groups(generator.module, {key: values[:FEW] for key, values in rows.items()})
            multiple = self._multiple or self._liked(generator, groups, share, rows)
            pruned = prune(generator, share, inputs=rows, multiple=multiple, compensate=True, groups=groups)
            if pruned.id in self._tried:
                raise CompressError("these widths were tried before")
        except CompressError as error:
            self._ledger.refuse(name, error, {"ratio": share})
            return current
        self._tried.add(pruned.id)
        return self._try_recovered(current, pruned, name, {"ratio": share, "multiple": multiple})

    def _liked(
        self, generator: Generator, groups: Sequence[ChannelGroup], share: float, rows: Mapping[str, Array]
    ) -> int:
        """Return the multiple that the runtime likes at widths such as ``share`` leaves.

        It is kept, so that the same call after a crash cuts as the first did, and finds its recoveries again.
        """
        file, key = self._ledger.folder / "multiples.json", f"{generator.id} {share:.6f}"
        kept = _read_kept(file)
        if kept.get(key) not in (*FINER, COARSEST):
            few = {name: values[:FEW] for name, values in rows.items()}
            kept[key] = liked_multiple(generator, groups, share, few, self._ledger.bench, self._ledger.step_s / 2)
            write_json(file, kept)
        return int(kept[key])

    def _try_recovered(self, current: Kept, generator: Generator, name: str, settings: dict[str, Any]) -> Kept:
        """Recover ``generator``, which changes it, and try it against ``current``; once more if it just misses."""
        ledger = self._ledger
        folder = ledger.new_folder(name.replace("%", "").replace(",", "").replace(" ", "-"))
        generator.save(folder)
        recovered = ledger.task.recover(generator, folder)
        recovered.save(folder)  # whatever the task left there: the folder holds what its files were exported from
        files = ledger.bench.variants(recovered, folder)
        assert isinstance(current.generator, Generator)
        # int8 comes last and may change what is fast, so the faster variant of each side is compared.
        timing = ledger.timing(ledger.bench.variants(current.generator, current.file.parent), files)
        result = ledger.decide(name, files[FP32], current.file, timing.ratio, settings | {"timed": timing.precision})
        ledger.record(result, folder)
        if result.kept:
            return Kept(recovered, files[FP32], files[FP32])
        trained = recovered is not generator  # a task may have nothing to recover with
        promising = trained and ledger.judged[-1].is_near and timing.ratio.ci95[1] < 1 - WORTH
        if promising and not name.endswith(AGAIN) and time.monotonic() < self._until:
            copied = replace(recovered, module=copy.deepcopy(recovered.module))
            return self._try_recovered(current, copied, name + AGAIN, settings)
        return current


def _read_kept(file: Path) -> dict[str, Any]:
    """Return what was kept in ``file``: nothing where it is missing, damaged or of another kind."""
    try:
        kept = read_json(file)
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
