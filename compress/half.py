"""An fp16 version of an ONNX graph, for TensorRT: since its release 11 it takes precisions from the file alone.

For onnxruntime on a CPU such a file is of no use: most of its kernels there have no fp16, and it casts back and forth.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from benchmarks.files import write_bytes
from compress.errors import CompressError
from compress.quantize import read_float_model

LARGEST = float(np.finfo(np.float16).max)


def convert_to_half(model_path: Path, out_path: Path) -> None:
    """Write a version of ``model_path`` that computes in fp16, with its metadata; inputs and outputs stay as they are.

    Weights are rounded to the nearest float16, those nearer to 0 than its smallest number, 6e-8, to that number.
    Operators that take no fp16 stay in fp32 between casts.

    Args:
        model_path: A float ONNX file, ours or a stranger's; stays as it is.
        out_path: The fp16 file; written whole or not at all.

    Raises:
        CompressError: the model cannot be read, is quantized, has weights beyond fp16, or cannot be converted.
    """
    model = read_float_model(Path(model_path))
    _check_range(model, Path(model_path))
    try:
        half = convert_float_to_float16(model, keep_io_types=True)
        OnnxModel.graph_topological_sort(half.graph)  # the casts were put at the end
        onnx.checker.check_model(half, full_check=True)
    except Exception as error:  # the converter raises whatever it stumbles over
        raise CompressError(f"{model_path}: it cannot be converted to fp16: {error}. Use the fp32 file.") from error
    write_bytes(Path(out_path), half.SerializeToString())


def _check_range(model: onnx.ModelProto, path: Path) -> None:
    """Refuse weights that would be cut off. A lone number is a limit, of a Clip for example, and may be."""
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size > 1 and not np.abs(values).max() <= LARGEST:
            raise CompressError(
                f"{path}: fp16 holds numbers up to {LARGEST:.0f}, but {tensor.name!r} has {np.abs(values).max():.3g}. "
                "Use the fp32 file."
            )
