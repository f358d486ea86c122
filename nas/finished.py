"""What the summary says of finished generators: size, quality, latency, and the steps that made them."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.cost import count_cost
from nas.folder import Record


def rows_of(final: Record, who: str) -> dict[str, Record]:
    """Return by batch the row of the fastest file of ``who``; for the result, of the file that ships."""
    best: dict[str, Record] = {}
    for row in final["latency"]["rows"]:
        shipped = who != "final" or row["artifact"] == final["shipped"]
        if row["who"] == who and row["artifact"] and shipped:
            batch = str(row["batch"])
            if batch not in best or row["median_ms"] < best[batch]["median_ms"]:
                best[batch] = row
    return best


def latencies(rows: Mapping[str, Record]) -> Record:
    """Return by batch what the summary says of a row of the latency table."""
    return {
        batch: {
            "median": row["median_ms"],
            "ci95": row["ci95_ms"],
            "p95": row["p95_ms"],
            "precision": row["precision"],
        }
        for batch, row in rows.items()
    }


def shipped_latency(final: Record) -> Record:
    """Return the same of the file that ships."""
    return latencies(rows_of(final, "final"))


def model_of(root: Path, who: str, record: Record, final: Record | None) -> Record:
    """Return the summary of the reference or the baseline, whose files lie below ``root``."""
    fastest = root / record["files"][record["fastest"]]
    cost = count_cost(root / record["files"]["fp32"])
    model: Record = {
        "id": record["id"],
        "params": cost.params,
        "macs": cost.macs,
        "bytes": fastest.stat().st_size,
        "quality": final["quality"]["scores"][who] if final else None,
        "scores": further_scores(final, who) if final else [],
        "latency_ms": latencies(rows_of(final, who)) if final else None,
    }
    if who == "reference":
        return model | {"plateau": record.get("plateau"), "plateau_gain": record.get("gain_last_quarter")}
    return model | {"artifact": record["files"][record["fastest"]]}


def final_of(root: Path, final: Record) -> Record:
    """Return the summary of what ships, whose files lie below ``root``."""
    cost = count_cost(root / final["files"]["fp32"])
    differences = final["quality"]["differences"]["final"]
    return {
        "id": final["id"],
        "params": cost.params,
        "macs": cost.macs,
        "bytes": (root / final["shipped"]).stat().st_size,
        "quality": final["quality"]["scores"]["final"],
        "scores": further_scores(final, "final"),
        "latency_ms": shipped_latency(final),
        "artifact": final["shipped"],
        "quality_difference": differences["reference"],
        "baseline_difference": differences.get("baseline"),
    }


def further_scores(final: Record, who: str) -> list[Record]:
    """Return the scores of ``who`` on ``held_out`` in other metrics than the first budget's."""
    first = final["quality"]["scores"][who]["metric"]
    metrics = final["quality"].get("metrics", {}).get(who, {})
    return [score for metric, score in metrics.items() if metric != first]


def steps_of(compressed: Record | None) -> list[Record] | None:
    """Return the compression steps, in the order tried."""
    if compressed is None:
        return None
    return [step | {"ratio": _ratio(step["ratio"])} for step in compressed["steps"]]


def variants_of(compressed: Record | None) -> list[Record] | None:
    """Return the files that could be taken instead of what ships; null of runs of an older leangen."""
    if compressed is None or "variants" not in compressed:
        return None
    return [one | {"ratio": _ratio(one["ratio"])} for one in compressed["variants"]]


def _ratio(ratio: Record | None) -> Record | None:
    return {key: value for key, value in ratio.items() if key != "pairs"} if ratio else None


def setting_of(row: Record) -> list[str]:
    """Return the options with which ``leangen bench compare`` times as ``row`` was timed; 1 is its default."""
    options = {"--batch": row["batch"], "--threads": row["threads"]}
    return [word for name, value in options.items() if value != 1 for word in (name, str(value))]
