"""How many channels go: shares of them are removed, what is left recovers, and is kept if that helped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.inputs import draw_inputs
from compress.errors import CompressError
from compress.generator import Generator
from compress.ledger import Kept, Ledger
from compress.measure import FP32
from compress.prune import prune

SMALLEST_SHARE = 0.1
_PRUNE_ROWS = 1024


@dataclass(frozen=True)
class Shares:
    """Prunes what is kept.

    Args:
        ledger: Decides.
        multiple: Widths of pruned layers are multiples of it.
        until: On ``time.monotonic``: begin no further share.
    """

    ledger: Ledger
    multiple: int
    until: float

    def try_each(self, current: Kept, ratios: Sequence[float]) -> Kept:
        """Try one share after the other, each on what was kept before."""
        for share in ratios:
            if not self._may_try(current, share):
                break
            current = self._try_share(current, share)
        return current

    def adapt(self, current: Kept, share: float) -> Kept:
        """Go on with ``share`` as long as it is kept, and with half of it when it is refused."""
        while share >= SMALLEST_SHARE and self._may_try(current, share):
            before, current = current, self._try_share(current, share)
            share = share if current is not before else share / 2
        return current

    def _may_try(self, current: Kept, share: float) -> bool:
        """Return whether there are time and a module; otherwise the step is recorded as refused."""
        why = ""
        if time.monotonic() > self.until:
            why = "no time is left"
        elif not isinstance(current.generator, Generator):
            why = "an ONNX file has no module that could be trained after it: give the module's factory"
        if why:
            self.ledger.refuse(f"prune {share:.0%}", why, {"ratio": share})
        return not why

    def _try_share(self, current: Kept, share: float) -> Kept:
        ledger, generator = self.ledger, current.generator
        assert isinstance(generator, Generator)
        name, settings = f"prune {share:.0%}", {"ratio": share}
        rows = draw_inputs(generator.inputs, _PRUNE_ROWS, ledger.bench.calibration_seed)
        try:
            pruned = prune(generator, share, inputs=rows, multiple=self.multiple, compensate=True)
        except CompressError as error:
            ledger.refuse(name, error, settings)
            return current
        folder = ledger.new_folder(f"prune-{share:.0%}".rstrip("%"))
        pruned.save(folder)
        recovered = ledger.task.recover(pruned, folder)
        recovered.save(folder)  # whatever the task left there: the folder holds what its files were exported from
        files = ledger.bench.variants(recovered, folder)
        # int8 comes last and may change what is fast, so the faster variant of each side is compared.
        timing = ledger.timing(ledger.bench.variants(generator, current.file.parent), files)
        result = ledger.decide(name, files[FP32], current.file, timing.ratio, settings | {"timed": timing.precision})
        ledger.record(result, folder)
        return Kept(recovered, files[FP32], files[FP32]) if result.kept else current
