"""The planner: tries compression steps one after the other on one generator and keeps those that help.

Order: clean up (of a bare file), prune with recovery, then quantize, which is always last; where all in int8 costs too
much, the largest part of it that does not. Each step is measured on exported files, in pairs with what was kept before
it, and judged against the reference.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path

from compress.edits import Edit
from compress.errors import CompressError
from compress.export import AnyGenerator, export_onnx
from compress.integers import Integers
from compress.ledger import Kept, Ledger
from compress.measure import FP32
from compress.onnx_generator import OnnxGenerator
from compress.shares import Shares
from compress.steps import StepResult
from compress.variants import Variant, choose, measured


@dataclass(frozen=True)
class Recipe:
    """What is tried.

    Args:
        prune_ratios: Shares of the channels to remove, each tried on what was kept before.
        quantize: Try int8, per tensor and per channel.
        multiple: Widths of pruned layers are multiples of it; None for what the runtime likes, as measured.
        adapt: Look for how much can go, from the first share on; the others do not count. Each is cut out of what was
            given.
        prune_minutes: Begin no further share, or recovery, after so long.
        minutes: Give up looking for the part that can be int8 after so long.
    """

    prune_ratios: tuple[float, ...] = (0.25,)
    quantize: bool = True
    multiple: int | None = 8
    adapt: bool = False
    prune_minutes: float = math.inf
    minutes: float = math.inf


@dataclass(frozen=True)
class Compressed:
    """What compression kept: the generator, the file that ships, its precision, and every step with its reason.

    ``variants`` are what could be taken instead (``compress.variants``); what ships is among them if a step was kept.
    """

    generator: AnyGenerator
    file: Path
    precision: str
    steps: tuple[StepResult, ...]
    variants: tuple[Variant, ...] = ()


def run_recipe(ledger: Ledger, generator: AnyGenerator, recipe: Recipe) -> Compressed:
    """Return what is left of ``generator`` after every step of ``recipe`` was tried; a ledger serves once."""
    begun = time.monotonic()
    if not recipe.quantize:
        ledger.leave_integers_out()
    folder = ledger.new_folder("start")
    generator.save(folder)
    file = folder / "model.onnx"
    export_onnx(generator, file, opset=ledger.bench.opset)
    current = Kept(generator, file, file)
    if isinstance(generator, OnnxGenerator):
        current = _try_cleaning(ledger, current)
    shares = Shares(ledger, recipe.multiple, begun + 60 * recipe.prune_minutes)
    if recipe.adapt:
        current = shares.find_most(current, recipe.prune_ratios[0])
    else:
        current = shares.try_each(current, recipe.prune_ratios)
    if recipe.quantize:
        current = Integers(ledger, begun + 60 * recipe.minutes).try_all(current)
    variants = measured(choose(ledger.judged, current.file, file), file, ledger.bench)
    return Compressed(current.generator, current.file, current.precision, tuple(ledger.steps), variants)


def _try_cleaning(ledger: Ledger, current: Kept) -> Kept:
    name, folder = "clean up", ledger.new_folder("clean-up")
    cleaned = current.generator.with_edit(Edit("clean", {}))
    file = folder / "model.onnx"
    try:
        export_onnx(cleaned, file, opset=ledger.bench.opset)
    except CompressError as error:
        ledger.refuse(name, error, folder=folder)
        return current
    cleaned.save(folder)
    result = ledger.decide(name, file, current.file, ledger.ratio(current.file, file, FP32), {})
    ledger.record(result, folder)
    return Kept(cleaned, file, file) if result.kept else current
