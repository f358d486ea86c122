"""The study of rankings, compensation and widths: on a tiny run, and its table by hand."""

import json

import pytest
from typer.testing import CliRunner

from examples.studies import ways_to_prune
from examples.studies.ways_to_prune import LOOKS, SHARES, WAYS, app
from nas.families.base import Phase

PAGE = "head\n<!-- pruning: begin -->\nold\n<!-- pruning: end -->\ntail\n"


def program(*words):
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_the_study(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(ways_to_prune, "SCHEDULE", (Phase("distill", 2), Phase("features", 1)))
    monkeypatch.setattr(ways_to_prune, "LOOKS", (0, 3))
    monkeypatch.setattr(ways_to_prune, "SHARES", (0.5,))
    monkeypatch.setattr(ways_to_prune, "AS_LONG", (0.0, 1.5))
    monkeypatch.setattr(ways_to_prune, "TIMED_S", 0.1)
    program("run", tiny_run.folder, "--widths", 1, "--results", tmp_path)
    (file,) = tmp_path.glob("*-0.json")
    record = json.loads(file.read_text())
    assert len(record["rows"]) == len(WAYS) + 1
    assert all(len(row["fid"]) == 2 for row in record["rows"])
    assert 0 < record["rows"][-1]["ratio"] <= 1.5


def test_the_table_by_hand(tmp_path):
    for seed, shift in enumerate((0.0, 0.5)):
        rows = []
        for share in SHARES:
            rows += [
                {"share": share, "by": by, "compensate": one, "seconds": 1.0, "fid": [9.0 + shift] * len(LOOKS)}
                for by, one in WAYS
            ]
            for best in (3.0, 4.0):
                fid = [20.0] * (len(LOOKS) - 1) + [best + shift]
                rows.append({"share": share, "widths": {"a": 8, "b": int(4 * best)}, "ratio": 0.97, "fid": fid})
        record = {"looks": LOOKS, "machine": {"cpu": "some CPU"}, "rows": rows}
        (tmp_path / f"run-{seed}.json").write_text(json.dumps(record))
    (tmp_path / "page.md").write_text(PAGE)
    program("table", tmp_path / "page.md", "--results", tmp_path)
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("head\n")
    assert "| 75.0% | by taylor, compensated | 9.25 [9.00, 9.50] |" in page
    assert "| as long (0.97) | the best of 4 random widths (8 / 12) | 20.00 | 20.00 | 20.00 | 20.00 | 3.00 |" in page
    assert "| the worst of them (8 / 16) | 20.00 | 20.00 | 20.00 | 20.00 | 4.50 |" in page
    assert "mean of 2 seeds" in page
