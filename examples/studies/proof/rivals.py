"""What else can be done to the same trained reference: narrow it, prune it, quantize it. Each is a part of a piece."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compress.errors import CompressError
from compress.generator import Generator
from compress.measure import FP32, INT8, calibration_inputs
from examples.studies.proof.layout import Piece, ProofError
from examples.studies.proof.matching import match
from examples.studies.proof.pruned import prune_alone
from examples.studies.proof.quantized import quantize_alone
from examples.studies.proof.recovery import our_schedules, train_like_ours, training_of
from examples.studies.proof.searches import why_nothing
from nas.baseline import FOLDER as BASELINE
from nas.context import Context
from nas.progress import Progress

HALF = 0.5
_MULTIPLE = 8
_MEASURE_S = 0.8  # of paired timing, as for the baseline

Part = dict[str, Any]


def make_rivals(piece: Piece, context: Context, progress: Progress) -> None:
    """Make every rival that is not finished yet; all but one are matched to our file, and are not there without it."""
    nothing = why_nothing(piece.folder) is not None
    for name, make in RIVALS.items():
        if piece.part(name) is None:
            progress.say(f"{name} ...")
            without = nothing and make is not _quantized
            made = _part({}, {}, note="our run shipped no file to match it to") if without else make(piece, context)
            piece.finish(name, made)


def rival_files(piece: Piece, name: str) -> dict[str, Path]:
    """Return the files of the finished rival ``name``, by precision."""
    part = piece.part(name)
    if part is None:
        raise ProofError(f"{piece.name} has no finished part {name}: run `{piece.command('piece')}` first")
    return {precision: Path(path) for precision, path in part["files"].items()}


def shipped(context: Context) -> Path:
    """Return the file that our run shipped."""
    return context.folder.path / str(context.folder.need("export", "leangen export")["shipped"])


def _narrowed(piece: Piece, context: Context) -> Part:
    """The network of the run's own baseline, trained anew by our schedules: the run gave it a finalist's only."""
    record = context.folder.need(BASELINE, "leangen compress")
    generator = context.family.narrowed(record["factor"], context.experiment.seed)
    how = {"factor": record["factor"], "time": record["ratio_to_shipped"]["value"]}
    return _recovered(piece, context, generator, "narrowed", how)


def _pruned_to_match(piece: Piece, context: Context) -> Part:
    ours = shipped(context)

    def time(generator: Generator) -> float:
        return context.bench.time_untrained(generator, ours, _MEASURE_S).ratio.value

    try:
        chosen = piece.part("match") or piece.finish("match", match(_reference(context), time).to_json())
        pruned = prune_alone(_reference(context), chosen["ratio"], chosen["multiple"])
    except ProofError as error:
        return _part({}, {}, note=str(error))
    return _recovered(piece, context, pruned, "pruned-matched", chosen)


def _pruned_by_half(piece: Piece, context: Context) -> Part:
    try:
        pruned = prune_alone(_reference(context), HALF, _MULTIPLE)
    except ProofError as error:
        return _part({}, {}, note=str(error))
    how = {"ratio": HALF, "multiple": _MULTIPLE, "widths": pruned.origin.arguments["widths"]}
    return _recovered(piece, context, pruned, "pruned-half", how)


def _recovered(piece: Piece, context: Context, pruned: Generator, name: str, how: Part) -> Part:
    out = piece.rivals / name
    trained = train_like_ours(context, pruned, our_schedules(context), out)
    return _part(_export(context, trained, out), how, training_of(out))


def _quantized(piece: Piece, context: Context) -> Part:
    floats = context.folder.path / context.folder.need("reference", "leangen search")["files"][FP32]
    out = piece.rivals / "quantized.onnx"
    rows = calibration_inputs(context.family.inputs, context.bench.calibration_seed)
    try:
        quantize_alone(floats, out, rows)
    except Exception as error:  # noqa: BLE001 - whatever onnxruntime's quantizer cannot do is this rival's result
        return _part({}, {}, note=f"onnxruntime's quantizer failed: {type(error).__name__}: {error}")
    return _part({INT8: out}, {"rows": len(next(iter(rows.values())))})


def _reference(context: Context) -> Generator:
    return Generator.load(context.folder.path / "reference")


def _export(context: Context, generator: Generator, out: Path) -> dict[str, Path]:
    """Write every variant; one that is slower than another is simply not the one that counts."""
    try:
        return context.bench.variants(generator, out / "files")
    except CompressError as error:
        raise ProofError(f"the rival in {out} cannot be exported: {error}") from error


def _part(files: Mapping[str, Path], how: Part, training: Part | None = None, note: str = "") -> Part:
    return {
        "files": {precision: str(path) for precision, path in files.items()},
        "how": how,
        "training": training,
        "note": note,
    }


RIVALS: dict[str, Callable[[Piece, Context], Part]] = {
    "narrowed": _narrowed,
    "pruned-matched": _pruned_to_match,
    "pruned-half": _pruned_by_half,
    "quantized": _quantized,
}
