"""Another point of the front: a candidate that the search did not choose, through all that follows the search."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.candidate import COMPLETE, Candidate, front_of
from nas.experiment import Experiment
from nas.folder import FolderError, RunFolder
from nas.progress import Progress
from nas.reuse import link_reference
from nas.stages import run
from reports.wording import number

FOLDER = "picked"


def pick(
    source: Path, name: str, out: Path | None = None, *, progress: Progress | None = None, trust_code: bool = False
) -> tuple[dict[str, Any], Path]:
    """Train a candidate of the run in ``source`` to the end, compress and export it; return summary and run folder.

    The other run stays as it is. The new folder shares its reference, and its training of the candidate if it was a
    finalist there; it is a run folder like any other: the same call, or ``leangen run``, goes on where it stopped.

    Args:
        source: A run folder whose search is finished.
        name: The candidate's id, or enough of its beginning.
        out: The new run folder; ``source/picked/<id>`` by default.
        progress: Hears of everything that takes longer than a moment.
        trust_code: See ``nas.run``.

    Raises:
        FolderError: there is no such candidate, or it was not trained to the last rung; lists those of the front.
    """
    folder = RunFolder(source.absolute())
    candidates = read_candidates(folder)
    chosen = find(candidates, name)
    experiment = Experiment.load(folder.experiment_file)
    target = (out or folder.path / FOLDER / chosen.id).absolute()
    made = RunFolder.create(target, experiment)
    with made.locked():
        _prepare(folder, made, chosen)
    return run(experiment, target, progress=progress, trust_code=trust_code), target


def read_candidates(folder: RunFolder) -> list[Candidate]:
    """Return the candidates of a run. Raises FolderError if it is none, or its search is not finished."""
    if not folder.experiment_file.is_file():
        raise FolderError(f"a run folder has an experiment.yaml, and {folder.path} has none: name a run folder")
    record = folder.need("candidates", "leangen search")
    return [Candidate.read(row, folder.path / "candidates" / "record.json") for row in record["rows"]]


def find(candidates: Sequence[Candidate], name: str) -> Candidate:
    """Return the complete candidate whose id begins with ``name``.

    Raises:
        FolderError: none or several do, or it was not trained to the last rung.
    """
    found = [one for one in candidates if one.id.startswith(name)] if name else []
    exact = [one for one in found if one.id == name]
    if len(exact or found) != 1:
        what = f"{len(found)} candidates have ids" if found else "no candidate has an id"
        raise FolderError(f"{what} beginning with {name!r}; {_offer(candidates)}")
    (one,) = exact or found
    if one.outcome != COMPLETE:
        note = f" ({one.note})" if one.note else ""
        raise FolderError(f"candidate {one.id} is {one.outcome}{note}, not complete; {_offer(candidates)}")
    return one


def describe_front(candidates: Sequence[Candidate]) -> list[tuple[str, str, str]]:
    """Return id, speed-up and score of every candidate on the front, fastest first."""
    rows = []
    for one in front_of(candidates):
        assert one.ratio is not None
        score = one.score()
        rows.append((one.id, f"{1 / one.ratio['value']:.2f}x", f"{score.metric} {number(score.value)}"))
    return rows


def _offer(candidates: Sequence[Candidate]) -> str:
    rows = [f"  {'  '.join(row)}" for row in describe_front(candidates)]
    return "\n".join(["the front is (speed-up, and score at the last rung):", *rows]) if rows else "none is complete"


def _prepare(source: RunFolder, made: RunFolder, chosen: Candidate) -> None:
    """Fill a new folder up to where its finalists begin; the record that says so is written last."""
    record = made.record("candidates")
    if record is not None:
        if (record.get("picked") or {}).get("id") != chosen.id:
            raise FolderError(f"{made.path} holds another candidate's run: name another folder with --out")
        return
    link_reference(source, made)
    if source.record(f"finalists/{chosen.id}") is not None:
        made.link(source, f"finalists/{chosen.id}")
    picked = {"id": chosen.id, "run": str(source.shown)}
    made.finish("candidates", {**source.need("candidates", "leangen search"), "picked": picked})
