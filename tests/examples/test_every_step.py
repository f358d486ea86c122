"""The study of every step on sampled genotypes: it can fail, and says where."""

import json

import numpy as np

from examples.studies import every_step
from examples.studies.every_step import check, counted, failed, run_, told
from search_spaces import get_space

GENOTYPE = get_space("decoder").sample(np.random.default_rng(0), {"body": "mlp"})


def test_limits_that_nobody_keeps_are_failures(tmp_path, monkeypatch):
    """Guards the test of the whole space: its check must be able to fail, in every step."""
    monkeypatch.setattr(every_step, "CLOSE", 0.0)
    monkeypatch.setattr(every_step, "ALIKE_DB", 200.0)
    found = check("decoder", GENOTYPE, tmp_path)["failures"]
    assert [text.split(":")[0] for text in found] == [
        "export",
        "int8 per tensor",
        "int8 per tensor, unfolded",
        "int8 per channel, unfolded",
        "export after pruning",
    ]


def test_the_table_by_hand():
    rows = [
        {"space": "decoder", "number": 3, "export": 2e-6, "int8 per tensor": 40.0, "failures": []},
        {"space": "decoder", "number": 4, "export": 3e-6, "int8 per tensor": 20.0, "failures": ["int8: 20.0 dB"]},
    ]
    record = {"steps": counted(rows), "failures": failed(rows)}
    text = told(record)
    assert "| decoder | export | 2 | 0.00000300 of a pixel, from torch |" in text
    assert "| decoder | int8 per tensor | 2 | 20.0 dB from torch |" in text
    assert "Of 2 genotypes 1 failed: decoder 4: int8: 20.0 dB." in text


def test_a_short_run_writes_its_record(tmp_path):
    run_(genotypes=1, first=2, out=tmp_path / "found.json")
    record = json.loads((tmp_path / "found.json").read_text())
    assert {row["space"] for row in record["steps"]} == {"decoder", "class_decoder"}
    assert record["failures"] == []
    assert "Of 2 genotypes none failed." in told(record)
