"""The baseline as a folder: the model itself, its inputs, how it was run, and raw samples of the machine that made it.

A gate measures this model again, on the machine at hand; the stored numbers are shown, and never compared with.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.files import read_bytes, read_json, resolve_inside, sha256_bytes, write_bytes, write_json
from benchmarks.fingerprint import fingerprint
from benchmarks.graph import MAX_MODEL_BYTES
from benchmarks.input_files import load_inputs
from benchmarks.inputs import Array, draw_inputs
from benchmarks.paired import measure_interleaved
from benchmarks.probes import probe_for
from benchmarks.records import BenchmarkError, Sample
from benchmarks.runtimes.onnx import OnnxRunner, input_specs
from benchmarks.sides import Side
from benchmarks.statistics import outliers, summarize

SCHEMA = 1
MANIFEST, MODEL, INPUTS, BASELINE, SAMPLES = "bundle.json", "model.onnx", "inputs.npz", "baseline.json", "samples.npz"
FILES = (MODEL, INPUTS, BASELINE, SAMPLES)
_MAX_BYTES = {MODEL: MAX_MODEL_BYTES, INPUTS: 2**30, BASELINE: 2**20, SAMPLES: 2**28}
_SEED = 0


class BundleError(BenchmarkError, ValueError):
    """A bundle that is not whole, was changed, or is of a newer leangen."""


class Options(BaseModel):
    """How the baseline was run, and is run again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: str = Field("onnxruntime", pattern=re.compile("^onnxruntime$"))
    device: str = Field("cpu", max_length=32)
    threads: int = Field(1, ge=1, le=1024)
    batch: int = Field(1, ge=1, le=65536)


class Baseline(BaseModel):
    """What ``baseline.json`` holds: for a reader, but for the options.

    ``outputs_sha256`` is of the outputs' bytes in the order of their names: another CPU may compute other last bits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    options: Options
    versions: dict[str, str]
    machine: dict[str, Any]
    outputs_sha256: str = Field(pattern=re.compile("^[0-9a-f]{64}$"))
    latency_ms: dict[str, Any]
    recorded: str = Field(max_length=64)
    source: str = Field(max_length=4096)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read and checked."""

    folder: Path
    baseline: Baseline

    @property
    def side(self) -> Side:
        """The baseline, ready to be opened."""
        options = self.baseline.options
        return Side(self.folder / MODEL, self.folder / INPUTS, options.threads, options.device)

    def samples(self) -> dict[str, npt.NDArray[Any]]:
        """The raw samples of the machine that recorded it."""
        with np.load(self.folder / SAMPLES, allow_pickle=False) as arrays:
            return dict(arrays)


def record(model: Path, folder: Path, options: Options, *, inputs: Path | None = None, seconds: float = 2.0) -> Bundle:
    """Make a bundle of ``model`` in ``folder``, which must not hold other files.

    Args:
        model: Self-contained ONNX file; it is copied.
        folder: Where the bundle goes; an older bundle there is replaced.
        options: How the model runs.
        inputs: The .npz file of its inputs, whose rows are the batch; None draws them as its metadata says.
        seconds: Of timing, for the samples that are shown.

    Raises:
        BundleError: the folder holds something else.
        BenchmarkError: the model or its inputs cannot be used.
    """
    _check_free(folder)
    values = load_inputs(inputs) if inputs else draw_inputs(input_specs(model), options.batch, _SEED, root=model.parent)
    rows = next((len(value) for value in values.values() if value.ndim), options.batch)
    options = options.model_copy(update={"batch": rows})
    runner = OnnxRunner(model, values, threads=options.threads, device=options.device)
    outputs = runner.outputs()
    odd = [name for name, value in outputs.items() if not np.isfinite(value).all()]
    if odd:
        raise BundleError(
            f"{model}: {', '.join(odd)} holds values that are not finite on these inputs; nothing equals them."
        )
    sample = measure_interleaved({"": runner}, seconds=seconds, probe=probe_for(options.threads))[""]
    baseline = Baseline(
        options=options,
        versions=_versions(runner),
        machine=fingerprint().to_json(),
        outputs_sha256=_outputs_hash(outputs),
        latency_ms=summarize(sample).to_milliseconds(),
        recorded=datetime.now(UTC).isoformat(timespec="seconds"),
        source=str(model),
    )
    contents = {
        MODEL: read_bytes(model, MAX_MODEL_BYTES),
        INPUTS: _npz(values),
        BASELINE: json.dumps(baseline.model_dump(), indent=2, allow_nan=False).encode(),
        SAMPLES: _npz(_arrays(sample)),
    }
    for name, content in contents.items():
        write_bytes(folder / name, content)
    files = {name: {"sha256": sha256_bytes(content), "bytes": len(content)} for name, content in contents.items()}
    write_json(folder / MANIFEST, {"schema": SCHEMA, "files": files})  # last: without it there is no bundle
    return Bundle(folder, baseline)


def load(folder: Path) -> Bundle:
    """Read a bundle and check every file of it.

    Raises:
        BundleError: a file is missing, was changed or cut off, or the bundle is of a newer leangen.
    """
    if not (folder / MANIFEST).is_file():
        raise BundleError(
            f"{folder}: no bundle (it has no {MANIFEST}); make one: leangen bench record MODEL.onnx --out {folder}"
        )
    manifest = read_json(folder / MANIFEST, 2**20)
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise BundleError(
            f"{folder}: made by a newer leangen (schema {schema}, this one reads {SCHEMA}): upgrade it here."
        )
    if schema != SCHEMA or not isinstance(manifest.get("files"), dict) or set(manifest["files"]) != set(FILES):
        raise BundleError(f"{folder / MANIFEST}: not the manifest of a bundle; record it again.")
    for name, told in manifest["files"].items():
        _check_file(folder, name, told)
    try:
        baseline = Baseline.model_validate(read_json(folder / BASELINE, _MAX_BYTES[BASELINE]))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(f"{folder / BASELINE}: {place}: {first['msg']}; record it again.") from error
    return Bundle(folder, baseline)


def _check_file(folder: Path, name: str, told: object) -> None:
    path = resolve_inside(folder, name)
    if not path.is_file():
        raise BundleError(
            f"{folder}: {name} is missing: a bundle without it cannot be measured again; record it again."
        )
    content = read_bytes(path, _MAX_BYTES[name])
    expected = dict(told) if isinstance(told, Mapping) else {}
    if len(content) != expected.get("bytes") or sha256_bytes(content) != expected.get("sha256"):
        how = "was cut off" if len(content) < (expected.get("bytes") or 0) else "was changed"
        raise BundleError(
            f"{path} {how} since it was recorded (its SHA-256 is another); restore it or record it again."
        )


def _check_free(folder: Path) -> None:
    if not folder.exists():
        return
    others = sorted({path.name for path in folder.iterdir()} - {MANIFEST, *FILES}) if folder.is_dir() else [folder.name]
    if others:
        raise BundleError(f"{folder}: holds {', '.join(others[:3])}, which no bundle does; name an empty folder.")


def _versions(runner: OnnxRunner) -> dict[str, str]:
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__, "runner": runner.name}


def _outputs_hash(outputs: Mapping[str, Array]) -> str:
    return sha256_bytes(b"".join(np.ascontiguousarray(outputs[name]).tobytes() for name in sorted(outputs)))


def _arrays(sample: Sample) -> dict[str, npt.NDArray[Any]]:
    """The columns of a sample, and which rounds stand out."""
    return {
        "seconds": np.asarray(sample.seconds),
        "cpu_seconds": np.asarray(sample.cpu_seconds),
        "switches": np.asarray(sample.switches),
        "waited": np.asarray(sample.waited),
        "turns": np.asarray(sample.turns),
        "outlier": np.asarray(outliers(sample)),
        "calls": np.asarray(sample.calls),
        "probed": np.asarray(sample.probed),
    }


def _npz(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()
