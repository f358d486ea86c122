"""How good a generator is, and how much worse it may become: ``Score``, ``Difference``, ``Budget``.

A score never travels as a bare float: it names its metric, extractor, sample count, seeds and error, and
unlike scores refuse to be compared. A budget is judged on the *worse end* of a paired 95 % interval, so that
a noisy measurement can only make us more careful, never bolder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compress.errors import CompressError

Direction = Literal["lower", "higher"]

Z95 = 1.96  # two-sided 95 % of a normal distribution


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured and which direction is better; ``point`` is the value of one "pt" (0 = it has none)."""

    name: str
    direction: Direction
    point: float = 0.0

    def badness(self, value: float) -> float:
        """Return ``value`` turned so that more is worse, whatever the direction; NaN stays NaN."""
        return value if self.direction == "lower" else -value


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("fid", "lower"),
        Metric("kid", "lower"),
        Metric("accuracy", "higher", point=0.01),
        Metric("precision", "higher", point=0.01),
        Metric("recall", "higher", point=0.01),
    )
}
"""What a family's experiment can be judged by."""

_FURTHER: dict[str, Metric] = {"distance": Metric("distance", "lower")}  # of strangers' generators: prior_task
_METRIC_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")


def register_metric(metric: Metric) -> None:
    """Make a metric of one's own known to scores and budgets; it may be said twice, alike.

    Raises:
        CompressError: the name is not lower case, or belongs to another metric.
    """
    if not _METRIC_NAME.fullmatch(metric.name):
        raise CompressError(f"A metric is named by lower-case letters, digits and _, found {metric.name!r}. Rename it.")
    if metric.direction not in ("lower", "higher"):
        raise CompressError(f"Of {metric.name} lower or higher is better, found {metric.direction!r}. Say which.")
    if {**METRICS, **_FURTHER}.get(metric.name, metric) != metric:
        raise CompressError(f"There is a metric {metric.name!r} already, of another kind. Give yours another name.")
    if metric.name not in METRICS:
        _FURTHER[metric.name] = metric


def get_metric(name: str) -> Metric:
    """Return the metric of this name.

    Raises:
        CompressError: no such metric; the message lists the known ones.
    """
    metric = {**METRICS, **_FURTHER}.get(name) if isinstance(name, str) else None
    if metric is None:
        raise CompressError(f"There is no metric {name!r}. Known metrics: {', '.join([*METRICS, *_FURTHER])}.")
    return metric


@dataclass(frozen=True, slots=True)
class Score:
    """One measured quality. ``extractor`` names the network (with its hash) whose features were used.

    Args:
        metric: A name in ``METRICS``.
        extractor: Where the features come from, e.g. ``mnist-cnn-3f2a``; "" if the metric needs none.
        n: Generated samples that were scored, at least 1. FID is biased by ``n``, so ``n`` is part of the score.
        seeds: Seeds of the latents, in the order used.
        value: In the metric's units; NaN if it could not be computed (and is then never inside a budget).
        standard_error: In the metric's units, at least 0 or NaN (unknown).
    """

    metric: str
    extractor: str
    n: int
    seeds: tuple[int, ...]
    value: float
    standard_error: float

    def __post_init__(self) -> None:
        get_metric(self.metric)
        if self.n < 1:
            raise CompressError(f"A score needs at least one sample, n is {self.n}. Draw samples before scoring.")
        if self.standard_error < 0:
            raise CompressError(f"A standard error is at least 0, found {self.standard_error}. Check the estimator.")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; NaN becomes null."""
        return {
            "metric": self.metric,
            "extractor": self.extractor,
            "n": self.n,
            "seeds": list(self.seeds),
            "value": _finite_or_none(self.value),
            "standard_error": _finite_or_none(self.standard_error),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Score:
        """Read what ``to_json`` wrote.

        Raises:
            CompressError: a field is missing or has the wrong type.
        """
        return cls(
            metric=_field(data, "metric", str),
            extractor=_field(data, "extractor", str),
            n=_field(data, "n", int),
            seeds=tuple(_integer(seed, "seeds") for seed in _field(data, "seeds", list)),
            value=_number(data, "value"),
            standard_error=_number(data, "standard_error"),
        )


def require_alike(a: Score, b: Score) -> None:
    """Return if the two scores may be compared: same metric, same extractor, same sample count.

    Seeds may differ: a *paired* difference needs equal latents, two values do not.

    Raises:
        CompressError: they are unlike; the message names the field and both values.
    """
    for field in ("metric", "extractor", "n"):
        one, other = getattr(a, field), getattr(b, field)
        if one != other:
            raise CompressError(
                f"Only like scores are compared, but {field} is {one!r} in one and {other!r} in the other. "
                "Score both generators with the same metric, extractor and sample count."
            )


@dataclass(frozen=True, slots=True)
class Difference:
    """Other minus reference, in the metric's units, with its paired 95 % interval (lower, upper); NaN = unknown."""

    value: float
    ci95: tuple[float, float]

    def __post_init__(self) -> None:
        if self.ci95[0] > self.ci95[1]:
            raise CompressError(f"An interval is written (lower, upper), found {self.ci95}. Swap the two ends.")

    def worse_end(self, metric: Metric) -> float:
        """Return the end of the interval at which the other generator is worst."""
        return self.ci95[1] if metric.direction == "lower" else self.ci95[0]

    def is_better(self, metric: Metric) -> bool:
        """Return whether the other is better beyond the interval: even its worse end is; False on NaN."""
        return metric.badness(self.worse_end(metric)) < 0 and not math.isnan(sum(self.ci95))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; NaN becomes null."""
        return {"value": _finite_or_none(self.value), "ci95": [_finite_or_none(end) for end in self.ci95]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Difference:
        """Read what ``to_json`` wrote.

        Raises:
            CompressError: a field is missing or has the wrong type.
        """
        ends = _field(data, "ci95", list)
        if len(ends) != 2:
            raise CompressError(f"'ci95' holds a lower and an upper end, found {len(ends)} values. Write both.")
        low, high = (_number({"ci95": end}, "ci95") for end in ends)
        return cls(_number(data, "value"), (low, high))


@dataclass(frozen=True, slots=True)
class Term:
    """One limit of a budget. ``amount`` is a value, a difference in metric units, or a share of the reference."""

    kind: Literal["value", "difference", "percent"]
    amount: float

    def limit(self, reference: float) -> float:
        """Return the limit as a value of the metric, for this value of the reference."""
        if self.kind == "value":
            return self.amount
        return reference + self.allowance(reference)

    def allowance(self, reference: float) -> float:
        """Return the allowed difference in metric units; ``abs`` because KID's estimator can be below 0."""
        return self.amount * abs(reference) if self.kind == "percent" else self.amount


_BUDGET = re.compile(r"\s*(?P<metric>[A-Za-z_]\w*)\s*(?P<sense><=|>=)\s*(?P<terms>[^<>=]+)")
_TERM = re.compile(r"(?P<sign>[+-]?)(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>%|pt)?")
_GRAMMAR = "Write e.g. 'fid<=+10%|+2' (differences to the reference), 'accuracy>=-1pt' or 'fid<=30' (the value itself)."


@dataclass(frozen=True, slots=True)
class Budget:
    """How much quality may be lost: the grammar of ``quality.budget`` in an experiment file.

    ``metric (<=|>=) term ("|" term)*``; a term with a sign is a difference to the reference, in percent of the
    reference (``+10%``), in points (``-1pt``: 0.01, for accuracy, precision, recall) or in the metric's units
    (``+2``); without a sign it is the value itself. Of several terms the loosest counts.
    """

    metric: Metric
    terms: tuple[Term, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read one budget.

        Raises:
            CompressError: unknown metric, a sense against the metric's direction, or a term outside the grammar.
        """
        match = _BUDGET.fullmatch(text) if isinstance(text, str) and len(text) <= 200 else None
        if match is None:
            raise CompressError(f"A budget is a metric, <= or >=, and limits joined by '|'; found {text!r}. {_GRAMMAR}")
        metric = get_metric(match["metric"].lower())
        sense = "<=" if metric.direction == "lower" else ">="
        if match["sense"] != sense:
            raise CompressError(
                f"Of {metric.name} {metric.direction} is better, so its budget is written {sense}; found {text!r}. "
                f"Write {metric.name}{sense}{match['terms'].strip()} if that is what you mean."
            )
        terms = tuple(_parse_term(part.strip(), metric, text) for part in match["terms"].split("|"))
        return cls(metric, terms, re.sub(r"\s+", "", text).lower())

    def allowed(self, reference: float) -> float:
        """Return the loosest limit as a value of the metric, for this value of the reference; NaN gives NaN."""
        if math.isnan(reference) and any(term.kind != "value" for term in self.terms):
            return math.nan
        limits = [term.limit(reference) for term in self.terms]
        return max(limits, key=self.metric.badness)

    def inside(self, score: Score, reference: Score, difference: Difference) -> bool:
        """Return whether the worse end of the 95 % interval is inside the loosest limit; NaN never is.

        Differences to the reference are judged by the paired interval of ``difference`` (score minus reference);
        the value itself by ``score.value`` and 1.96 standard errors, towards the worse side.

        Raises:
            CompressError: the scores are unlike, or not of this budget's metric.
        """
        require_alike(score, reference)
        if score.metric != self.metric.name:
            raise CompressError(
                f"The budget {self.text!r} cannot judge a score of {score.metric}. Score {self.metric.name}."
            )
        return any(self._term_inside(term, score, reference, difference) for term in self.terms)

    def _term_inside(self, term: Term, score: Score, reference: Score, difference: Difference) -> bool:
        bad = self.metric.badness
        if not all(map(math.isfinite, (score.value, reference.value, difference.value))):
            return False
        if term.kind == "value":
            return bad(score.value) + Z95 * score.standard_error <= bad(term.amount)
        return bad(difference.worse_end(self.metric)) <= bad(term.allowance(reference.value))

    def to_json(self) -> str:
        """Return the budget as it is written; ``Budget.parse`` reads it back."""
        return self.text


def parse_budgets(texts: str | Sequence[str]) -> tuple[Budget, ...]:
    """Read one budget or several, at most one a metric; all of them must hold.

    Raises:
        CompressError: none is given, one is outside the grammar, or two limit the same metric.
    """
    budgets = tuple(Budget.parse(text) for text in ([texts] if isinstance(texts, str) else texts))
    if not budgets:
        raise CompressError(f"At least one budget is needed, found none. {_GRAMMAR}")
    names = [budget.metric.name for budget in budgets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CompressError(
            f"One metric has one budget, found several for {', '.join(twice)}. Join its limits with '|'."
        )
    return budgets


def missed_budgets(
    budgets: Sequence[Budget],
    scores: Mapping[str, Score],
    reference: Mapping[str, Score],
    differences: Mapping[str, Difference],
) -> tuple[Budget, ...]:
    """Return those of ``budgets`` that do not hold; all of them must. Scores and differences are by metric.

    Args:
        budgets: In the order written.
        scores: Of what is judged.
        reference: Of the reference, like ``scores``.
        differences: ``scores`` minus ``reference``, paired.

    Raises:
        CompressError: a budget's metric was not scored, or two scores are unlike.
    """
    unscored = [budget.text for budget in budgets if budget.metric.name not in scores]
    if unscored:
        raise CompressError(f"The budget {unscored[0]!r} cannot be judged by scores of {', '.join(scores)}. Score it.")
    names = [budget.metric.name for budget in budgets]
    judged = zip(budgets, names, strict=True)
    return tuple(one for one, name in judged if not one.inside(scores[name], reference[name], differences[name]))


def _parse_term(part: str, metric: Metric, text: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None:
        raise CompressError(
            f"The limit {part!r} of the budget {text!r} is not a number with an optional sign and unit. {_GRAMMAR}"
        )
    amount = float(match["number"]) * (-1.0 if match["sign"] == "-" else 1.0)
    unit = match["unit"]
    if unit == "pt" and not metric.point:
        raise CompressError(f"{metric.name} is not counted in points, found {part!r}. Write its own units, or percent.")
    if unit == "%" and not match["sign"]:
        raise CompressError(
            f"Percent is a difference to the reference and needs a sign, found {part!r} in {text!r}. {_GRAMMAR}"
        )
    if unit == "%":
        return Term("percent", amount / 100)
    return Term("difference" if match["sign"] else "value", amount * metric.point if unit == "pt" else amount)


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _field(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data.get(name) if isinstance(data, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CompressError(
            f"'{name}' must be {kind.__name__}, found {value!r}. Write the record again with to_json()."
        )
    return value


def _integer(value: object, name: str) -> int:
    return int(_field({name: value}, name, int))


def _number(data: Mapping[str, Any], name: str) -> float:
    if isinstance(data, Mapping) and name in data and data[name] is None:
        return math.nan
    value = data.get(name) if isinstance(data, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CompressError(
            f"'{name}' must be a number or null, found {value!r}. Write the record again with to_json()."
        )
    return float(value)
