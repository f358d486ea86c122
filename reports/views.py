"""The tables of a report, ready to print: the same cells for HTML and Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.summary import OUTCOMES, Baseline, Candidate, LatencyRow, Model, Summary
from reports.wording import (
    DASH,
    batches,
    count,
    duration,
    genotype_text,
    interval,
    metric_name,
    number,
    rounded,
    score,
    score_value,
    settings_text,
    signed,
    size,
    speedup,
)

MAX_CANDIDATES = 100  # rows of the candidates' table; the rest is in summary.json
OUTCOME_MEANINGS = {
    "complete": "reached the last rung",
    "dominated": "stopped: another was better in both, or did more arithmetic in no more time",
    "infeasible": "over the latency limit: nothing was trained",
    "failed": "ended with an error, or was never trained because the effort was used up",
    "duplicate": "proposed again, not evaluated again",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A printed table: ``rows`` are as wide as ``columns``.

    ``numeric`` names the columns set flush right, ``code`` those in fixed width; ``strong`` numbers the rows that
    matter most.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    code: frozenset[str] = frozenset()
    strong: frozenset[int] = frozenset()


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: str = "", code: str = "",
           strong: Iterable[int] = ()) -> Table:
    made = tuple(tuple(row) for row in rows)
    assert all(len(row) == len(columns) for row in made), "a row is as wide as its table"
    return Table(tuple(columns), made, _names(numeric), _names(code), frozenset(strong))


def _names(joined: str) -> frozenset[str]:
    return frozenset(filter(None, joined.split("|")))


def generators_table(summary: Summary) -> Table | None:
    """Reference, baseline and result, one line each; null before there is a reference."""
    models: list[tuple[str, Model | None]] = [
        ("reference", summary.reference), ("baseline", summary.baseline), ("result", summary.final)]
    rows = [_generator_row(who, model) for who, model in models if model is not None]
    if not rows:
        return None
    metric = metric_name(summary.reference.quality if summary.reference else None)
    columns = ("", metric, "to reference", "parameters", "MACs", "file size", "file")
    return _table(columns, rows, numeric=f"{metric}|to reference|parameters|MACs|file size", code="file",
                  strong=[index for index, row in enumerate(rows) if row[0] == "result"])


def _generator_row(who: str, model: Model) -> tuple[str, ...]:
    difference = getattr(model, "quality_difference", None)
    artifact = model.artifact if isinstance(model, Baseline) else None
    return (who, score(model.quality), signed(difference), count(model.params), count(model.macs), size(model.bytes),
            artifact or DASH)


def scores_table(summary: Summary) -> Table | None:
    """Every score with what makes it comparable: metric, extractor, sample count, seeds."""
    models = [("reference", summary.reference), ("baseline", summary.baseline), ("result", summary.final)]
    scores = [(who, one) for who, model in models if model
              for one in ((model.quality,) if model.quality else ()) + model.scores]
    scores += [(who, one) for who, one in (("real against real (the floor)", summary.floor),
                                           ("blank image", summary.blank)) if one]
    rows = [(who, metric_name(one), score(one), f"{one.n:,}", ", ".join(map(str, one.seeds)) or DASH, one.extractor)
            for who, one in scores]
    columns = ("of", "metric", "value ± standard error", "images", "seeds", "extractor")
    return _table(columns, rows, numeric="value ± standard error|images", code="extractor") if rows else None


def latency_table(summary: Summary, batch: int) -> Table:
    """The rows of one batch, in the order measured; the fastest of the result stands out."""
    rows = latency_rows(summary, batch)
    names = {"final": "result"}
    cells = []
    for row in rows:
        median, low, high = rounded(row.median_ms, *row.ci95_ms)
        faster = f"{number(1 / row.ratio.value)}×" if row.ratio else DASH
        cells.append((names.get(row.who, row.who), row.precision, row.runtime, median, f"{low}–{high}",
                      number(row.p95_ms), interval(row.ratio), faster, number(row.peak_mib)))
    columns = ("", "precision", "runtime", "median ms", "95 % interval", "p95 ms", "ratio", "speed-up", "peak MiB")
    results = [index for index, row in enumerate(rows) if row.who == "final"]
    fastest = sorted(results, key=lambda index: rows[index].median_ms)[:1]
    return _table(columns, cells, numeric="|".join(columns[3:]), strong=fastest)


def latency_rows(summary: Summary, batch: int) -> list[LatencyRow]:
    """The measured rows of one batch."""
    return [row for row in summary.latency or () if row.batch == batch]


def latency_title(summary: Summary, batch: int) -> str:
    """``Batch 32, 1 thread``; every number of threads where the rows differ."""
    threads = sorted({row.threads for row in latency_rows(summary, batch)})
    return f"Batch {batch}, {' and '.join(map(str, threads))} thread{'' if threads == [1] else 's'}"


def latency_batches(summary: Summary) -> list[int]:
    """Batches of the latency table, smallest first."""
    return sorted({row.batch for row in summary.latency or ()})


def steps_table(summary: Summary) -> Table | None:
    """Compression steps in the order tried; null before compression."""
    if summary.steps is None:
        return None
    rows = [(step.name, "kept" if step.kept else "refused", interval(step.ratio), signed(step.difference), step.reason,
             settings_text(step.settings or {}) or DASH) for step in summary.steps]
    columns = ("step", "decision", "time ÷ before", "quality to reference", "reason", "settings")
    return _table(columns, rows, numeric="time ÷ before|quality to reference", code="settings")


def outcomes_table(summary: Summary) -> Table | None:
    """Trials by outcome, with the seconds they took where the trials are listed."""
    if summary.search is None:
        return None
    seconds: dict[str, float] = {}
    for candidate in summary.candidates or ():
        seconds[candidate.outcome] = seconds.get(candidate.outcome, 0.0) + candidate.seconds
    rows: list[tuple[str, ...]] = [
        (name, f"{getattr(summary.search, name):,}", duration(seconds.get(name)), OUTCOME_MEANINGS[name])
        for name in OUTCOMES]
    rows.append(("trials", f"{summary.search.trials:,}", duration(sum(seconds.values())) if seconds else DASH, ""))
    columns = ("outcome", "trials", "worker time", "meaning")
    return _table(columns, rows, numeric="trials|worker time", strong=[len(rows) - 1])


def finalists_table(summary: Summary) -> Table | None:
    """Candidates trained to the end; null before there are any."""
    if not summary.finalists:
        return None
    inside = {True: "inside", False: "outside", None: DASH}
    rows = [(("★ " if one.winner else "") + one.id, inside[one.inside], score(one.quality), signed(one.difference),
             speedup(one.ratio), genotype_text(one.genotype), one.note or DASH) for one in summary.finalists]
    metric = metric_name(next((one.quality for one in summary.finalists if one.quality), None))
    columns = ("finalist", "budget", metric, "to reference", "speed-up", "genotype", "note")
    return _table(columns, rows, numeric=f"{metric}|to reference|speed-up", code="finalist|genotype",
                  strong=[index for index, one in enumerate(summary.finalists) if one.winner])


def evaluated_candidates(summary: Summary) -> list[Candidate]:
    """Candidates that were trained, lowest score first, then those that failed."""
    scored = [one for one in summary.candidates or () if one.quality or one.outcome == "failed"]
    return sorted(scored, key=lambda one: (one.quality is None, one.quality.value if one.quality else 0.0))


def candidates_table(summary: Summary) -> Table | None:
    """The first ``MAX_CANDIDATES`` of ``evaluated_candidates``; null if none was evaluated."""
    scored = evaluated_candidates(summary)
    if not scored:
        return None
    metric = metric_name(scored[0].quality)
    columns = ("candidate", "outcome", "rung", metric, "speed-up", "precision", "time", "genotype")
    return _table(columns, [_candidate_row(one) for one in scored[:MAX_CANDIDATES]],
                  numeric=f"rung|{metric}|speed-up|time", code="candidate|genotype")


def _candidate_row(one: Candidate) -> tuple[str, ...]:
    detail = genotype_text(one.genotype) + (f" — {one.error}" if one.error else "")
    precision = one.ratio.precision if one.ratio else None
    return (one.id, one.outcome + (", finalist" if one.finalist else ""), DASH if one.rung is None else str(one.rung),
            score(one.quality), speedup(one.ratio), precision or DASH, duration(one.seconds), detail)


def parity_table(summary: Summary) -> Table | None:
    """How close each file's images are to torch's."""
    if not summary.parity:
        return None
    rows = [(one.artifact, f"{one.max_abs:.1e}", "∞" if one.psnr_db is None else f"{one.psnr_db:.1f}", f"{one.n:,}",
             DASH if one.worst_input_index is None else str(one.worst_input_index),
             DASH if one.worst_input_seed is None else str(one.worst_input_seed)) for one in summary.parity]
    columns = ("file", "largest difference", "PSNR dB", "latents", "worst latent", "seed")
    return _table(columns, rows, numeric="largest difference|PSNR dB|latents|worst latent|seed", code="file")


def operators_table(summary: Summary) -> Table | None:
    """Operators that really ran, by file, the most frequent first."""
    if not summary.operators:
        return None
    rows = [(artifact, ", ".join(f"{n} × {name}" for name, n in sorted(ran.items(), key=_frequent_first)))
            for artifact, ran in summary.operators.items()]
    return _table(("file", "operators that ran"), rows, code="file")


def _frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def tensorrt_table(summary: Summary) -> Table | None:
    """TensorRT plans, latency included where there was a GPU."""
    plans = summary.tensorrt.plans if summary.tensorrt else None
    if not plans:
        return None
    rows = [(name, plan.file if plan else "not built", size(plan.bytes) if plan else DASH,
             " ".join(filter(None, (plan.backend, plan.version))) or DASH if plan else DASH,
             ", ".join(plan.compute_capabilities) or DASH if plan else DASH) for name, plan in plans.items()]
    return _table(("from", "plan", "size", "built by", "for"), rows, numeric="size", code="plan")


def tensorrt_latency_table(summary: Summary) -> Table | None:
    """Latency of the plan by batch; null where none was timed."""
    table = summary.tensorrt.latency_ms if summary.tensorrt else None
    if not table:
        return None
    rows = []
    for batch in batches(table):
        median, low, high = rounded(table[batch].median, *table[batch].ci95)
        rows.append((batch, table[batch].precision or DASH, median, f"{low}–{high}", number(table[batch].p95)))
    columns = ("batch", "precision", "median ms", "95 % interval", "p95 ms")
    return _table(columns, rows, numeric="batch|median ms|95 % interval|p95 ms")


def seconds_table(summary: Summary) -> Table | None:
    """Wall time by stage."""
    if summary.seconds is None:
        return None
    rows = [(stage, duration(spent)) for stage, spent in summary.seconds]
    return _table(("stage", "wall time"), rows, numeric="wall time", strong=[len(rows) - 1])


def machine_table(summary: Summary) -> Table | None:
    """The machine's fingerprint, one line a fact."""
    if not summary.machine:
        return None
    rows = [(name.replace("_", " "), _fact(value)) for name, value in summary.machine.items()]
    return _table(("", "this machine"), rows)


def _fact(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: DASH}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_fact(one)}" for key, one in value.items()) or DASH
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_fact(one) for one in value) or DASH
    return str(value)


@dataclass(frozen=True, slots=True)
class Tile:
    """One headline number."""

    label: str
    value: str
    detail: str


def tiles(summary: Summary) -> list[Tile]:
    """The headline numbers that are known: speed-ups, quality, size, effort."""
    made = [_speed_tile(summary, batch) for batch in batches(summary.speedup)]
    final, reference = summary.final, summary.reference
    if final and final.quality:
        before = f" from {score_value(reference.quality)}" if reference and reference.quality else ""
        change = f"{signed(final.quality_difference)} to the reference" if final.quality_difference else ""
        budget = f"budget {summary.budget}" if summary.budget else ""
        made.append(Tile(f"{metric_name(final.quality)}{before}", score_value(final.quality),
                         "; ".join(filter(None, (change, budget)))))
    if final and final.bytes is not None:
        before = f" from {size(reference.bytes)}" if reference and reference.bytes is not None else ""
        detail = f"{count(final.params)} parameters, {count(final.macs)} MACs"
        made.append(Tile(f"file{before}", size(final.bytes), detail))
    if summary.search:
        space = f"of a space of {count(summary.search.space_size)}" if summary.search.space_size else ""
        total = f"in {duration(summary.seconds.total)}" if summary.seconds and summary.seconds.total else ""
        made.append(Tile("trials", f"{summary.search.trials:,}", f"{space} {total}".strip()))
    return made


def _speed_tile(summary: Summary, batch: str) -> Tile:
    estimate = (summary.speedup or {})[batch]
    value, low, high = rounded(estimate.value, *estimate.ci95)
    eager = (summary.speedup_vs_eager or {}).get(batch)
    against = f"; {number(eager.value)}× against torch eager" if eager else ""
    return Tile(f"speed-up at batch {batch}", f"{value}×", f"95 % interval {low}–{high}{against}")


def files_table(summary: Summary) -> Table:
    """What to find where in the run folder."""
    rows = [("summary.json", "everything on this page, for programs")]
    if summary.latency:
        rows.append(("export/latency.csv", "the latency table"))
    if summary.final and summary.final.artifact:
        rows.insert(0, (summary.final.artifact, "what ships: fastest file of the result"))
    if summary.baseline and summary.baseline.artifact:
        rows.append((summary.baseline.artifact, "fastest file of the baseline"))
    plans = (summary.tensorrt.plans if summary.tensorrt else None) or {}
    rows += [(plan.file, f"TensorRT plan from {name}") for name, plan in plans.items() if plan]
    return _table(("file", "what it is"), rows, code="file")
