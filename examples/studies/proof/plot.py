"""The picture of one family: time against FID, both logarithmic; fronts as lines, files as marks."""

from collections.abc import Sequence
from xml.etree import ElementTree

from examples.studies.proof.claims import FID
from examples.studies.proof.compared import Family
from examples.studies.proof.records import OURS, RANDOM, REFERENCE
from reports.axes import Axis, log_axis

WIDTH, HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 560, 24, 384
_STYLE = {  # colour and mark; colours of Okabe & Ito 2008, which colour-blind readers can tell apart
    REFERENCE: ("#000000", "circle", "reference"),
    OURS: ("#d55e00", "star", "ours"),
    "narrowed": ("#0072b2", "square", "narrowed baseline"),
    "pruned-matched": ("#009e73", "up", "pruned to our time"),
    "pruned-half": ("#56b4e9", "down", "pruned by half"),
    "quantized": ("#cc79a7", "diamond", "quantize_static"),
    RANDOM: ("#7f7f7f", "cross", "random search"),
}
_SHAPES = {
    "circle": "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "square": "m-4.5 -4.5h9v9h-9z",
    "cross": "m-5 -5l10 10m0 -10l-10 10",
    "up": "m0 -6l6 10h-12z",
    "down": "m0 6l6 -10h-12z",
    "diamond": "m0 -6l6 6l-6 6l-6 -6z",
    "star": "m0 -8l2 5.4h5.7l-4.6 3.4l1.7 5.5l-4.8 -3.4l-4.8 3.4l1.7 -5.5l-4.6 -3.4h5.7z",
}
_FRONTS = {OURS: "", RANDOM: "4 3"}
_WORDS = ("marks: files, on held-out pictures,", "one a seed; lines: candidates", "after the last rung of a search")


def draw(family: Family) -> str:
    """Return the picture of ``family`` as SVG text."""
    marks, fronts = _marks(family), _fronts(family)
    points = [point for _, point in marks] + [point for _, line in fronts for point in line]
    x = log_axis([time for time, _ in points], _LEFT, _RIGHT)
    y = log_axis([score for _, score in points], _BOTTOM, _TOP)
    svg = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {WIDTH} {HEIGHT}",
            "width": str(WIDTH),
            "height": str(HEIGHT),
            "font-family": "system-ui, sans-serif",
            "font-size": "12",
        },
    )
    _add(svg, "rect", width=WIDTH, height=HEIGHT, fill="#ffffff")
    _frame(svg, x, y)
    for who, line in fronts:
        path = " ".join(f"{x.at(time)},{y.at(score)}" for time, score in line)
        colour = _STYLE[who][0]
        _add(svg, "polyline", points=path, fill="none", stroke=colour, stroke_width=1.2, opacity=0.55,
             stroke_dasharray=_FRONTS[who] or "none")  # fmt: skip
        for time, score in line:
            _add(svg, "circle", cx=x.at(time), cy=y.at(score), r=2, fill=colour, opacity=0.55)
    for who, (time, score) in marks:
        _mark(svg, who, x.at(time), y.at(score))
    _legend(svg, sorted({who for who, _ in marks}, key=list(_STYLE).index))
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _marks(family: Family) -> list[tuple[str, tuple[float, float]]]:
    """Return (who, (time ÷ the reference's, FID)) of everybody's file at the first batch, seed by seed."""
    batch = family.pieces[0].batches[0]
    found = []
    for who in _STYLE:
        for piece in family.having(who):
            time = family.file(piece, who, batch).latency[batch].ratio
            found.append((who, (time, family.judged(piece, who, batch).quality[FID].value)))
    return found


def _fronts(family: Family) -> list[tuple[str, Sequence[tuple[float, float]]]]:
    return [
        (who, sorted(piece.searches[who].points))
        for piece in family.pieces
        for who in _FRONTS
        if piece.searches[who].points
    ]


def _frame(svg: ElementTree.Element, x: Axis, y: Axis) -> None:
    for tick in x.ticks():
        _add(svg, "line", x1=tick.at, x2=tick.at, y1=_TOP, y2=_BOTTOM, stroke="#e5e5e5")
        _text(svg, tick.text, tick.at, _BOTTOM + 18, anchor="middle")
    for tick in y.ticks():
        _add(svg, "line", x1=_LEFT, x2=_RIGHT, y1=tick.at, y2=tick.at, stroke="#e5e5e5")
        _text(svg, tick.text, _LEFT - 8, tick.at + 4, anchor="end")
    _add(svg, "rect", x=_LEFT, y=_TOP, width=_RIGHT - _LEFT, height=_BOTTOM - _TOP, fill="none", stroke="#999999")
    _text(svg, "time ÷ the reference's fastest file, batch 1", (_LEFT + _RIGHT) / 2, HEIGHT - 16, anchor="middle")
    label = _text(svg, "FID", 18, (_TOP + _BOTTOM) / 2, anchor="middle")
    label.set("transform", f"rotate(-90 18 {(_TOP + _BOTTOM) / 2})")


def _legend(svg: ElementTree.Element, shown: Sequence[str]) -> None:
    top = _TOP + 12
    for who in shown:
        _mark(svg, who, _RIGHT + 24, top)
        _text(svg, _STYLE[who][2], _RIGHT + 38, top + 4)
        top += 22
    for who, name in ((OURS, "front of our search"), (RANDOM, "front of random search")):
        _add(svg, "line", x1=_RIGHT + 14, x2=_RIGHT + 34, y1=top, y2=top, stroke=_STYLE[who][0],
             stroke_dasharray=_FRONTS[who] or "none")  # fmt: skip
        _text(svg, name, _RIGHT + 38, top + 4)
        top += 22
    for words in _WORDS:
        _text(svg, words, _RIGHT + 14, top + 10, size=11)
        top += 15


def _mark(svg: ElementTree.Element, who: str, x: float, y: float) -> None:
    """Add one mark of ``who``, centred at ``x``, ``y``."""
    colour, shape, _ = _STYLE[who]
    path = f"M{x:.1f} {y:.1f}{_SHAPES[shape]}"
    if shape == "cross":
        _add(svg, "path", d=path, stroke=colour, stroke_width=2.2, fill="none")
    else:
        _add(svg, "path", d=path, fill=colour)


def _text(
    svg: ElementTree.Element, text: str, x: float, y: float, *, anchor: str = "start", size: int = 12
) -> ElementTree.Element:
    element = _add(svg, "text", x=round(x, 1), y=round(y, 1), text_anchor=anchor, font_size=size, fill="#333333")
    element.text = text
    return element


def _add(svg: ElementTree.Element, kind: str, **attributes: object) -> ElementTree.Element:
    """Add an element; underscores in names become the hyphens of SVG."""
    return ElementTree.SubElement(svg, kind, {name.replace("_", "-"): str(value) for name, value in attributes.items()})
