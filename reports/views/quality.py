"""Tables of quality: every metric of everybody, other extractors, classes, and how near the training images are."""

from collections.abc import Iterable, Mapping

from reports.finished import Classes, ClassScore, Model
from reports.records import Estimate, Score, Who
from reports.summary import Summary
from reports.views.table import Table, make_table
from reports.wording import DASH, metric_name, number, rounded, score, signed

PEOPLE: tuple[tuple[Who, str], ...] = (("reference", "reference"), ("baseline", "baseline"), ("final", "result"))
SCALES = {"kid": 1000}  # as the literature prints it
_Key = tuple[str, str]
_Scores = dict[_Key, dict[Who, Score]]


def scores_table(summary: Summary) -> Table | None:
    """One line a metric and extractor: reference, baseline, result, and the paired difference to the reference.

    Scores stand in one line only if metric and extractor are the same. Null before anything was scored.
    """
    scores = _gather(summary)
    if not scores:
        return None
    people = [(who, name) for who, name in PEOPLE if any(who in found for found in scores.values())]
    compared = ("result − reference",) if summary.final else ()
    rows = []
    for key, found in scores.items():
        one = next(iter(found.values()))
        cells = [score(_readable(found[who])) if who in found else DASH for who, _ in people]
        differences = [signed(_scaled(_difference(summary, key), key)) for _ in compared]
        rows.append((_name(one), *cells, *differences, f"{one.n:,}", key[1]))
    names = [name for _, name in people]
    columns = ("metric", *names, *compared, "images", "extractor")
    return make_table(columns, rows, numeric="|".join([*names, *compared, "images"]), code="extractor")


def _gather(summary: Summary) -> _Scores:
    """Scores by (metric, extractor), then who: those of the budget's metric first, then the full table's."""
    models: dict[Who, Model | None] = {
        "reference": summary.reference,
        "baseline": summary.baseline,
        "final": summary.final,
    }
    found: _Scores = {}
    for who, model in models.items():
        _add(found, who, [one for one in (model.quality, *model.scores) if one] if model else [])
    if summary.quality:
        for who, metrics in summary.quality.metrics.items():
            _add(found, who, metrics.values())
        for who, others in summary.quality.also.items():
            _add(found, who, others)
    return found


def _add(found: _Scores, who: Who, scores: Iterable[Score]) -> None:
    for one in scores:
        found.setdefault((one.metric, one.extractor), {}).setdefault(who, one)


def _name(one: Score) -> str:
    return f"{metric_name(one)} × {SCALES[one.metric]:,}" if one.metric in SCALES else metric_name(one)


def _readable(one: Score) -> Score:
    scale = SCALES.get(one.metric, 1)
    error = None if one.standard_error is None else scale * one.standard_error
    return one.model_copy(update={"value": scale * one.value, "standard_error": error})


def _scaled(estimate: Estimate | None, key: _Key) -> Estimate | None:
    scale = SCALES.get(key[0], 1)
    if estimate is None:
        return None
    return Estimate(value=scale * estimate.value, ci95=(scale * estimate.ci95[0], scale * estimate.ci95[1]))


def _difference(summary: Summary, key: _Key) -> Estimate | None:
    """The paired difference of result and reference, known for the budget's metric and those of its extractor."""
    final = summary.final
    if final and final.quality and (final.quality.metric, final.quality.extractor) == key:
        return final.quality_difference
    if summary.quality is None:
        return None
    mine = summary.quality.metrics.get("final", {}).get(key[0])
    if mine is None or mine.extractor != key[1]:
        return None
    return summary.quality.differences.get("final", {}).get("reference", {}).get(key[0])


def seeds_text(summary: Summary) -> str:
    """Which latents the scores of the result were taken on; empty if unknown."""
    quality = summary.final.quality if summary.final else None
    return f"seeds {', '.join(map(str, quality.seeds))}" if quality and quality.seeds else ""


def classes_table(summary: Summary) -> Table | None:
    """One line a class: its accuracy and distance for everybody; null without classes."""
    classes: Mapping[Who, Classes] = summary.quality.classes if summary.quality else {}
    people = [(who, name) for who, name in PEOPLE if who in classes]
    if not people:
        return None
    by_name = {who: {row.name: row for row in classes[who].rows} for who, _ in people}
    rows = []
    for name in dict.fromkeys(row.name for who, _ in people for row in classes[who].rows):
        found = [by_name[who].get(name) for who, _ in people]
        images = next((one.n for one in found if one and one.n is not None), None)
        accuracies = [_accuracy(one) for one in found]
        rows.append((name, *accuracies, *(_distance(one) for one in found), str(images or DASH)))
    names = [f"accuracy, {name}" for _, name in people] + [f"FID, {name}" for _, name in people]
    return make_table(("class", *names, "images"), rows, numeric="|".join([*names, "images"]))


def _accuracy(one: ClassScore | None) -> str:
    if one is None or one.accuracy is None or not one.accuracy_error:
        return _percent(one.accuracy if one else None)
    value, error, _ = rounded(100 * one.accuracy, 100 * one.accuracy_error, 300 * one.accuracy_error)
    return f"{value} ± {error} %"


def _distance(one: ClassScore | None) -> str:
    if one is None or one.fid is None or not one.fid_error:
        return number(one.fid if one else None)
    value, error, _ = rounded(one.fid, one.fid_error, 3 * one.fid_error)
    return f"{value} ± {error}"


def _percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f} %"


def classes_remarks(summary: Summary) -> list[str]:
    """Which classes are missing, and what the classifier reaches on real images."""
    remarks = []
    for who, name in PEOPLE:
        found = summary.quality.classes.get(who) if summary.quality else None
        if found and found.missing:
            remarks.append(f"Missing from the {name}: {', '.join(found.missing)}.")
    ceilings = {found.ceiling for found in (summary.quality.classes if summary.quality else {}).values()} - {None}
    remarks += [
        f"The same classifier is right on {_percent(ceiling)} of real images: the ceiling." for ceiling in ceilings
    ]
    return remarks


def neighbours_text(summary: Summary) -> str:
    """Whether training images came back: median distance to the nearest one, beside that of unseen real images."""
    found = summary.quality.neighbours if summary.quality else None
    if found is None:
        return ""
    nearest = number(found.median_distance)
    text = f"Median distance of {found.n:,} generated images to the nearest training image: {nearest}"
    if found.median_distance_held_out is None:
        return f"{text} (near 0 would be copies)."
    unseen = number(found.median_distance_held_out)
    return f"{text}; real images that were never trained on are at {unseen}. Far below that would be copies."
