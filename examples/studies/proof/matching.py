"""How strongly to prune: until the pruned reference takes as long as our file, or as near to it as widths allow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from compress.generator import Generator
from examples.studies.proof.pruned import prune_alone
from nas.baseline import WINDOW

MULTIPLES = (8, 4, 2, 1)  # that widths are rounded down to, in the order tried; kernels like 8
_HALVINGS = 8
_ROUNDING = 1e-6  # of a channel: torch-pruning cuts off what is behind the point

Time = Callable[[Generator], float]


@dataclass(frozen=True)
class Matched:
    """A pruned reference, how it was pruned, and its time ÷ our file's."""

    generator: Generator
    ratio: float
    multiple: int
    time: float

    @property
    def fits(self) -> bool:
        """Whether it takes 1.0 to 1.1 times as long, which is also asked of the narrowed baseline."""
        return WINDOW[0] <= self.time <= WINDOW[1]

    def to_json(self) -> dict[str, Any]:
        """Return what the part's file holds."""
        return {
            "ratio": self.ratio,
            "multiple": self.multiple,
            "time": self.time,
            "fits": self.fits,
            "widths": self.generator.origin.arguments["widths"],
        }


def match(reference: Generator, time: Time) -> Matched:
    """Return ``reference`` pruned until its fastest file takes 1.0 to 1.1 times as long as ours, coarse widths first.

    Where no widths do: the fastest tried that is no faster than ours, which favours it; where all are faster, the
    slowest.

    Args:
        reference: Trained.
        time: Tells the time of a generator's fastest file ÷ our file's.
    """
    tried = list[Matched]()
    for multiple in MULTIPLES:
        found = _bisect(reference, time, multiple)
        tried += found
        if found and found[-1].fits:
            return found[-1]
    no_faster = [one for one in tried if one.time >= WINDOW[0]]
    return min(no_faster, key=_time) if no_faster else max(tried, key=_time)


def _bisect(reference: Generator, time: Time, multiple: int) -> list[Matched]:
    """Return what was tried with widths in steps of ``multiple``, the last one the best match."""
    narrowest = min(reference.origin.arguments["widths"])
    low, high = 0.0, 1 - (multiple + _ROUNDING) / narrowest
    tried = list[Matched]()
    for step in range(_HALVINGS):
        ratio = (low + high) / 2 if step else high  # at first the strongest: if that is slower than ours, so are all
        if not 0 < ratio < 1:
            break
        generator = prune_alone(reference, ratio, multiple)
        if any(generator.id == one.generator.id for one in tried[-1:]):
            found = Matched(tried[-1].generator, ratio, multiple, tried[-1].time)
        else:
            found = Matched(generator, ratio, multiple, time(generator))
        tried.append(found)
        if found.fits or (not step and found.time > WINDOW[1]):
            break
        if found.time < WINDOW[0]:
            high = ratio
        else:
            low = ratio
    return tried


def _time(one: Matched) -> float:
    return one.time
