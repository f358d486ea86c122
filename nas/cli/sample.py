"""``leangen sample``: what a generator draws, as one picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.errors import NasError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def sample(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="A generator's self-contained ONNX file.")],
    out: Annotated[Path, typer.Option("--out", metavar="GRID.png", help="The picture to write.")],
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="Images.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same images.")] = 0,
    columns: Annotated[int, typer.Option("--columns", min=1, max=1000, help="Images per row.")] = 8,
    fix: Annotated[
        list[str] | None,
        typer.Option("--fix", metavar="NAME=NUMBER", help="Every image gets this input: label=3; may be repeated."),
    ] = None,
) -> None:
    """A grid of images from an ONNX file, at inputs drawn as its metadata says."""
    from benchmarks.files import write_bytes
    from benchmarks.inputs import draw_inputs
    from benchmarks.runtimes.onnx import generate, input_specs
    from nas.pictures import grid_png

    if out.suffix.lower() != ".png":
        raise NasError(f"--out names a PNG file; found {out}. Give it the ending .png")
    inputs = draw_inputs(input_specs(model), n, seed, root=model.parent)
    for text in fix or ():
        _fix(inputs, text)
    images = generate(model, inputs)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise NasError(f"{model}: its first output must be images (N, 1 or 3, H, W); found {images.shape}")
    write_bytes(out, grid_png(images, columns=columns))
    typer.echo(f"{out}: {n} images of {images.shape[3]}x{images.shape[2]} pixels, seed {seed}")


def _fix(inputs: "dict[str, NDArray[Any]]", text: str) -> None:
    """Set one input of every image to one number.

    Raises:
        NasError: ``text`` is not NAME=NUMBER with the name of an input, or the number does not fit its type.
    """
    name, _, value = text.partition("=")
    if name not in inputs:
        raise NasError(f"--fix names an input of the model ({', '.join(inputs)}), e.g. label=3; found {text!r}")
    try:
        inputs[name][:] = inputs[name].dtype.type(value)
    except (ValueError, OverflowError) as error:
        raise NasError(f"--fix {text}: {name} takes numbers of type {inputs[name].dtype} ({error})") from error
