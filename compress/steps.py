"""Whether a compression step is kept: one pure rule, and the sentence that the report prints for it.

A step is kept if

1. latency is better by more than ``WORTH``, beyond its interval, *and* quality stays inside every budget, judged
   against the reference (not the previous step, so that small losses cannot add up unseen), or
2. quality is better than before beyond its interval *and* latency is not worse beyond its interval. Quality is the
   first budget's metric; where another budget does not hold, its metric must be better than before, too; or
3. it is a quantization, latency is better as in 1, the float file is outside the same budgets already, and next to
   that nothing is lost: at the worse end of its interval at most ``FREE`` of what each budget allows. The float file
   would most likely miss the same budgets in the end, and be slower. Next to one file, so losses cannot add up.

Everything else is refused, with what was measured and, where it is known, the cause.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.records import Ratio
from compress.quality import Budget, Difference, missed_budgets
from compress.task import Evaluation

REFERENCE, BEFORE, FLOATS = "reference", "before", "floats"  # keys of the files that a step is compared with
WORTH = 0.01
"""Two starts of one small file differ by about this share (docs/speed-gate.md), of which one process knows nothing."""
FREE = 0.25
"""Of a budget: int8 that costs nothing costs a few percent of the usual ones."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step.

    Args:
        name: The step, e.g. ``prune 25 %``.
        kept: Whether the generator goes on with it.
        reason: One sentence for people, beginning with "kept" or "refused".
        ratio: Latency after ÷ before, in pairs; None if it was never timed.
        difference: Quality in the primary metric, this step minus the reference; None if it was never scored.
        settings: What was tried, plain JSON.
    """

    name: str
    kept: bool
    reason: str
    ratio: Ratio | None = None
    difference: Difference | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; what was not measured is null."""
        return {
            "name": self.name,
            "kept": self.kept,
            "reason": self.reason,
            "ratio": None if self.ratio is None else self.ratio.to_json(),
            "difference": None if self.difference is None else self.difference.to_json(),
            "settings": dict(self.settings),
        }


def decide(
    name: str,
    *,
    ratio_to_previous: Ratio,
    found: Evaluation,
    reference: Evaluation,
    budgets: Sequence[Budget],
    floats: Evaluation | None = None,
    cause: str = "",
    settings: Mapping[str, Any] | None = None,
) -> StepResult:
    """Keep or refuse a step by the rule at the top of this file. NaN, wherever it stands, never speaks for a step.

    Args:
        name: The step, for the result.
        ratio_to_previous: New latency ÷ old latency, below 1 = faster.
        found: Quality after the step, with differences to ``REFERENCE`` and, if it was measured, to ``BEFORE``; without
            that one only clause 1 can keep the step.
        reference: Quality of the reference, like ``found``.
        budgets: What may be lost against the reference; all must hold. The first is of the primary metric.
        floats: Of a quantization, quality of the float file, like ``found``; without it clause 3 is not asked.
        cause: Why the measurement came out so, if known, e.g. "4 ConvTranspose stay in fp32"; ends a refusal.
        settings: What was tried, for the result.

    Raises:
        CompressError: scores are unlike, or a budget's metric was not scored.
    """
    against = found.differences[REFERENCE]
    missed = missed_budgets(budgets, found.scores, reference.scores, against)
    faster = ratio_to_previous.ci95[1] < 1 - WORTH
    not_slower = ratio_to_previous.ci95[0] <= 1
    latency = _latency_text(ratio_to_previous)
    if faster and not missed:
        inside = [f"{_quality_text(found, one)} is inside {one.text}" for one in budgets]
        reason = "; ".join([f"kept: {latency}", *inside])
    elif not_slower and _is_better(found, budgets, missed):
        score = found.primary
        reason = f"kept: {score.metric} {_signed(found.primary_difference(BEFORE))} against the step before, {latency}"
    elif faster and floats is not None and _is_free(found, floats, reference, budgets, missed):
        lost, texts = _signed(found.primary_difference(FLOATS)), ", ".join(one.text for one in missed)
        metric = found.primary.metric
        reason = f"kept: {latency}; {metric} {lost} against the float file, which is outside {texts} too"
    else:
        outside = [_outside_text(found, reference, one) for one in missed]
        reason = "refused: " + "; ".join([*([] if faster else [latency]), *outside, *([cause] if cause else [])])
    kept = reason.startswith("kept")
    return StepResult(name, kept, reason, ratio_to_previous, found.primary_difference(REFERENCE), dict(settings or {}))


def is_near(found: Evaluation, reference: Evaluation, budgets: Sequence[Budget]) -> bool:
    """Return whether the measured values are inside every budget, whatever their errors; NaN is not."""
    limits = {one: one.allowed(reference.scores[one.metric.name].value) for one in budgets}
    return all(
        one.metric.badness(found.scores[one.metric.name].value) <= one.metric.badness(limit)
        for one, limit in limits.items()
    )


def used(found: Evaluation, reference: Evaluation, budgets: Sequence[Budget]) -> float:
    """Return what is lost ÷ what may be lost, at the worse end of the interval, of the budget where that is most.

    NaN where a budget allows nothing to be lost, or nothing is known.
    """
    shares = []
    for one in budgets:
        lost = one.metric.badness(found.differences[REFERENCE][one.metric.name].worse_end(one.metric))
        allowed = _allowed(reference, one)
        shares.append(lost / allowed if allowed > 0 else math.nan)
    return math.nan if any(map(math.isnan, shares)) else max(shares)


def _is_better(found: Evaluation, budgets: Sequence[Budget], missed: Sequence[Budget]) -> bool:
    """Return whether the step improved the first budget's metric, and that of every other budget that does not hold."""
    before = found.differences.get(BEFORE)
    needed = [budgets[0], *(one for one in missed if one is not budgets[0])]
    return before is not None and all(before[one.metric.name].is_better(one.metric) for one in needed)


def _is_free(
    found: Evaluation,
    floats: Evaluation,
    reference: Evaluation,
    budgets: Sequence[Budget],
    missed: Sequence[Budget],
) -> bool:
    """Return whether ``floats`` misses all that is missed, and next to it at most ``FREE`` of each budget is lost."""
    earlier = missed_budgets(budgets, floats.scores, reference.scores, floats.differences[REFERENCE])
    if not set(missed) <= set(earlier):
        return False
    return all(_lost(found, one) <= FREE * _allowed(reference, one) for one in budgets)


def _lost(found: Evaluation, budget: Budget) -> float:
    """Return what is lost against the float file, at the worse end, in units of the metric; below 0 is gained."""
    return budget.metric.badness(found.differences[FLOATS][budget.metric.name].worse_end(budget.metric))


def _allowed(reference: Evaluation, budget: Budget) -> float:
    """Return what may be lost against the reference, in units of the metric."""
    value = reference.scores[budget.metric.name].value
    return budget.metric.badness(budget.allowed(value)) - budget.metric.badness(value)


def _outside_text(found: Evaluation, reference: Evaluation, budget: Budget) -> str:
    limit = budget.allowed(reference.scores[budget.metric.name].value)
    return f"{_quality_text(found, budget)} is outside {budget.text} (limit {limit:.4g})"


def _latency_text(ratio: Ratio) -> str:
    """Return e.g. "1.71x slower [1.66, 1.75]": a factor above 1 for what is clear, the plain ratio for what is not."""
    low, high = ratio.ci95
    if high < 1 - WORTH:
        return f"{1 / ratio.value:.2f}x faster [{1 / high:.2f}, {1 / low:.2f}]"
    if high < 1:
        return f"hardly faster, ratio {ratio.value:.3f} [{low:.3f}, {high:.3f}]"
    if low > 1:
        return f"{ratio.value:.2f}x slower [{low:.2f}, {high:.2f}]"
    return f"latency not measurably different, ratio {ratio.value:.2f} [{low:.2f}, {high:.2f}]"


def _quality_text(found: Evaluation, budget: Budget) -> str:
    name = budget.metric.name
    score, difference = found.scores[name], found.differences[REFERENCE][name]
    return f"{name} {score.value:.4g} ({_signed(difference)} against the reference)"


def _signed(difference: Difference) -> str:
    low, high = difference.ci95
    return f"{difference.value:+.3g} [{low:+.3g}, {high:+.3g}]"
