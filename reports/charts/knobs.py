"""What each knob did: its importance, and strips of speed-up and score for each of its values."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.axes import Axis, log_axis
from reports.charts.strips import Strip
from reports.records import Spread
from reports.searched import Knob
from reports.summary import Summary
from reports.wording import DASH, number, spread_text

MAX_KNOBS = 4  # shown with the effects of their values


@dataclass(frozen=True, slots=True)
class Effect:
    """One value of a knob: what candidates with it had."""

    value: str
    counts: str
    speed: Strip | None
    speed_text: str
    quality: Strip | None
    quality_text: str


@dataclass(frozen=True, slots=True)
class KnobEffects:
    """A knob, what it explains in words, and its values."""

    name: str
    about: str
    effects: tuple[Effect, ...]


def knob_effects(summary: Summary) -> tuple[KnobEffects, ...]:
    """The most important knobs with quartiles of speed-up and score by value, all on the same two axes."""
    if summary.knobs is None:
        return ()
    shown = [knob for knob in summary.knobs.knobs if len(knob.values) > 1][:MAX_KNOBS]
    values = [value for knob in shown for value in knob.values]
    speed, quality = _axis([one.speedup for one in values]), _axis([one.quality for one in values])
    return tuple(KnobEffects(knob.name, _explains(knob), _effects(knob, speed, quality)) for knob in shown)


def _axis(spreads: Sequence[Spread | None]) -> Axis | None:
    ends = [end for spread in spreads if spread for end in (spread.low, spread.high)]
    return log_axis(ends, 0.0, 100.0) if ends else None


def _effects(knob: Knob, speed: Axis | None, quality: Axis | None) -> tuple[Effect, ...]:
    return tuple(
        Effect(
            "off" if one.value is None else str(one.value),
            f"{one.measured:,} measured, {one.trained:,} trained",
            _quartiles(one.speedup, speed),
            f"{number(one.speedup.median)}×" if one.speedup else DASH,
            _quartiles(one.quality, quality),
            number(one.quality.median if one.quality else None),
        )
        for one in knob.values
    )


def _quartiles(spread: Spread | None, axis: Axis | None) -> Strip | None:
    if spread is None or axis is None:
        return None
    low, middle, high = (axis.at(value) for value in (spread.low, spread.median, spread.high))
    return Strip(low, low, middle, high, high, f"quartiles {spread_text(spread)}")


def _explains(knob: Knob) -> str:
    parts = ((knob.importance.latency, "latency"), (knob.importance.quality, "quality"))
    return ", ".join(f"{100 * share:.0f} % of {name}" for share, name in parts if share is not None)


@dataclass(frozen=True, slots=True)
class Importances:
    """One knob's shares, in percent; null where unknown."""

    name: str
    latency: float | None
    quality: float | None


def importances(summary: Summary, least: float = 0.01) -> tuple[Importances, ...]:
    """Shares of all knobs that explain at least ``least`` of either; empty where none is known."""
    found = []
    for knob in summary.knobs.knobs if summary.knobs else ():
        shares = knob.importance.latency, knob.importance.quality
        if any(share is not None and share >= least for share in shares):
            percents = [None if share is None else round(100 * share, 1) for share in shares]
            found.append(Importances(knob.name, percents[0], percents[1]))
    return tuple(found)
