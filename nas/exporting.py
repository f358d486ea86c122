"""The stage that writes what ships: float file, int8 file, TensorRT plans, and the proof that they draw the same."""

import json
from pathlib import Path
from typing import Any

from benchmarks.files import write_bytes
from benchmarks.inputs import covering_rows
from benchmarks.records import BenchmarkError
from benchmarks.runtimes import tensorrt
from compress.errors import CompressError
from compress.export import AnyGenerator
from compress.files import prove, worst_pairs, write_files
from compress.generator import Generator
from compress.half import convert_to_half
from compress.measure import FP32, INT8, calibration_inputs
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from nas.context import Context
from nas.folder import Record
from nas.pictures import WORST_FILE, differences_png
from nas.progress import Progress
from nas.seeds import Stream

FOLDER = "export"
FP16 = "fp16"
PLAN_PRECISIONS = (FP32, FP16, INT8)
PARITY_ROWS = 256


def export_winner(context: Context, compressed: Record, scores: Record, progress: Progress) -> Record:
    """Write the files of the compressed winner and return what is in ``export/``.

    Args:
        context: The run.
        compressed: Record of the compression.
        scores: JSON to keep in the files' metadata.
        progress: Hears of each file.

    Raises:
        CompressError: the float file does not draw what torch draws.
        BackendMissing: ``export.tensorrt`` is true, and there is no TensorRT.
    """
    folder = context.folder.path / FOLDER
    folder.mkdir(exist_ok=True)
    generator = Generator.load(context.folder.path / "compressed" / "kept")
    progress.start("export", 4, "files")
    files = write_files(
        generator,
        folder,
        opset=context.experiment.export.opset,
        calibration_seed=context.bench.calibration_seed,
        metadata={"leangen.scores": json.dumps(scores)},
    )
    progress.update("export", 2)
    proofs = _prove(context, generator, files)
    plans = _build_plans(context, files[FP32], folder)
    progress.finish("export")
    shipped = files[INT8] if compressed["precision"] == INT8 else files[FP32]
    return {
        "id": generator.id,
        "files": {name: context.folder.relative(path) for name, path in files.items()},
        "shipped": context.folder.relative(shipped),
        "precision": compressed["precision"],
        "parity": proofs,
        "tensorrt": plans,
    }


def _prove(context: Context, generator: AnyGenerator, files: dict[str, Path]) -> list[Record]:
    rows = context.inputs(Stream.PARITY, covering_rows(generator.inputs, PARITY_ROWS))
    proofs, proved = [], prove(generator, files, rows)
    pairs = worst_pairs(generator, files, rows, proved)
    write_bytes(context.folder.path / "report" / WORST_FILE, differences_png(pairs))
    for name, found in proved.items():
        row = found.to_json()
        worst = {"worst_input_seed": context.experiment.seed, "worst_input_index": row.pop("worst")}
        proofs.append({"artifact": context.folder.relative(files[name]), **row, **worst})
    return proofs


def _build_plans(context: Context, floats: Path, folder: Path) -> Record:
    """Build a plan for each precision, one that fails being null; without TensorRT, say how to get it."""
    wanted = context.experiment.export.tensorrt
    if wanted is False:
        return _no_plans("export.tensorrt is false")
    plans: dict[str, Any] = {}
    failures: list[str] = []
    for precision in PLAN_PRECISIONS:
        plan = folder / f"model.{precision}.plan"
        try:
            source = _typed(context, precision, floats, folder)
            built = tensorrt.build_plan(source, plan, inputs=context.family.inputs)
        except (BenchmarkError, CompressError) as error:
            if wanted is True:
                raise
            plans[precision] = None
            failures.append(str(error))
        else:
            plans[precision] = {**built, "file": context.folder.relative(plan)}
    reason = "\n".join(dict.fromkeys(failures)) or tensorrt.latency_reason()
    if not any(plans.values()):
        return _no_plans(reason)
    return {"built": True, "plans": plans, "latency_ms": None, "reason": reason}


def _typed(context: Context, precision: str, floats: Path, folder: Path) -> Path:
    """Return the ONNX file that computes in ``precision``: TensorRT takes the types that stand in it."""
    if precision == FP32:
        return floats
    path = folder / f"model.trt-{precision}.onnx"
    if precision == FP16:
        convert_to_half(floats, path)
    else:
        rows = calibration_inputs(context.family.inputs, context.bench.calibration_seed)
        quantize(floats, path, inputs=rows, settings=QuantizeSettings(per_channel=True, target="tensorrt"))
    return path


def _no_plans(reason: str) -> Record:
    return {"built": False, "plans": None, "latency_ms": None, "reason": reason}
