"""What can be compressed without an experiment: a module's factory with weights, or an ONNX file."""

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from benchmarks.inputs import InputSpec
from compress.errors import CompressError
from compress.export import AnyGenerator
from compress.generator import Generator, load_weights
from compress.onnx_generator import OnnxGenerator
from compress.quality import Metric, get_metric, register_metric
from nas.errors import NasError

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_INPUT = re.compile(
    r"(?P<name>\w[\w.-]*):N(?P<shape>(x\d+)*)(:(?P<dtype>[a-z]+\d*))?(:(?P<low>-?[\d.]+?)\.\.(?P<high>-?[\d.]+))?"
)
_INPUT_HELP = (
    "an input is written NAME:Nx100, with a type and a range where it is not normal numbers: label:N:int64:0..9, "
    "t:N:float32:0..1"
)


@dataclass(frozen=True)
class Source:
    """What a command line names: ``text`` is a factory or a file, the rest is options.

    Args:
        text: ``package.module:function`` or a path that ends in ``.onnx``.
        weights: Of the module, safetensors.
        inputs: As ``parse_input`` reads them; a file may say itself what it takes.
    """

    text: str
    weights: Path | None = None
    inputs: tuple[InputSpec, ...] = ()

    @property
    def is_factory(self) -> bool:
        """Whether it is code to be imported."""
        return bool(_FACTORY.fullmatch(self.text))

    def load(self) -> AnyGenerator:
        """Return the generator.

        Raises:
            NasError: options that do not go together.
            CompressError: it cannot be read, built or filled with its weights.
        """
        if self.is_factory:
            return self._module()
        if self.weights is not None:
            raise NasError(f"--weights belong to a module; {self.text} is a file with its own")
        return OnnxGenerator.load(Path(self.text), self.inputs)

    def _module(self) -> Generator:
        if not self.inputs:
            raise NasError(f"say what {self.text} takes with --inputs: {_INPUT_HELP}")
        _find_code()
        generator = Generator.from_factory(self.text, {}, self.inputs, trust_code=True)  # it was named by hand
        if self.weights is not None:
            try:
                load_weights(self.weights, generator.module)
            except (CompressError, OSError, safetensors.SafetensorError) as error:
                raise CompressError(f"{self.weights}: {error}") from error
        return generator


def parse_input(text: str) -> InputSpec:
    """Return the input that ``NAME:Nx100[:dtype][:low..high]`` describes; float32 and normal by default.

    Raises:
        NasError: outside the grammar.
        InputError: a range that does not fit the type.
    """
    match = _INPUT.fullmatch(text)
    if match is None:
        raise NasError(f"found --inputs {text!r}: {_INPUT_HELP}")
    dtype = match["dtype"] or "float32"
    shape = tuple(int(size) for size in match["shape"].split("x")[1:])
    return InputSpec(match["name"], shape, dtype, _prior(text, dtype, match["low"], match["high"]))


def _prior(text: str, dtype: str, low: str | None, high: str | None) -> dict[str, Any]:
    if low is None or high is None:
        if not dtype.startswith("float"):
            raise NasError(f"found --inputs {text!r}: whole numbers need a range, such as {text}:0..9")
        return {"kind": "normal"}
    try:
        if dtype.startswith("float"):
            return {"kind": "uniform", "low": float(low), "high": float(high)}
        return {"kind": "integers", "low": int(low), "high": int(high)}
    except ValueError:
        raise NasError(f"found --inputs {text!r}: {_INPUT_HELP}") from None


@dataclass(frozen=True)
class OwnMetric:
    """A function of one's own that judges pictures, and its metric."""

    metric: Metric
    function: Callable[..., Any]


def own_metric(text: str) -> OwnMetric:
    """Return the function ``package.module:function`` with its metric, which is made known.

    The metric is named by the function's attribute ``metric``, else by its own name; which direction is better, its
    attribute ``direction`` says ("lower" or "higher"), unless the metric is a known one.

    Raises:
        NasError: it cannot be imported, or does not say which direction is better.
    """
    if not _FACTORY.fullmatch(text):
        raise NasError(f"--quality names a function as package.module:function; found {text!r}")
    _find_code()
    path, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(path), name)
    except Exception as error:  # a stranger's code may raise anything
        raise NasError(f"--quality {text} cannot be imported: {error}; is it on PYTHONPATH?") from error
    if not callable(function):
        raise NasError(f"--quality {text} must be a function of pictures; found {type(function).__name__}")
    return OwnMetric(_metric_of(function, text, name), function)


def _metric_of(function: Callable[..., Any], text: str, name: str) -> Metric:
    called, direction = getattr(function, "metric", name), getattr(function, "direction", None)
    try:
        known = get_metric(called)
    except CompressError:
        known = None
    if known is not None and direction in (None, known.direction):
        return known
    if direction not in ("lower", "higher"):
        raise NasError(
            f"nobody says whether more {called} is better: write `{name}.direction = 'lower'` or 'higher' below the "
            f"function {text}, or `{name}.metric = 'fid'` if it measures a known one"
        )
    metric = Metric(str(called), direction)
    register_metric(metric)
    return metric


def _find_code() -> None:
    """Let code in the working directory be found."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # behind all that is installed: nothing there is to be taken for a library of ours


def quality_functions(texts: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Return the functions named by ``--quality`` by metric. Raises NasError if two measure the same."""
    found: dict[str, Callable[..., Any]] = {}
    for one in map(own_metric, texts):
        if one.metric.name in found:
            raise NasError(f"two functions measure {one.metric.name}: give one of them another name by its .metric")
        found[one.metric.name] = one.function
    return found
