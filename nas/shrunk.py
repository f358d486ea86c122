"""What compression of a stranger's generator leaves: its files measured and judged, and the summary of it."""

import shlex
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.files import read_json, write_bytes, write_json
from benchmarks.inputs import draw_inputs
from benchmarks.runtimes.onnx import generate
from compress.compressing import Result, Saved
from compress.export import AnyGenerator
from compress.generator import Generator
from compress.measure import FP32
from compress.prior_task import PriorTask
from compress.steps import REFERENCE
from compress.tracing import traced_groups
from nas.compressing import record_of as kept_of
from nas.final import BATCHES, Scene, contestants, measure_latency, operators_of
from nas.finished import final_of, model_of, rows_of, setting_of, steps_of, variants_of
from nas.folder import MACHINE_FILE, Record
from nas.held_out import missed_on_held_out, record_of
from nas.insights import quality_of
from nas.pictures import WORST_FILE, differences_png, grid_png
from nas.progress import Progress
from nas.roofline import roofline_of
from search_spaces.channels import HasChannelGroups

FINAL = "final"
NOTHING_HELPED = "compress"
_HELD_OUT = 6  # of the seeds: latents that no decision was taken on
_SHOWN = 64
_TRACED_ROWS = 8
_SHOWN_LAYERS = 8


def export(generator: AnyGenerator, result: Result, seed: int, progress: Progress) -> Record:
    """Write, prove, time and judge what ships; return the record of it, as a run's export has it.

    Args:
        generator: As it was given.
        result: What compression found; its folder is the run folder.
        seed: Of latents and turns.
        progress: Hears of each part.
    """
    progress.start("export", 4, "parts")
    saved, latency = _saved_and_timed(generator, result, seed)
    helped = result.helped and _is_faster(latency, result.bench.target.batch)
    if result.helped and not helped:  # what steps had found does not stand: nothing is shipped for it
        result = result.undone()
        shutil.rmtree(result.folder / "export")  # the int8 file that is not shipped after all
        saved, latency = _saved_and_timed(generator, result, seed)
    scene = _scene(generator, result, seed)
    files = {REFERENCE: _named(scene, result.reference), FINAL: _named(scene, saved.files)}
    shipped = scene.relative(saved.shipped)
    write_json(result.folder / "export" / "latency.json", latency)
    progress.update("export", 2, "latency")
    compared = {REFERENCE: result.reference[FP32], FINAL: saved.shipped}
    assert isinstance(result.task, PriorTask)
    quality = record_of(result.task.with_seed(seed, _HELD_OUT).evaluate(compared))
    progress.update("export", 3, "quality")
    _draw(result, saved, compared, seed)
    fastest = _fastest(latency, result.bench.target.batch)
    record = {
        "id": result.kept.generator.id,
        "files": files[FINAL]["files"],
        "shipped": shipped,
        "precision": saved.precision,
        "helped": helped,
        "fastest_reference": fastest,
        "parity": [
            _proof(scene.relative(saved.files[name]), one.to_json(), seed) for name, one in saved.parity.items()
        ],
        "latency": latency,
        "quality": quality,
        "operators": operators_of(scene, {REFERENCE: result.reference[fastest], FINAL: saved.shipped}),
        "roofline": roofline_of(scene, latency, shipped),
    }
    progress.finish("export")
    return record


def _saved_and_timed(generator: AnyGenerator, result: Result, seed: int) -> tuple[Saved, Record]:
    """Return the files of ``result``, and the latency table of everybody."""
    saved = result.save()
    scene = _scene(generator, result, seed)
    files = {REFERENCE: _named(scene, result.reference), FINAL: _named(scene, saved.files)}
    return saved, measure_latency(scene, contestants(scene, files), saved.precision)


def _scene(generator: AnyGenerator, result: Result, seed: int) -> Scene:
    if isinstance(generator, Generator):
        module = generator.module
        return Scene(result.bench, result.folder, seed, lambda: module)
    batches = (generator.batch,) if generator.batch else BATCHES
    return Scene(result.bench, result.folder, seed, None, batches)


def _is_faster(latency: Record, batch: int) -> bool:
    """Return whether what ships is faster than the given generator's own fastest file, beyond the interval."""
    return float(latency["speedup"][str(batch)]["ci95"][0]) > 1


def _named(scene: Scene, files: Mapping[str, Path]) -> Record:
    return {"files": {name: scene.relative(path) for name, path in files.items()}}


def _fastest(latency: Record, batch: int) -> str:
    """Return the precision of the given generator's own fastest file."""
    rows = rows_of({"latency": latency, "shipped": None}, REFERENCE)
    return str(rows[str(batch)]["precision"])


def _proof(artifact: str, row: Record, seed: int) -> Record:
    return {"artifact": artifact, "worst_input_seed": seed, "worst_input_index": row.pop("worst"), **row}


def _draw(result: Result, saved: Saved, files: Mapping[str, Path], seed: int) -> None:
    """Write grids of the same latents and the worst pictures of parity, where pictures are grey or coloured."""
    rows = draw_inputs(result.bench.inputs, _SHOWN, (seed, _HELD_OUT))
    grids = {who: generate(path, dict(rows)) for who, path in files.items()}
    if any(pictures.shape[1] not in (1, 3) for pictures in grids.values()):
        return
    for who, pictures in grids.items():
        write_bytes(result.folder / "report" / f"{who}.png", grid_png(pictures))
    write_bytes(result.folder / "report" / WORST_FILE, differences_png(saved.worst))


def summarize(generator: AnyGenerator, result: Result, exported: Record, told: Record) -> Record:
    """Return the summary.

    Args:
        generator: As it was given.
        result: What compression found.
        exported: What ``export`` returned.
        told: ``command``, ``source``, ``seconds``, ``only_distance`` (nobody judged the pictures), and ``pruned``
            (whether that was tried).
    """
    root, target = result.folder, result.bench.target
    files = {name: path.relative_to(root).as_posix() for name, path in result.reference.items()}
    compressed = kept_of(result.kept, root)
    reference = {"id": generator.id, "files": files, "fastest": exported["fastest_reference"]}
    return {
        "schema": 1,
        "command": told["command"],
        "name": root.name,
        "family": "own",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "budget": ", ".join(one.text for one in result.budgets),
        "target": {key: value for key, value in target.to_json().items() if key != "precision"},
        "machine": read_json(root / MACHINE_FILE),
        "verdict": _verdict(result, exported),
        "seconds": {name: round(value, 2) for name, value in told["seconds"].items()},
        "reference": model_of(root, REFERENCE, reference, exported),
        "final": final_of(root, exported),
        "speedup": exported["latency"]["speedup"],
        "speedup_vs_eager": exported["latency"]["speedup_vs_eager"] or None,
        "steps": steps_of(compressed),
        "variants": variants_of(compressed),
        "quality": quality_of(exported["quality"]),
        "latency": exported["latency"]["rows"],
        "operators": exported["operators"],
        "roofline": exported["roofline"],
        "parity": exported["parity"],
        "commands": _commands(root, exported, told["command"]),
        "notes": _notes(generator, result, exported, told),
    }


def _verdict(result: Result, exported: Record) -> Record:
    if not exported["helped"]:
        return {"met": False, "missed": [NOTHING_HELPED]}
    missed = missed_on_held_out(result.budgets, exported["quality"])
    return {"met": not missed, "missed": ["quality.budget"] if missed else []}


def _commands(root: Path, exported: Record, command: str) -> list[Record]:
    after = str(_shown(root) / exported["shipped"])
    lines = {
        f"the speed-up at batch {batch}": [
            *("leangen", "bench", "compare", str(_shown(root) / row["artifact"]), after),
            *setting_of(row),
        ]
        for batch, row in rows_of(exported, REFERENCE).items()
    }
    lines["pictures"] = ["leangen", "sample", after, "--n", "64", "--seed", "0", "--out", "grid.png"]
    lines["this page"] = ["leangen", "report", str(_shown(root))]
    rows = [{"what": what, "command": shlex.join(words)} for what, words in lines.items()]
    return [{"what": "the whole of it, if --out names another folder", "command": command}, *rows]


def _shown(root: Path) -> Path:
    """Return the folder as a person would type it: from here, if it lies below."""
    return root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root


def _notes(generator: AnyGenerator, result: Result, exported: Record, told: Record) -> list[str]:
    notes = []
    if result.helped and not exported["helped"]:
        notes.append(
            "Steps were kept, but the final measurement in several processes found what came of them no faster than "
            "the given generator's own fastest file: so it ships as it was given."
        )
    if told["only_distance"]:
        notes.append(
            "Quality is only how far pictures are from those of the generator that was given (root mean square, as a "
            "share of half of their range); how good they are, nobody judged."
        )
    if not isinstance(generator, Generator):
        notes.append(
            f"{told['source']} is a file without its module: pruning and distillation were not possible. Give the "
            "module's factory and weights to have them tried."
        )
    elif told["pruned"] and not isinstance(generator.module, HasChannelGroups):
        rows = draw_inputs(generator.inputs, _TRACED_ROWS, 0)
        notes += left_whole(traced_groups(generator.module, rows).left_alone)
    return notes


def left_whole(left_alone: Mapping[str, str]) -> list[str]:
    """Return the remark on what pruning left alone, the reasons by layer; none if there is nothing."""
    if not left_alone:
        return []
    shown = [f"{name or 'the module'}: {why}" for name, why in list(left_alone.items())[:_SHOWN_LAYERS]]
    more = len(left_alone) - len(shown)
    return [f"Pruning left these as they are: {'; '.join(shown)}{f'; and {more} more' if more else ''}."]
