"""The plan: what its numbers follow from; the seconds of a step are given here."""

import pytest

from nas import planning
from nas.errors import NasError
from nas.experiment import Experiment
from nas.planning import estimate
from nas.stages import STAGES


def plan_of(monkeypatch: pytest.MonkeyPatch, **search: object) -> dict[str, dict[str, float]]:
    monkeypatch.setattr(planning, "_step_seconds", lambda *_: (0.1, 0.01, 0.02))
    experiment = Experiment.model_validate(
        {
            "data": "mnist-5k",
            "reference": {"steps": 1200},
            "search": {"trials": 10, "minutes": 5, "rungs": [100, 300], "workers": 2, "finalists": 3,
                       "final_distill": 3000, "final_adversarial": 600, **search},
        }
    )  # fmt: skip
    return {row["stage"]: row for row in estimate(experiment)}


def test_rows_are_the_stages_in_order(monkeypatch):
    rows = plan_of(monkeypatch)
    assert tuple(rows) == STAGES
    assert all(row["minutes"] >= 0 and row["disk_mb"] > 0 and row["memory_mb"] > 0 for row in rows.values())
    assert all(row["memory_mb"] < 2 * 1024**3 / 1e6 for row in rows.values())


def test_minutes_follow_from_steps(monkeypatch):
    rows = plan_of(monkeypatch)
    assert rows["reference"]["minutes"] == pytest.approx(1200 * 0.1 / 2 / 60)
    assert rows["search"]["minutes"] == pytest.approx(10 * 300 * 0.01 / 2 / 60)
    # Three finalists on two workers are two rounds of 3000 * 0.01 + 600 * 0.02 seconds.
    assert rows["finalists"]["minutes"] == pytest.approx(2 * 42 / 60)


def test_a_search_takes_no_longer_than_its_minutes(monkeypatch):
    assert plan_of(monkeypatch, trials=100_000)["search"]["minutes"] == 5


def test_steps_are_really_timed():
    experiment = Experiment.model_validate({"data": "mnist-5k", "reference": {"width": 8, "steps": 1000}})
    rows = {row["stage"]: row for row in estimate(experiment)}
    assert 0 < rows["reference"]["minutes"] < 30
    assert 0 < rows["finalists"]["minutes"] < 60


def test_what_a_run_would_refuse_is_refused_by_its_plan():
    experiment = Experiment.model_validate({"data": {"folder": "no/such/folder"}})
    with pytest.raises(NasError, match=r"data\.folder must be a folder; found nothing"):
        estimate(experiment)
