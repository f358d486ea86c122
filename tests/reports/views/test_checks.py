"""Tables behind the numbers, cell by cell."""

from reports.summary import parse
from reports.views import checks

BASE = {"schema": 1, "command": "c", "family": "gan"}


def test_steps_tell_kept_and_refused_with_reason(run):
    rows = checks.steps_table(run).rows
    assert [row[:2] for row in rows] == [("prune", "refused"), ("quantize", "kept"), ("quantize", "refused")]
    assert rows[1][2:5] == ("0.497 [0.492, 0.502]", "+0.8 [0.2, 1.4]", "2.0 times faster, quality inside the budget")


def test_what_could_be_taken_instead(run):
    rows = checks.variants_table(run).rows
    assert [row[:3] for row in rows] == [
        ("fastest", "quantize", "0.497 [0.492, 0.502]"),
        ("smallest, best quality", "quantize", "–"),
    ]
    assert rows[1][3:] == ("94 kB", "fid 8.90 (+0.7 [0.1, 1.3])", "compressed/03-quantize/model.int8.onnx")


def test_one_file_is_no_choice(run):
    alone = run.model_copy(update={"variants": run.variants[:1]})
    assert checks.variants_table(alone) is None
    assert checks.variants_table(run.model_copy(update={"variants": None})) is None


def test_machine_facts_in_words():
    machine = {"cpu": "Zen 5", "flags": ["avx2", "vnni"], "gpu": None, "turbo": True, "threads": {"torch": 1}}
    assert checks.machine_table(parse(BASE | {"machine": machine})).rows == (
        ("cpu", "Zen 5"),
        ("flags", "avx2, vnni"),
        ("gpu", "–"),
        ("turbo", "yes"),
        ("threads", "torch: 1"),
    )


def test_operators_most_frequent_first():
    run = parse(BASE | {"operators": {"export/model.onnx": {"Tanh fp32": 1, "Conv fp32": 3, "Add fp32": 1}}})
    assert checks.operators_table(run).rows == (("export/model.onnx", "3 × Conv fp32, 1 × Add fp32, 1 × Tanh fp32"),)


def test_a_plan_that_failed_is_said():
    tensorrt = {"built": True, "plans": {"fp32": {"file": "export/a.plan", "bytes": 2000}, "int8": None}}
    assert checks.tensorrt_table(parse(BASE | {"tensorrt": tensorrt})).rows == (
        ("fp32", "export/a.plan", "2 kB", "–", "–"),
        ("int8", "not built", "–", "–", "–"),
    )


def test_files_are_those_that_are_there(run, early_no):
    assert "export/latency.csv" in [row[0] for row in checks.files_table(run).rows]
    assert [row[0] for row in checks.files_table(early_no).rows] == ["summary.json"]
