"""Whether a compression step is kept: one pure rule, and the sentence that the report prints for it.

A step is kept if

1. latency is better beyond its interval *and* quality stays inside the budget, judged against the reference
   (not the previous step, so that small losses cannot add up unseen), or
2. quality is better than before beyond its interval *and* latency is not worse beyond its interval.

Everything else is refused, with what was measured and, where it is known, the cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.records import Ratio
from compress.quality import Budget, Difference, Score


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step.

    Args:
        name: The step, e.g. ``prune 25 %``.
        kept: Whether the generator goes on with it.
        reason: One sentence for people, beginning with "kept" or "refused".
        ratio: Latency after ÷ before, in pairs; None if it was never timed.
        difference: Quality, this step minus the reference; None if it was never scored.
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
    score: Score,
    reference: Score,
    difference_to_reference: Difference,
    difference_to_previous: Difference | None,
    budget: Budget,
    cause: str = "",
    settings: Mapping[str, Any] | None = None,
) -> StepResult:
    """Keep or refuse a step by the rule at the top of this file. NaN, wherever it stands, never speaks for a step.

    Args:
        name: The step, for the result.
        ratio_to_previous: New latency ÷ old latency, below 1 = faster.
        score: Quality after the step.
        reference: Quality of the reference, like ``score``.
        difference_to_reference: ``score`` minus ``reference``, paired.
        difference_to_previous: Quality after minus before the step, paired; None if it was not measured, and then
            only clause 1 can keep the step.
        budget: What may be lost against the reference.
        cause: Why the measurement came out so, if known, e.g. "4 ConvTranspose stay in fp32"; ends a refusal.
        settings: What was tried, for the result.

    Raises:
        CompressError: ``score`` and ``reference`` are unlike, or not of the budget's metric.
    """
    inside = budget.inside(score, reference, difference_to_reference)
    faster = ratio_to_previous.ci95[1] < 1
    not_slower = ratio_to_previous.ci95[0] <= 1
    better = difference_to_previous is not None and difference_to_previous.is_better(budget.metric)
    latency = _latency_text(ratio_to_previous)
    if faster and inside:
        reason = f"kept: {latency}; {_quality_text(score, difference_to_reference)} is inside {budget.text}"
    elif better and not_slower:
        assert difference_to_previous is not None
        reason = f"kept: {score.metric} {_signed(difference_to_previous)} against the step before, {latency}"
    else:
        reason = _refusal(faster, inside, latency, score, reference, difference_to_reference, budget, cause)
    kept = reason.startswith("kept")
    return StepResult(name, kept, reason, ratio_to_previous, difference_to_reference, dict(settings or {}))


def _refusal(
    faster: bool,
    inside: bool,
    latency: str,
    score: Score,
    reference: Score,
    difference: Difference,
    budget: Budget,
    cause: str,
) -> str:
    """Name every condition that failed, with its measurement, then the cause."""
    causes = [] if faster else [latency]
    if not inside:
        limit = budget.allowed(reference.value)
        causes.append(f"{_quality_text(score, difference)} is outside {budget.text} (limit {limit:.4g})")
    return "refused: " + "; ".join(causes + ([cause] if cause else []))


def _latency_text(ratio: Ratio) -> str:
    """Return e.g. "1.71x slower [1.66, 1.75]": a factor above 1 for what is clear, the plain ratio for what is not."""
    low, high = ratio.ci95
    if high < 1:
        return f"{1 / ratio.value:.2f}x faster [{1 / high:.2f}, {1 / low:.2f}]"
    if low > 1:
        return f"{ratio.value:.2f}x slower [{low:.2f}, {high:.2f}]"
    return f"latency not measurably different, ratio {ratio.value:.2f} [{low:.2f}, {high:.2f}]"


def _quality_text(score: Score, difference: Difference) -> str:
    return f"{score.metric} {score.value:.4g} ({_signed(difference)} against the reference)"


def _signed(difference: Difference) -> str:
    low, high = difference.ci95
    return f"{difference.value:+.3g} [{low:+.3g}, {high:+.3g}]"
