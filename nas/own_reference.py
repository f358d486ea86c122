"""The user's own generator as the reference: the module is made by the user's code, the weights are safetensors."""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch

from benchmarks.files import read_json, sha256_file, write_json
from benchmarks.inputs import draw_inputs
from benchmarks.records import BenchmarkError
from compress.errors import CompressError
from compress.export import export_onnx, parity
from compress.files import PARITY_LIMIT
from compress.generator import Generator
from compress.running import run_module
from nas.checks import check_trust
from nas.context import Context
from nas.errors import NasError
from nas.experiment import ReferenceConfig
from nas.folder import REMEDY, FolderError
from nas.seeds import Stream

_OWN = "own.json"  # hashes of one's own weights and code: training goes on with its checkpoint, not with them
_ROWS = 8
_EXPORTED_ROWS = 70  # drawn 64 and 6 at a time: a file that takes one number of rows only is found out
_TOLERANCE = 0.01  # beyond [-1, 1]: an eighth of a grey level would be 1e-3, so this is no rounding


def own_reference(context: Context) -> Generator:
    """Return the generator that ``reference.module`` makes, with its weights, checked.

    Raises:
        ExperimentError: the code is not trusted.
        NasError: module or weights cannot be used, or what it draws are no pictures like those of the data.
    """
    config, experiment = context.experiment.reference, context.experiment
    check_trust(experiment, trust_code=context.trust_code)
    assert config.module is not None
    assert config.weights is not None
    try:
        generator = Generator.from_factory(config.module, config.arguments, config.specs, trust_code=True)
    except CompressError as error:
        raise experiment.problem(("reference", "module"), str(error)) from error
    _load_weights(generator, config.weights)
    _check_pictures(context, generator)
    _check_export(context, generator)
    return generator


def keep_hashes(context: Context) -> None:
    """Keep in the reference's folder which weights and which code it is made of, where these are one's own."""
    hashes = {key: sha256_file(path) for key, path in _sources(context.experiment.reference).items()}
    if hashes:
        write_json(context.folder.path / "reference" / _OWN, hashes)


def check_unchanged(context: Context) -> None:
    """Compare weights and code with those that the reference began with; what is not there any more is not compared.

    Of the code it is the file of the factory's module alone, not what that imports.

    Raises:
        FolderError: one is another file now.
    """
    kept = context.folder.path / "reference" / _OWN
    if not kept.is_file():
        return
    hashes, reference = read_json(kept), context.experiment.reference
    if not isinstance(hashes, dict):
        raise FolderError(f"{kept} must hold an object, found {type(hashes).__name__}: {REMEDY}")
    names = {"weights": "reference.weights", "code": f"reference.module {reference.module}:"}
    for key, path in _sources(reference).items():
        if hashes.get(key) not in (None, sha256_file(path)):
            raise FolderError(
                f"{names[key]} {path} is another file than the one that the reference in {kept.parent} is made of: put "
                "that one back; or, to have a reference made of it, write to another folder with --out, or rename the "
                "old one out of the way with --fresh (and leave out --reference-from)"
            )


def _sources(reference: ReferenceConfig) -> dict[str, Path]:
    """Return the files, of those that there are, which a generator of one's own is made of."""
    if reference.module is None or reference.weights is None:
        return {}
    files = {"weights": reference.weights, "code": _code(reference.module)}
    return {key: path for key, path in files.items() if path is not None and path.is_file()}


def _code(factory: str) -> Path | None:
    """Return the source file of ``package.module:factory``; packages above the module are imported to find it."""
    try:
        found = importlib.util.find_spec(factory.partition(":")[0])
    except Exception:  # noqa: BLE001 - those packages may raise anything; ``own_reference`` says so with its line
        return None
    return Path(found.origin) if found is not None and found.origin is not None else None


def _load_weights(generator: Generator, path: Path) -> None:
    try:
        tensors = safetensors.torch.load_file(path)
        generator.module.load_state_dict(tensors, strict=True)
    except (OSError, safetensors.SafetensorError) as error:
        raise NasError(
            f"reference.weights {path} cannot be read ({error}): write it with safetensors.torch.save_file("
            "module.state_dict(), path)"
        ) from error
    except RuntimeError as error:  # names or shapes; torch lists all of them
        raise NasError(f"reference.weights {path} does not fit reference.module: {str(error)[:1000]}") from error


def _check_pictures(context: Context, generator: Generator) -> None:
    """Raise NasError unless it draws pictures of the data's shape, in [-1, 1], that follow from its inputs alone."""
    module = context.experiment.reference.module
    rows = draw_inputs(generator.inputs, _ROWS, (context.experiment.seed, Stream.PARITY))
    try:
        pictures = run_module(generator.module, rows)
        again = run_module(generator.module, rows)
    except Exception as error:  # the user's code may raise anything
        raise NasError(
            f"{module} cannot draw: {type(error).__name__}: {error}. forward is called with one tensor (N, *shape) per "
            f"entry of reference.inputs, by name: {', '.join(spec.name for spec in generator.inputs)}"
        ) from error
    image = context.image
    wanted = (_ROWS, image.channels, image.height, image.width)
    if pictures.shape != wanted:
        raise NasError(
            f"{module} draws {tuple(pictures.shape)}, and pictures like the data's are {wanted}: set data.size and "
            "data.channels to what it draws"
        )
    if not np.isfinite(pictures).all() or np.abs(pictures).max() > 1 + _TOLERANCE:
        raise NasError(
            f"{module} must draw values in [-1, 1] (-1 is black), found {pictures.min():.3g} to {pictures.max():.3g}: "
            "end its forward with tanh, or scale what it returns"
        )
    if not np.array_equal(pictures, again):
        raise NasError(f"{module} draws other pictures from the same inputs: make all of its noise an input")
    if np.ptp(pictures, axis=0).max() == 0:
        raise NasError(f"{module} draws the same picture from every input: are these its trained weights?")


def _check_export(context: Context, generator: Generator) -> None:
    """Raise NasError unless its ONNX file draws what it draws, for any number of rows, before anything is trained."""
    module, rows = context.experiment.reference.module, context.inputs(Stream.PARITY, _EXPORTED_ROWS)
    with tempfile.TemporaryDirectory(prefix="leangen-own-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            export_onnx(generator, path, opset=context.experiment.export.opset)
            found = parity(generator.module.eval(), path, rows)
            if not found.max_abs <= PARITY_LIMIT:
                raise NasError(f"its ONNX file draws other pixels, by up to {found.max_abs:.2g}")
        except (CompressError, BenchmarkError, NasError) as error:
            raise NasError(
                f"{module} cannot be written as an ONNX file that draws any number of pictures: {error}. The usual "
                "cause is a number of rows that became a constant, as in a loop over rows: draw all rows in one call"
            ) from error
