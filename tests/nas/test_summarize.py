"""The verdict and the notes, from records written by hand; the whole summary is looked at in test_stages."""

import copy
import shlex
from pathlib import Path
from typing import Any

import pytest

from nas.candidate import NOT_TRAINED
from nas.experiment import Experiment
from nas.folder import RunFolder
from nas.summarize import summarize_run
from reports.summary import parse


def experiment(**sections: Any) -> Experiment:
    return Experiment.model_validate({"name": "x", "data": "mnist-5k", **sections})


@pytest.fixture
def summarize(tmp_path, monkeypatch, quality):
    """Summarize a folder that holds the given records."""
    monkeypatch.setattr("nas.summarize.model_of", lambda *_: {"id": "x"})
    monkeypatch.setattr("nas.summarize.final_of", lambda *_: {"id": "y"})

    def do(one: Experiment, path: Path = tmp_path / "run", **records: dict[str, Any]) -> dict[str, Any]:
        folder = RunFolder.create(path, one)
        for stage, record in records.items():
            folder.finish(stage, record)
        summary = summarize_run(one, folder, "leangen run x.yaml", 10)
        parse(summary)
        return summary

    return do


@pytest.fixture
def reference(quality) -> dict[str, Any]:
    point = {"step": 10, "value": 5.0, "standard_error": 0.1, "complaint": None}
    return {"median_ms": 2.0, "quality_seen": quality(5.0), "curve": [point]}


def candidate(name: str, outcome: str, ratio: float | None = None, error: str | None = None) -> dict[str, Any]:
    found = ratio and {"value": ratio, "ci95": [ratio, ratio], "precision": "fp32"}
    return {
        "id": name, "genotype": {"width": 8}, "trial": 0, "outcome": outcome, "ratio": found, "rungs": [],
        "seconds": 1.0, "error": error, "dominated_by": None,
    }  # fmt: skip


def search(*rows: dict[str, Any]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["outcome"]] = counts.get(row["outcome"], 0) + 1
    return {"rows": list(rows), "counts": counts}


def test_nothing_yet(summarize):
    summary = summarize(experiment())
    assert summary["verdict"] is None
    assert all(summary[key] is None for key in ("reference", "final", "search", "steps"))


def test_no_verdict_while_stages_are_missing(summarize, reference):
    found = summarize(experiment(), reference=reference, candidates=search(candidate("a", "complete", 0.1)))
    assert found["verdict"] is None
    assert found["search"] == {
        "trials": 1, "complete": 1, "infeasible": 0, "dominated": 0, "failed": 0, "duplicate": 0, "unreached": 0,
        "space_size": 10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "missed"),
    [
        ({"min_speedup": 4}, ["target.min_speedup"]),
        ({"max_latency_ms": 0.9}, ["target.max_latency_ms"]),
        ({"min_speedup": 4, "max_latency_ms": 0.9}, ["target.min_speedup", "target.max_latency_ms"]),
        ({"min_speedup": 1.5, "max_latency_ms": 0.9}, ["target.max_latency_ms"]),
        ({"min_speedup": 4, "max_latency_ms": 1.1}, ["target.min_speedup"]),
    ],
)
def test_an_early_no_names_the_limits_that_the_fastest_missed(summarize, reference, target, missed):
    """The fastest takes half of the reference's 2 ms: 2x, and 1 ms."""
    rows = search(candidate("a", "infeasible", 0.7), candidate("b", "infeasible", 0.5))
    summary = summarize(experiment(target=target), reference=reference, candidates=rows)
    assert summary["verdict"] == {"met": False, "missed": missed}
    (note,) = summary["notes"]
    assert "the fastest of 2 measured was 2.0x" in note
    assert " or ".join(missed) in note


def test_a_search_where_everything_failed_says_why(summarize, reference):
    rows = search(candidate("a", "failed", error="TrainingError: diverged"), candidate("b", "failed", error="x"))
    summary = summarize(experiment(), reference=reference, candidates=rows)
    assert summary["verdict"] == {"met": False, "missed": ["search.trials"]}
    assert summary["notes"] == ["2 candidates failed; the first: TrainingError: diverged"]


def test_where_some_were_fast_enough_and_none_could_be_trained_the_limit_is_not_blamed(summarize, reference):
    rows = search(candidate("a", "failed", 0.4, "boom"), candidate("b", "infeasible", 0.7))
    summary = summarize(experiment(target={"min_speedup": 2.0}), reference=reference, candidates=rows)
    assert summary["verdict"] == {"met": False, "missed": ["search.trials"]}


def test_a_collapsed_reference_is_named(summarize, reference):
    reference["curve"][-1]["complaint"] = "collapsed: all pictures are alike"
    summary = summarize(experiment(), reference=reference)
    (note,) = summary["notes"]
    assert "reference collapsed: all pictures are alike" in note
    assert summary["verdict"] == {"met": False, "missed": ["reference.steps"]}  # nothing is trained on top of it


@pytest.fixture
def final(quality) -> dict[str, Any]:
    """Twice as fast at 1 ms, FID 6 against 5: 1 worse, at most 1.5."""

    def row(who: str, artifact: str, batch: int, median: float) -> dict[str, Any]:
        return {
            "who": who, "artifact": artifact, "precision": "fp32", "runtime": "onnxruntime", "batch": batch,
            "threads": 1, "median_ms": median, "ci95_ms": [median, median], "p95_ms": median, "peak_mib": None,
            "ratio": None,
        }  # fmt: skip

    difference = {"value": 1.0, "ci95": [0.5, 1.5]}
    return {
        "shipped": "export/model.onnx", "parity": [], "operators": {}, "tensorrt": None,
        "latency": {
            "rows": [row("reference", "r.onnx", 1, 2.0), row("final", "export/model.onnx", 1, 1.0)],
            "speedup": {"1": {"value": 2.0, "ci95": [1.9, 2.1]}}, "speedup_vs_eager": {},
        },
        "quality": {
            "scores": {"reference": quality(5.0), "final": quality(6.0)},
            "differences": {"final": {"reference": difference, "baseline": {"value": -1.0, "ci95": [-2.0, -0.5]}}},
            "floor": quality(1.0), "blank": quality(500.0),
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "missed"),
    [
        ({"quality": {"budget": "fid<=+1.5"}}, []),
        ({"quality": {"budget": "fid<=+1.4"}}, ["quality.budget"]),  # the worse end of the interval counts
        ({"target": {"min_speedup": 2.0, "max_latency_ms": 1.0}}, []),
        ({"target": {"min_speedup": 2.1}}, ["target.min_speedup"]),
        ({"target": {"max_latency_ms": 0.9}}, ["target.max_latency_ms"]),
        (
            {"quality": {"budget": "fid<=+1"}, "target": {"min_speedup": 3, "max_latency_ms": 0.5}},
            ["quality.budget", "target.min_speedup", "target.max_latency_ms"],
        ),
    ],
)
def test_the_verdict_is_held_outs(summarize, reference, final, sections, missed):
    summary = summarize(
        experiment(**sections), reference=reference, candidates=search(candidate("a", "complete", 0.5)), export=final
    )
    assert summary["verdict"] == {"met": not missed, "missed": missed}


def test_notes_say_where_the_baseline_is_not_beaten_or_not_alike(summarize, reference, final):
    baseline = {"ratio_to_shipped": {"value": 1.05}}
    rows = search(candidate("a", "complete", 0.5))
    given = {"reference": reference, "candidates": rows}
    assert summarize(experiment(), **given, baseline=baseline, export=final)["notes"] == []
    other = copy.deepcopy(final)
    other["quality"]["differences"]["final"]["baseline"] = {"value": -1.0, "ci95": [-2.0, 0.1]}
    unlike = {"ratio_to_shipped": {"value": 1.3}, "match": {"ratio": 1.32, "fits": False}}
    notes = summarize(experiment(), **given, baseline=unlike, export=other)["notes"]
    assert len(notes) == 2
    assert notes[0] == (
        "The baseline takes 1.30 of the shipped file's time; "
        "none of the widths that were tried is closer without being faster."
    )
    assert "not better than the narrowed baseline" in notes[1]


def test_widths_are_not_blamed_for_a_clock_that_changed_its_mind(summarize, reference, final):
    baseline = {"ratio_to_shipped": {"value": 1.3}, "match": {"ratio": 1.08, "fits": True}}
    rows = search(candidate("a", "complete", 0.5))
    summary = summarize(experiment(), reference=reference, candidates=rows, baseline=baseline, export=final)
    assert summary["notes"] == [
        "The baseline takes 1.30 of the shipped file's time; it took 1.08 of it when it was matched."
    ]


def test_a_result_that_recovered_from_pruning_was_trained_longer_than_the_baseline(summarize, reference, final):
    def step(name: str, kept: bool, **settings: Any) -> dict[str, Any]:
        return {"name": name, "kept": kept, "reason": "", "ratio": None, "difference": None, "settings": settings}

    quantized, refused = step("quantize", True, per_channel=False), step("prune 50%", False, ratio=0.5)
    given = {"reference": reference, "candidates": search(candidate("a", "complete", 0.5)), "export": final}
    one = experiment(compress={"recover": 2500}, search={"final_adversarial": 600, "final_match": 100})
    assert summarize(one, **given, compressed={"steps": [refused, quantized]})["notes"] == []
    pruned = step("prune 25%", True, ratio=0.25)
    (note,) = summarize(one, **given, compressed={"steps": [pruned, quantized]})["notes"]
    assert "1 x (4,000 steps of distillation and 700 of fine-tuning)" in note


def test_what_was_measured_and_not_trained_is_no_failure_to_explain(summarize, reference):
    rows = search(
        candidate("a", "failed", 0.4, NOT_TRAINED), candidate("b", "failed", 0.3, NOT_TRAINED),
        candidate("c", "failed", 0.2, "boom"), candidate("d", "complete", 0.5),
    )  # fmt: skip
    assert summarize(experiment(), reference=reference, candidates=rows)["notes"] == [
        "1 candidates failed; the first: boom",
        "2 more candidates were measured and not trained: search.minutes or search.trials were used up before their "
        "turn.",
    ]


@pytest.mark.parametrize(
    ("low", "missed", "notes"),
    [
        (-0.009, [], []),
        (-0.011, ["quality.budget"], ["Of the budgets, accuracy>=-1pt was missed on `held_out`."]),
        (None, ["quality.budget"], ["Of the budgets, accuracy>=-1pt was missed on `held_out`."]),
    ],
)
def test_all_budgets_must_hold(summarize, reference, final, quality, low, missed, notes):
    """FID is inside; accuracy has an interval that ends in or outside of its own, or no value at all."""
    one = experiment(quality={"budget": ["fid<=+1.5", "accuracy>=-1pt"]})
    if low is not None:
        score = {**quality(0.95), "metric": "accuracy", "extractor": "labeller"}
        final["quality"]["metrics"] = {who: {"accuracy": score} for who in ("reference", "final")}
        difference = {"value": -0.005, "ci95": [low, 0.0]}
        final["quality"]["metric_differences"] = {"final": {"reference": {"accuracy": difference}}}
    found = summarize(one, reference=reference, export=final)
    assert found["verdict"] == {"met": not missed, "missed": missed}
    assert [note for note in found["notes"] if "budget" in note] == notes
    assert found["budget"] == "fid<=+1.5, accuracy>=-1pt"


def test_commands_can_be_pasted_into_a_shell(summarize, reference, final, tmp_path):
    """Folders with spaces and quotes too; each batch with the file that is the reference's fastest there."""
    one, folder = experiment(), tmp_path / "it's my run"
    slower = {**final["latency"]["rows"][0], "batch": 32, "threads": 2, "median_ms": 40.0}
    final["latency"]["rows"] += [slower, {**slower, "artifact": "r.int8.onnx", "median_ms": 30.0}]
    summary = summarize(one, folder, reference=reference, export=final)
    words = [shlex.split(row["command"]) for row in summary["commands"]]
    assert words == [
        ["leangen", "run", "x.yaml", "--out", f"{folder}-again"],
        ["leangen", "bench", "compare", f"{folder}/r.onnx", f"{folder}/export/model.onnx"],
        [
            "leangen",
            "bench",
            "compare",
            f"{folder}/r.int8.onnx",
            f"{folder}/export/model.onnx",
            "--batch",
            "32",
            "--threads",
            "2",
        ],
        ["leangen", "score", f"{folder}/reference/model.onnx", "--run", str(folder)],
        ["leangen", "score", f"{folder}/export/model.onnx", "--run", str(folder)],
        ["leangen", "sample", f"{folder}/export/model.onnx", "--n", "64", "--seed", "0", "--out", "grid.png"],
        ["leangen", "report", str(folder)],
    ]
