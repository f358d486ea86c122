"""What a search taught about its knobs and candidates: numbers for the summary, computed from the records alone.

- importances: how much of the spread of latency, and of quality, each knob explains (fANOVA, Hutter et al., ICML 2014)
- effects: quartiles of speed-up and score for every value of a knob
- curves: a candidate's scores over its rungs
"""

import functools
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nas.candidate import FAILED, NOT_TRAINED
from nas.folder import Record

MIN_POINTS = 12  # a forest on fewer candidates than this tells noise
TREES = 12  # 370 candidates of 13 knobs: 1.4 CPU-seconds of Zen 5 (process_time round knobs_of on the demo's record)
MAX_POINTS = 500  # in a forest, evenly spread over the search; the time grows faster than their number
MAX_VALUES = 24  # of one knob, the most frequent

Point = tuple[Mapping[str, Any], float]
"""A genotype, and the logarithm of what was measured of it: times and FIDs differ by factors."""


def knobs_of(rows: Sequence[Record], seed: int) -> Record | None:
    """Return what each knob did: importances, and effects by value, the most important knob first.

    Qualities are those after the first rung, which every trained candidate finished: scores of different rungs are of
    different trainings.

    Args:
        rows: Candidates as their records hold them.
        seed: Of the forests.

    Returns:
        ``None`` before anything was measured.
    """
    if not any(row["ratio"] for row in rows):
        return None
    facts = [{key: row[key] for key in ("genotype", "ratio", "rungs")} for row in rows]
    found: Record = json.loads(_knobs_of(json.dumps(facts), seed))
    return found


@functools.lru_cache(maxsize=1)
def _knobs_of(text: str, seed: int) -> str:
    """Do ``knobs_of`` on JSON: a run summarizes the same finished search after each of its later stages."""
    rows = json.loads(text)
    latency = [(row["genotype"], math.log(row["ratio"]["value"])) for row in rows if row["ratio"]]
    scored = [(row["genotype"], value) for row in rows if (value := _first_score(row)) is not None]
    above_zero = min((value for _, value in scored), default=0.0) > 0  # KID may be 0 or less, and has no logarithm then
    quality = [(genotype, math.log(value) if above_zero else value) for genotype, value in scored]
    importances = {"latency": importances_of(latency, seed), "quality": importances_of(quality, seed)}
    knobs = [_knob(name, rows, importances) for name in _names(row["genotype"] for row in rows)]
    knobs.sort(key=lambda knob: -max((value for value in knob["importance"].values() if value), default=0.0))
    steps = {row["rungs"][0]["steps"] for row in rows if row["rungs"]}
    return json.dumps(
        {
            "measured": len(latency),
            "trained": len(quality),
            "steps": steps.pop() if len(steps) == 1 else None,
            "knobs": knobs,
        }
    )


def importances_of(points: Sequence[Point], seed: int) -> dict[str, float] | None:
    """Return by knob the share of the spread that it explains alone, all shares summing to 1; ``None`` if unknown.

    A knob that is off in some genotypes counts that as one more value. Unknown is with fewer than ``MIN_POINTS``
    points, without any spread, or where optuna or the forests of scikit-learn are not installed.
    """
    values = [value for _, value in points]
    names = [name for name in _names(one for one, _ in points) if len({one.get(name) for one, _ in points}) > 1]
    if len(points) < MIN_POINTS or not names or max(values) - min(values) <= 1e-9:
        return None
    try:
        found = _fanova(points, names, seed)
    except ImportError:
        return None
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def _fanova(points: Sequence[Point], names: Sequence[str], seed: int) -> Mapping[str, float]:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution

    choices = {name: tuple(dict.fromkeys(one.get(name) for one, _ in points)) for name in names}
    distributions: dict[str, BaseDistribution] = {name: CategoricalDistribution(choices[name]) for name in names}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = points[:: -(-len(points) // MAX_POINTS)]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for one, value in points:
        params = {name: one.get(name) for name in names}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def curve_of(row: Record) -> list[Record]:
    """Return a candidate's score after each rung: steps, value, standard error; rungs without a score are left out."""
    points = []
    for rung in row["rungs"]:
        quality = rung["quality"]
        if quality["value"] is not None and math.isfinite(quality["value"]):
            points.append({"steps": rung["steps"], **{key: quality[key] for key in ("value", "standard_error")}})
    return points


def is_unreached(row: Record) -> bool:
    """Return whether a candidate was measured and nothing else: the effort was used up before its turn."""
    return bool(row["outcome"] == FAILED and row["error"] == NOT_TRAINED)


def _names(genotypes: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for genotype in genotypes for name in genotype))


def _first_score(row: Mapping[str, Any]) -> float | None:
    value = row["rungs"][0]["quality"]["value"] if row["rungs"] else None
    return value if value is not None and math.isfinite(value) else None


def _knob(name: str, rows: Sequence[Record], importances: Mapping[str, Mapping[str, float] | None]) -> Record:
    groups: dict[Any, list[Record]] = {}
    for row in rows:
        groups.setdefault(row["genotype"].get(name), []).append(row)
    kept = sorted(groups, key=lambda value: -len(groups[value]))[:MAX_VALUES]
    importance = {goal: found.get(name, 0.0) if found else None for goal, found in importances.items()}
    return {
        "name": name,
        "importance": importance,
        "values": [_effect(value, groups[value]) for value in sorted(kept, key=_in_order)],
    }


def _in_order(value: Any) -> tuple[int, float, str]:
    """Sort numbers by size, then texts, then what was off."""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return (2, 0.0, "") if value is None else (1, 0.0, str(value))


def _effect(value: Any, rows: Sequence[Record]) -> Record:
    speedups = [1 / row["ratio"]["value"] for row in rows if row["ratio"]]
    scores = [score for row in rows if (score := _first_score(row)) is not None]
    last = [curve[-1]["value"] for row in rows if (curve := curve_of(row))]
    return {
        "value": value,
        "measured": len(speedups),
        "speedup": _spread(speedups),
        "trained": len(scores),
        "quality": _spread(scores),
        "best_quality": min(last, default=None),
    }


def _spread(values: Sequence[float]) -> Record | None:
    if not values:
        return None
    low, median, high = (float(one) for one in np.percentile(values, (25, 50, 75)))
    return {"low": low, "median": median, "high": high}


def quality_of(judged: Record) -> Record | None:
    """Return everybody's quality as the summary holds it, from the final record; ``None`` where it has only one metric.

    ``judged["also"]`` holds by extractor and who the further scores, one or several by metric; ``judged["classes"]``
    by who the classes' rows, with ``missing`` and ``ceiling`` beside them.
    """
    if not judged.get("metrics"):
        return None
    also: dict[str, list[Record]] = {}
    for everybody in (judged.get("also") or {}).values():
        for who, found in everybody.items():
            also.setdefault(who, []).extend([found] if "value" in found else found.values())
    neighbours = judged.get("neighbours")
    keys = ("n", "median_distance", "median_distance_held_out")
    return {
        "metrics": judged["metrics"],
        "differences": judged.get("metric_differences") or {},
        "also": also,
        "classes": _classes(judged.get("classes") or {}),
        "neighbours": {key: neighbours.get(key) for key in keys} if neighbours else None,
    }


def _classes(found: Record) -> Record:
    keys = ("name", "accuracy", "accuracy_error", "fid", "fid_error", "n")
    people = {who: rows for who, rows in found.items() if who not in ("missing", "ceiling")}
    missing, ceiling = found.get("missing") or {}, found.get("ceiling")
    return {
        who: {
            "rows": [{key: row.get(key) for key in keys} for row in rows],
            "missing": missing.get(who, []) if isinstance(missing, Mapping) else missing,
            "ceiling": ceiling,
        }
        for who, rows in people.items()
    }
