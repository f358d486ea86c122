"""What to do about a "no": which limit was asked and missed, what came nearest, and which knob to open."""

from dataclasses import dataclass

from reports.records import Spread
from reports.searched import Candidate, Knob, KnobValue
from reports.summary import Summary
from reports.wording import DASH, genotype_text, interval, metric_name, number, score, signed, speedup

NOTABLE = 1.05  # a value of a knob is better than its neighbour by this factor, at least, to be worth opening
MAX_OPEN = 3


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit that was missed: what was asked, what was found, and what to change."""

    key: str
    asked: str
    found: str
    change: str


def missed_limits(summary: Summary) -> tuple[Limit, ...]:
    """Every missed limit; empty where the answer is yes, or not known yet."""
    missed = summary.verdict.missed if summary.verdict else ()
    return tuple(_limit(summary, key) for key in missed)


def _limit(summary: Summary, key: str) -> Limit:
    if key == "quality.budget":
        return Limit(
            key, summary.budget or "the budget", _found_quality(summary), "more search.final_distill or trials"
        )
    if key in ("target.min_speedup", "target.max_latency_ms"):
        return Limit(key, _asked(summary, key), _found_speed(summary), f"relax {key}, or open the space")
    changes = {
        "reference.steps": "more reference.steps, another seed, or lower learning rates in family",
        "search.trials": "more search.minutes and search.trials, or lower search.rungs; with --fresh",
        "search.finalists": "see the notes of the finalists",
        "compress": "see why each step was refused; a looser budget, or the module beside the file, opens more",
    }
    return Limit(key, DASH, DASH, changes.get(key, f"change {key}"))


def _asked(summary: Summary, key: str) -> str:
    target = summary.target
    if target and key == "target.min_speedup" and target.min_speedup:
        return f"at least {target.min_speedup:g}× at batch {target.batch}"
    if target and key == "target.max_latency_ms" and target.max_latency_ms:
        return f"at most {target.max_latency_ms:g} ms at batch {target.batch}"
    return DASH


def _found_speed(summary: Summary) -> str:
    batch = str(summary.target.batch) if summary.target else "1"
    if summary.speedup and batch in summary.speedup:
        shipped = summary.final.latency_ms if summary.final and summary.final.latency_ms else {}
        milliseconds = f", {number(shipped[batch].median)} ms" if batch in shipped else ""
        return f"{interval(summary.speedup[batch], unit='×')}{milliseconds}"
    best = fastest(summary)
    return speedup(best.ratio) if best else DASH


def _found_quality(summary: Summary) -> str:
    final = summary.final
    if final is None or final.quality is None:
        return DASH
    difference = f" ({signed(final.quality_difference)} to the reference)" if final.quality_difference else ""
    return f"{metric_name(final.quality)} {score(final.quality)}{difference}"


def fastest(summary: Summary) -> Candidate | None:
    """The fastest candidate that was measured."""
    measured = [one for one in summary.candidates or () if one.ratio]
    return min(measured, key=lambda one: one.ratio.value if one.ratio else 0.0, default=None)


def best(summary: Summary) -> Candidate | None:
    """The candidate of the best score, at whatever rung."""
    trained = [one for one in summary.candidates or () if one.quality and one.ratio]
    return min(trained, key=lambda one: one.quality.value if one.quality else 0.0, default=None)


def best_found(summary: Summary) -> list[str]:
    """The nearest things to an answer: the fastest candidate and the best one."""
    lines, one = [], fastest(summary)
    if one:
        lines.append(f"Fastest measured: {speedup(one.ratio)} with {genotype_text(one.genotype)}.")
    good = best(summary)
    if good:
        facts = f"{metric_name(good.quality)} {score(good.quality)} at {speedup(good.ratio)}"
        lines.append(f"Best quality in the search: {facts} with {genotype_text(good.genotype)}.")
    return lines


def knobs_to_open(summary: Summary) -> list[str]:
    """Knobs at the end of whose range the nearest candidate stands, so that values beyond it may be better still.

    The nearest is the fastest if a latency limit was missed, else the best. Only numbers have a beyond, and only where
    candidates with the last value are better (median) than those with the one before it, by ``NOTABLE``.
    """
    missed = summary.verdict.missed if summary.verdict else ()
    speed = any(key.startswith("target.") for key in missed)
    nearest = fastest(summary) if speed else best(summary)
    if not missed or summary.knobs is None or nearest is None:
        return []
    found = [_beyond(knob, nearest.genotype.get(knob.name), speed) for knob in summary.knobs.knobs]
    ranked = sorted((one for one in found if one), key=lambda one: -one[0])
    return [text for _, text in ranked[:MAX_OPEN]]


def _beyond(knob: Knob, value: object, speed: bool) -> tuple[float, str] | None:
    """How much better the last value is than the one before it, and what to do; null where it is not, or not last."""
    numbers = [(one.value, gain) for one in knob.values if (gain := _gain(one, speed)) is not None]
    if len(numbers) < 2 or value not in (numbers[0][0], numbers[-1][0]):
        return None
    (edge, gain), (_, before) = numbers[:2] if value == numbers[0][0] else numbers[:-3:-1]
    if gain < NOTABLE * before:
        return None
    if not edge:  # there is nothing below none
        return None
    word, end = ("below", "smallest") if value == numbers[0][0] else ("above", "largest")
    goal = "fastest" if speed else "best"
    advice = f"the {goal} candidate has {edge}, the {end} that was tried; try values {word} it."
    return gain / before, f"{knob.name}: {advice}"


def _gain(one: KnobValue, speed: bool) -> float | None:
    """How good a number's median is, more being better; null for texts and where nothing is known."""
    spread: Spread | None = one.speedup if speed else one.quality
    if spread is None or isinstance(one.value, bool | str | None) or spread.median <= 0:
        return None
    return spread.median if speed else 1 / spread.median
