"""What stands on top: the headline numbers, and reference, baseline and result in one line each."""

from dataclasses import dataclass

from reports.finished import Baseline, Model
from reports.summary import Summary
from reports.views.table import Table, make_table
from reports.wording import (
    DASH,
    batches,
    count,
    duration,
    metric_name,
    number,
    rounded,
    score,
    score_value,
    signed,
    size,
)


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
        made.append(
            Tile(
                f"{metric_name(final.quality)}{before}",
                score_value(final.quality),
                "; ".join(filter(None, (change, budget))),
            )
        )
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


def generators_table(summary: Summary) -> Table | None:
    """Reference, baseline and result, one line each; null before there is a reference."""
    models: list[tuple[str, Model | None]] = [
        ("reference", summary.reference),
        ("baseline", summary.baseline),
        ("result", summary.final),
    ]
    rows = [_generator_row(who, model) for who, model in models if model is not None]
    if not rows:
        return None
    metric = metric_name(summary.reference.quality if summary.reference else None)
    columns = ("", metric, "to reference", "parameters", "MACs", "file size", "file")
    return make_table(
        columns,
        rows,
        numeric=f"{metric}|to reference|parameters|MACs|file size",
        code="file",
        strong=[index for index, row in enumerate(rows) if row[0] == "result"],
    )


def _generator_row(who: str, model: Model) -> tuple[str, ...]:
    difference = getattr(model, "quality_difference", None)
    artifact = model.artifact if isinstance(model, Baseline) else None
    return (
        who,
        score(model.quality),
        signed(difference),
        count(model.params),
        count(model.macs),
        size(model.bytes),
        artifact or DASH,
    )
