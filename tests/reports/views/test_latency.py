"""The latency table, cell by cell."""

from reports.views import latency


def test_latency_marks_the_fastest_file_of_the_result(run):
    table = latency.latency_table(run, 32)
    assert latency.latency_batches(run) == [1, 32]
    assert latency.latency_title(run, 32) == "Batch 32, 1 thread"
    assert table.rows[0] == (
        "reference", "fp32, onnxruntime", "8.48 [8.40, 8.58]", "9.16", "1.00× [0.99, 1.02]", "61.0"
    )  # fmt: skip
    assert [table.rows[index][:2] for index in table.strong] == [("result", "int8, onnxruntime")]
