"""The final judgement: reference, baseline and result by every metric, on what nothing has used before."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.files import write_bytes
from benchmarks.runtimes.onnx import generate
from compress.quality import Budget, Difference, Score, missed_budgets
from compress.task import Evaluation
from nas.context import Context
from nas.folder import Record
from nas.pictures import grid_png
from nas.progress import Progress
from nas.quality.classes import by_class, missing
from nas.quality.extractors import Extractor
from nas.quality.judge import Judge
from nas.quality.neighbours import nearest
from nas.seeds import Stream

NEIGHBOURS_FILE = "neighbours.png"
_SHOWN = 16  # pictures with their nearest neighbours
_PAIRS_A_ROW = 4


def final_judge(
    context: Context,
    extractor: Extractor | None = None,
    *,
    stream: Stream = Stream.HELD_OUT,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Judge:
    """Return the judge of the final table, by the run's extractor or another; the same one repeats its numbers.

    Args:
        context: The run.
        extractor: One of ``quality.also``, or any other: it is given all cores, since it may be slow.
        stream: Other latents than those of the table; these are judged by ``seen``.
        seed: Other latents of the stream.
        progress: Hears of slow extractors.
    """
    chosen = extractor or context.extractor
    return context.judge(
        stream,
        held_out=stream is Stream.HELD_OUT,
        threads=1 if extractor is None else context.experiment.search.workers,
        metrics=context.final_metrics(chosen),
        extractor=chosen,
        seed=seed,
        progress=progress,
    )


def judge_held_out(context: Context, files: Mapping[str, Path], progress: Progress | None = None) -> Record:
    """Score ``files`` (reference, baseline, final) once; ``scores`` and ``differences`` are of the first metric.

    Values that are not numbers (of a generator that diverged) stay out of ``metrics`` and ``metric_differences``.
    """
    judge = final_judge(context, progress=progress)
    found = judge.evaluate(files)
    return {
        **record_of(found),
        "classes": judge_classes(context, judge, files) if context.family.label else None,
        "also": {
            extractor.label: _scores(final_judge(context, extractor, progress=progress).evaluate(files))
            for extractor in context.also
        },
        "neighbours": _neighbours(context, judge, files["final"]),
        "floor": judge.floor(context.judge_of(Stream.STEPS).real_features).to_json(),
        "blank": judge.blank().to_json(),
    }


def record_of(found: Mapping[str, Evaluation]) -> Record:
    """Return scores and differences by who: of the first metric, and of all whose values are numbers."""
    return {
        "scores": {name: one.primary.to_json() for name, one in found.items()},
        "differences": {
            name: {other: one.primary_difference(other).to_json() for other in one.differences}
            for name, one in found.items()
        },
        "metrics": _scores(found),
        "metric_differences": {
            name: {other: _numbers(differences) for other, differences in one.differences.items()}
            for name, one in found.items()
        },
    }


def _scores(found: Mapping[str, Evaluation]) -> Record:
    return {name: _numbers(one.scores) for name, one in found.items()}


def _numbers(found: Mapping[str, Any]) -> Record:
    return {metric: one.to_json() for metric, one in found.items() if np.isfinite(one.value)}


def judge_classes(context: Context, judge: Judge, files: Mapping[str, Path]) -> Record:
    """Return by file the rows of its classes (``nas.quality.classes``); and ``missing``, and the ``ceiling``.

    The ceiling is the labeller's accuracy on the real pictures: what no generator is expected to exceed by much.
    """
    names, real = context.splits.held_out.classes, judge.real_labelled
    rows = {
        who: by_class(names, judge.labelled(path), real, seed=context.experiment.seed) for who, path in files.items()
    }
    return {
        **rows,
        "missing": {who: missing(found) for who, found in rows.items()},
        "ceiling": float(real.hits.mean()),
    }


def missed_on_held_out(budgets: Sequence[Budget], quality: Record) -> tuple[Budget, ...]:
    """Return those of ``budgets`` that do not hold for the result, by what ``judge_held_out`` left; all must.

    A budget whose metric has no value (the generator diverged) does not hold.
    """
    differences = quality["differences"]["final"]["reference"], quality.get("metric_differences") or {}
    first = Score.from_json(quality["scores"]["final"]).metric
    scores = {
        who: {first: quality["scores"][who], **(quality.get("metrics") or {}).get(who, {})}
        for who in ("final", "reference")
    }
    against = {first: differences[0], **differences[1].get("final", {}).get("reference", {})}
    known = [one for one in budgets if all(one.metric.name in found for found in (*scores.values(), against))]
    missed = missed_budgets(
        known,
        {metric: Score.from_json(one) for metric, one in scores["final"].items()},
        {metric: Score.from_json(one) for metric, one in scores["reference"].items()},
        {metric: Difference.from_json(one) for metric, one in against.items()},
    )
    return tuple(one for one in budgets if one in missed or one not in known)


def _neighbours(context: Context, judge: Judge, file: Path) -> Record | None:
    """Return how far pictures of ``file`` lie from the nearest of ``seen``, beside how far ``held_out`` ones do."""
    seen = context.judge_of(Stream.STEPS).real_features
    _, drawn = nearest(judge.drawn(file).features, seen)
    _, real = nearest(judge.real_features, seen)
    if not np.isfinite(drawn).all():
        return None
    median, held_out = float(np.median(drawn)), float(np.median(real))
    return {
        "n": len(drawn),
        "median_distance": median,
        "median_distance_held_out": held_out,
        "ratio": median / held_out if held_out else None,
        "extractor": context.extractor.label,
    }


def write_neighbours(context: Context, file: Path, folder: Path) -> None:
    """Write ``folder/neighbours.png``: pairs of a picture that ``file`` draws and the nearest one of ``seen``.

    The pictures are the first ones of the grid in the report.
    """
    rows, _ = context.grid()
    drawn = generate(file, {name: values[:_SHOWN] for name, values in rows.items()})
    seen = context.judge_of(Stream.STEPS)
    indices, _ = nearest(context.extractor.features(drawn), seen.real_features)
    pairs = np.stack([drawn, seen.real[indices]], axis=1).reshape(-1, *drawn.shape[1:])
    write_bytes(folder / NEIGHBOURS_FILE, grid_png(pairs, 2 * _PAIRS_A_ROW))
