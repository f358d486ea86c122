"""Post-training static quantization of an exported ONNX graph (QDQ), for onnxruntime or for TensorRT.

What is fast in int8 is decided by kernels, not by arithmetic (measured in onnxruntime 1.31 on x86, one thread):

* Activations are uint8 and weights int8 for onnxruntime: a MatMul of two int8 matrices is a hundred times slower.
  TensorRT in turn rejects a zero point: there both are symmetric int8, and biases stay float.
* A transposed convolution has no integer kernel. In an int8 file its weights would be dequantized in every call, so it
  is left in float, and the record says so; or it is written as a convolution first (``settings.unfold``).
* Below 30 microseconds every node counts. So the graph is rewritten before it is quantized
  (``layout.tighten_for_integers``), such that everything from the first product to the image is one chain of integer
  nodes without layout changes in between.
* Without VNNI the product of uint8 and int8 saturates in 16 bits: weights then take 7 bits ("reduce range").
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.files import write_bytes
from benchmarks.fingerprint import fingerprint
from benchmarks.graph import input_ports, parse_model, read_model
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.onnx import optimised_operators
from compress.errors import CompressError
from compress.floats import keep_in_float
from compress.layout import tighten_for_integers
from compress.quantize_settings import QuantizeSettings, QuantizeTarget
from compress.rewrite import fold_batch_norm
from compress.running import Array, count_rows
from compress.subpixel import unfold_transposed

ONNXRUNTIME_OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "DepthToSpace", "Gather", "Gemm", "GlobalAveragePool", "LeakyRelu",
    "MatMul", "MaxPool", "Mul", "Relu", "Reshape", "Resize", "Sigmoid", "Split", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""What onnxruntime's CPU kernels do in uint8. It has none for ConvTranspose, norms and tanh, so these are missing."""

TENSORRT_OPERATORS = ("Add", "Conv", "ConvTranspose", "Gemm", "MatMul")

HEAVY_OPERATORS = ("Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul")
"""Where a generator's time goes; a report names those that stayed in float."""

COMPUTING_OPERATORS = (
    "Add", "AveragePool", "Conv", "Gemm", "GlobalAveragePool", "LeakyRelu", "MatMul", "Mul", "Resize", "Sigmoid",
)  # fmt: skip
"""Those of ``ONNXRUNTIME_OPERATORS`` that round: where they are left in float, quality comes back."""

_MAX_ROWS = 4096
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


@dataclass(frozen=True, slots=True)
class QuantizeRecord:
    """What was quantized, how, and what onnxruntime makes of it.

    Args:
        settings: How.
        reduce_range: Weights in 7 bits, for CPUs without VNNI.
        rows: Latents used for calibration.
        bytes: Size of the file.
        operators: Nodes by operator after onnxruntime's own optimisation; empty for TensorRT.
        floats: The heavy operators among them that still compute in float.
    """

    settings: QuantizeSettings
    reduce_range: bool
    rows: int
    bytes: int
    operators: Mapping[str, int]
    floats: Mapping[str, int]

    @property
    def cause(self) -> str:
        """Why int8 may not have helped, e.g. "4 ConvTranspose stay in fp32"; empty if nothing heavy stayed."""
        if not self.floats:
            return ""
        verb = "stays" if sum(self.floats.values()) == 1 else "stay"
        return " and ".join(f"{count} {name}" for name, count in self.floats.items()) + f" {verb} in fp32"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            **self.settings.to_json(),
            "reduce_range": self.reduce_range,
            "rows": self.rows,
            "bytes": self.bytes,
            "operators": dict(self.operators),
            "floats": dict(self.floats),
        }


def quantize(
    model_path: Path,
    out_path: Path,
    *,
    inputs: Mapping[str, Array],
    settings: QuantizeSettings = QuantizeSettings(),  # noqa: B008  it is frozen
    metadata: Mapping[str, str] | None = None,
) -> QuantizeRecord:
    """Write an int8 version of ``model_path``, calibrated over ``inputs``, with its metadata.

    Takes about 0.1 s for a small generator and 32 to 64 rows. The same file, inputs and settings give the same file.

    Args:
        model_path: A float ONNX file, ours or a stranger's; stays as it is.
        out_path: The int8 file; written whole or not at all.
        inputs: Calibration rows drawn from the prior, 1 to 4,096, (n, *shape) a name.
        settings: How.
        metadata: Keys and values that replace those of ``model_path``.

    Raises:
        CompressError: the model cannot be read or is quantized already, an excluded node is not there, or the
            inputs do not fit.
    """
    data = quantized_bytes(model_path, inputs=inputs, settings=settings, metadata=metadata)
    with _readable_errors(Path(model_path)):
        operators = _operators(data) if settings.target == "onnxruntime" else {}
    write_bytes(Path(out_path), data)
    return QuantizeRecord(
        settings=settings,
        reduce_range=_reduces(settings),
        rows=count_rows(inputs),
        bytes=len(data),
        operators=operators,
        floats={name: operators[name] for name in HEAVY_OPERATORS if name in operators},
    )


def quantized_bytes(
    model_path: Path,
    *,
    inputs: Mapping[str, Array],
    settings: QuantizeSettings,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Return the int8 version of ``model_path``; see ``quantize``, which also writes and describes it."""
    rows = count_rows(inputs)
    if rows > _MAX_ROWS:
        raise CompressError(f"Calibration takes at most {_MAX_ROWS} rows, found {rows}. 64 are enough for min and max.")
    model = read_float_model(Path(model_path))
    _check_flat(model)
    with tempfile.TemporaryDirectory(prefix="leangen-quantize-") as folder, _readable_errors(Path(model_path)):
        prepared, written = _prepare(model, settings, Path(folder)), Path(folder) / "int8.onnx"
        _check_excluded(prepared, settings.exclude)
        with contextlib.redirect_stdout(io.StringIO()):  # calibration by histograms prints
            _quantize_static(prepared, written, inputs, settings, _fixed_batch(model))
        quantized = onnx.load_model(written)
    if settings.target == "onnxruntime":
        keep_in_float(quantized, settings.exclude)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    del quantized.metadata_props[:]
    onnx.helper.set_model_props(quantized, kept | dict(metadata or {}))
    data: bytes = quantized.SerializeToString()
    return data


def computing_nodes(model_path: Path, settings: QuantizeSettings) -> list[str]:
    """Return the names of the nodes that ``settings`` would make integer and that round, in the order of execution.

    These are names of the graph after simplification, as ``settings.exclude`` takes them.

    Raises:
        CompressError: as ``quantize``.
    """
    model = read_float_model(Path(model_path))
    with tempfile.TemporaryDirectory(prefix="leangen-quantize-") as folder, _readable_errors(Path(model_path)):
        nodes = onnx.load_model(_prepare(model, settings, Path(folder))).graph.node
    return [node.name for node in nodes if node.op_type in COMPUTING_OPERATORS]


def _prepare(model: onnx.ModelProto, settings: QuantizeSettings, folder: Path) -> Path:
    """Write the float graph that is quantized: rewritten, simplified, every node with a name."""
    rewritten, prepared = folder / "rewritten.onnx", folder / "prepared.onnx"
    onnx.save(_rewritten(model, settings), rewritten)  # given a model in memory, the next line moves its weights out
    quant_pre_process(str(rewritten), str(prepared), skip_symbolic_shape=True)
    _name_nodes(prepared)
    return prepared


def _quantize_static(
    source: Path, target: Path, inputs: Mapping[str, Array], settings: QuantizeSettings, batch: int | None
) -> None:
    quantize_static(
        str(source),
        str(target),
        _Rows(inputs, batch),
        quant_format=QuantFormat.QDQ,
        calibrate_method=_METHODS[settings.calibration],
        per_channel=settings.per_channel,
        reduce_range=_reduces(settings),
        nodes_to_exclude=list(settings.exclude),
        **_target_options(settings.target),
    )


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # the base has no types
    """Hands the calibration rows out, all at once unless the model has a fixed batch (the rest is then left out)."""

    def __init__(self, inputs: Mapping[str, Array], batch: int | None) -> None:
        rows = count_rows(inputs)
        size = batch or rows
        if rows < size:
            raise CompressError(
                f"The model has a fixed batch of {size}, found {rows} calibration rows. Draw that many."
            )
        starts = range(0, rows - size + 1, size)
        self._batches = iter([{k: np.ascontiguousarray(v[i : i + size]) for k, v in inputs.items()} for i in starts])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._batches, None)


def _rewritten(model: onnx.ModelProto, settings: QuantizeSettings) -> onnx.ModelProto:
    folded = fold_batch_norm(model)
    folded = unfold_transposed(folded) if settings.unfold else folded
    # TensorRT chooses its own layouts: only onnxruntime needs help with them.
    return tighten_for_integers(folded) if settings.target == "onnxruntime" else folded


def _target_options(target: QuantizeTarget) -> dict[str, Any]:
    if target == "tensorrt":
        symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
        types = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
        return {**types, "op_types_to_quantize": list(TENSORRT_OPERATORS), "extra_options": symmetric}
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    return {**types, "op_types_to_quantize": list(ONNXRUNTIME_OPERATORS), "extra_options": {"WeightSymmetric": True}}


def read_float_model(path: Path) -> onnx.ModelProto:
    """Return the model of a file that is not quantized yet. Raises CompressError."""
    try:
        model = parse_model(read_model(path))
    except BenchmarkError as error:
        raise CompressError(f"{path}: {error}") from error
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise CompressError(f"{path}: is quantized already; that is always the last edit. Start from the float file.")
    return model


def _check_flat(model: onnx.ModelProto) -> None:
    """Graphs inside nodes read tensors of the graph outside, which quantization renames: onnxruntime then aborts."""
    inner = [node.op_type for node in model.graph.node if any(a.HasField("g") or a.graphs for a in node.attribute)]
    if inner:
        raise CompressError(f"Graphs with {', '.join(sorted(set(inner)))} are not quantized. Export it without them.")


def _fixed_batch(model: onnx.ModelProto) -> int | None:
    shapes = [port.shape for port in input_ports(model.graph)]
    return next((shape[0] for shape in shapes if shape and shape[0]), None)


def _name_nodes(path: Path) -> None:
    """Give nodes without a name the name of what they make: only what has a name can be left in float."""
    model = onnx.load_model(path)
    unnamed = [node for node in model.graph.node if not node.name]
    for node in unnamed:
        node.name = node.output[0]
    if unnamed:
        onnx.save(model, path)


def _check_excluded(path: Path, exclude: Sequence[str]) -> None:
    names = [node.name for node in onnx.load_model(path).graph.node]
    if unknown := [name for name in exclude if name not in names]:
        raise CompressError(
            f"Only nodes of the graph can be left in float, {unknown[0]!r} is not there after simplification. "
            f"Its nodes: {', '.join(filter(None, names[:40]))}."
        )


def _reduces(settings: QuantizeSettings) -> bool:
    return settings.target == "onnxruntime" and _saturates()


@functools.cache
def _saturates() -> bool:
    """Whether uint8 x int8 overflows 16 bits on this CPU: x86 without VNNI."""
    machine = fingerprint()
    is_x86 = machine.machine.lower() in ("x86_64", "amd64", "i386", "i686")
    return is_x86 and not any("vnni" in flag for flag in machine.flags)


def _operators(data: bytes) -> dict[str, int]:
    """Return nodes by operator in the graph that onnxruntime really runs."""
    counts: Counter[str] = Counter()
    for (name, _), count in optimised_operators(data).items():
        counts[name] += count
    return dict(sorted(counts.items()))


@contextlib.contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    """Whatever onnxruntime's quantizer raises becomes one kind of error that names the file."""
    try:
        yield
    except CompressError:
        raise
    except Exception as error:
        raise CompressError(
            f"{path}: onnxruntime cannot quantize it: {error}. Check that the calibration inputs have the names, "
            "shapes and types of the graph, or exclude the node that the message names."
        ) from error
