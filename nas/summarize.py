"""The summary: what a run found, gathered from the records in its folder into one JSON object (docs/summary.md)."""

import math
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime

from benchmarks.files import read_json
from compress.quality import Budget
from nas.candidate import OUTCOMES, Candidate, front_of
from nas.experiment import Experiment
from nas.final import GRIDS
from nas.finished import final_of, model_of, rows_of, setting_of, shipped_latency, steps_of, variants_of
from nas.folder import Record, RunFolder
from nas.held_out import missed_on_held_out
from nas.insights import curve_of, is_unreached, knobs_of, quality_of
from nas.notes import notes_of

EXPORT_STAGES = ("reference", "search", "finalists", "compress", "export")


def summarize_run(experiment: Experiment, folder: RunFolder, command: str, space_size: int) -> Record:
    """Return the summary of the run in ``folder`` as it stands; what was not reached is null."""
    records = {name: folder.record(name) for name in ("reference", "candidates", "finalists", "compressed", "baseline")}
    final = folder.record("export")
    budget, target = experiment.quality.budgets[0], experiment.target
    reference = records["reference"]
    held_out = (final or {}).get("quality") or {}
    return {
        "schema": 1,
        "command": command,
        "name": experiment.name,
        "family": experiment.family.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "budget": ", ".join(one.text for one in experiment.quality.budgets),
        "target": target.model_dump(mode="json"),
        "machine": read_json(folder.path / "machine.json"),
        "verdict": _verdict(experiment, records, final),
        "seconds": _seconds(folder),
        "reference": model_of(folder.path, "reference", reference, final) if reference else None,
        "baseline": model_of(folder.path, "baseline", records["baseline"], final)
        if records["baseline"] and final
        else None,
        "final": final_of(folder.path, final) if final else None,
        "speedup": final["latency"]["speedup"] if final else None,
        "speedup_vs_eager": final["latency"]["speedup_vs_eager"] if final else None,
        "steps": steps_of(records["compressed"]),
        "variants": variants_of(records["compressed"]),
        "search": _counts(records["candidates"], space_size),
        "tensorrt": final["tensorrt"] if final else None,
        "floor": held_out.get("floor"),
        "blank": held_out.get("blank"),
        "quality": quality_of(held_out),
        "knobs": knobs_of(records["candidates"]["rows"], experiment.seed) if records["candidates"] else None,
        "grid_columns": _grid_columns(folder),
        "allowed_seen": _allowed(budget, reference),
        "reference_seen": reference["quality_seen"] if reference else None,
        "curve": _curve(reference) if reference else None,
        "candidates": _candidates(records["candidates"], records["finalists"]),
        "finalists": _finalists(records["finalists"]),
        "latency": _latency_rows(final) if final else None,
        "operators": final["operators"] if final else None,
        "roofline": final.get("roofline") if final else None,
        "parity": final["parity"] if final else None,
        "commands": _commands(folder, final, command) + _picking(folder, records["candidates"], records["finalists"]),
        "notes": notes_of(experiment, records, final, _missed_limits(experiment, records)),
    }


def _seconds(folder: RunFolder) -> dict[str, float]:
    seconds = folder.seconds
    known = {name: seconds[name] for name in EXPORT_STAGES if name in seconds}
    return {**known, "total": round(sum(seconds.values()), 2)}


def _allowed(budget: Budget, reference: Record | None) -> float | None:
    value = reference["quality_seen"]["value"] if reference else None
    allowed = math.nan if value is None else budget.allowed(value)
    return allowed if math.isfinite(allowed) else None


def _grid_columns(folder: RunFolder) -> list[str] | None:
    path = folder.path / "report" / GRIDS
    return (read_json(path)["columns"] or None) if path.is_file() else None


def _verdict(experiment: Experiment, records: Mapping[str, Record | None], final: Record | None) -> Record | None:
    """Return the answer: null while stages are missing, "no" early where nothing can follow from what was found."""
    reference, candidates, finalists = records["reference"], records["candidates"], records["finalists"]
    if reference is not None and reference["curve"][-1]["complaint"]:
        return {"met": False, "missed": ["reference.steps"]}
    if candidates is not None and not any(row["outcome"] == "complete" for row in candidates["rows"]):
        return {"met": False, "missed": _missed_limits(experiment, records) or ["search.trials"]}
    if finalists is not None and finalists["winner"] is None:
        return {"met": False, "missed": ["search.finalists"]}
    if final is None:
        return None
    missed = [key for key, met in _checks(experiment, final).items() if not met]
    return {"met": not missed, "missed": missed}


def _missed_limits(experiment: Experiment, records: Mapping[str, Record | None]) -> list[str]:
    """Return the keys of the limits that even the fastest candidate missed."""
    target, reference, candidates = experiment.target, records["reference"], records["candidates"]
    ratios = [row["ratio"]["value"] for row in (candidates or {"rows": ()})["rows"] if row["ratio"]]
    if not ratios or reference is None:
        return []
    missed = []
    if target.min_speedup is not None and 1 / min(ratios) < target.min_speedup:
        missed.append("target.min_speedup")
    if target.max_latency_ms is not None and min(ratios) * reference["median_ms"] > target.max_latency_ms:
        missed.append("target.max_latency_ms")
    return missed


def _checks(experiment: Experiment, final: Record) -> dict[str, bool]:
    """Return whether each limit is met, on ``held_out`` and in the final measurement."""
    target, quality = experiment.target, final["quality"]
    checks = {"quality.budget": not missed_on_held_out(experiment.quality.budgets, quality)}
    batch = str(target.batch)
    if target.min_speedup is not None:
        checks["target.min_speedup"] = final["latency"]["speedup"][batch]["value"] >= target.min_speedup
    if target.max_latency_ms is not None:
        checks["target.max_latency_ms"] = shipped_latency(final)[batch]["median"] <= target.max_latency_ms
    return checks


def _counts(candidates: Record | None, space_size: int) -> Record | None:
    if candidates is None:
        return None
    counts = {outcome: candidates["counts"].get(outcome, 0) for outcome in OUTCOMES}
    unreached = sum(is_unreached(row) for row in candidates["rows"])
    return {"trials": sum(counts.values()), **counts, "unreached": unreached, "space_size": space_size}


def _curve(reference: Record) -> list[Record]:
    return [{key: point[key] for key in ("step", "value", "standard_error")} for point in reference["curve"]]


def _candidates(candidates: Record | None, finalists: Record | None) -> list[Record] | None:
    if candidates is None:
        return None
    chosen = {row["id"]: row for row in (finalists or {}).get("finalists", ())}
    rows = []
    for one in candidates["rows"]:
        last = one["rungs"][-1]["quality"] if one["rungs"] else None
        rows.append(
            {
                "id": one["id"],
                "genotype": one["genotype"],
                "outcome": one["outcome"],
                "ratio": one["ratio"],
                "quality": last if last and last["value"] is not None else None,
                "rung": len(one["rungs"]) or None,
                "seconds": one["seconds"],
                "finalist": one["id"] in chosen,
                "promising": bool(chosen.get(one["id"], {}).get("promising")),
                "curve": curve_of(one),
                "unreached": is_unreached(one),
                "error": one["error"],
            }
        )
    return rows


def _finalists(finalists: Record | None) -> list[Record] | None:
    if finalists is None:
        return None
    keys = ("id", "genotype", "inside", "quality", "difference", "ratio", "note")
    return [
        {key: row[key] for key in keys} | {"winner": row["id"] == finalists["winner"]} for row in finalists["finalists"]
    ]


def _latency_rows(final: Record) -> list[Record]:
    rows: list[Record] = final["latency"]["rows"]
    return rows


def _commands(folder: RunFolder, final: Record | None, command: str) -> list[Record]:
    root = folder.shown
    again = shlex.join(["--out", f"{root}-again"])  # the same command alone would find this run and do nothing
    rows = [{"what": "the whole run, into another folder", "command": f"{command} {again}"}]
    if final is None:
        return rows
    after, compare = str(root / final["shipped"]), ["leangen", "bench", "compare"]
    lines = {
        f"the speed-up at batch {batch}": [*compare, str(root / row["artifact"]), after, *setting_of(row)]
        for batch, row in rows_of(final, "reference").items()
    }
    who = {"reference": str(root / "reference" / "model.onnx"), "result": after}
    for name, file in who.items():
        lines[f"the quality of the {name}"] = ["leangen", "score", file, "--run", str(root)]
    lines["pictures"] = ["leangen", "sample", after, "--n", "64", "--seed", "0", "--out", "grid.png"]
    lines["this page"] = ["leangen", "report", str(root)]
    return rows + [{"what": what, "command": shlex.join(words)} for what, words in lines.items()]


def _picking(folder: RunFolder, candidates: Record | None, finalists: Record | None) -> list[Record]:
    """Return the command for another point of the front, if there is one: the nearest slower one, or the slowest."""
    if candidates is None or finalists is None or candidates.get("picked"):
        return []
    path = folder.path / "candidates" / "record.json"
    ids = [one.id for one in front_of(Candidate.read(row, path) for row in candidates["rows"])]
    place = ids.index(finalists["winner"]) if finalists["winner"] in ids else -1
    others = ids[place + 1 :] or ids[:place][-1:]
    if not others:
        return []
    command = shlex.join(["leangen", "pick", str(folder.shown), others[0]])
    return [{"what": "another point of the front, to the end (without an id: the front)", "command": command}]
