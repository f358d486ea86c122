"""What a model takes, and whether given arrays fit it."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from benchmarks.graph import ModelError, Port
from benchmarks.inputs import DTYPES, METADATA_KEY, InputSpec


class Shaped(Protocol):
    """An array, or what a file says of one that is not yet read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes, the batch first."""
        ...

    @property
    def dtype(self) -> "np.dtype[Any]":
        """Type of the elements."""
        ...


def by_name(ports: Iterable[Port]) -> dict[str, Port]:
    """The ports by their names."""
    return {port.name: port for port in ports}


def check_inputs(
    ports: Mapping[str, Port], inputs: Mapping[str, Shaped], label: str, *, any_batch: bool = False
) -> int:
    """The number of rows, after checking names, dtypes, shapes and that every input has as many rows.

    Args:
        ports: What the model takes.
        inputs: What it is given.
        label: What errors call the model or file.
        any_batch: Let inputs have another number of rows than a model of fixed batch takes.

    Raises:
        ModelError: an input is missing, unknown, or of another dtype or shape; or there are no rows.
    """
    if set(ports) != set(inputs):
        given = ", ".join(inputs) or "none"
        raise ModelError(f"{label}: takes the inputs {', '.join(ports) or 'none'}, but was given {given}.")
    for name, port in ports.items():
        value = inputs[name]
        shape = (None, *port.shape[1:]) if any_batch else port.shape
        if value.dtype != port.dtype:
            raise ModelError(f"{label}: input {name!r} must be {port.dtype}, not {value.dtype}. Use astype.")
        if not fits(shape, value.shape):
            raise ModelError(f"{label}: input {name!r} must be {_shape_text(shape)}, not {value.shape}.")
    counts = {value.shape[0] for value in inputs.values() if value.shape}
    if len(counts) != 1 or min(counts) < 1:
        raise ModelError(f"{label}: every input needs the same number of rows, at least 1, not {sorted(counts)}.")
    return int(counts.pop())


def fits(expected: tuple[int | None, ...], found: tuple[int, ...]) -> bool:
    """Whether a shape is the expected one, of which None is any size."""
    return len(expected) == len(found) and all(size in (None, got) for size, got in zip(expected, found, strict=True))


def normal_spec(port: Port, label: str) -> InputSpec:
    """The specification of an input of which only the graph tells: standard normal.

    Raises:
        ModelError: the input is not a float, or has a dynamic axis besides the batch.
    """
    advice = f"Store its specification in the metadata under {METADATA_KEY!r}."
    sizes = port.shape[1:]
    if not port.dtype.startswith("float") or port.dtype not in DTYPES:
        raise ModelError(f"{label}: input {port.name!r} is {port.dtype}; nothing says what values it takes. {advice}")
    if not port.shape or any(size is None for size in sizes):
        shape = _shape_text(port.shape)
        raise ModelError(f"{label}: input {port.name!r} is {shape}; only the first axis may be dynamic. {advice}")
    return InputSpec(port.name, tuple(size for size in sizes if size is not None), port.dtype, {"kind": "normal"})


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
