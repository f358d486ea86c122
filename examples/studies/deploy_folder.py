"""Write a deploy folder of a generator that was never trained: what `.ci/deploy` runs in an empty environment.

python examples/studies/deploy_folder.py FOLDER
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.inputs import InputSpec
from compress.export import export_onnx
from compress.generator import Generator
from compress.measure import FP32, INT8, calibration_inputs
from compress.quantize import quantize
from nas.deploying import write_program, write_sums
from search_spaces import get_space
from search_spaces.space import ImageShape

SEED = 0


def main(folder: Annotated[Path, typer.Argument(help="Gets program, files and checksums.")]) -> None:
    """Export a random genotype of the space `decoder`, float and int8, and write the folder."""
    inputs = (InputSpec("z", (100,), "float32", {"kind": "normal"}),)
    genotype = get_space("decoder").sample(np.random.default_rng(SEED))
    generator = Generator.from_genotype("decoder", genotype, inputs, ImageShape(1, 32, 32))
    files = {FP32: folder / "model.onnx", INT8: folder / "model.int8.onnx"}
    export_onnx(generator, files[FP32])
    quantize(files[FP32], files[INT8], inputs=calibration_inputs(inputs, (SEED,)))
    write_program(folder, files)
    write_sums(folder)


if __name__ == "__main__":
    typer.run(main)
