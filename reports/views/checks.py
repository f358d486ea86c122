"""Tables behind the numbers: compression steps, parity, operators, TensorRT, time, machine, files."""

from collections.abc import Mapping, Sequence

from reports.summary import Summary
from reports.views.table import Table, make_table
from reports.wording import DASH, batches, duration, interval, number, rounded, settings_text, signed, size


def steps_table(summary: Summary) -> Table | None:
    """Compression steps in the order tried; null before compression."""
    if summary.steps is None:
        return None
    rows = [
        (
            step.name,
            "kept" if step.kept else "refused",
            interval(step.ratio),
            signed(step.difference),
            step.reason,
            settings_text(step.settings or {}) or DASH,
        )
        for step in summary.steps
    ]
    columns = ("step", "decision", "time ÷ before", "quality to reference", "reason", "settings")
    return make_table(columns, rows, numeric="time ÷ before|quality to reference", code="settings")


def variants_table(summary: Summary) -> Table | None:
    """The fastest, the smallest and the best file of all compression steps; null where there is no choice."""
    if not summary.variants or all("fastest" in one.roles for one in summary.variants):
        return None
    rows = [
        (
            ", ".join(one.roles),
            one.step,
            interval(one.ratio),
            size(one.bytes),
            f"{one.quality.metric} {number(one.quality.value)} ({signed(one.difference)})",
            one.file,
        )
        for one in summary.variants
    ]
    columns = ("the", "after", "time ÷ before all steps", "size", "quality (to reference)", "file")
    return make_table(columns, rows, numeric="time ÷ before all steps|size|quality (to reference)", code="file")


def ships_fastest(summary: Summary) -> bool:
    """Whether what ships stands in the table of variants, which a file that nothing helped does not."""
    return any("fastest" in one.roles for one in summary.variants or ())


def parity_table(summary: Summary) -> Table | None:
    """How close each file's images are to torch's."""
    if not summary.parity:
        return None
    rows = [
        (
            one.artifact,
            f"{one.max_abs:.1e}",
            "∞" if one.psnr_db is None else f"{one.psnr_db:.1f}",
            f"{one.n:,}",
            DASH if one.worst_input_index is None else str(one.worst_input_index),
            DASH if one.worst_input_seed is None else str(one.worst_input_seed),
        )
        for one in summary.parity
    ]
    columns = ("file", "largest difference", "PSNR dB", "latents", "worst latent", "seed")
    return make_table(columns, rows, numeric="largest difference|PSNR dB|latents|worst latent|seed", code="file")


def operators_table(summary: Summary) -> Table | None:
    """Operators that really ran, by file, the most frequent first."""
    if not summary.operators:
        return None
    rows = [
        (artifact, ", ".join(f"{n} × {name}" for name, n in sorted(ran.items(), key=_frequent_first)))
        for artifact, ran in summary.operators.items()
    ]
    return make_table(("file", "operators that ran"), rows, code="file")


def _frequent_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def tensorrt_table(summary: Summary) -> Table | None:
    """TensorRT plans, latency included where there was a GPU."""
    plans = summary.tensorrt.plans if summary.tensorrt else None
    if not plans:
        return None
    rows = [
        (
            name,
            plan.file if plan else "not built",
            size(plan.bytes) if plan else DASH,
            " ".join(filter(None, (plan.backend, plan.version))) or DASH if plan else DASH,
            ", ".join(plan.compute_capabilities) or DASH if plan else DASH,
        )
        for name, plan in plans.items()
    ]
    return make_table(("from", "plan", "size", "built by", "for"), rows, numeric="size", code="plan")


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
    return make_table(columns, rows, numeric="batch|median ms|95 % interval|p95 ms")


def seconds_table(summary: Summary) -> Table | None:
    """Wall time by stage."""
    if summary.seconds is None:
        return None
    rows = [(stage, duration(spent)) for stage, spent in summary.seconds]
    return make_table(("stage", "wall time"), rows, numeric="wall time", strong=[len(rows) - 1])


def machine_table(summary: Summary) -> Table | None:
    """The machine's fingerprint, one line a fact."""
    if not summary.machine:
        return None
    rows = [(name.replace("_", " "), _fact(value)) for name, value in summary.machine.items()]
    return make_table(("", "this machine"), rows)


def _fact(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: DASH}[value]
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_fact(one)}" for key, one in value.items()) or DASH
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_fact(one) for one in value) or DASH
    return str(value)


def files_table(summary: Summary) -> Table:
    """What to find where in the run folder."""
    rows = [("summary.json", "everything on this page, for programs")]
    if summary.latency:
        rows.append(("export/latency.csv", "the latency table"))
    if summary.final and summary.final.artifact:
        rows.insert(0, (summary.final.artifact, "what ships: fastest file of the result"))
        rows.append(("export/deploy/README.md", "model card; beside it all that drawing with the result needs"))
    if summary.baseline and summary.baseline.artifact:
        rows.append((summary.baseline.artifact, "fastest file of the baseline"))
    plans = (summary.tensorrt.plans if summary.tensorrt else None) or {}
    rows += [(plan.file, f"TensorRT plan from {name}") for name, plan in plans.items() if plan]
    return make_table(("file", "what it is"), rows, code="file")
