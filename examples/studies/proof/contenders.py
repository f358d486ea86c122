"""Who stands in the table of a piece, with every file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cost import CostError, count_cost
from examples.studies.proof.layout import Piece, ProofError
from examples.studies.proof.records import OURS, RANDOM, REFERENCE
from examples.studies.proof.rivals import RIVALS, rival_files
from examples.studies.proof.searches import why_nothing
from nas.folder import RunFolder

SHIPPED = "shipped"


def files_of(piece: Piece) -> dict[str, Path]:
    """Return every file of a piece by ``who/name``: all variants of everybody, of random search what it shipped.

    A search that found nothing has none.

    Raises:
        ProofError: a part of the piece is missing.
    """
    ours, reference = RunFolder(piece.folder), _need(piece, piece.folder, "reference")
    found = {f"{REFERENCE}/{name}": ours.path / path for name, path in reference["files"].items()}
    found |= {f"{OURS}/{name}": path for name, path in _exported(piece, piece.folder).items()}
    for name in RIVALS:
        found |= {f"{name}/{precision}": path for precision, path in rival_files(piece, name).items()}
    random = _exported(piece, piece.random_folder)
    return found | {f"{RANDOM}/{name}": path for name, path in random.items() if name == SHIPPED}


def own_files(files: Mapping[str, Path]) -> list[str]:
    """Return the names of the reference's own files."""
    return [name for name in files if name.startswith(f"{REFERENCE}/")]


def cost_of(file: Path) -> dict[str, Any]:
    """Return bytes, parameters and multiply-accumulates; the last two are null where they cannot be counted."""
    try:
        cost = count_cost(file)
    except CostError:
        return {"bytes": file.stat().st_size, "params": None, "macs": None}
    return {"bytes": cost.bytes, "params": cost.params, "macs": cost.macs}


def shipped_precision(folder: Path) -> str:
    """Return the precision of the file that the run in ``folder`` shipped."""
    record = RunFolder(folder).need("export", "leangen export")
    return str(record["precision"])


def _exported(piece: Piece, folder: Path) -> dict[str, Path]:
    """Return the file that the run shipped, and its float file if that is another one; none if its answer was no."""
    if why_nothing(folder) is not None:
        return {}
    record = _need(piece, folder, "export")
    found = {SHIPPED: folder / record["shipped"]}
    others = {name: folder / path for name, path in record["files"].items() if path != record["shipped"]}
    return found | others


def _need(piece: Piece, folder: Path, stage: str) -> dict[str, Any]:
    record = RunFolder(folder).record(stage)
    if record is None:
        raise ProofError(f"{folder} has no finished {stage}: run `{piece.command('piece')}` first")
    return record
