"""One piece: the parts in order, each resumed where it stopped, and the record that is kept of it."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.fingerprint import fingerprint
from examples.studies.proof.contenders import cost_of, files_of, own_files, shipped_precision
from examples.studies.proof.judging import judge_files
from examples.studies.proof.layout import Piece, ProofError
from examples.studies.proof.records import OURS, RANDOM, PieceRecord, write_piece
from examples.studies.proof.rivals import make_rivals
from examples.studies.proof.searches import front, run_ours, run_random, why_nothing
from examples.studies.proof.timing import time_files
from nas.candidate import COMPLETE
from nas.compressing import FOLDER as COMPRESSED
from nas.context import Context
from nas.experiment import Experiment
from nas.folder import RunFolder
from nas.picking import read_candidates
from nas.progress import Progress

JUDGED = "judged"
_SECONDS = "seconds"


def make_piece(piece: Piece, progress: Progress) -> None:
    """Do all of ``piece`` but its final timings, or what is left of it."""
    torch.set_num_threads(1)
    _note_commit(piece)
    _timed(piece, "our run", lambda: run_ours(piece, progress))
    _timed(piece, "random search", lambda: run_random(piece, progress))
    context = Context.of_folder(piece.folder)
    _timed(piece, "rivals", lambda: make_rivals(piece, context, progress))
    if piece.part(JUDGED) is None:
        progress.say("scores ...")
        _timed(piece, "scores", lambda: piece.finish(JUDGED, judge_files(context, files_of(piece))))


def time_piece(piece: Piece, progress: Progress) -> PieceRecord:
    """Take the final timings of a made ``piece``, write its record and return it."""
    judged = piece.part(JUDGED)
    if judged is None:
        raise ProofError(f"{piece.name} is not finished: run `{piece.command('piece')}` first")
    _note_commit(piece)
    context, files, proof = Context.of_folder(piece.folder), files_of(piece), piece.proof
    began, load = time.monotonic(), os.getloadavg()[0]
    timings = time_files(context, files, own_files(files), progress, processes=proof.processes, seconds=proof.seconds)
    _add_seconds(piece, "timings", time.monotonic() - began)
    record = PieceRecord.model_validate(
        {
            **_facts(piece, context),
            **{key: judged[key] for key in ("extractors", "samples", "floor")},
            "load_while_timing": load,
            "contenders": _contenders(piece, files, timings, judged["files"]),
        }
    )
    write_piece(piece.result, record)
    return record


def _facts(piece: Piece, context: Context) -> dict[str, Any]:
    """Return what the record says besides who stands in it."""
    experiment = context.experiment
    reference = context.folder.need("reference", "leangen search")
    return {
        "family": piece.family,
        "seed": piece.seed,
        "experiment": _digest(experiment),
        "commits": piece.part("commits"),
        "commands": [piece.command("piece"), piece.command("time")],
        "machine": fingerprint().to_json(),
        "threads": experiment.target.threads,
        "budgets": list(experiment.quality.budget),
        "plateau": reference["plateau"],
        "gain_last_quarter": reference["gain_last_quarter"],
        "reference_steps": reference["steps"],
        **(_found(context) if why_nothing(piece.folder) is None else {"genotype": {}, "steps_kept": []}),
        "searches": {OURS: _front(piece.folder), RANDOM: _front(piece.random_folder)},
        "seconds": _seconds(piece),
        "notes": _notes(piece),
    }


def _found(context: Context) -> dict[str, Any]:
    """Return what our file is: its genotype, and the steps of compression that were kept."""
    compressed = context.folder.need(COMPRESSED, "leangen compress")
    winner = context.folder.need("finalists", "leangen search")
    (genotype,) = [row["genotype"] for row in winner["finalists"] if row["id"] == winner["winner"]]
    return {"genotype": genotype, "steps_kept": [step["name"] for step in compressed["steps"] if step["kept"]]}


def _contenders(
    piece: Piece, files: dict[str, Path], timings: dict[str, Any], judged: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return everybody with costs, times and scores of their files."""
    folders = {OURS: piece.folder, RANDOM: piece.random_folder}
    found: dict[str, dict[str, Any]] = {
        who: {"files": {}, "note": why_nothing(folder) or ""} for who, folder in folders.items()
    }
    for name, path in files.items():
        who, _, short = name.partition("/")
        row = {
            "precision": shipped_precision(folders[who]) if short == "shipped" else short,
            **cost_of(path),
            "latency": {batch: rows[name] for batch, rows in timings.items()},
            **judged[name],
        }
        found.setdefault(who, {"files": {}})["files"][short] = row
    for who in ("narrowed", "pruned-matched", "pruned-half", "quantized"):
        part = piece.part(who)
        found.setdefault(who, {"files": {}}).update(how=part["how"], training=part["training"], note=part["note"])
    return found


def _front(folder: Path) -> dict[str, Any]:
    """Return what the search in ``folder`` found, for the plot and for the comparison with random search."""
    run = RunFolder(folder)
    experiment, candidates = Experiment.load(run.experiment_file), read_candidates(run)
    outcomes = Counter(one.outcome for one in candidates)
    return {
        "sampler": experiment.search.sampler,
        "minutes": experiment.search.minutes,
        "proposals": len(candidates),
        "complete": outcomes[COMPLETE],
        "points": front(folder),
    }


def _digest(experiment: Experiment) -> str:
    """Return twelve digits of what pieces of one family must have in common: all but the seed."""
    return experiment.model_copy(update={"seed": 0}).digest()[:12]


def _notes(piece: Piece) -> list[str]:
    match = piece.part("match")
    if match is None or match["fits"]:
        return []
    return [
        f"no uniform pruning takes 1.0 to 1.1 times as long as our file: the nearest, to widths {match['widths']}, "
        f"takes {match['time']:.2f} times as long"
    ]


def _timed(piece: Piece, what: str, work: Callable[[], object]) -> None:
    began = time.monotonic()
    try:
        work()
    finally:
        _add_seconds(piece, what, time.monotonic() - began)


def _seconds(piece: Piece) -> dict[str, float]:
    """Return wall seconds of every part, summed over resumes, and of the stages of both runs."""
    found = dict(piece.part(_SECONDS) or {})
    for who, folder in ((OURS, piece.folder), (RANDOM, piece.random_folder)):
        found |= {f"{who}: {stage}": seconds for stage, seconds in RunFolder(folder).seconds.items()}
    return found


def _add_seconds(piece: Piece, what: str, seconds: float) -> None:
    spent = dict(piece.part(_SECONDS) or {})
    piece.finish(_SECONDS, {**spent, what: round(spent.get(what, 0.0) + seconds, 1)})


def _note_commit(piece: Piece) -> None:
    """Add the commit that is checked out to those that parts of the piece were made with."""
    commits = list(piece.part("commits") or [])
    if (now := _commit()) not in commits:
        piece.finish("commits", [*commits, now])


def _commit() -> str:
    """Return the commit's first twelve digits, with ``+`` where files differ from it; ``unknown`` without git."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", ":/*.py", ":/*.yaml").strip()
        return git("rev-parse", "HEAD").strip()[:12] + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
