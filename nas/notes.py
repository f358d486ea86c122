"""Sentences for people in the summary: what went wrong, what to compare with care, and why."""

import math
from collections.abc import Mapping, Sequence

from compress.quality import Budget
from nas.candidate import NOT_TRAINED
from nas.experiment import Experiment
from nas.folder import Record
from nas.held_out import missed_on_held_out


def notes_of(
    experiment: Experiment, records: Mapping[str, Record | None], final: Record | None, missed: list[str]
) -> list[str]:
    """Return sentences for people about what a run found; ``missed`` are the latency limits that nothing met."""
    notes = []
    reference, candidates = records["reference"], records["candidates"]
    if reference is not None and reference["curve"][-1]["complaint"]:
        notes.append(
            f"The reference {reference['curve'][-1]['complaint']}: nothing can be learned from it. Try another seed, "
            "more reference.steps, or lower learning rates in `family`."
        )
    if candidates is not None:
        if candidates.get("picked"):
            notes.append(f"Picked by hand with `leangen pick` from the search of {candidates['picked']['run']}.")
        notes += _search_notes(candidates, missed)
    finalists = records["finalists"]
    if finalists is not None and finalists["winner"] and not any(row["inside"] for row in finalists["finalists"]):
        notes.append(
            "No finalist was inside the budget on `seen`, with an interval as wide as that of the final table: the one "
            "of the best quality was exported."
        )
    if final is not None:
        notes += _budget_notes(experiment, final["quality"])
        notes += _final_notes(records["baseline"], final)
        notes += _recovery_notes(experiment, records["compressed"])
        if reference is not None and reference.get("own"):
            notes.append(
                "The baseline is a stock generator of the family, narrowed: one's own reference cannot be narrowed "
                "from outside."
            )
    return notes


def _recovery_notes(experiment: Experiment, compressed: Record | None) -> list[str]:
    """Say where the result was trained longer than the baseline, which is trained like a finalist."""
    kept = [step for step in (compressed or {"steps": ()})["steps"] if step["kept"] and "ratio" in step["settings"]]
    recover, search = experiment.compress.recover, experiment.search
    if not kept or not recover:
        return []
    return [
        f"The result was trained longer than the baseline, by its recovery from pruning: {len(kept)} x "
        f"({recover + search.final_features:,} steps of distillation and "
        f"{search.final_adversarial + search.final_match:,} of fine-tuning)."
    ]


def _search_notes(candidates: Record, missed: list[str]) -> list[str]:
    notes = []
    ratios = [row["ratio"]["value"] for row in candidates["rows"] if row["ratio"]]
    complete = sum(row["outcome"] == "complete" for row in candidates["rows"])
    if not complete and missed:
        notes.append(
            f"No candidate met the latency limit: the fastest of {len(ratios)} measured was {1 / min(ratios):.1f}x as "
            f"fast as the reference. Relax {' or '.join(missed)}, raise "
            "search.trials, or open the space towards smaller widths."
        )
    failed = [row for row in candidates["rows"] if row["outcome"] == "failed" and row["error"] != NOT_TRAINED]
    if failed:
        notes.append(f"{len(failed)} candidates failed; the first: {failed[0]['error']}")
    left = sum(row["error"] == NOT_TRAINED for row in candidates["rows"])
    if left:
        notes.append(f"{left} more candidates were measured and {NOT_TRAINED.replace('its turn', 'their turn')}.")
    return notes


def _budget_notes(experiment: Experiment, quality: Record) -> list[str]:
    """Say which of several budgets were missed; the verdict knows only that one was."""
    budgets = experiment.quality.budgets
    missed = missed_on_held_out(budgets, quality)
    if not missed or len(budgets) == 1:
        return []
    return [f"Of the budgets, {_listed(missed)} {'were' if len(missed) > 1 else 'was'} missed on `held_out`."]


def _listed(budgets: Sequence[Budget]) -> str:
    return " and ".join(budget.text for budget in budgets)


def _final_notes(baseline: Record | None, final: Record) -> list[str]:
    notes = []
    if baseline is not None:
        ratio = baseline["ratio_to_shipped"]["value"]
        if not 0.97 <= ratio <= 1.13:
            notes.append(f"The baseline takes {ratio:.2f} of the shipped file's time; {_why_unlike(baseline)}.")
        difference = final["quality"]["differences"]["final"].get("baseline")
        if difference is not None and not math.isnan(difference["value"]) and difference["ci95"][1] >= 0:
            notes.append("The result is not better than the narrowed baseline by more than the interval.")
    return notes


def _why_unlike(baseline: Record) -> str:
    """Return why the baseline is not as fast as the result: ``match`` is how it was matched, to the same file."""
    if baseline["match"]["fits"]:
        return f"it took {baseline['match']['ratio']:.2f} of it when it was matched"
    return "none of the widths that were tried is closer without being faster"
