"""The report as one HTML page: no network, light and dark, printable, whole without its script."""

import base64
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports import advice, wording
from reports.charts.chart import Chart
from reports.charts.curves import curve_chart, rungs_chart
from reports.charts.effort import stacks
from reports.charts.front import front_chart
from reports.charts.knobs import importances, knob_effects
from reports.charts.speeds import speeds_chart
from reports.charts.strips import latency_bars
from reports.summary import ReportError, Summary
from reports.views import checks, headline, latency, quality, search

GRIDS = {"reference": "reference", "baseline": "baseline", "final": "result"}  # in the order shown
NEIGHBOURS, WORST = "neighbours", "worst"
PICTURES = (*GRIDS, NEIGHBOURS, WORST)
NARROW = (400, 400)  # pixels of a chart's view box on a telephone
LOW = (400, 240)
SECTIONS = {  # name, title in the list of sections, heading
    "pictures": ("Pictures", "The same latents, before and after"),
    "generators": ("Result", "What came out"),
    "latency": ("Latency", "Latency"),
    "search": ("Search", "Search"),
    "knobs": ("Knobs", "What each knob did"),
    "compression": ("Compression", "Compression steps"),
    "quality": ("Quality", "Quality in full"),
    "effort": ("Time", "Where the time went"),
    "checks": ("Checks", "Checks behind the numbers"),
    "reproduce": ("Reproduce", "Do it again"),
}


class PictureError(ReportError, ValueError):
    """A picture is not what the page can show."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG of ``width`` × ``height`` pixels as a data URI."""

    name: str
    width: int
    height: int
    uri: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with something in it."""

    id: str
    short: str
    title: str
    body: Markup


def render_page(summary: Summary, pictures: Mapping[str, bytes] | None = None) -> str:
    """The page, whole: styles, script, charts and pictures inside.

    Args:
        summary: Any valid summary; what was not reached is left out or said.
        pictures: PNG bytes of sample grids at the same latents, under ``reference``, ``final`` and ``baseline``, and
            of generated images beside their nearest training images, under ``neighbours``, and of the latents at which
            files differ most from their source, under ``worst``.

    Raises:
        PictureError: an unknown key, or bytes that are not a PNG.
    """
    environment = Environment(
        loader=PackageLoader("reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    facts = _facts(summary, pictures or {})
    sections = []
    for name, (short, title) in SECTIONS.items():
        body = environment.get_template(f"sections/{name}.html.j2").render(facts).strip()
        if body:
            sections.append(Section(name, short, title, Markup(body)))
    script = _source(environment, "script.js")
    # Content Security Policy, level 3: 'sha256-…' lets this inline script run, and none that a text smuggles in.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("page.html.j2").render(
        facts, sections=sections, script=script, script_hash=f"sha256-{digest}"
    )


def _source(environment: Environment, name: str) -> Markup:
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])


def _facts(summary: Summary, pictures: Mapping[str, bytes]) -> dict[str, Any]:
    """What the templates see: the summary, the rooms' tables and words, and every picture that has something in it."""
    unknown = set(pictures) - set(PICTURES)
    if unknown:
        raise PictureError(f"pictures are named {', '.join(PICTURES)}, found {sorted(unknown)}; rename them")
    return {
        "summary": summary,
        "words": wording,
        "advice": advice,
        "headline": headline,
        "latency": latency,
        "search": search,
        "quality": quality,
        "checks": checks,
        "grids": [_picture(title, pictures[key], key) for key, title in GRIDS.items() if key in pictures],
        "worst": _picture(WORST, pictures[WORST], WORST) if WORST in pictures else None,
        "neighbours": _picture(NEIGHBOURS, pictures[NEIGHBOURS], NEIGHBOURS) if NEIGHBOURS in pictures else None,
        "front": _both_sizes(front_chart(summary), front_chart(summary, *NARROW)),
        "speeds": _both_sizes(speeds_chart(summary), speeds_chart(summary, *LOW)),
        "rungs": _both_sizes(rungs_chart(summary), rungs_chart(summary, *NARROW)),
        "curve": _both_sizes(curve_chart(summary), curve_chart(summary, *NARROW)),
        "bars": {
            batch: latency_bars(latency.latency_rows(summary, batch)) for batch in latency.latency_batches(summary)
        },
        "shares": importances(summary),
        "effects": knob_effects(summary),
        "metric": wording.metric_name(summary.reference_seen),
        "stacks": stacks(summary),
    }


def _both_sizes(wide: Chart | None, narrow: Chart | None) -> list[tuple[str, Chart]]:
    return [(name, chart) for name, chart in (("wide", wide), ("narrow", narrow)) if chart]


def _picture(title: str, png: bytes, key: str) -> Picture:
    # PNG, section 5.2 and 11.2.1: an 8-byte signature, then the IHDR chunk, which starts with width and height.
    if len(png) < 24 or png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        raise PictureError(f"picture {key!r} is given as PNG bytes, found {png[:8]!r}; save it with format='PNG'")
    width, height = struct.unpack(">II", png[16:24])
    return Picture(title, width, height, "data:image/png;base64," + base64.b64encode(png).decode("ascii"))
