"""Time random genotypes of a space, untrained, against its stock reference: which choices are fast, and how many are.

    python examples/studies/time_space.py decoder --n 60 --seconds 60
    python examples/studies/time_space.py class_decoder --n 60 --batch 32 --fix last=shuffle4

All files take turns in one process of one thread; speed-ups are over the fp32 file of the space's first named genotype.
"""

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.records import Target
from compress.export import export_onnx
from compress.generator import Generator
from compress.measure import Bench
from compress.quantize import quantize
from search_spaces import get_space
from search_spaces.space import ImageShape, SearchSpace

Z = InputSpec("z", (100,), "float32", {"kind": "normal"})
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
PRECISIONS = ("fp32", "int8")


def main(
    name: Annotated[str, typer.Argument(help="A space, as `leangen spaces list` names it.")],
    n: Annotated[int, typer.Option(min=1, help="Genotypes.")] = 60,
    seconds: Annotated[float, typer.Option(help="Of timing, for all files together.")] = 60.0,
    batch: Annotated[int, typer.Option(min=1)] = 1,
    seed: int = 0,
    fix: Annotated[list[str] | None, typer.Option(help="A choice that every genotype has, e.g. last=shuffle4.")] = None,
) -> None:
    """Print the median speed-up of every choice that was drawn, then how many genotypes are how fast."""
    torch.set_num_threads(1)
    space, rng = get_space(name), np.random.default_rng(seed)
    inputs = (Z, LABEL) if name == "class_decoder" else (Z,)
    fixed = dict(_choice(space, text) for text in fix or [])
    genotypes = [space.sample(rng, fixed) for _ in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        reference = _write(Path(folder) / "reference", space, next(iter(space.named.values())), inputs)["fp32"]
        files = {
            f"{index} {precision}": path
            for index, genotype in enumerate(genotypes)
            for precision, path in _write(Path(folder) / str(index), space, genotype, inputs).items()
        }
        target = Target("onnxruntime", "cpu", threads=1, batch=batch)
        found = Bench(target, inputs, seed=(seed, 0), calibration_seed=(seed, 1)).ratios(reference, files, seconds)
    gains = {key: 1 / ratio.value for key, ratio in found.items()}
    _print_choices(space, genotypes, [[gains[f"{index} {p}"] for p in PRECISIONS] for index in range(n)])


def _choice(space: SearchSpace, text: str) -> tuple[str, Any]:
    knob, _, value = text.partition("=")
    values = space.knobs[knob].values if knob in space.knobs else ()
    return knob, next((one for one in values if str(one) == value), value)


def _write(
    stem: Path, space: SearchSpace, genotype: Mapping[str, Any], inputs: tuple[InputSpec, ...]
) -> dict[str, Path]:
    generator = Generator.from_genotype(space.name, genotype, inputs, ImageShape(1, 32, 32))
    files = {precision: stem.with_suffix(f".{precision}.onnx") for precision in PRECISIONS}
    export_onnx(generator, files["fp32"])
    quantize(files["fp32"], files["int8"], inputs=draw_inputs(inputs, 32, 0))
    return files


def _print_choices(space: SearchSpace, genotypes: list[dict[str, Any]], gains: list[list[float]]) -> None:
    print(f"{'choice':<28}{'n':>4}{'fp32':>9}{'int8':>9}  (median speed-up)")
    for knob, choice in space.knobs.items():
        for value in choice.values:
            mine = [gain for genotype, gain in zip(genotypes, gains, strict=True) if genotype.get(knob) == value]
            if mine:
                medians = [statistics.median(column) for column in zip(*mine, strict=True)]
                print(f"{f'{knob}={value}':<28}{len(mine):>4}{medians[0]:>8.2f}x{medians[1]:>8.2f}x")
    best = [max(gain) for gain in gains]
    shares = "  ".join(f"{limit}x: {sum(gain >= limit for gain in best)}" for limit in (5, 10, 15, 20))
    print(f"of {len(best)} genotypes so many reach  {shares}  in their faster precision")


if __name__ == "__main__":
    typer.run(main)
