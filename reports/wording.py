"""Numbers and sentences of a report, the same in HTML and Markdown."""

import math
from collections.abc import Mapping
from datetime import datetime

from reports.records import Estimate, Ratio, Score, Spread
from reports.summary import Summary

DASH = "–"
# Keys that name no limit: why a run ends early where they stand in `verdict.missed`, and what to change.
_CAUSES = {
    "compress": "no step made it measurably faster inside the budget, so it ships as it was given (compress)",
    "reference.steps": "the reference learned nothing that others could learn from it (reference.steps)",
    "search.trials": "no candidate finished its training, although some were fast enough: raise search.minutes and "
    "search.trials, or lower search.rungs, and run it with --fresh (search.trials)",
    "search.finalists": "none of the finalists could be trained to the end; their notes say why (search.finalists)",
}
_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits and no exponent: 0.0266, 8.48, 17.0, 1,250; null is a dash."""
    if value is None:
        return DASH
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def rounded(value: float, low: float, high: float) -> tuple[str, str, str]:
    """The three numbers rounded to the first digit of the interval's half width, so that no idle digit is shown."""
    half = (high - low) / 2
    if half <= 0:
        return number(value), number(low), number(high)
    decimals = min(8, max(0, -math.floor(math.log10(half))))
    return f"{value:,.{decimals}f}", f"{low:,.{decimals}f}", f"{high:,.{decimals}f}"


def interval(estimate: Estimate | Ratio | None, *, unit: str = "") -> str:
    """``9.3× [9.1, 9.5]``; null is a dash."""
    if estimate is None:
        return DASH
    value, low, high = rounded(estimate.value, *estimate.ci95)
    return f"{value}{unit} [{low}, {high}]"


def speedup(ratio: Ratio | None) -> str:
    """A ratio told the other way round: ``9.3× [9.1, 9.5]``; null is a dash."""
    if ratio is None or ratio.ci95[0] <= 0:
        return DASH if ratio is None else f"{number(1 / ratio.value)}×"
    value, low, high = rounded(1 / ratio.value, 1 / ratio.ci95[1], 1 / ratio.ci95[0])
    return f"{value}× [{low}, {high}]"


def signed(estimate: Estimate | None) -> str:
    """A difference with its sign: ``+0.8 [0.2, 1.4]``; null is a dash."""
    if estimate is None:
        return DASH
    return (("+" if estimate.value > 0 else "") + interval(estimate)).replace("-", "−")


def spread_text(spread: Spread | None, unit: str = "") -> str:
    """``12.4× (9.80–15.1)``: median and quartiles; null is a dash."""
    if spread is None:
        return DASH
    return f"{number(spread.median)}{unit} ({number(spread.low)}–{number(spread.high)})"


def score(quality: Score | None) -> str:
    """``8.1 ± 0.2`` (one standard error); null is a dash."""
    if quality is None or not quality.standard_error:
        return score_value(quality)
    value, error, _ = rounded(quality.value, quality.standard_error, 3 * quality.standard_error)
    return f"{value} ± {error}"


def score_value(quality: Score | None) -> str:
    """The score alone, to the first digit of its standard error: ``8.1``; null is a dash."""
    if quality is None:
        return DASH
    if not quality.standard_error:
        return number(quality.value)
    return rounded(quality.value, quality.standard_error, 3 * quality.standard_error)[0]


def metric_name(quality: Score | None) -> str:
    """``FID`` for ``fid``; ``quality`` where no score is known."""
    if quality is None:
        return "quality"
    return quality.metric.upper() if len(quality.metric) <= 4 else quality.metric


def count(value: int | None) -> str:
    """1066880 is ``1.07 M``, 512 is ``512``; null is a dash."""
    if value is None:
        return DASH
    shown = float(f"{value:.3g}")
    for step, letter in _STEPS:
        if shown >= step:
            return f"{shown / step:.3g} {letter}"
    return str(value)


def size(value: int | None) -> str:
    """Bytes in decimal units: ``4.18 MB``; null is a dash."""
    if value is None:
        return DASH
    text = count(value)
    return f"{text}B" if " " in text else f"{text} B"


def duration(seconds: float | None) -> str:
    """754.2 is ``12 min 34 s``; below a minute ``9.4 s``; null is a dash."""
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def date_text(created: str) -> str:
    """``2026-11-20 14:05 UTC`` for an ISO 8601 date; dates of other zones keep their offset."""
    found = datetime.fromisoformat(created)
    zone = found.tzname() or ""
    return f"{found:%Y-%m-%d %H:%M} {zone}".strip()


def genotype_text(genotype: Mapping[str, object]) -> str:
    """``kernel=3 width=64``, knobs in their own order."""
    return " ".join(f"{knob}={value}" for knob, value in genotype.items())


def settings_text(settings: Mapping[str, object]) -> str:
    """``per_channel=false operators=QGemm 1, Tanh 2``, keys in their own order."""
    return " ".join(f"{key}={_setting_text(value)}" for key, value in settings.items())


def _setting_text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_setting_text(part)}" for key, part in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def batches(table: Mapping[str, object] | None) -> list[str]:
    """The batch sizes of a table, smallest first."""
    return sorted(table or {}, key=int)


def verdict_word(summary: Summary) -> str:
    """``yes``, ``no`` or ``not finished``."""
    if summary.verdict is None:
        return "not finished"
    return "yes" if summary.verdict.met else "no"


def verdict_sentence(summary: Summary) -> str:
    """One sentence a manager understands: how much faster and smaller, at what quality, what was asked; or why not."""
    if summary.verdict is None:
        return "This run has not reached its verdict yet; the same command goes on where it stopped."
    clauses = [_speed_clause(summary), _size_clause(summary), _quality_clause(summary)]
    facts = ", ".join(filter(None, clauses))
    if summary.verdict.met:
        asked = _asked_clause(summary)
        return f"{facts}{f': {asked}' if asked else ''}." if clauses[0] else "Every limit and the budget are met."
    asked = " and ".join(summary.verdict.missed) or "a limit"
    if summary.verdict.missed == ("compress",):
        return f"Nothing helped: {_CAUSES['compress']}."
    if clauses[0]:
        return f"Missed: {asked}. The best found is {facts}."
    causes = [_CAUSES[key] for key in summary.verdict.missed if key in _CAUSES]
    if causes:
        return f"Nothing was shipped: {'; '.join(causes)}."
    return f"Nothing was shipped: {asked} cannot be met. {_best_found(summary)}".strip()


def remarks(summary: Summary) -> list[str]:
    """What a reader must know before believing the numbers: a reference still learning, the notes."""
    lines = []
    if summary.reference and summary.reference.plateau is False:
        lines.append(f"The reference is {plateau_text(summary)}; every ratio is to this reference.")
    return [*lines, *summary.notes]


def is_given(summary: Summary) -> bool:
    """Whether the reference is a stranger's, compressed without an experiment."""
    return summary.family == "own"


def plateau_text(summary: Summary) -> str:
    """``at its plateau (FID gained 0.2 in the last quarter of its training)``, or not at it; stands by every ratio."""
    reference = summary.reference
    if is_given(summary):
        return "the generator that was given"
    if reference is None or reference.plateau is None:
        return "not judged for a plateau"
    where = f"{'at' if reference.plateau else 'not at'} its plateau"
    if reference.plateau_gain is None:
        return where
    gain = f"{metric_name(reference.quality)} gained {number(reference.plateau_gain, 2)}"
    return f"{where} ({gain} in the last quarter of its training)"


def _times(estimate: Estimate) -> tuple[str, str]:
    value, low, high = rounded(estimate.value, *estimate.ci95)
    return (f"{value}× {'faster' if estimate.value >= 1 else 'as fast'}", f"95 % interval {low}–{high}")


def _speed_clause(summary: Summary) -> str:
    """``9.3× faster at batch 1 (95 % interval 9.1–9.5) than the reference's own fastest file``, at the target batch."""
    table = summary.speedup or {}
    wanted = str(summary.target.batch) if summary.target else ""
    parts = []
    for batch in [wanted] if wanted in table else batches(table):
        times, ci = _times(table[batch])
        parts.append(f"{times} at batch {batch} ({ci})")
    return f"{' and '.join(parts)} than the reference's own fastest file" if parts else ""


def _size_clause(summary: Summary) -> str:
    """``288 kB instead of 4.18 MB``."""
    final, reference = summary.final, summary.reference
    if final is None or final.bytes is None or reference is None or reference.bytes is None:
        return ""
    return f"{size(final.bytes)} instead of {size(reference.bytes)}"


def _quality_clause(summary: Summary) -> str:
    """``FID 8.9 against 8.1 (+0.8 [0.2, 1.4])``."""
    final, reference = summary.final, summary.reference
    if final is None or final.quality is None or reference is None or reference.quality is None:
        return ""
    behind = f" ({signed(final.quality_difference)})" if final.quality_difference else ""
    return f"{metric_name(final.quality)} {score_value(final.quality)} against {score_value(reference.quality)}{behind}"


def _asked_clause(summary: Summary) -> str:
    """``at least 8× and fid<=+10%|+2 were asked``."""
    target = summary.target
    asked = [f"at least {target.min_speedup:g}×"] if target and target.min_speedup else []
    asked += [f"at most {target.max_latency_ms:g} ms"] if target and target.max_latency_ms else []
    asked += [summary.budget] if summary.budget else []
    return f"{' and '.join(asked)} {'was' if len(asked) == 1 else 'were'} asked, and met" if asked else ""


def _best_found(summary: Summary) -> str:
    measured = [candidate.ratio for candidate in summary.candidates or () if candidate.ratio]
    if not measured:
        return ""
    best = speedup(min(measured, key=lambda ratio: ratio.value))
    return (
        f"The fastest of {len(measured)} measured candidate(s) is {best} as fast as the reference's own fastest "
        "file: relax the limit, or give the space faster choices."
    )
