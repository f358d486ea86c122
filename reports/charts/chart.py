"""What a picture is made of. Numbers are pixels of its view box, x to the right and y downwards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.axes import Axis, Tick

Z95 = 1.96  # half width of a normal 95 % interval, in standard errors


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a place; ``anchor`` and ``kind`` are CSS words."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    kind: str = "note"


@dataclass(frozen=True, slots=True)
class Mark:
    """A point with its intervals (pixels; equal ends draw nothing) and its tooltip."""

    kind: str
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A path in SVG's words; ``kind`` is a CSS class."""

    kind: str
    path: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; ``kind`` is a CSS class."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: a plot area, ticks, boxes below lines below marks below labels."""

    title: str
    width: int
    height: int
    left: float
    top: float
    right: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """The plot area inside a picture of ``width`` × ``height``."""

    width: int
    height: int

    left = 52.0
    top = 14.0

    @property
    def right(self) -> float:
        """Where the plot ends."""
        return self.width - 16.0

    @property
    def bottom(self) -> float:
        """Where the x axis lies."""
        return self.height - 46.0

    def chart(
        self,
        title: str,
        x: Axis,
        y: Axis,
        x_label: str,
        y_label: str,
        lines: Iterable[Line],
        marks: Iterable[Mark],
        labels: Iterable[Label],
        boxes: Iterable[Box] = (),
    ) -> Chart:
        """The picture of these parts."""
        return Chart(
            title,
            self.width,
            self.height,
            self.left,
            self.top,
            self.right,
            self.bottom,
            x.ticks(),
            y.ticks(),
            x_label,
            y_label,
            tuple(lines),
            tuple(marks),
            tuple(labels),
            tuple(boxes),
        )


def polyline(places: Sequence[tuple[float, float]]) -> str:
    """Straight lines from place to place, in SVG's words."""
    return "M" + "L".join(f"{x} {y}" for x, y in places)


def beside(x: float, y: float, text: str, kind: str, frame: Frame) -> Label:
    """Text to the right of a place, or to its left near the right border."""
    return Label(x - 14, y, text, "end", kind) if x > frame.right - 100 else Label(x + 14, y, text, "start", kind)
