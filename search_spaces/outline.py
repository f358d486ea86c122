"""What a plan computes, operation by operation, without building it: enough to say what it costs, in microseconds.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.plans import ClassPlan, ConvPlan, MlpPlan
from search_spaces.space import ImageShape

if TYPE_CHECKING:
    from benchmarks.inputs import InputSpec

LINEAR, CONV, DEPTHWISE, TRANSPOSED = "linear", "conv", "depthwise", "transposed"
ALONE = " alone"
"""Ends the kind of an operation that no runtime merges with the one before it."""

SHUFFLES = {"shuffle2": 2, "shuffle4": 4}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operation on one row of a batch, as far as its cost depends on it.

    Args:
        kind: ``LINEAR``, ``CONV``, ``DEPTHWISE``, ``TRANSPOSED``, or whatever else it does, e.g. "relu".
        inputs: Incoming channels or features.
        outputs: Outgoing ones.
        kernel: Pixels along one side of a convolution's kernel.
        pixels: Height times width of the outgoing maps; 1 for features.
        pixels_in: The same of the incoming maps.
    """

    kind: str
    inputs: int
    outputs: int
    kernel: int = 1
    pixels: int = 1
    pixels_in: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates, as ``benchmarks.cost`` counts them; 0 for all but weighted operations."""
        if self.kind == TRANSPOSED:
            return self.inputs * self.outputs * self.kernel**2 * self.pixels_in
        if self.kind == DEPTHWISE:
            return self.outputs * self.kernel**2 * self.pixels
        weighted = self.kind in (LINEAR, CONV)
        return self.inputs * self.outputs * self.kernel**2 * self.pixels if weighted else 0


def outline_mlp(
    plan: MlpPlan, inputs: Sequence[InputSpec], image: ImageShape, classes: ClassPlan | None = None
) -> tuple[Operator, ...]:
    """What ``assembly.build_mlp`` builds, in the order of execution."""
    row = _Row(_latents(inputs, classes), classes)
    for index, features in enumerate(plan.hidden):
        row.linear(features)
        row.norm("stages" if index else "stem", shift=not index)
        row.activation(plan.activation)
    row.linear(image.channels * image.height * image.width)
    row.activation(plan.output)
    return tuple(row.operators)


def outline_conv(
    plan: ConvPlan, inputs: Sequence[InputSpec], image: ImageShape, classes: ClassPlan | None = None
) -> tuple[Operator, ...]:
    """What ``assembly.build_conv`` builds, in the order of execution."""
    row = _Row(_latents(inputs, classes), classes)
    if plan.rank:
        row.linear(plan.rank)
    if plan.mapping:
        row.linear(plan.mapping)
        row.activation(plan.activation)
    row.linear(plan.widths[0] * plan.start**2)
    row.to_maps(plan.start)
    if plan.norm == "batch":
        row.add("batch norm" + ALONE)
    row.norm("stem", shift=True)
    row.activation(plan.activation)
    for stage, width in enumerate(plan.widths):
        if stage:
            row.upsample(plan.early, width, plan.early_kernel, "stages", plan.activation)
        for _ in range(plan.blocks[stage]):
            row.block(plan, "stages" if stage else "blocks")
    row.upsample(plan.last, image.channels, plan.last_kernel, "", plan.output)
    return tuple(row.operators)


def _latents(inputs: Sequence[InputSpec], classes: ClassPlan | None) -> int:
    """Numbers that the first layer reads."""
    label, embedding = (classes.label, classes.embedding) if classes else ("", 0)
    return embedding + sum(spec.shape[0] for spec in inputs if spec.name != label)


class _Row:
    """Operations one after another; knows the width and the resolution that the next one finds."""

    def __init__(self, features: int, classes: ClassPlan | None) -> None:
        self.classes = classes
        self.operators: list[Operator] = []
        self._width, self._side = features, 1
        if classes and classes.embedding:
            self._rows(classes.embedding)
            self.add("concat")

    def add(self, kind: str, outputs: int | None = None, kernel: int = 1, side: int | None = None) -> None:
        before = self._width, self._side
        self._width, self._side = outputs or self._width, side or self._side
        self.operators.append(Operator(kind, before[0], self._width, kernel, self._side**2, before[1] ** 2))

    def linear(self, features: int) -> None:
        self.add(LINEAR, features)

    def to_maps(self, side: int) -> None:
        self._width, self._side = self._width // side**2, side

    def _rows(self, width: int) -> None:
        """A look-up of one row of a table."""
        self.operators.append(Operator("gather", 1, width))

    def norm(self, place: str, *, shift: bool = False) -> None:
        """What a class adds to the norm at ``place``; a plain norm behind a weighted operation is part of it."""
        if self.classes is None:
            return
        if place and getattr(self.classes, place):
            self._rows(self._width)
            self._rows(self._width)
            self.add("mul")
            self.add("add")
        if shift and self.classes.shift:
            self._rows(self._width * self._side**2)
            self.add("add")

    def activation(self, name: str) -> None:
        """Merged with a weighted operation right before it."""
        self.add(name if self.operators[-1].kind in (LINEAR, CONV, DEPTHWISE, TRANSPOSED) else name + ALONE)

    def upsample(self, kind: str, width: int, kernel: int, place: str, activation: str) -> None:
        factor = SHUFFLES.get(kind, 1)
        if kind == "transposed":
            self.add(TRANSPOSED, width, 4, 2 * self._side)
        else:
            if factor == 1:
                self.add(kind, side=2 * self._side)
            self.add(CONV, width * factor**2, kernel)
        self.norm(place)
        self.activation(activation)
        if factor > 1:
            self.add("shuffle", width, side=factor * self._side)

    def block(self, plan: ConvPlan, place: str) -> None:
        width = self._width
        if plan.block == "separable":
            self.add(DEPTHWISE, width, plan.kernel)
        self.add(CONV, width, 1 if plan.block == "separable" else plan.kernel)
        self.norm(place)
        self.activation(plan.activation)
        if plan.block == "residual":
            self.add(CONV, width, plan.kernel)
            self.norm(place)
            self.add("sum")
            self.activation(plan.activation)
