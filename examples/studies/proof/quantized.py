"""The reference through onnxruntime's own quantizer alone, with its default settings."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.files import write_bytes


def quantize_alone(floats: Path, out: Path, rows: Mapping[str, NDArray[Any]]) -> None:
    """Write what ``quant_pre_process`` and ``quantize_static`` make of ``floats`` to ``out``.

    Args:
        floats: The reference's float file.
        out: The int8 file; written whole or not at all.
        rows: Calibration rows, (n, *shape) a name: the same as ours.
    """
    with tempfile.TemporaryDirectory(prefix="leangen-proof-") as folder:
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(floats), str(prepared), skip_symbolic_shape=True)
        quantize_static(str(prepared), str(written), _Rows(rows))
        write_bytes(out, onnx.load_model(written).SerializeToString())


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # the base has no types
    """Hands all rows out at once."""

    def __init__(self, rows: Mapping[str, NDArray[Any]]) -> None:
        self._batches = iter([{name: np.ascontiguousarray(values) for name, values in rows.items()}])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)
