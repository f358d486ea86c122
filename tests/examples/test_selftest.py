"""The page on the speed gate says what the self-test's files say; the numbers here are made up."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.selftest import SHARES, operating_curve
from benchmarks.twins import SIZES
from examples.studies.selftest import NO_RESULT, main, update_page
from examples.studies.selftest_curves import read_curves
from nas.errors import NasError
from nas.marked import fill, markers

ROOT = Path(__file__).parents[2]
BEGIN, END = markers("selftest")
PAGE = f"head\n{BEGIN}\nold\n{END}\ntail\n"
MACHINE = {"cpu": "a CPU", "cores": 2, "onnxruntime": "1.0", "gpu": None}


def rows(load: int, runs: int, missed: int = 0) -> list[dict]:
    """As many gates as a self-test runs, all of them right but ``missed`` at +5 % of the first model."""
    found = []
    for size in SIZES:
        for twin, share in SHARES.items():
            for number in range(max(1, round(share * runs))):
                wrong = twin == "+5 %" and size == SIZES[0] and number < missed
                verdict = "pass" if twin == "+0 %" or wrong else "regression"
                found.append(
                    {
                        "load": load,
                        "size": size.name,
                        "twin": twin,
                        "number": number,
                        "verified": [1.051, 1.049, 1.053] if twin == "+5 %" else None,
                        "verdict": verdict,
                        "kind": None if verdict == "pass" else "compute",
                        "seconds": 2.0,
                        "probe_share": 0.01,
                        "preempted": 0.25,
                        "means": [1.0, 1.2 if number % 4 == 0 else 1.0],
                    }
                )
    return found


def write(folder: Path, load: int, runs: int, **more: int) -> None:
    facts = {"schema": 1, "catch": 0.05, "budget_s": 10.0, "load": load, "machine": MACHINE}
    folder.mkdir(parents=True, exist_ok=True)
    lines = operating_curve(rows(load, runs, **more))
    (folder / f"curve-load{load}.json").write_text(json.dumps({**facts, "lines": lines}))


def goals(page: str) -> dict[str, str]:
    """What was promised -> whether it was reached."""
    table = page.partition("| what | promised")[2]
    return {cells[1].strip(): cells[4].strip() for cells in (line.split("|") for line in table.splitlines()[2:-2])}


def test_the_page_says_what_the_files_say(tmp_path):
    write(tmp_path / "selftest", 0, 100)
    write(tmp_path / "selftest", 2, 100, missed=5)
    (tmp_path / "page.md").write_text(PAGE)
    main(tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert page.startswith(f"head\n{BEGIN}\n![")
    assert page.endswith(f"{END}\ntail\n")
    assert "(selftest.svg)" in page
    assert page.index("Without a load of ours") < page.index("Beside 2 busy processes")
    assert "`--catch 5%`, `--budget 10s`" in page
    assert "| 20us | +0 % | 300 | 0 % [0, 0.994] | 100 % [99, 100] | 0 % [0, 0.994] | 25 % [20.2, 30.3] |" in page
    assert "| 20us | +5 % (measured: +5.1 % [4.9, 5.3]) | 100 | 95 % [88.7, 98.4] | 5 % [1.64, 11.3] |" in page
    reached = goals(page)
    assert len(reached) == 6
    assert set(reached.values()) == {"yes"}
    assert "| missed at +5 % | ≤ 5 % | 5 % (20us, +5 %, load 2, 100 gates) | yes |" in page
    main(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == page


def test_what_was_not_reached_or_not_measured_is_said(tmp_path):
    write(tmp_path, 2, 100, missed=6)
    reached = goals(update_page(PAGE, read_curves(tmp_path), "picture.svg"))
    assert reached["missed at +5 %"] == "**no**"
    assert reached["missed at +10 %"] == "so far: 3 of 6 lines were measured"
    write(tmp_path, 2, 4)
    reached = goals(update_page(PAGE, read_curves(tmp_path), "picture.svg"))
    assert reached["false alarms at +0 %"] == "too few gates: 12 of 300"
    assert reached["cost of the probes"].startswith("so far")


def test_the_picture_has_a_mark_for_every_line(tmp_path):
    write(tmp_path / "selftest", 0, 4)
    write(tmp_path / "selftest", 2, 4)
    (tmp_path / "page.md").write_text(PAGE)
    main(tmp_path / "page.md")
    svg = ElementTree.parse(tmp_path / "selftest.svg").getroot()
    titles = [title.text for title in svg.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(set(titles)) == 2 * 2 * len(SIZES) * len(SHARES)
    assert "20us, +5 %, load 2: the gate 100 % of 4 gates" in titles
    assert "10ms, +0 %, load 0: the naive rule 25 % of 12 gates" in titles
    for circle in svg.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 < float(circle.get("cx")) < float(svg.get("width"))


@pytest.mark.parametrize(
    ("change", "told"), [({"schema": 2}, "schema"), ({"machine": {}}, "machine.cpu"), ({"lines": [{}]}, "lines.0")]
)
def test_other_files_are_refused(tmp_path, change, told):
    write(tmp_path, 0, 1)
    path = tmp_path / "curve-load0.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(NasError, match=f"curve-load0.json: {re.escape(told)}.*leangen bench selftest"):
        read_curves(tmp_path)


def test_the_page_that_is_there_is_up_to_date(tmp_path):
    """With the results that are in the repository; without any it says so, and claims no number."""
    page = ROOT / "docs" / "speed-gate.md"
    curves = read_curves(ROOT / "docs" / "selftest")
    written = update_page(page.read_text(), curves, "selftest.svg")
    assert page.read_text() == written, "run `python -m examples.studies.selftest docs/speed-gate.md`"
    assert (ROOT / "docs" / "selftest.svg").is_file() == bool(curves)
    if not curves:
        assert page.read_text() == fill(page.read_text(), "selftest", NO_RESULT)


def test_the_program_is_told_the_page(tmp_path):
    (tmp_path / "page.md").write_text(PAGE)
    command = [sys.executable, "-m", "examples.studies.selftest", str(tmp_path / "page.md")]
    subprocess.run(command, cwd=ROOT, check=True)
    assert NO_RESULT in (tmp_path / "page.md").read_text()
