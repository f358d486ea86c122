"""Tables, cell by cell."""

from reports import views
from reports.summary import parse

BASE = {"schema": 1, "command": "c", "family": "gan"}


def test_generators(run):
    assert views.generators_table(run).rows == (
        ("reference", "8.1 ± 0.2", "–", "1.07 M", "17.4 M", "4.18 MB", "–"),
        ("baseline", "19.6 ± 0.2", "–", "75.1 k", "710 k", "301 kB", "baseline/model.onnx"),
        ("result", "8.9 ± 0.2", "+0.8 [0.2, 1.4]", "261 k", "3.05 M", "288 kB", "export/model.int8.onnx"),
    )


def test_latency_marks_the_fastest_file_of_the_result(run):
    table = views.latency_table(run, 32)
    assert views.latency_batches(run) == [1, 32]
    assert views.latency_title(run, 32) == "Batch 32, 1 thread"
    assert table.rows[0] == (
        "reference",
        "fp32",
        "onnxruntime",
        "8.48",
        "8.40–8.58",
        "9.16",
        "1.00 [0.98, 1.01]",
        "1.00×",
        "61.0",
    )
    assert [table.rows[index][:3] for index in table.strong] == [("result", "int8", "onnxruntime")]


def test_steps_tell_kept_and_refused_with_reason(run):
    rows = views.steps_table(run).rows
    assert [row[:2] for row in rows] == [("prune", "refused"), ("quantize", "kept"), ("quantize", "refused")]
    assert rows[1][2:5] == ("0.497 [0.492, 0.502]", "+0.8 [0.2, 1.4]", "2.0 times faster, quality inside the budget")


def test_outcomes_add_up(run):
    rows = views.outcomes_table(run).rows
    assert sum(int(row[1]) for row in rows[:-1]) == int(rows[-1][1]) == 44


def test_the_winner_has_a_star(run):
    table = views.finalists_table(run)
    assert [row[0][0] == "★" for row in table.rows] == [False, True, False]
    assert table.strong == {1}


def test_long_lists_of_candidates_are_cut():
    score = {"metric": "fid", "extractor": "a", "n": 1, "value": 5.0}
    trials = [
        {"id": str(i), "genotype": {}, "outcome": "complete", "quality": score | {"value": 200.0 - i}}
        for i in range(150)
    ]
    run = parse(BASE | {"candidates": trials})
    assert len(views.evaluated_candidates(run)) == 150
    assert len(views.candidates_table(run).rows) == views.MAX_CANDIDATES
    assert views.candidates_table(run).rows[0][0] == "149"


def test_machine_facts_in_words():
    machine = {"cpu": "Zen 5", "flags": ["avx2", "vnni"], "gpu": None, "turbo": True, "threads": {"torch": 1}}
    assert views.machine_table(parse(BASE | {"machine": machine})).rows == (
        ("cpu", "Zen 5"),
        ("flags", "avx2, vnni"),
        ("gpu", "–"),
        ("turbo", "yes"),
        ("threads", "torch: 1"),
    )


def test_operators_most_frequent_first():
    run = parse(BASE | {"operators": {"export/model.onnx": {"Tanh fp32": 1, "Conv fp32": 3, "Add fp32": 1}}})
    assert views.operators_table(run).rows == (("export/model.onnx", "3 × Conv fp32, 1 × Add fp32, 1 × Tanh fp32"),)


def test_a_plan_that_failed_is_said():
    tensorrt = {"built": True, "plans": {"fp32": {"file": "export/a.plan", "bytes": 2000}, "int8": None}}
    assert views.tensorrt_table(parse(BASE | {"tensorrt": tensorrt})).rows == (
        ("fp32", "export/a.plan", "2 kB", "–", "–"),
        ("int8", "not built", "–", "–", "–"),
    )


def test_a_run_that_reached_nothing_has_no_tables():
    run = parse(BASE)
    made = [
        getattr(views, name)(run)
        for name in vars(views)
        if name.endswith("_table") and name not in ("_table", "latency_table", "files_table")
    ]
    assert made
    assert not any(made)
    assert views.tiles(run) == []


def test_tiles(run):
    assert [(tile.label, tile.value) for tile in views.tiles(run)] == [
        ("speed-up at batch 1", "9.3×"),
        ("speed-up at batch 32", "17.0×"),
        ("FID from 8.1", "8.9"),
        ("file from 4.18 MB", "288 kB"),
        ("trials", "44"),
    ]


def test_files_are_those_that_are_there(run, early_no):
    assert "export/latency.csv" in [row[0] for row in views.files_table(run).rows]
    assert [row[0] for row in views.files_table(early_no).rows] == ["summary.json"]
