"""The two runs of a piece: ours, and one that differs in its sampler alone: random."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.files import read_json
from examples.studies.proof.layout import Piece, ProofError
from nas import run
from nas.candidate import front_of
from nas.experiment import Experiment
from nas.folder import RunFolder
from nas.locks import Busy, hold
from nas.picking import read_candidates
from nas.progress import Progress

_SEARCHING = ".searching"


def run_ours(piece: Piece, progress: Progress) -> None:
    """Do every stage of our run, or what is left of it."""
    _run(piece.experiment(), piece.folder, progress)


def run_random(piece: Piece, progress: Progress) -> None:
    """Do the same from the same trained reference, with genotypes drawn at random for as many minutes."""
    _run(piece.experiment("search.sampler=random"), piece.random_folder, progress, piece.folder)


def _run(experiment: Experiment, folder: Path, progress: Progress, reference: Path | None = None) -> None:
    if RunFolder(folder).record("export") is not None:
        return
    run(experiment, folder, stages=["data", "reference"], progress=progress, reference_from=reference)
    with _searching(folder):
        run(experiment, folder, stages=["search"], progress=progress)
    run(experiment, folder, progress=progress)
    why_nothing(folder)


def why_nothing(folder: Path) -> str | None:
    """Return why the finished run in ``folder`` shipped no file, or ``None`` if it did.

    That is a result of the search. A reference that cannot be compared with is none.

    Raises:
        ProofError: the run is not finished, or it is its reference that failed.
    """
    if RunFolder(folder).record("export") is not None:
        return None
    summary = folder / "summary.json"
    verdict = read_json(summary)["verdict"] if summary.is_file() else None
    if verdict is None or verdict["met"] or "reference.steps" in verdict["missed"]:
        missed = ", ".join(verdict["missed"]) if verdict else "nothing"
        raise ProofError(
            f"the run in {folder} ended without a file to compare (missed: {missed}); {folder}/report/report.md says "
            "why. Change the experiment and remove the run's folders"
        )
    return f"the answer was no: nothing to ship (missed: {', '.join(verdict['missed'])})"


@contextlib.contextmanager
def _searching(folder: Path) -> Iterator[None]:
    """Tell other processes that minutes are being counted here."""
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder / _SEARCHING, wait=True):  # who asks whether it is held holds it for that moment
        yield


def is_searching(folder: Path) -> bool:
    """Return whether a process is searching in ``folder``: to pause it would take from its minutes."""
    file = folder / _SEARCHING
    if not file.is_file():
        return False
    try:
        with hold(file):
            return False
    except Busy:
        return True


def front(folder: Path) -> list[tuple[float, float]]:
    """Return (time ÷ the reference's, score after the last rung) of the front that the search in ``folder`` found."""
    found = front_of(read_candidates(RunFolder(folder)))
    return [(one.ratio["value"], one.score().value) for one in found if one.ratio is not None]
