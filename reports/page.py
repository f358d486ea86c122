"""The report as one HTML page: no network, no script, light and dark, printable."""

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports import charts, views, wording
from reports.summary import ReportError, Summary

PICTURES = {"reference": "reference", "final": "result", "baseline": "baseline"}  # in the order shown
NARROW = (400, 400)  # pixels of a chart's view box on a telephone


class PictureError(ReportError, ValueError):
    """A picture is not what the page can show."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG of ``width`` × ``height`` pixels as a data URI."""

    name: str
    width: int
    height: int
    uri: str


def render_page(summary: Summary, pictures: Mapping[str, bytes] | None = None) -> str:
    """The page, whole: styles, charts and pictures inside.

    Args:
        summary: Any valid summary; what was not reached is left out or said.
        pictures: PNG bytes of sample grids at the same latents, under ``reference``, ``final`` and ``baseline``.

    Raises:
        PictureError: an unknown key, or bytes that are not a PNG.
    """
    environment = Environment(loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html.j2").render(
        summary=summary, words=wording, views=views, pictures=_pictures(pictures or {}),
        front=_both_sizes(charts.front_chart(summary), charts.front_chart(summary, *NARROW)),
        curve=_both_sizes(charts.curve_chart(summary), charts.curve_chart(summary, *NARROW)),
        bars={batch: charts.latency_bars(views.latency_rows(summary, batch))
              for batch in views.latency_batches(summary)})


def _both_sizes(wide: charts.Chart | None, narrow: charts.Chart | None) -> list[tuple[str, charts.Chart]]:
    return [(name, chart) for name, chart in (("wide", wide), ("narrow", narrow)) if chart]


def _pictures(given: Mapping[str, bytes]) -> list[Picture]:
    unknown = set(given) - set(PICTURES)
    if unknown:
        raise PictureError(f"pictures are named {', '.join(PICTURES)}, found {sorted(unknown)}; rename them")
    return [_picture(title, given[key], key) for key, title in PICTURES.items() if key in given]


def _picture(title: str, png: bytes, key: str) -> Picture:
    # PNG, section 5.2 and 11.2.1: an 8-byte signature, then the IHDR chunk, which starts with width and height.
    if len(png) < 24 or png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        raise PictureError(f"picture {key!r} is given as PNG bytes, found {png[:8]!r}; save it with format='PNG'")
    width, height = struct.unpack(">II", png[16:24])
    return Picture(title, width, height, "data:image/png;base64," + base64.b64encode(png).decode("ascii"))
