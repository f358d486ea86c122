"""``export/deploy/``: everything that whoever runs the generator needs, and nothing of ours.

A program of some fifty lines on onnxruntime and numpy, their tested versions, the files that ship, checksums, and a
model card: what the generator was made from, how good and how fast it was measured to be, where, and its limits.
"""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from benchmarks.files import read_bytes, sha256_file, write_bytes
from nas.context import Context
from nas.folder import Record
from reports.card import model_card
from reports.summary import Summary

FOLDER = "deploy"
PROGRAM = "draw.py"
_NEEDS = ("numpy", "onnxruntime")
_MAX_MODEL = 2**31  # bytes: what ONNX itself allows in one file
_CARD, _SUMS = "README.md", "SHA256SUMS"


def write_program(folder: Path, files: Mapping[str, Path]) -> None:
    """Write the program, what it needs, and a copy of each of ``files`` under its own name into ``folder``."""
    for path in files.values():
        _write(folder / path.name, read_bytes(path, _MAX_MODEL))
    _write(folder / PROGRAM, (Path(__file__).parent / "deploy" / PROGRAM).read_bytes())
    needs = [f"{name}=={importlib.metadata.version(name)}\n" for name in _NEEDS]
    _write(folder / "requirements.txt", "".join(needs).encode())


def describe(context: Context) -> str:
    """Return what the generator was trained on, in one line for the card."""
    data, splits = context.experiment.data, context.splits
    paths = [path.name for path in (data.folder, data.npz, data.idx) if path is not None]
    source = data.name or paths[0]
    size = f"{splits.seen.images.shape[3]}x{splits.seen.images.shape[2]}"
    return (
        f"{source}: {len(splits.seen):,} pictures of {size} pixels in {len(splits.seen.classes)} classes to learn "
        f"from, {len(splits.held_out):,} held out for the scores below (sha256 {splits.seen.digest[:12]}, "
        f"{splits.held_out.digest[:12]})"
    )


def write_deploy(run: Path, exported: Record, summary: Summary, data: str) -> Path:
    """Write ``export/deploy/`` of the run folder ``run`` and return it.

    Args:
        run: The run folder.
        exported: Record of the export.
        summary: Of the run, for the model card.
        data: What was trained on, one line for the card.
    """
    folder = run / "export" / FOLDER
    files = {name: run / str(path) for name, path in exported["files"].items()}
    write_program(folder, files)
    card = model_card(summary, {name: path.name for name, path in files.items()}, data)
    _write(folder / _CARD, card.encode())
    write_sums(folder)
    return folder


def write_sums(folder: Path) -> None:
    """Write the sha256 of every other file in ``folder``, as ``sha256sum --check`` reads it."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != _SUMS)
    _write(folder / _SUMS, "".join(f"{sha256_file(path)}  {path.name}\n" for path in paths).encode())


def _write(path: Path, data: bytes) -> None:
    """Write ``data`` unless that is what is there: a second run of a finished experiment changes no file."""
    if not (path.is_file() and path.read_bytes() == data):
        write_bytes(path, data)
