"""What a candidate's record says of it, and the few words for the progress line."""

from dataclasses import asdict

import pytest

from nas.candidate import Candidate, describe
from nas.rungs import Measured, Standing

RATIO = {"value": 0.5, "ci95": [0.49, 0.51], "precision": "fp32"}
ID = "0123456789ab"


@pytest.fixture
def trained(quality) -> Candidate:
    rungs = [{"steps": 20, "quality": quality(50.0, 2.0)}, {"steps": 60, "quality": quality(30.0)}]
    return Candidate(ID, {"width": 8}, 3, ratio=RATIO, macs=70, rungs=rungs)


def test_it_is_what_its_record_holds(trained):
    assert Candidate(**asdict(trained)) == trained


def test_where_it_stood_and_what_it_costs(trained):
    assert trained.standing(0) == Standing(ID, 0.5, 50.0, 2.0)
    assert trained.standing(1) == trained.standing(-1) == Standing(ID, 0.5, 30.0, 1.0)
    assert trained.standing(2) is None
    assert trained.curve == [(20, 50.0), (60, 30.0)]
    assert trained.measured == Measured(ID, 0.5, 70)
    assert trained.score(0).standard_error == 2.0


def test_before_it_was_measured_it_stands_nowhere():
    new = Candidate(ID, {}, 0)
    assert (new.standing(0), new.measured, new.curve) == (None, None, [])
    assert Candidate(ID, {}, 0, ratio=RATIO).measured is None  # recorded before MACs were counted


def test_why_it_ended():
    assert Candidate(ID, {}, 0, "dominated", dominated_by="other").note == "by other"
    assert Candidate(ID, {}, 0, "failed", error="boom").note == "boom"
    assert Candidate(ID, {}, 0, "complete").note is None


def test_describe(trained):
    assert describe(Candidate(ID, {}, 0, "infeasible", ratio=RATIO)) == "012345 infeasible 2.0x"
    assert describe(Candidate(ID, {}, 0, "failed")) == "012345 failed"
    assert describe(Candidate(ID, {}, 0, ratio=RATIO)) == "012345 fast enough 2.0x"
    assert describe(trained) == "012345 rung 2 2.0x fid 30.0"
    trained.outcome = "complete"
    assert describe(trained) == "012345 complete 2.0x fid 30.0"
