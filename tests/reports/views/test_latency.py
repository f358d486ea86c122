"""The latency table and what limits the files, cell by cell."""

from reports.finished import Roofline
from reports.page import render_page
from reports.tables import report_markdown
from reports.views import latency


def test_latency_marks_the_fastest_file_of_the_result(run):
    table = latency.latency_table(run, 32)
    assert latency.latency_batches(run) == [1, 32]
    assert latency.latency_title(run, 32) == "Batch 32, 1 thread"
    assert table.rows[0] == (
        "reference", "fp32, onnxruntime", "8.48 [8.40, 8.58]", "9.16", "1.00× [0.99, 1.02]", "61.0"
    )  # fmt: skip
    assert [table.rows[index][:2] for index in table.strong] == [("result", "int8, onnxruntime")]


def test_what_limits_a_file(run):
    (file,) = latency.roofline_files(run)
    assert latency.roofline_title(file) == "What limits the result: export/model.int8.onnx, batch 1"
    table = latency.roofline_table(file)
    assert table.rows == (
        ("ConvTranspose", "fp32", "3", "60.0", "60 %", "2 M", "512 kB", "33.3", "33 %", "kernel"),
        ("Einsum", "int8", "1", "30.0", "30 %", "–", "–", "–", "–", "unknown"),
        ("outside operators", "", "", "10.0", "10 %", "", "", "", "", ""),
    )
    assert latency.roofline_text(file) == (
        "0.100 ms. 33 % of its operators' time is int8; the rest is ConvTranspose 67 %. "
        "60 % of the time in ConvTranspose (fp32, 3 nodes), which has no int8 kernel."
    )
    assert "fp32 100 GMAC/s, int8 400 GMAC/s; moved in arrays of 393 kB 80.0 GB/s" in latency.peaks_text(run)


def test_a_run_from_before_rooflines_shows_none(run):
    older = run.model_copy(update={"roofline": None})
    assert latency.roofline_files(older) == ()
    assert latency.peaks_text(older) == ""
    assert "What limits" not in report_markdown(older)
    assert "What limits the result" not in render_page(older)


def test_a_roofline_that_was_not_measured_says_why(run):
    without = run.model_copy(update={"roofline": Roofline(threads=1, reason="no such kernel")})
    assert "was not measured: no such kernel" in report_markdown(without)


def test_the_report_shows_what_limits_the_result(run):
    assert "What limits the result" in render_page(run)
    text = report_markdown(run)
    assert "## What limits the result: export/model.int8.onnx, batch 1" in text
    assert "| ConvTranspose | fp32 | 3 | 60.0 | 60 % | 2 M | 512 kB | 33.3 | 33 % | kernel |" in text
