"""The reference, teacher and "before" of every comparison: the family's stock generator trained here, or one's own."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.files import read_json, write_json
from benchmarks.inputs import draw_inputs
from benchmarks.paired import measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.runtimes.onnx import generate
from benchmarks.statistics import summarize
from compress.checkpoint import CheckpointError, read_checkpoint
from compress.generator import Generator
from compress.measure import FP32, PRECISIONS
from compress.running import run_module
from nas.bank import BANK_FILE, bank_size, write_bank
from nas.context import Context
from nas.experiment import ReferenceConfig
from nas.families.base import Phase, Trainer
from nas.families.training import OBSERVER_FILE
from nas.folder import REMEDY, FolderError, Record
from nas.interrupts import at_a_safe_moment
from nas.own_reference import check_unchanged, keep_hashes, own_reference
from nas.progress import Progress
from nas.reuse import TIMED_ELSEWHERE
from nas.seeds import Stream
from nas.worker import Saver

FOLDER = "reference"
_PLATEAU_SHARE = 0.05  # of its score: a last quarter that gains less than this, or less than its error, is flat
_MEASURE_S = 3.0
_BANK_PART = 4096  # pictures drawn between two words of progress


def train_reference(context: Context, progress: Progress) -> Record:
    """Train the reference or go on training it; leave generator, discriminator, files and bank; return its record."""
    record = context.folder.record(FOLDER) or _timed_here(context, progress)
    if record is not None:
        check_unchanged(context)
        if not (context.folder.path / FOLDER / BANK_FILE).is_file():  # removed because it was damaged
            _write_bank(context, context.folder.path / record["files"][FP32], progress)
        return record
    config, seed = context.experiment.reference, context.experiment.seed
    folder = context.folder.path / FOLDER
    folder.mkdir(exist_ok=True)
    own = config.module is not None
    check_unchanged(context)
    generator = own_reference(context) if own else context.family.reference(seed)
    keep_hashes(context)
    schedule = (Phase("critic" if own else "adversarial", config.steps), Phase("observe", config.observer))
    trainer = context.family.trainer(generator.module, schedule, data=context.data, teacher=None, seed=seed)
    curve = _train(context, trainer, progress)
    replace(generator, module=trainer.average).save(folder)
    trainer.keep(folder)
    measured = _measure_files(
        context, Generator.load(folder, context.trust_code)
    )  # on the CPU, wherever it was trained
    _write_bank(context, context.folder.path / measured["files"][FP32], progress)
    record = {
        "id": generator.id,
        "own": own,
        "steps": config.steps,
        "curve": curve,
        "quality_seen": _seen_score(context, measured),
        **({"plateau": None, "gain_last_quarter": None} if own else judge_plateau(curve)),
        **measured,
    }
    context.folder.finish(FOLDER, record)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)  # only now: until then a kill needs it
    return record


def check_teacher(context: Context) -> None:
    """Read what students learn from, once: found damaged by workers, it would fail one candidate after the other.

    Raises:
        NasError: a file is damaged; says what it costs to have it made again.
    """
    teacher = context.teacher  # the bank's header
    if context.experiment.search.final_match and not (teacher.folder / OBSERVER_FILE).is_file():
        raise FolderError(
            f"the reference in {teacher.folder} has no {OBSERVER_FILE}: an earlier version made it. Set "
            "search.final_match to 0, or delete that folder and run again, which trains the reference anew"
        )
    for path in sorted(teacher.folder.glob("*.safetensors")):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            raise FolderError(
                f"{path} of the finished reference is damaged ({error.reason}): put back a copy, or delete the folder "
                f"{teacher.folder} and run again, which trains the reference anew"
            ) from error


def _go_on(context: Context, trainer: Trainer, checkpoint: Path) -> None:
    """Load ``checkpoint`` if there is one.

    Raises:
        FolderError: it is damaged. It holds the longest work of a run, so it is the user who deletes it.
    """
    if not checkpoint.is_file():
        return
    try:
        trainer.load(checkpoint)
    except CheckpointError as error:
        minutes = context.folder.seconds.get(FOLDER, 0.0) / 60
        raise FolderError(f"{error}. The reference was trained for {minutes:.1f} minutes so far") from error


def _read_curve(path: Path) -> list[Record]:
    """Return the points that were scored; none if there is no file. Raises FolderError if it is no curve."""
    points = read_json(path) if path.is_file() else []
    keys = {"step", "value", "standard_error", "complaint"}
    if not isinstance(points, list) or not all(isinstance(point, dict) and keys <= set(point) for point in points):
        raise FolderError(f"{path} must be a list of points with {', '.join(sorted(keys))}: {REMEDY}")
    return points


def _train(context: Context, trainer: Trainer, progress: Progress) -> list[Record]:
    """Train to the last step, scoring on the way, then the observer; return the curve, old points among it."""
    config, folder = context.experiment.reference, context.folder.path / FOLDER
    checkpoint, curve_file = folder / "checkpoint.safetensors", folder / "curve.json"
    _go_on(context, trainer, checkpoint)
    curve = [point for point in _read_curve(curve_file) if point["step"] <= trainer.step]
    save = Saver(trainer.save, checkpoint)
    metric = context.metrics[0].upper()
    progress.start("reference", config.steps + config.observer, "steps", done=trainer.step)

    threads = torch.get_num_threads()
    torch.set_num_threads(context.experiment.search.workers)
    try:
        with at_a_safe_moment() as asked_to_stop:

            def on_step(step: int) -> None:
                save(step)
                if step % 10 == 0:
                    progress.update("reference", step, f"{metric} {curve[-1]['value']:.4g}" if curve else "")
                if asked_to_stop():
                    trainer.save(checkpoint)
                    raise KeyboardInterrupt

            for until in [config.steps] if config.module else _points(config):  # your own is as good as it is
                if until < trainer.step or any(point["step"] == until for point in curve):
                    continue
                trainer.run(until, on_step)
                curve.append(_score(context, trainer, until))
                trainer.save(checkpoint)
                write_json(curve_file, curve)
                context.folder.log.write("scored", subject=FOLDER, until=until, value=curve[-1]["value"])
            trainer.run(config.steps + config.observer, on_step)
    finally:
        torch.set_num_threads(threads)
    progress.finish("reference", f"{metric} {curve[-1]['value']:.4g}")
    return curve


def _points(config: ReferenceConfig) -> list[int]:
    """Return the steps at which the reference is scored: evenly spaced, the last step among them."""
    return [round(config.steps * point / config.evaluations) for point in range(1, config.evaluations + 1)]


def _score(context: Context, trainer: Trainer, step: int) -> Record:
    score, complaint = context.judge_of(Stream.CURVE).score(
        lambda inputs: run_module(trainer.average, inputs, batch=250)
    )
    return {"step": step, "value": score.value, "standard_error": score.standard_error, "complaint": complaint}


def _seen_score(context: Context, measured: Record) -> Record:
    """Return the score on the latents of the rungs, which candidates are compared with."""
    file = context.folder.path / measured["files"][FP32]
    found = context.judge_of(Stream.RUNG).evaluate({"reference": file})
    return found["reference"].primary.to_json()


def judge_plateau(curve: list[Record]) -> dict[str, Any]:
    """Return ``plateau`` and the gain over the last quarter of training.

    Flat means that the last quarter gained less than 5 % of the score, or less than twice the error of the difference.
    """
    last = curve[-1]
    before = [point for point in curve if point["step"] <= 0.75 * last["step"] + 0.5]
    if not before:
        return {"plateau": False, "gain_last_quarter": None}
    gain = before[-1]["value"] - last["value"]
    error = math.hypot(before[-1]["standard_error"], last["standard_error"])
    return {"plateau": bool(gain < max(_PLATEAU_SHARE * last["value"], 2 * error)), "gain_last_quarter": gain}


def _write_bank(context: Context, file: Path, progress: Progress) -> None:
    """Draw the bank with the exported file: onnxruntime is faster at that than torch, and draws the same."""
    image, path = context.image, context.folder.path / FOLDER / BANK_FILE
    count = bank_size((image.channels, image.height, image.width))
    inputs = draw_inputs(context.family.inputs, count, (context.experiment.seed, Stream.BANK))
    pictures = np.empty((count, image.channels, image.height, image.width), np.float16)
    progress.start("bank", count, "pictures")
    for start in range(0, count, _BANK_PART):
        rows = {name: values[start : start + _BANK_PART] for name, values in inputs.items()}
        drawn = generate(file, rows, batch=64, threads=context.experiment.search.workers)
        pictures[start : start + _BANK_PART] = drawn
        progress.update("bank", min(start + _BANK_PART, count))
    write_bank(path, pictures)
    progress.finish("bank")


def _measure_files(context: Context, generator: Generator) -> dict[str, Any]:
    """Export every variant; return the fastest one's name and its median, taken with the workers at rest.

    Also int8 where ``compress.quantize`` is off: the result has to beat the reference's own fastest file.
    """
    bench, folder = replace(context.bench, precisions=PRECISIONS), context.folder.path / FOLDER
    return _time_files(context, bench.variants(generator, folder))


def _timed_here(context: Context, progress: Progress) -> Record | None:
    """Finish a reference that was taken over from another machine: return its record with times of this one, or None.

    Raises:
        FolderError: it was scored by another extractor than would be used here.
    """
    record = context.folder.record(FOLDER, TIMED_ELSEWHERE)
    if record is None:
        return None
    progress.say("the reference was timed on another machine: its files are timed anew")
    files = {name: context.folder.path / path for name, path in record["files"].items()}
    finished = context.folder.finish(FOLDER, {**record, **_time_files(context, files)})
    context.check_scored_alike()
    (context.folder.path / FOLDER / TIMED_ELSEWHERE).unlink()
    return finished


def _time_files(context: Context, files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the record's part about ``files``: their names, the fastest one, and its median."""
    bench = context.bench
    runners = {name: bench.runner(path) for name, path in files.items()}
    samples = measure_interleaved(runners, seconds=_MEASURE_S, probe=probe_for(bench.target.threads))
    medians = {name: 1e3 * summarize(sample).median.value for name, sample in samples.items()}
    fastest = min(medians, key=lambda name: medians[name])
    return {
        "files": {name: context.folder.relative(path) for name, path in files.items()},
        "fastest": fastest,
        "median_ms": medians[fastest],
    }
