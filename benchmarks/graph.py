"""ONNX files, opened with suspicion: limited in size, self-contained, and nothing read from beside them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types

from benchmarks.files import read_bytes
from benchmarks.records import BenchmarkError

MAX_MODEL_BYTES = 2**30

_PACKED = tuple(  # several numbers a byte
    getattr(onnx.TensorProto, name)
    for name in ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2")
    if hasattr(onnx.TensorProto, name)
)
_NOT_NUMBERS = (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)


class ModelError(BenchmarkError, ValueError):
    """An ONNX model that cannot be read, run, or fed with the given inputs."""


class Port(NamedTuple):
    """One input or output of a graph; a dynamic axis is None in ``shape``."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class Model(NamedTuple):
    """A model that was read and checked: what errors call it, its bytes, and what they say."""

    label: str
    data: bytes
    proto: onnx.ModelProto


def load_model(model: Path | bytes) -> Model:
    """Read and parse a model file, or the given bytes.

    Raises:
        FileError: the file cannot be read or is larger than ``MAX_MODEL_BYTES``.
        ModelError: it is not an ONNX model, or not self-contained; names the file.
    """
    label = "the model" if isinstance(model, bytes) else str(model)
    data = read_model(model)
    try:
        return Model(label, data, parse_model(data))
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error


def read_model(model: Path | bytes) -> bytes:
    """The bytes of a model file, or the given bytes.

    Raises:
        FileError: the file cannot be read or is larger than ``MAX_MODEL_BYTES``.
    """
    return model if isinstance(model, bytes) else read_bytes(model, MAX_MODEL_BYTES)


def parse_model(data: bytes) -> onnx.ModelProto:
    """The parsed model; its weights all lie in it.

    Raises:
        ModelError: the bytes are not an ONNX model, or refer to weights in another file.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(f"not an ONNX model: {error}. Export it again.") from error
    if not model.graph.node and not model.graph.output:
        raise ModelError("not an ONNX model: it has no graph. Export it again.")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ModelError(
                f"only self-contained ONNX files are read, but the tensor {tensor.name!r} lies in another file. "
                "Export with external_data=False, or save with onnx.save(model, path, save_as_external_data=False)."
            )
        if not _is_there(tensor):
            raise ModelError(
                f"the tensor {tensor.name!r} says it is {tuple(tensor.dims)}, but the file does not hold so many "
                "numbers. Export it again."
            )
    return model


def input_ports(graph: onnx.GraphProto) -> tuple[Port, ...]:
    """The graph's inputs in order, without those that only give an initializer a name.

    Raises:
        ModelError: an input is not a tensor of a numpy type.
    """
    constants = {tensor.name for tensor in graph.initializer}
    return tuple(_port(value) for value in graph.input if value.name not in constants)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node of the graph and of the graphs inside its nodes (branches, loop bodies)."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)


def _is_there(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor holds as many numbers as its shape says: whoever reads it would make room for those first."""
    count: int = math.prod(tensor.dims)
    if tensor.data_type in _NOT_NUMBERS:
        return count >= 0
    if tensor.data_type not in onnx.TensorProto.DataType.values():
        raise ModelError(f"the tensor {tensor.name!r} has data type {tensor.data_type}, which onnx does not know.")
    if tensor.HasField("raw_data"):
        bits = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
        return bool(0 <= count * (bits if tensor.data_type not in _PACKED else 2) <= 8 * len(tensor.raw_data))
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    return bool(0 <= count <= max(map(len, fields)) * (4 if tensor.data_type in _PACKED else 1))


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type in _NOT_NUMBERS:
        raise ModelError(f"input {value.name!r} must be a tensor of numbers or booleans.")
    dims = tensor.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor in the model: initializers and attributes, of the graph, inner graphs and functions."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for inner in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(inner)
