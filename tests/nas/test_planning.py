"""The plan: what its numbers follow from; the seconds of a step are given here."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nas import planning
from nas.errors import NasError
from nas.experiment import Experiment
from nas.planning import estimate
from nas.stages import STAGES
from search_spaces.space import ImageShape

STEP_S = {
    "adversarial": 0.1,
    "observe": 0.05,
    "distill": 0.01,
    "features": 0.03,
    "finetune": 0.02,
    "match": 0.04,
}


def plan_of(
    monkeypatch: pytest.MonkeyPatch, quality: dict[str, object] | None = None, **search: object
) -> dict[str, dict[str, float]]:
    monkeypatch.setattr(planning, "_step_seconds", lambda *_: STEP_S)
    experiment = Experiment.model_validate(
        {
            "data": "mnist-5k",
            "reference": {"steps": 1200, "observer": 100},
            "quality": quality or {},
            "search": {"trials": 10, "minutes": 5, "rungs": [100, 300], "workers": 2, "finalists": 3,
                       "final_distill": 3000, "final_features": 200, "final_adversarial": 600, "final_match": 100,
                       **search},
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
    assert rows["reference"]["minutes"] == pytest.approx((1200 * 0.1 + 100 * 0.05) / 2 / 60)
    assert rows["search"]["minutes"] == pytest.approx(10 * 300 * 0.01 / 2 / 60)
    # Three finalists on two workers are two rounds of 3000 * 0.01 + 200 * 0.03 + 600 * 0.02 + 100 * 0.04 seconds.
    assert rows["finalists"]["minutes"] == pytest.approx(2 * 52 / 60)


def test_a_search_takes_no_longer_than_its_minutes(monkeypatch):
    assert plan_of(monkeypatch, trials=100_000)["search"]["minutes"] == 5


def slow_extractor(path: Path) -> Path:
    """An ONNX file whose convolutions of 224 x 224 pixels take milliseconds a picture."""
    layers = nn.Sequential(nn.Conv2d(3, 64, 5, padding=2), nn.Conv2d(64, 16, 5, padding=2), nn.AdaptiveAvgPool2d(1))
    pixels = torch.zeros(2, 3, 224, 224)
    dynamic = {"pixels": {0: "n"}, "features": {0: "n"}}
    torch.onnx.export(
        layers.eval(), (pixels,), path, dynamo=False, input_names=["pixels"], output_names=["features"],
        dynamic_axes=dynamic,
    )  # fmt: skip
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_extractor_for_photographs_is_counted(monkeypatch, tmp_path):
    path = slow_extractor(tmp_path / "slow.onnx")
    seconds = planning._picture_seconds(str(path), ImageShape(1, 32, 32))
    assert 1e-3 < seconds < 10
    monkeypatch.setattr(planning, "_picture_seconds", lambda name, _: 0.0 if name == "classifier" else 0.01)
    samples = {"samples": 1000}
    quick, slow = plan_of(monkeypatch, samples), plan_of(monkeypatch, {**samples, "extractor": str(path)}, minutes=60)
    also = plan_of(monkeypatch, {**samples, "also": [str(path)]})
    # Of 5,000 digits 4,000 are seen. The points of the curve and a last score, by two judges.
    points = Experiment.model_validate({"data": "mnist-5k"}).reference.evaluations
    more = {stage: 60 * (slow[stage]["minutes"] - quick[stage]["minutes"]) for stage in STAGES}
    assert more["reference"] == pytest.approx(0.01 * ((points + 1) * 1000 + 2 * 4000))
    assert more["search"] == pytest.approx(0.01 * (10 * 2 * 1000 / 2 + 4000))
    assert more["finalists"] == pytest.approx(0.01 * (4 * 1000 + 4000))
    assert more["export"] == pytest.approx(0.01 * (3 * 1000 + 1000))
    assert 60 * (also["export"]["minutes"] - quick["export"]["minutes"]) == pytest.approx(0.01 * 4000 / 2)
    assert also["search"] == quick["search"]


def test_steps_are_really_timed():
    experiment = Experiment.model_validate({"data": "mnist-5k", "reference": {"width": 8, "steps": 1000}})
    rows = {row["stage"]: row for row in estimate(experiment)}
    assert 0 < rows["reference"]["minutes"] < 30
    assert 0 < rows["finalists"]["minutes"] < 60


def test_what_a_run_would_refuse_is_refused_by_its_plan():
    experiment = Experiment.model_validate({"data": {"folder": "no/such/folder"}})
    with pytest.raises(NasError, match=r"data\.folder must be a folder; found nothing"):
        estimate(experiment)
