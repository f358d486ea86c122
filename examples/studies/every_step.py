"""Sampled genotypes of every space through every step of compression: does each still draw what it should?

python -m examples.studies.every_step run --genotypes 1000      gives docs/compression/every-step.json
python -m examples.studies.every_step table docs/compression.md

Networks are new, with the statistics and tables of trained ones, at 32 x 32. A genotype that fails is kept with its
number: `--first NUMBER --genotypes 1 --out FILE` repeats it.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn

from benchmarks.files import read_json, write_json, write_text
from benchmarks.graph import load_model
from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.records import BenchmarkError
from compress.errors import CompressError
from compress.export import export_onnx, parity
from compress.generator import Generator
from compress.prune import prune
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from compress.running import run_module
from nas.marked import fill
from reports.wording import number as short
from search_spaces import get_space
from search_spaces.space import Genotype, ImageShape, SearchSpaceError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
RESULT = Path("docs/compression/every-step.json")
Z = InputSpec("z", (16,), "float32", {"kind": "normal"})
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
INPUTS: dict[str, tuple[InputSpec, ...]] = {"decoder": (Z,), "class_decoder": (Z, LABEL)}
WAYS = (QuantizeSettings(), QuantizeSettings(unfold=True), QuantizeSettings(True, unfold=True))
SHARE = 0.4  # of the channels that are pruned
ROWS, FEW = 64, 4
CLOSE = 1e-4  # of pixels in [-1, 1], between torch and a float file
ALIKE_DB = 25.0  # between torch and an int8 file, at least
SHOWN = 3  # failures in the table

Row = dict[str, Any]


def check(space: str, genotype: Genotype, folder: Path) -> Row:
    """Return what every step of one new generator found; ``failures`` are in words, and empty if all is well.

    Args:
        space: Name of its space.
        genotype: Of the space.
        folder: Gets its files.
    """
    torch.manual_seed(1)
    inputs, image = INPUTS[space], ImageShape(3 if genotype["output"] == "tanh" else 1, 32, 32)
    generator = Generator.from_genotype(space, genotype, inputs, image)
    pretend_trained(generator.module)
    latents = draw_inputs(inputs, ROWS, 0)
    found: Row = {"failures": []}
    floats = folder / "model.onnx"
    with _failing(found, "export"):
        export_onnx(generator, floats)
        _close(found, "export", generator, floats, latents)
        if "BatchNormalization" in {node.op_type for node in load_model(floats).proto.graph.node}:
            found["failures"].append("export: a batch norm is left")
    for settings in WAYS:
        with _failing(found, f"int8 {settings.name}"):
            _integers(found, settings, generator, floats, folder / "model.int8.onnx", latents)
    with _failing(found, "prune"):  # pruned = masked is asserted there
        pruned = prune(generator, SHARE, inputs={name: rows[:FEW] for name, rows in latents.items()}, compensate=True)
        pruned.save(folder / "pruned")
        again = Generator.load(folder / "pruned")
        if not np.array_equal(run_module(again.module, latents), run_module(pruned.module, latents)):
            found["failures"].append("rebuilt from origin, edits and weights it draws something else")
        export_onnx(again, floats)
        _close(found, "export after pruning", again, floats, latents)
    return found


@contextmanager
def _failing(found: Row, step: str) -> Iterator[None]:
    """Make a failure in words of what ``step`` raises, so that the other steps and genotypes still have their turn."""
    try:
        yield
    except (CompressError, BenchmarkError, SearchSpaceError) as error:
        found["failures"].append(f"{step}: {error}")


def pretend_trained(module: nn.Module) -> None:
    """Give batch norms the statistics and tables the rows of a trained network: new ones hide what is not carried."""
    with torch.no_grad():
        for name, tensor in module.named_buffers():
            if "running" in name:
                tensor.uniform_(0.5, 1.5)
        for table in (layer for layer in module.modules() if isinstance(layer, nn.Embedding)):
            table.weight.add_(torch.rand_like(table.weight) - 0.5)


def _close(found: Row, name: str, generator: Generator, file: Path, latents: Mapping[str, np.ndarray]) -> None:
    """Keep how far the float file is from torch."""
    found[name] = parity(generator.module, file, latents).max_abs
    if not found[name] < CLOSE:
        found["failures"].append(f"{name}: pixels differ by {found[name]:.2g}")


def _integers(
    found: Row,
    settings: QuantizeSettings,
    generator: Generator,
    floats: Path,
    file: Path,
    latents: Mapping[str, np.ndarray],
) -> None:
    """Keep how far the int8 file is from torch; unfolded, no transposed convolution may be left in float."""
    name = f"int8 {settings.name}"
    record = quantize(floats, file, inputs=latents, settings=settings)
    found[name] = parity(generator.module, file, latents).psnr_db
    if not found[name] > ALIKE_DB:
        found["failures"].append(f"{name}: {found[name]:.1f} dB")
    if left := set(record.floats) - (set() if settings.unfold else {"ConvTranspose"}):
        found["failures"].append(f"{name}: {', '.join(sorted(left))} stayed in float")


@app.command(name="run")
def run_(
    genotypes: Annotated[int, typer.Option(help="Of each space.", min=1)] = 1000,
    first: Annotated[int, typer.Option(help="Number of the first.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Gets counts, worst values and failures.")] = RESULT,
) -> None:
    """Draw genotypes, try every step on each, and write what was found."""
    torch.set_num_threads(1)
    rows = []
    for name in INPUTS:
        space = get_space(name)
        for number in range(first, first + genotypes):
            genotype = space.sample(np.random.default_rng((0, number)))
            with tempfile.TemporaryDirectory(prefix="leangen-steps-") as folder:
                rows.append({"space": name, "number": number, **check(name, genotype, Path(folder))})
            if number % 50 == 49:
                print(f"{name} {number + 1}: {sum(bool(row['failures']) for row in rows)} failed", flush=True)
    write_json(out, {"first": first, "genotypes": genotypes, "steps": counted(rows), "failures": failed(rows)})


def counted(rows: Sequence[Row]) -> list[Row]:
    """Return for each space and step how often it was done and its worst value."""
    found = []
    for space in INPUTS:
        own = [row for row in rows if row["space"] == space]
        for step in dict.fromkeys(key for row in own for key in row if key not in ("space", "number", "failures")):
            values = np.array([row[step] for row in own if step in row])
            worst = float(values.min() if step.startswith("int8") else values.max())  # NaN is the worst of all
            found.append(
                {"space": space, "step": step, "done": len(values), "worst": worst if isfinite(worst) else str(worst)}
            )
    return found


def failed(rows: Iterable[Row]) -> list[Row]:
    """Return every failure, with the number of its genotype."""
    return [{"space": row["space"], "number": row["number"], "why": why} for row in rows for why in row["failures"]]


@app.command()
def table(
    page: Annotated[Path, typer.Argument(help="docs/compression.md")],
    result: Annotated[Path, typer.Option(help="What run wrote.")] = RESULT,
) -> None:
    """Put counts and worst values into the page."""
    write_text(page, fill(page.read_text(encoding="utf-8"), "every-step", told(read_json(result))))


def told(record: Mapping[str, Any]) -> str:
    """Return the table, and the failures in words."""
    lines = ["| space | step | genotypes | worst |", "| --- | --- | --- | --- |"]
    for row in record["steps"]:
        unit = "dB from torch" if row["step"].startswith("int8") else "of a pixel, from torch"
        worst = row["worst"] if isinstance(row["worst"], str) else short(row["worst"])
        lines.append(f"| {row['space']} | {row['step']} | {row['done']:,} | {worst} {unit} |")
    failures = record["failures"]
    shown = "; ".join(f"{one['space']} {one['number']}: {one['why']}" for one in failures[:SHOWN])
    tried = sum(row["done"] for row in record["steps"] if row["step"] == "export")
    verdict = f"{len(failures)} failed: {shown}" if failures else "none failed"
    return "\n".join([*lines, "", f"Of {tried:,} genotypes {verdict}."])


if __name__ == "__main__":
    app()
