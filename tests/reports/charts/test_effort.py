"""Where the time went."""

import pytest

from reports.charts.effort import stacks
from reports.summary import parse

BASE = {"schema": 1, "command": "c", "family": "gan"}


def test_what_no_stage_took_is_told_apart():
    (stack,) = stacks(parse(BASE | {"seconds": {"reference": 30.0, "search": 50.0, "total": 100.0}}))
    assert [(part.name, part.width, part.text) for part in stack.parts] == [
        ("reference", 30.0, "30.0 s"), ("search", 50.0, "50.0 s"), ("data and report", 20.0, "20.0 s"),
    ]  # fmt: skip
    assert stack.total == "1 min 40 s"


def test_workers_by_how_trials_ended_with_the_unreached_apart():
    trial = {"id": "a", "genotype": {}, "outcome": "failed"}
    trials = [trial | {"seconds": 6.0}, trial | {"seconds": 2.0, "unreached": True}, trial | {"outcome": "complete"}]
    (stack,) = stacks(parse(BASE | {"candidates": trials}))
    assert [(part.kind, part.name, part.width) for part in stack.parts] == [
        ("failed", "failed", 75.0), ("unreached", "not reached", 25.0),
    ]  # fmt: skip


def test_parts_fill_their_bar(run):
    for stack in stacks(run):
        assert sum(part.width for part in stack.parts) == pytest.approx(100, abs=0.1)


def test_nothing_known_draws_nothing():
    assert stacks(parse(BASE)) == ()
