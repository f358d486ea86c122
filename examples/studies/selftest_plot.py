"""The operating curve as a picture: how often each twin is called a regression, a panel for each load."""

from collections.abc import Sequence
from xml.etree import ElementTree

from benchmarks.selftest import NOTHING, SLOWDOWNS, WAITS
from benchmarks.twins import SIZES
from examples.studies.selftest_curves import Line, Share
from reports.axes import linear_axis

TWINS = (NOTHING, *SLOWDOWNS, WAITS)
_COLOURS = dict(zip((size.name for size in SIZES), ("#0072b2", "#d55e00", "#009e73"), strict=True))  # Okabe & Ito 2008
_NAIVE = "#8a8a8a"
_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP = 760, 300, 64, 610, 34
_BOTTOM = _PANEL - 44  # of a panel's plot area
_APART, _BESIDE = 26, 9  # pixels between models, and from a gate's mark to the naive rule's


def draw(lines: Sequence[Line]) -> str:
    """Return the picture as SVG text."""
    loads = sorted({line.load for line in lines})
    size = {"width": str(_WIDTH), "height": str(_PANEL * len(loads)), "viewBox": f"0 0 {_WIDTH} {_PANEL * len(loads)}"}
    fonts = {"font-family": "system-ui, sans-serif", "font-size": "12"}
    svg = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, **fonts})
    _add(svg, "rect", width=_WIDTH, height=_PANEL * len(loads), fill="#ffffff")
    for index, load in enumerate(loads):
        panel = _add(svg, "g", transform=f"translate(0 {index * _PANEL})")
        _panel(panel, load, [line for line in lines if line.load == load])
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _panel(svg: ElementTree.Element, load: int, lines: Sequence[Line]) -> None:
    _frame(svg, f"beside {load} busy processes" if load else "without a load of ours")
    shown = [size for size in _COLOURS if any(line.size == size for line in lines)]
    for line in lines:
        x = _twin_x(line.twin) + (shown.index(line.size) - (len(shown) - 1) / 2) * _APART
        for who, share, colour, beside in (
            ("the gate", line.regression, _COLOURS[line.size], 0),
            ("the naive rule", line.naive, _NAIVE, _BESIDE),
        ):
            title = f"{line.size}, {line.twin}, load {load}: {who} {100 * share[0]:.3g} % of {line.runs} gates"
            _mark(svg, x + beside, share, colour, title)
    _legend(svg, shown)


def _twin_x(twin: str) -> float:
    return _LEFT + (TWINS.index(twin) + 0.5) * (_RIGHT - _LEFT) / len(TWINS)


def _frame(svg: ElementTree.Element, title: str) -> None:
    y = linear_axis([0.0, 100.0], _BOTTOM, _TOP)
    for tick in y.ticks():
        _add(svg, "line", x1=_LEFT, x2=_RIGHT, y1=tick.at, y2=tick.at, stroke="#e5e5e5")
        _text(svg, f"{tick.text} %", _LEFT - 8, tick.at + 4, anchor="end")
    for twin in TWINS:
        _text(svg, twin, _twin_x(twin), _BOTTOM + 20, anchor="middle")
    _add(svg, "rect", x=_LEFT, y=_TOP, width=_RIGHT - _LEFT, height=_BOTTOM - _TOP, fill="none", stroke="#999999")
    _text(svg, f"called a regression, {title}", _LEFT, _TOP - 10)
    _text(svg, "what the candidate is slower by", (_LEFT + _RIGHT) / 2, _BOTTOM + 38, anchor="middle")


def _mark(svg: ElementTree.Element, x: float, share: Share, colour: str, title: str) -> None:
    """Add a share with its interval."""
    y = linear_axis([0.0, 1.0], _BOTTOM, _TOP)
    value, low, high = share
    group = _add(svg, "g")
    _add(group, "title").text = title
    _add(group, "line", x1=round(x, 1), x2=round(x, 1), y1=y.at(low), y2=y.at(high), stroke=colour, stroke_width=2)
    _add(group, "circle", cx=round(x, 1), cy=y.at(value), r=4, fill="#ffffff" if colour == _NAIVE else colour,
         stroke=colour, stroke_width=1.5)  # fmt: skip


def _legend(svg: ElementTree.Element, sizes: Sequence[str]) -> None:
    entries = [*((f"the gate, {size}", _COLOURS[size]) for size in sizes), ("the naive rule", _NAIVE)]
    for index, (text, colour) in enumerate(entries):
        y = _TOP + 12 + 20 * index
        _add(svg, "circle", cx=_RIGHT + 20, cy=y, r=4, fill="#ffffff" if colour == _NAIVE else colour,
             stroke=colour, stroke_width=1.5)  # fmt: skip
        _text(svg, text, _RIGHT + 32, y + 4)


def _text(svg: ElementTree.Element, text: str, x: float, y: float, *, anchor: str = "start") -> None:
    _add(svg, "text", x=round(x, 1), y=round(y, 1), text_anchor=anchor, fill="#333333").text = text


def _add(svg: ElementTree.Element, kind: str, **attributes: object) -> ElementTree.Element:
    """Add an element; underscores in names become the hyphens of SVG."""
    return ElementTree.SubElement(svg, kind, {name.replace("_", "-"): str(value) for name, value in attributes.items()})
