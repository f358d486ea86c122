"""The two runs of a piece: ours, and one that differs in its sampler alone: random."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

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
    summary = run(experiment, folder, progress=progress)
    if RunFolder(folder).record("export") is None:
        missed = ", ".join(summary["verdict"]["missed"]) if summary["verdict"] else "nothing"
        raise ProofError(
            f"the run in {folder} ended without a file to compare (missed: {missed}); {folder}/report/report.md says "
            "why. Change the experiment and remove the run's folders"
        )


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
