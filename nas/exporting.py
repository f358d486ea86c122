"""The stage that writes what ships: float file, int8 file, TensorRT plans, and the proof that they draw the same."""

import json
from pathlib import Path
from typing import Any

from benchmarks.inputs import covering_rows
from benchmarks.records import BackendMissing, BenchmarkError
from benchmarks.runtimes import tensorrt
from compress.export import AnyGenerator
from compress.files import prove, write_files
from compress.generator import Generator
from compress.measure import FP32, INT8, calibration_inputs
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from nas.context import Context
from nas.folder import Record
from nas.progress import Progress
from nas.seeds import Stream

FOLDER = "export"
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
    proofs = []
    for name, found in prove(generator, files, rows).items():
        row = found.to_json()
        worst = {"worst_input_seed": context.experiment.seed, "worst_input_index": row.pop("worst")}
        proofs.append({"artifact": context.folder.relative(files[name]), **row, **worst})
    return proofs


def _build_plans(context: Context, floats: Path, folder: Path) -> Record:
    """Build plans from the float file and from a symmetric int8 one; without TensorRT, say how to get it."""
    wanted = context.experiment.export.tensorrt
    if wanted is False:
        return _no_plans("export.tensorrt is false")
    symmetric = folder / "model.trt-int8.onnx"
    rows = calibration_inputs(context.family.inputs, context.bench.calibration_seed)
    quantize(floats, symmetric, inputs=rows, settings=QuantizeSettings(per_channel=True, target="tensorrt"))
    plans: dict[str, Any] = {}
    try:
        for name, source in ((FP32, floats), (INT8, symmetric)):
            plan = folder / f"model.{name}.plan"
            built = tensorrt.build_plan(source, plan, inputs=context.family.inputs)
            plans[name] = {**built, "file": context.folder.relative(plan)}
    except BackendMissing as error:
        if wanted is True:
            raise
        return _no_plans(str(error))
    except BenchmarkError as error:
        if wanted is True:
            raise
        return {**_no_plans(str(error)), "plans": plans or None, "built": bool(plans)}
    return {"built": True, "plans": plans, "latency_ms": None, "reason": tensorrt.latency_reason()}


def _no_plans(reason: str) -> Record:
    return {"built": False, "plans": None, "latency_ms": None, "reason": reason}
