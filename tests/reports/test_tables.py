"""CSV and Markdown, to the letter."""

import re
import subprocess
import sys

import pytest

from reports.summary import parse
from reports.tables import escape_markdown, latency_csv, markdown_code, markdown_table, report_markdown
from reports.views.table import Table

BASE = {"schema": 1, "command": "leangen run a.yaml", "family": "gan"}
HEADER = (
    "who,artifact,precision,runtime,batch,threads,median_ms,ci95_low_ms,ci95_high_ms,p95_ms,peak_mib,"
    "quantile_01_ms,quantile_25_ms,quantile_75_ms,quantile_99_ms,ratio,ratio_low,ratio_high"
)


def test_csv():
    row = {
        "who": "final",
        "artifact": "export/model.int8.onnx",
        "precision": "int8",
        "runtime": "onnxruntime",
        "batch": 32,
        "threads": 1,
        "median_ms": 0.5,
        "ci95_ms": [0.49, 0.51],
        "p95_ms": 0.6,
        "peak_mib": 61.5,
        "quantiles_ms": {"1": 0.4, "25": 0.45, "75": 0.55, "99": 0.7},
        "ratio": {"value": 0.0625, "ci95": [0.06, 0.065]},
    }
    unknown = dict.fromkeys(("artifact", "peak_mib", "ratio", "quantiles_ms"))
    eager = row | {"who": "reference", "runtime": "torch eager", **unknown}
    assert latency_csv(parse(BASE | {"latency": [row, eager]})) == (
        f"{HEADER}\n"
        "final,export/model.int8.onnx,int8,onnxruntime,32,1,0.5,0.49,0.51,0.6,61.5,0.4,0.45,0.55,0.7,0.0625,0.06,0.065\n"
        "reference,,int8,torch eager,32,1,0.5,0.49,0.51,0.6,,,,,,,,\n"
    )


def test_csv_of_nothing_is_its_header():
    assert latency_csv(parse(BASE)) == HEADER + "\n"


def test_table():
    table = Table(
        ("step", "ratio"), (("prune", "0.5 [0.4, 0.6]"), ("a|b", "–")), frozenset({"ratio"}), strong=frozenset({0})
    )
    assert markdown_table(table) == (
        "| step | ratio |\n| --- | ---: |\n| **prune** | **0.5 [0.4, 0.6]** |\n| a\\|b | – |"
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("fid<=+10%|+2", "fid<=+10%|+2"),
        ("<script>", r"\<script>"),
        ("[a](b)", r"\[a\](b)"),
        ("[1](b)", r"\[1\](b)"),
        ("min_speedup", "min_speedup"),
        ("_a_ *b* `c`", r"\_a\_ \*b\* \`c\`"),
        ("- item\n# head", r"\- item # head"),
        ("# head", r"\# head"),
        ("&lt;", r"\&lt;"),
        ("+0.8 [0.2, 1.4]", "+0.8 [0.2, 1.4]"),
    ],
)
def test_escape(text, escaped):
    assert escape_markdown(text) == escaped


def test_code_is_indented():
    assert markdown_code("a\n```\nb") == "    a\n    ```\n    b"


def test_report(run):
    text = report_markdown(run)
    lines = text.splitlines()
    assert lines[0] == "# mnist: yes"
    assert lines[2].startswith("9.3× faster at batch 1 (95 % interval 9.1–9.5) than the reference's own fastest file")
    assert (
        "| **result** | **int8, onnxruntime** | **0.0263 [0.0261, 0.0267]** | **0.0284** "
        "| **9.3× [9.2, 9.4]** | **61.0** |"
    ) in lines
    assert "| quantize | kept | 0.497 [0.492, 0.502] | +0.8 [0.2, 1.4] |" in text
    assert "    leangen run examples/mnist.yaml" in lines
    assert "the reference's fastest file at this batch; the reference is at its plateau" in text
    assert "\n\n\n" not in text
    assert [line[3:] for line in lines if line.startswith("## ")] == [
        "Generators",
        "Latency: Batch 1, 1 thread",
        "Latency: Batch 32, 1 thread",
        "What limits the result: export/model.int8.onnx, batch 1",
        "Search",
        "Finalists",
        "What each knob did",
        "Compression steps",
        "What could be taken instead",
        "Quality in full",
        "Classes",
        "Parity with torch",
        "Operators that really ran",
        "TensorRT",
        "Time",
        "Machine",
        "Do it again",
        "Files",
    ]


def test_tables_have_a_blank_line_before_and_equal_rows(run):
    for block in re.findall(r"(?:^\|.*\n)+", report_markdown(run), flags=re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1
    assert not re.search(r"^[^|\n].*\n\|", report_markdown(run), flags=re.M)


def test_report_of_an_early_no(early_no):
    start = "# gan: no\n\nNothing was shipped: target.min_speedup cannot be met. The fastest"
    assert report_markdown(early_no).startswith(start)


def test_report_of_nothing():
    assert "not reached its verdict" in report_markdown(parse(BASE))


def test_hostile_text_stays_text(data):
    data["name"] = "<script>alert(1)</script>\n# head"
    data["notes"] = ["| a | [x](javascript:1)"]
    text = report_markdown(parse(data))
    assert "# \\<script>alert(1)\\</script> # head: yes\n" in text
    assert r"\[x\](javascript:1)" in text


def test_neither_torch_nor_optuna_is_imported():
    code = "import sys, reports.tables, reports.schema; sys.exit(bool({'torch', 'optuna'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
