"""Finalists: the fastest promising members of the front, trained to the end; the fastest inside the budget wins."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.generator import Generator
from compress.quality import Budget, Difference, Score, missed_budgets
from nas.candidate import COMPLETE, Candidate
from nas.context import Context
from nas.executors import Executor, Job, Result, result_of
from nas.experiment import SearchConfig
from nas.families.base import Phase, Schedule, total_steps
from nas.folder import Record
from nas.progress import Progress
from nas.rungs import Standing, front, predict
from nas.seeds import Stream
from nas.worker import error_of, read_progress, train_job

FOLDER = "finalists"


@dataclass(frozen=True, slots=True)
class Finalist:
    """A candidate that is to be trained to the end, and what a short training says about the long one."""

    candidate: Candidate
    predicted: float
    promising: bool


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


def choose(
    candidates: Sequence[Candidate],
    *,
    teacher: Score,
    budget: Budget,
    schedule: Schedule,
    count: int,
) -> list[Finalist]:
    """Return up to ``count`` finalists, fastest first: promising members of the front, then the best of the rest.

    The front is that of the scores predicted for the end of training: a perceptron whose curve is flat already beats
    slower convolutions after a short training, and loses to them after a long one.

    Args:
        candidates: All of the search.
        teacher: Score of the reference, on the latents of the rungs.
        budget: Promising is what is predicted to end inside of it.
        schedule: How they are trained to the end.
        count: How many.
    """
    complete = [one for one in candidates if one.outcome == COMPLETE]
    assessed = {one.id: _assess(one, teacher, budget, schedule) for one in complete}
    ends = [Standing(one.candidate.id, _ratio(one.candidate), one.predicted, 0.0) for one in assessed.values()]
    found = [assessed[end.id] for end in front(ends)]
    promising = sorted((one for one in found if one.promising), key=lambda one: _ratio(one.candidate))
    others = sorted((one for one in found if not one.promising), key=lambda one: one.predicted)
    return sorted((promising + others)[:count], key=lambda one: _ratio(one.candidate))


def _assess(candidate: Candidate, teacher: Score, budget: Budget, schedule: Schedule) -> Finalist:
    predicted = predict(candidate.curve, teacher.value, schedule)
    return Finalist(candidate, predicted, predicted <= budget.allowed(teacher.value))


def _ratio(candidate: Candidate) -> float:
    assert candidate.ratio is not None
    return float(candidate.ratio["value"])


def train_finalists(
    context: Context, finalists: Sequence[Finalist], reference: Path, executor: Executor, progress: Progress
) -> Record:
    """Train ``finalists`` and return the record: each with its score and paired difference, and the winner.

    They are trained fastest first. Once one is inside the budget, slower ones that have not begun cannot win any more
    and are left as they are.
    """
    record = context.folder.record(FOLDER)
    if record is not None:
        return record
    schedule = final_schedule(context)
    results = [row for one in finalists if (row := context.folder.record(f"{FOLDER}/{one.candidate.id}")) is not None]
    finished = {row["id"] for row in results}
    waiting = [one for one in finalists if one.candidate.id not in finished]
    running: dict[Future[Result], tuple[Finalist, Job]] = {}
    progress.start("finalists", len(finalists) * total_steps(schedule), "steps")
    while waiting or running:
        if any(row["inside"] for row in results):
            results += [_row(one, note="not trained: a faster finalist is inside the budget") for one in waiting]
            waiting = []
        while waiting and len(running) < executor.workers:
            one = waiting.pop(0)
            origin = Generator.from_genotype(
                context.space.name, one.candidate.genotype, context.family.inputs, context.image
            ).origin
            job = train_job(
                context, _path(context, one), schedule, until=total_steps(schedule), origin=origin, stream=Stream.CHOICE
            )
            context.folder.log.started(job, _subject(one))
            running[executor.submit(job)] = one, job
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


def pick(rows: Sequence[Record]) -> Record | None:
    """Return the fastest row inside the budget; without one, the row of the best quality; ``None`` if none has any."""
    inside = [row for row in rows if row["inside"]]
    if inside:
        return min(inside, key=lambda row: row["ratio"]["value"])
    scored = [row for row in rows if row["quality"] is not None]
    return min(scored, key=lambda row: row["quality"]["value"], default=None)


def _path(context: Context, finalist: Finalist) -> Path:
    return context.folder.path / _subject(finalist)


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
    evaluations = context.judge_of(Stream.CHOICE).evaluate({"reference": reference, "finalist": judged})
    found, budgets = evaluations["finalist"], context.experiment.quality.budgets
    missed = missed_budgets(budgets, found.scores, evaluations["reference"].scores, found.differences["reference"])
    return _row(
        finalist,
        inside=not missed,
        score=found.primary,
        difference=found.primary_difference("reference"),
        seconds=result["seconds"],
        note=f"outside {', '.join(budget.text for budget in missed)}" if missed and len(budgets) > 1 else "",
    )


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
