"""A generator of which only the ONNX file is there: it can be cleaned up and quantized, and not trained or pruned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from benchmarks.files import read_bytes, read_json, sha256_bytes, write_bytes, write_json
from benchmarks.graph import MAX_MODEL_BYTES, all_nodes, input_ports, load_model
from benchmarks.inputs import METADATA_KEY, InputSpec, dump_specs
from benchmarks.records import BenchmarkError
from benchmarks.runtimes.onnx import input_specs
from compress.edits import Edit, check_order, read_edits
from compress.errors import CompressError
from compress.generator import EDITS_FILE, ORIGIN_FILE, generator_id
from compress.origin import Origin
from compress.plain import as_compress_error
from compress.rewrite import fold_batch_norm

SOURCE_FILE = "source.onnx"
_DOMAINS = ("", "ai.onnx")
_MIN_OPSET = 13  # of QuantizeLinear with a scale for each channel


@dataclass(frozen=True)
class OnnxGenerator:
    """A stranger's file and what was done to its graph since.

    Args:
        file: The file as it was given; made by ``load``, which checks it.
        inputs: What it takes, and how to draw it.
        origin: Its sha256.
        edits: "clean" or "quantize", in order.
    """

    file: Path
    inputs: tuple[InputSpec, ...]
    origin: Origin
    edits: tuple[Edit, ...] = ()

    @classmethod
    def load(cls, file: Path, inputs: Sequence[InputSpec] = ()) -> OnnxGenerator:
        """Return the generator in ``file``.

        Args:
            file: Self-contained, of standard operators, in float; at most 1 GiB. Its first output are the pictures.
            inputs: Default: what its metadata say, else standard normal numbers for every float input.

        Raises:
            CompressError: it breaks one of these rules, or has an input that nobody says how to draw; names the file.
        """
        try:
            model = load_model(Path(file))
            specs = tuple(inputs) or input_specs(model.data)
        except BenchmarkError as error:
            text = str(error)
            raise CompressError(text if str(file) in text else f"{file}: {text}") from error
        _check_operators(file, model.proto)
        _check_opset(file, model.proto)
        return cls(Path(file), specs, Origin.of_onnx(sha256_bytes(model.data)))

    @classmethod
    def load_saved(cls, folder: Path) -> OnnxGenerator:
        """Return the generator that ``save`` wrote.

        Raises:
            CompressError: a file is missing or damaged, or the model is not the one that ``origin.json`` names.
        """
        with as_compress_error():
            origin = Origin.from_json(read_json(Path(folder) / ORIGIN_FILE))
            edits = read_edits(read_json(Path(folder) / EDITS_FILE))
        found = cls.load(Path(folder) / SOURCE_FILE)
        if found.origin != origin:
            raise CompressError(f"{folder}: {SOURCE_FILE} is not the file that {ORIGIN_FILE} names. Restore both.")
        return replace(found, edits=edits)

    @property
    def batch(self) -> int | None:
        """How many pictures a call it takes, if that is fixed."""
        shapes = [port.shape for port in input_ports(self._read().graph)]
        return next((shape[0] for shape in shapes if shape and shape[0]), None)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of origin and edits."""
        return generator_id(self.origin, self.edits)

    def with_edit(self, edit: Edit) -> OnnxGenerator:
        """Return a generator with one more edit. Raises a CompressError if it follows a quantization."""
        check_order((*self.edits, edit))
        return replace(self, edits=(*self.edits, edit))

    def unquantized(self) -> OnnxGenerator:
        """Return the generator of the float file."""
        return replace(self, edits=tuple(edit for edit in self.edits if edit.kind != "quantize"))

    def save(self, folder: Path) -> None:
        """Write ``origin.json``, ``edits.json`` and the file itself."""
        write_json(Path(folder) / ORIGIN_FILE, self.origin.to_json())
        write_json(Path(folder) / EDITS_FILE, [edit.to_json() for edit in self.edits])
        self._read()
        write_bytes(Path(folder) / SOURCE_FILE, read_bytes(self.file, MAX_MODEL_BYTES))

    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the float file: as it was given, cleaned up if an edit says so, and with what ``metadata`` adds."""
        model = self._read()
        if any(edit.kind == "clean" for edit in self.edits):
            model = clean(model)
        kept = {entry.key: entry.value for entry in model.metadata_props}
        del model.metadata_props[:]
        entries = kept | {METADATA_KEY: dump_specs(self.inputs)} | dict(metadata)
        onnx.helper.set_model_props(model, entries)
        write_bytes(Path(path), model.SerializeToString())

    def _read(self) -> onnx.ModelProto:
        """Return the model. Raises a CompressError if the file is another one than when it was loaded."""
        model = load_model(self.file)
        if sha256_bytes(model.data) != self.origin.sha256:
            raise CompressError(f"{self.file} was changed while it was worked on. Leave it alone and begin again.")
        return model.proto


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal model without what a runtime would fold: batch norms, constants, copies (onnxslim).

    Raises:
        CompressError: onnxslim or shape inference cannot read it.
    """
    import onnxslim

    try:
        slimmed = onnxslim.slim(fold_batch_norm(model))
    except CompressError:
        raise
    except Exception as error:  # of a stranger's graph it raises whatever it stumbles over
        raise CompressError(f"onnxslim cannot simplify this graph: {error}. It is left as it is.") from error
    assert isinstance(slimmed, onnx.ModelProto)
    return slimmed


def _check_opset(file: Path, model: onnx.ModelProto) -> None:
    opset = next((entry.version for entry in model.opset_import if entry.domain in _DOMAINS), 0)
    if opset < _MIN_OPSET:
        raise CompressError(
            f"{file}: opset {opset} is too old to be quantized, {_MIN_OPSET} is the least. Export it again, or convert "
            f"it: onnx.version_converter.convert_version(onnx.load(path), {_MIN_OPSET})."
        )


def _check_operators(file: Path, model: onnx.ModelProto) -> None:
    nodes = list(all_nodes(model.graph))
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _DOMAINS})
    if foreign:
        raise CompressError(
            f"{file}: only standard ONNX operators are compressed, found {', '.join(foreign[:3])}. "
            "Export it without a runtime's own operators."
        )
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in nodes):
        raise CompressError(f"{file}: is quantized already; that is always the last edit. Give the float file.")
