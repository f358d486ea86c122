"""How far compression alone brings the trained stock DCGAN: no search, judged as a run is, beside what others do.

python -m examples.studies.compress_dcgan run runs/proof/gan-0     gives docs/compression/dcgan/gan-0.json
python -m examples.studies.compress_dcgan table docs/compression.md

The run gives its trained reference, pictures, extractor and latents; nothing in it is changed. All files are timed in
turns; qualities are those of pictures and latents that no decision was taken on.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.files import read_json, write_json, write_text
from benchmarks.fingerprint import fingerprint
from benchmarks.records import Ratio
from benchmarks.runtimes.onnx import optimised_operators
from compress.compressing import Result, auto_recipe, compress
from compress.export import export_onnx
from compress.generator import Generator
from compress.measure import FP32, Bench, calibration_inputs
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from compress.shares import AGAIN
from compress.steps import REFERENCE
from examples.studies.proof.matching import match
from examples.studies.proof.pruned import prune_alone
from examples.studies.proof.quantized import quantize_alone
from nas.compressing import RunTask
from nas.context import Context
from nas.executors import LocalExecutor
from nas.experiment import Experiment
from nas.folder import RunFolder
from nas.held_out import final_judge
from nas.marked import fill
from nas.reuse import reuse_reference

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
BUDGET = "fid<=+10%|+1"
BATCHES = (1, 32)
SECONDS = 12.0  # of timing, a batch, all files in turns
SETTINGS = (  # a recovery takes one and a half minutes; the recipe has a quarter of an hour
    "search.workers=1",
    "compress.recover=2000",
    "search.final_features=1200",
    "search.final_adversarial=300",
    "search.final_match=300",
)
RESULTS = Path("docs/compression/dcgan")
OURS, PLAIN, REWRITTEN = "ours", "quantize_static", "quantize_static, unfolded"
PRUNED, MATCHED = "pruned by half", "pruned to our time"
MATCH_S = 1.0  # of timing a width


@app.command(name="run")
def run_(
    source: Annotated[Path, typer.Argument(help="A run folder of the family gan with its reference.")],
    out: Annotated[Path, typer.Option(help="Gets the files of every step.")] = Path("runs/compress-dcgan"),
    results: Annotated[Path, typer.Option(help="Gets NAME.json.")] = RESULTS,
    minutes: Annotated[float, typer.Option(help="Of the recipe.")] = 14.0,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Of the experiment.")] = None,
    seconds: Annotated[float, typer.Option(help="Of timing, a batch.")] = SECONDS,
) -> None:
    """Compress the reference of a run, and time and judge it beside the others."""
    torch.set_num_threads(1)
    loaded = Experiment.load(source / "experiment.yaml", [*SETTINGS, *(overrides or ())])
    folder = RunFolder.create(out.absolute() / source.name, loaded)
    with folder.locked(), LocalExecutor(1) as executor:
        reuse_reference(RunFolder(source.absolute()), folder, loaded)
        context = Context.build(loaded, folder)
        task = RunTask(context, executor)
        reference = Generator.load(folder.path / "reference")
        begun = time.monotonic()
        result = compress(
            reference,
            task=task,
            budget=BUDGET,
            target=context.bench.target,
            recipe=auto_recipe(reference, minutes),
            folder=folder.path / "dcgan",
            seed=loaded.seed,
            on_step=lambda step: print(f"{step.name}: {step.reason}", flush=True),
        )
        saved = result.save()
        took = time.monotonic() - begun
        print(f"compressed in {took:.0f} s; now the others", flush=True)
        files = {OURS: saved.shipped, f"{OURS}, fp32": saved.files[FP32]}
        files |= _others(context, task, reference, result, folder.path / "others")
        files |= _matched(context, task, reference, result, saved.shipped, folder.path / "matched")
    found = _measured(context, {f"{REFERENCE} {name}": path for name, path in result.reference.items()}, files, seconds)
    record = {
        "seed": loaded.seed,
        "budget": BUDGET,
        "seconds": round(took, 1),
        "commit": _commit(),
        "machine": fingerprint().to_json(),
        "steps": [step.to_json() for step in result.kept.steps],
        "operators": {" ".join(key): count for key, count in optimised_operators(saved.shipped).items()},
        **found,
    }
    write_json(results / f"{source.name}.json", record)
    print(json.dumps(found["files"], indent=1))


def _others(context: Context, task: RunTask, reference: Generator, result: Result, out: Path) -> dict[str, Path]:
    """Return what others make of the reference: its files by quantizers alone, and half of it by torch-pruning alone.

    The pruned one is recovered as each of our steps was, and may ship either of its files.
    """
    out.mkdir(parents=True, exist_ok=True)
    bench, floats = context.bench, result.reference[FP32]
    rows = calibration_inputs(reference.inputs, bench.calibration_seed)
    files = {PLAIN: out / "plain.onnx", REWRITTEN: out / "unfolded.onnx"}
    quantize_alone(floats, files[PLAIN], rows)
    quantize(floats, files[REWRITTEN], inputs=rows, settings=QuantizeSettings(unfold=True))
    pruned = out / "pruned"
    prune_alone(reference, 0.5, 8).save(pruned)
    recovered = task.recover(Generator.load(pruned), pruned)
    files |= {f"{PRUNED}, fp32": pruned / "model.onnx", f"{PRUNED}, int8": pruned / "plain.onnx"}
    export_onnx(recovered, files[f"{PRUNED}, fp32"])
    quantize_alone(files[f"{PRUNED}, fp32"], files[f"{PRUNED}, int8"], rows)
    return files


def _matched(
    context: Context, task: RunTask, reference: Generator, result: Result, shipped: Path, out: Path
) -> dict[str, Path]:
    """Return the files of what torch-pruning makes of the reference in one cut, if it has to be as fast as ours.

    It is recovered as often as what we ship was, and may ship either of its files.
    """
    bench = context.bench

    def time_of(generator: Generator) -> float:
        folder = out / "tried" / generator.id
        folder.mkdir(parents=True, exist_ok=True)
        ratios = bench.ratios(shipped, bench.variants(generator, folder), MATCH_S)
        return min(ratio.value for ratio in ratios.values())

    found = match(reference, time_of)
    print(f"pruned to {found.time:.2f} of our time: {found.to_json()}", flush=True)
    generator = found.generator
    ours = [step.name for step in result.kept.steps if step.kept and step.name.startswith("prune")][-1:]
    for number in range(sum(1 + name.endswith(AGAIN) for name in ours)):
        folder = out / str(number)
        generator.save(folder)
        generator = task.recover(Generator.load(folder), folder)
    last = out / "last"
    last.mkdir()
    return {f"{MATCHED}, {name}": path for name, path in bench.variants(generator, last).items()}


def _measured(
    context: Context, references: Mapping[str, Path], others: Mapping[str, Path], seconds: float
) -> dict[str, Any]:
    """Return by file its quality on held-out pictures and its speed-up over the reference's fastest file, by batch."""
    files = {**references, **others}
    floats = f"{REFERENCE} {FP32}"
    scores = final_judge(context).evaluate(files)
    speedups: dict[str, dict[str, Any]] = {name: {} for name in files}
    fastest: dict[str, str] = {}
    for batch in BATCHES:
        bench: Bench = context.bench.at_batch(batch)
        ratios = bench.ratios(files[floats], references, seconds / 2)
        fastest[str(batch)] = min(ratios, key=lambda name: ratios[name].value)
        for name, ratio in bench.ratios(files[fastest[str(batch)]], files, seconds).items():
            speedups[name][str(batch)] = _speedup(ratio)
    return {
        "fastest_reference": fastest,
        "files": {
            name: {
                "speedup": speedups[name],
                "scores": {metric: score.to_json() for metric, score in scores[name].scores.items()},
                "difference": scores[name].primary_difference(floats).to_json() if name != floats else None,
                "ours_minus_this": scores[OURS].primary_difference(name).to_json() if name != OURS else None,
                "bytes": path.stat().st_size,
            }
            for name, path in files.items()
        },
    }


def _speedup(ratio: Ratio) -> dict[str, Any]:
    estimate = ratio.speedup
    return {"value": estimate.value, "ci95": list(estimate.ci95)}


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()


@app.command()
def table(
    page: Annotated[Path, typer.Argument(help="docs/compression.md")],
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = RESULTS,
) -> None:
    """Put the results into the page."""
    records = {path.stem: read_json(path) for path in sorted(results.glob("*.json"))}
    write_text(
        page, fill(page.read_text(encoding="utf-8"), "study", "\n\n".join(_part(*one) for one in records.items()))
    )


def _part(name: str, record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    lines = [
        f"### {name}",
        "",
        f"Budget `{record['budget']}`, {record['seconds'] / 60:.1f} minutes, commit `{record['commit']}`, "
        f"{machine['cpu']} with onnxruntime {machine['onnxruntime']}, 1 thread. Speed-ups are over the reference's "
        "fastest own file at that batch, all files in turns in one process; brackets are 95 % intervals.",
        "",
        "| file | batch 1 | batch 32 | FID | FID − reference | FID of ours − this | size |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_row(file, found) for file, found in record["files"].items()),
        "",
        *(f"- {step['name']}: {step['reason']}" for step in record["steps"]),
        "",
        f"What runs: {', '.join(f'{count} {key}' for key, count in record['operators'].items())}.",
    ]
    return "\n".join(lines)


def _row(name: str, found: Mapping[str, Any]) -> str:
    score = found["scores"]["fid"]
    speeds = [_interval(found["speedup"][str(batch)], "×") for batch in BATCHES]
    gaps = [_interval(found[key], sign=True) if found[key] else "–" for key in ("difference", "ours_minus_this")]
    size = f"{found['bytes'] / 1e6:.2f} MB"
    bold = "**" if name == OURS else ""
    return f"| {bold}{name}{bold} | {' | '.join(speeds)} | {score['value']:.2f} | {' | '.join(gaps)} | {size} |"


def _interval(found: Mapping[str, Any], unit: str = "", *, sign: bool = False) -> str:
    low, high = found["ci95"]
    return f"{found['value']:{'+' if sign else ''}.2f}{unit} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    app()
