"""Which part of a graph becomes integer, where all of it would cost too much quality.

Nodes are ranked once by the harm that each does alone, in pixels on the prior; then bisection finds the fewest of the
most harmful ones that have to stay in float. It assumes that leaving more of them in float never makes it worse, which
is not quite true; what it returns was judged, whatever was assumed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.runtimes.onnx import generate
from compress.errors import CompressError
from compress.quantize import QuantizeRecord, computing_nodes, quantize, quantized_bytes
from compress.quantize_settings import QuantizeSettings
from compress.running import Array


@dataclass(frozen=True)
class Placement:
    """The largest integer part that was found inside the budget.

    Args:
        record: Of its quantization; ``record.settings.exclude`` are the nodes in float, the most harmful first.
        nodes: How many could have been integer.
        evaluations: How often quality was judged.
    """

    record: QuantizeRecord
    nodes: int
    evaluations: int


def place(
    floats: Path,
    out: Path,
    *,
    settings: QuantizeSettings,
    inputs: Mapping[str, Array],
    is_inside: Callable[[Path], bool],
    until: float = math.inf,
) -> Placement | None:
    """Write the file with the fewest nodes in float that is inside the budget; None if that is all of them.

    Quality is judged at most ceil(log2(nodes)) times.

    Args:
        floats: The float file, which is inside the budget.
        out: The integer file.
        settings: Those with which all of it is integer, which is outside the budget.
        inputs: Calibration rows, (n, *shape) a name; the harm of single nodes is measured on them, too.
        is_inside: Whether a file is inside the budget.
        until: When to give up, by ``time.monotonic()``.

    Raises:
        CompressError: the file cannot be quantized, or the time is up and no part was inside so far.
    """
    order = rank_by_harm(floats, settings, inputs, until)
    outside, inside, evaluations = 0, len(order), 0
    while inside - outside > 1:
        if inside < len(order) and time.monotonic() > until:
            break  # a smaller part than might be found, but one that is inside
        _check_time(until)
        middle = (outside + inside) // 2
        quantize(floats, out, inputs=inputs, settings=replace(settings, exclude=tuple(order[:middle])))
        evaluations += 1
        if is_inside(out):
            inside = middle
        else:
            outside = middle
    out.unlink(missing_ok=True)
    if inside >= len(order):
        return None
    record = quantize(floats, out, inputs=inputs, settings=replace(settings, exclude=tuple(order[:inside])))
    return Placement(record, len(order), evaluations)


def rank_by_harm(
    floats: Path, settings: QuantizeSettings, inputs: Mapping[str, Array], until: float = math.inf
) -> list[str]:
    """Return the names of the nodes that compute, in the order of the mean square change of the output (falling).

    That change is what the node does when it alone is integer, on the rows of ``inputs``.
    """
    names = computing_nodes(floats, settings)
    wanted = generate(floats, dict(inputs))
    harm: dict[str, float] = {}
    for name in names:
        _check_time(until)
        others = tuple(other for other in names if other != name)
        data = quantized_bytes(floats, inputs=inputs, settings=replace(settings, exclude=others))
        harm[name] = float(np.mean((generate(data, dict(inputs)).astype(np.float64) - wanted) ** 2))
    return sorted(names, key=lambda name: -harm[name])


def _check_time(until: float) -> None:
    if time.monotonic() > until:
        raise CompressError("no time was left to find out which part can be integer")
