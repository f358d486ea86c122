"""Finalists: promising members of the front, trained to the end; the fastest inside the budget wins."""

import math
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from compress.generator import Generator
from compress.quality import Z95, Budget, Difference, Score, missed_budgets
from compress.task import Evaluation
from nas.candidate import Candidate
from nas.choosing import Field, Finalist, fastest_inside, ratio_of
from nas.context import Context
from nas.executors import Executor, Job, Result, result_of
from nas.experiment import SearchConfig
from nas.families.base import Phase, Schedule, total_steps
from nas.folder import Record
from nas.foresight import foreseen
from nas.progress import Progress
from nas.seeds import Stream
from nas.worker import error_of, read_progress, train_job

FOLDER = "finalists"


def final_schedule(context: Context) -> Schedule:
    """Return how finalists, and the baseline, are trained: distilled, fine-tuned, matched to real pictures."""
    return schedule_of(context.experiment.search)


def schedule_of(search: SearchConfig) -> Schedule:
    """Return the same from the experiment alone."""
    phases = (
        Phase("distill", search.final_distill),
        Phase("features", search.final_features),
        Phase("finetune", search.final_adversarial),
        Phase("match", search.final_match),
    )
    return tuple(phase for phase in phases if phase.steps)


def train_finalists(
    context: Context, field: Field, reference: Path, executor: Executor, progress: Progress, *, count: int
) -> Record:
    """Train up to ``count`` of ``field`` and return the record: each with its score and difference, and the winner.

    One is chosen whenever a worker is free (``Field.next``). Those that an earlier process began go on first, unless
    one that is inside the budget is faster.
    """
    record = context.folder.record(FOLDER)
    if record is not None:
        return record
    schedule = final_schedule(context)
    results, begun = _left_behind(context, field)
    begun = _still_wanted(begun, results)
    count = min(count, field.size)
    running: dict[Future[Result], tuple[Finalist, Job]] = {}
    trained = len(results) * total_steps(schedule) + sum(read_progress(_folder_of(context, one.id)) for one in begun)
    progress.start("finalists", count * total_steps(schedule), "steps", done=trained)
    while True:
        begun = _still_wanted(begun, results)
        while len(running) < min(executor.workers, count - len(results)):
            taken = {row["id"] for row in results} | {one.candidate.id for one, _ in running.values()}
            one = field.finalist(begun.pop(0), results) if begun else field.next(results, taken)
            if one is None:
                break
            job = _job(context, one.candidate, schedule)
            context.folder.log.started(job, _subject(one))
            running[executor.submit(job)] = one, job
        if not running:
            break
        done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            one, job = running.pop(future)
            results.append(_finish(context, one, future, reference))
            _keep(context, one, job, result_of(future), results[-1])
        steps = sum(read_progress(_path(context, one)) for one, _ in running.values())
        progress.update("finalists", steps + len(results) * total_steps(schedule))
    winner = pick(results)
    progress.finish("finalists", f"winner {winner['id'][:6]}" if winner else "none could be trained")
    return context.folder.finish(FOLDER, {"finalists": results, "winner": winner["id"] if winner else None})


def _still_wanted(begun: Sequence[Candidate], results: Sequence[Record]) -> list[Candidate]:
    """Return those who could still be faster than whoever is inside the budget."""
    return [one for one in begun if ratio_of(one) < fastest_inside(results)]


def _left_behind(context: Context, field: Field) -> tuple[list[Record], list[Candidate]]:
    """Return the records of those who were finished by an earlier process, and those who were on their way."""
    records = {one.id: context.folder.record(f"{FOLDER}/{one.id}") for one in field.candidates}
    begun = [one for one in field.candidates if records[one.id] is None and _folder_of(context, one.id).is_dir()]
    return [record for record in records.values() if record is not None], sorted(begun, key=ratio_of)


def _job(context: Context, candidate: Candidate, schedule: Schedule) -> Job:
    origin = Generator.from_genotype(
        context.space.name, candidate.genotype, context.family.inputs, context.image
    ).origin
    path, steps = _folder_of(context, candidate.id), total_steps(schedule)
    return train_job(context, path, schedule, until=steps, origin=origin, stream=Stream.CHOICE)


def pick(rows: Sequence[Record]) -> Record | None:
    """Return the fastest row inside the budget; without one, the row of the best quality; ``None`` if none has any."""
    inside = [row for row in rows if row["inside"]]
    if inside:
        return min(inside, key=lambda row: row["ratio"]["value"])
    scored = [row for row in rows if row["quality"] is not None]
    return min(scored, key=lambda row: row["quality"]["value"], default=None)


def _folder_of(context: Context, name: str) -> Path:
    return context.folder.path / FOLDER / name


def _path(context: Context, finalist: Finalist) -> Path:
    return _folder_of(context, finalist.candidate.id)


def _subject(finalist: Finalist) -> str:
    return f"{FOLDER}/{finalist.candidate.id}"


def _keep(context: Context, finalist: Finalist, job: Job, result: Result, row: Record) -> None:
    """Keep the row of a finalist that was scored, so that a stage that was cut does not do it again."""
    if row["quality"] is not None:
        context.folder.finish(_subject(finalist), row)
    outcome = "failed" if row["quality"] is None else "inside" if row["inside"] else "outside"
    context.folder.log.finished(job, _subject(finalist), result, outcome, note=row["note"] or None)


def _finish(context: Context, finalist: Finalist, future: Future[Result], reference: Path) -> Record:
    result = result_of(future)
    error = error_of(result)
    if error is not None:
        return _row(finalist, note=f"failed: {error}")
    path = _path(context, finalist)
    variants = context.bench.variants(Generator.load(path), path)
    # The file that is as fast as the candidate's ratio says: in int8 some lose what their float file has.
    assert finalist.candidate.ratio is not None
    judged = variants.get(finalist.candidate.ratio.get("precision", "fp32"), variants["fp32"])
    measured = context.judge_of(Stream.CHOICE).evaluate({"reference": reference, "finalist": judged})
    evaluations = foreseen(measured, context.splits)
    found, budgets = evaluations["finalist"], context.experiment.quality.budgets
    missed = missed_budgets(budgets, found.scores, evaluations["reference"].scores, found.differences["reference"])
    row = _row(
        finalist,
        inside=not missed,
        score=measured["finalist"].primary,
        difference=measured["finalist"].primary_difference("reference"),
        seconds=result["seconds"],
        note=f"outside {', '.join(budget.text for budget in missed)}" if missed and len(budgets) > 1 else "",
    )
    return {**row, "room": _room(budgets[0], found)}


def _room(budget: Budget, found: Evaluation) -> float | None:
    """Return how far what is judged lies beyond the value itself; None where that is not a number."""
    difference = found.primary_difference("reference")
    rooms = {
        "value": Z95 * found.primary.standard_error,
        "paired": budget.metric.badness(difference.worse_end(budget.metric) - difference.value),
    }
    used = {"value" if term.kind == "value" else "paired" for term in budget.terms}
    room = min(rooms[kind] for kind in used)
    return room if math.isfinite(room) else None


def _row(
    finalist: Finalist,
    *,
    inside: bool | None = None,
    score: Score | None = None,
    difference: Difference | None = None,
    seconds: float = 0.0,
    note: str = "",
) -> Record:
    candidate = finalist.candidate
    row: dict[str, Any] = {
        "id": candidate.id,
        "genotype": candidate.genotype,
        "ratio": candidate.ratio,
        "predicted": finalist.predicted,
        "promising": finalist.promising,
        "inside": inside,
        "quality": score.to_json() if score else None,
        "difference": difference.to_json() if difference else None,
        "seconds": seconds,
        "note": note,
    }
    return row
