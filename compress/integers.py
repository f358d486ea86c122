"""Which int8 file ships: every way of quantizing all is tried, and where all costs too much, the largest part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.graph import load_model
from benchmarks.records import Ratio
from compress.errors import CompressError
from compress.ledger import Kept, Ledger
from compress.measure import INT8, calibration_inputs
from compress.placement import place
from compress.quantize import QuantizeRecord, quantize
from compress.quantize_settings import QuantizeSettings
from compress.subpixel import count_transposed


@dataclass(frozen=True)
class Integers:
    """Tries int8 on what is kept.

    Args:
        ledger: Decides.
        until: On ``time.monotonic``: give up looking for the part that can be int8.
    """

    ledger: Ledger
    until: float

    def try_all(self, current: Kept) -> Kept:
        """Try every way of quantizing all; in part the fastest one outside the budget, if what is kept is slower."""
        reached, too_bad = 1.0, dict[QuantizeSettings, float]()  # of the time of the float file
        for settings in ways(current.floats):
            before = current
            current, ratio = self._try_whole(before, settings)
            if current is not before and ratio is not None:
                reached *= ratio.value
            elif ratio is not None and ratio.ci95[1] < 1:
                too_bad[settings] = reached * ratio.value
        best = min(too_bad, key=lambda settings: too_bad[settings], default=None)
        return self._try_part(current, best) if best is not None and too_bad[best] < reached else current

    def _try_whole(self, current: Kept, settings: QuantizeSettings) -> tuple[Kept, Ratio | None]:
        ledger, name = self.ledger, f"quantize {settings.name}"
        folder = ledger.new_folder(name.replace(",", "").replace(" ", "-"))
        file = folder / "model.int8.onnx"
        rows = calibration_inputs(current.generator.inputs, ledger.bench.calibration_seed)
        try:
            record = quantize(current.floats, file, inputs=rows, settings=settings)
        except CompressError as error:
            ledger.refuse(name, error, settings.to_json(), folder)
            return current, None
        ratio = ledger.ratio(current.file, file, INT8)
        told = {**settings.to_json(), "operators": dict(record.operators)}
        result = ledger.decide(name, file, current.file, ratio, told, record.cause, current.floats)
        ledger.record(result, folder)
        return (self._quantized(current, record, file) if result.kept else current), ratio

    def _try_part(self, current: Kept, settings: QuantizeSettings) -> Kept:
        ledger, name = self.ledger, f"quantize {settings.name} in part"
        folder = ledger.new_folder("quantize-in-part")
        file = folder / "model.int8.onnx"
        rows = calibration_inputs(current.generator.inputs, ledger.bench.calibration_seed)
        try:
            found = place(
                current.floats, file, settings=settings, inputs=rows, is_inside=ledger.is_inside, until=self.until
            )
        except CompressError as error:
            ledger.refuse(name, error, settings.to_json(), folder)
            return current
        if found is None:
            why = f"already the least harmful node in int8 is outside {ledger.budgets[0].text}"
            ledger.refuse(name, why, settings.to_json(), folder)
            return current
        told = {
            **found.record.settings.to_json(),
            "operators": dict(found.record.operators),
            "nodes": found.nodes,
            "evaluations": found.evaluations + 1,
        }
        ratio = ledger.ratio(current.file, file, INT8)
        result = ledger.decide(name, file, current.file, ratio, told, found.record.cause, current.floats)
        ledger.record(result, folder)
        return self._quantized(current, found.record, file) if result.kept else current

    def _quantized(self, current: Kept, record: QuantizeRecord, file: Path) -> Kept:
        edit = record.settings.edit(self.ledger.bench.calibration_seed, record.rows)
        return Kept(current.generator.unquantized().with_edit(edit), current.floats, file, INT8)


def ways(floats: Path) -> Iterator[QuantizeSettings]:
    """Yield every way of quantizing a whole graph: unfolded only where there is something to unfold."""
    transposed = count_transposed(load_model(floats).proto)
    yield QuantizeSettings()
    if transposed:
        yield QuantizeSettings(unfold=True)
    yield QuantizeSettings(per_channel=True, unfold=bool(transposed))
