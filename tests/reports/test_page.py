"""The page: whole, safe, small, and quiet on the network."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from reports.page import PictureError, render_page
from reports.summary import parse

VOID = {"meta", "img", "br"}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Checker(HTMLParser):
    """Collects tags and attributes, and asserts that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def hostile(value):
    """``value`` with every text in it hostile, where the schema takes any text."""
    keep = {"outcome", "who", "created", "artifact", "file", "limit"}
    if isinstance(value, dict):
        return {key: one if key in keep else hostile(one) for key, one in value.items()}
    if isinstance(value, list):
        return [hostile(one) for one in value]
    return HOSTILE if isinstance(value, str) else value


def test_the_first_words_are_the_verdict(run, pictures):
    page = render_page(run, pictures)
    text = re.sub(r"<[^>]+>", " ", page[page.index("<body>") :])
    assert "9.3× faster at batch 1 (95 % interval 9.1–9.5)" in " ".join(text.split())[:200]
    assert 'class="badge yes"' in page


def test_every_section_is_there(run, pictures):
    page = render_page(run, pictures)
    ids = re.findall(r'<section id="(\w+)"', page)
    assert ids == [
        "pictures", "generators", "latency", "search", "knobs",
        "compression", "quality", "effort", "checks", "reproduce",
    ]  # fmt: skip
    assert re.findall(r'<a href="#(\w+)"', page) == ids
    assert page.count('<svg class="chart wide"') == 4
    for text in ("refused: 4 % faster", "no GPU", "3 × QLinearConv int8", "at its plateau", "leangen bench compare"):
        assert text in page


def test_nothing_is_loaded(run, pictures):
    page = render_page(run, pictures)
    assert "http://" not in page
    assert "https://" not in page
    checker = read(page)
    assert not {"link", "iframe", "object", "embed", "base"} & set(checker.tags)
    loads = [value for _, name, value in checker.attributes if name in ("src", "href", "srcset", "xlink:href", "data")]
    images = [value for value in loads if not value.startswith("#")]
    assert len(images) == 3
    assert all(value.startswith("data:image/png;base64,") for value in images)
    assert "url(" not in page
    assert "@import" not in page


def test_the_only_script_that_may_run_is_ours(run):
    page = render_page(run)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_pictures_keep_their_size_so_that_nothing_jumps(run, pictures):
    checker = read(render_page(run, pictures))
    sizes = [value for tag, name, value in checker.attributes if tag == "img" and name in ("width", "height")]
    assert sizes == ["256"] * 6


def test_hostile_text_stays_text(data, pictures):
    evil = hostile(data) | {"schema": 1, "search": data["search"], "seconds": data["seconds"]}
    evil["speedup"], evil["latency"] = data["speedup"], hostile(data["latency"])
    evil["notes"] = [HOSTILE]
    checker = read(render_page(parse(evil), pictures))
    assert checker.tags.count("script") == 1
    assert not [name for _, name, _ in checker.attributes if name.startswith("on")]
    assert checker.tags.count("img") == 3


def test_hostile_names_of_knobs_batches_and_files(data):
    data["candidates"][0]["genotype"] = {HOSTILE: HOSTILE}
    data["operators"] = {HOSTILE: {HOSTILE: 1}}
    data["machine"] = {HOSTILE: {HOSTILE: [HOSTILE]}}
    data["tensorrt"]["plans"] = {HOSTILE: None}
    assert render_page(parse(data)).count("<script>") == 1


def test_an_early_no_is_shown(early_no):
    page = render_page(early_no)
    read(page)
    assert 'class="badge no"' in page
    assert "Nothing was shipped: target.min_speedup cannot be met." in page
    assert "<img" not in page
    assert "asked</span> at least 20× at batch 1" in page
    assert "found</span> 4.00× [3.94, 4.06]" in page
    assert "width: the fastest candidate has 16, the smallest that was tried; try values below it." in page


def test_the_worst_latents_stand_below_the_table_of_parity(run, pictures):
    page = render_page(run, pictures | {"worst": pictures["final"]})
    assert page.index("Parity with torch") < page.index("For each file the worst latent") < page.index("Operators that")
    assert "For each file the worst latent" not in render_page(run, pictures)


def test_neighbours_are_shown_apart_from_the_grids(run, pictures):
    page = render_page(run, pictures | {"neighbours": pictures["final"]})
    assert page.count("<img") == 4
    assert "Median distance of 1,000 generated images to the nearest training image: 3.91" in page
    assert page.count('<p class="columns-of"') == 3


def test_a_run_that_reached_nothing_is_shown():
    page = render_page(parse({"schema": 1, "command": "leangen run a.yaml", "family": "gan"}))
    read(page)
    assert "not finished" in page
    assert "leangen run a.yaml" in page


@pytest.mark.parametrize(
    "field",
    [
        "reference",
        "baseline",
        "final",
        "speedup",
        "speedup_vs_eager",
        "steps",
        "variants",
        "search",
        "tensorrt",
        "seconds",
        "target",
        "floor",
        "blank",
        "curve",
        "quality",
        "knobs",
        "grid_columns",
        "allowed_seen",
        "candidates",
        "finalists",
        "latency",
        "operators",
        "parity",
        "machine",
    ],
)
def test_any_part_may_be_missing(data, field):
    read(render_page(parse(data | {field: None})))


def test_size(data, pictures):
    data["candidates"] = [one | {"id": f"{one['id']}{i}"} for i in range(27) for one in data["candidates"]]
    data["search"] = None
    assert len(render_page(parse(data), pictures).encode()) < 3_000_000


def test_pictures_are_png_under_known_names(run, pictures):
    with pytest.raises(PictureError, match=r"named reference, baseline, final, neighbours, worst, found \['after'\]"):
        render_page(run, {"after": pictures["final"]})
    with pytest.raises(PictureError, match="'final' is given as PNG"):
        render_page(run, {"final": b"GIF89a" + b"\0" * 40})


def test_neither_torch_nor_optuna_nor_pandas_is_imported():
    code = "import sys, json, reports.page; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "optuna", "pandas", "plotly", "numpy"} & set(json.loads(printed))
