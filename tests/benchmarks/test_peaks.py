"""Roofs: that they are measured on what they name, and which of them holds for what size."""

import pytest

from benchmarks import peaks
from benchmarks.peaks import Line, Peaks, Rate, last_cache_bytes, measure_peaks
from benchmarks.records import Estimate
from benchmarks.runtimes.onnx import optimised_operators


def rate(value: float) -> Rate:
    return Rate(Estimate(value, (value, value), 9), "made up")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(peaks, "MATMULS", ((64, 64, 64), (128, 128, 128)))
    monkeypatch.setattr(peaks, "CONVS", ((32, 8),))
    monkeypatch.setattr(peaks, "CACHED_BYTES", (3 * 2**15,))
    monkeypatch.setattr(peaks, "MEMORY_LIMITS", (12 * 2**20, 12 * 2**20))


def test_measured(small):
    found = measure_peaks(seconds=0.2)
    assert set(found.macs) == {"float32", "int8"}
    assert list(found.bandwidth) == [3 * 2**15, 12 * 2**20]
    for one in (*found.macs.values(), *found.bandwidth.values()):
        low, high = one.per_second.ci95
        assert 1e8 < low <= one.per_second.value <= high < 1e14
    assert 0 < found.start_s.at(2) < 1e-3
    record = found.to_json()
    assert record["threads"] == 1
    assert record["macs_per_second"]["int8"]["graph"].endswith("int8")


def test_int8_graphs_run_in_int8():
    """All that they multiply; the conversions around it are fused away."""
    for graph in peaks._products("int8"):
        ran = optimised_operators(graph.model)
        assert {operator for operator, dtype in ran if dtype == "uint8"} >= {f"QLinear{graph.name.split()[0]}"}
        assert not {"QuantizeLinear", "DequantizeLinear"} & {operator for operator, _ in ran}


def test_work_of_the_graphs():
    """256 * 1024 * 256 products; 16 * 16 * 256 outputs of 9 * 256 products; three arrays of four bytes a number."""
    work = {graph.name: graph.work for graph in peaks._products("float32")}
    assert work["MatMul 256x1024x256 float32"] == 256 * 1024 * 256
    assert work["Conv 3x3 256 channels 16x16 float32"] == 16 * 16 * 256 * 9 * 256
    assert peaks._addition(1200).work == 1200


def test_bandwidth_is_the_best_of_arrays_that_are_no_smaller():
    found = Peaks(1, {}, {100: rate(8.0), 1000: rate(9.0), 10_000: rate(2.0)}, 0.0, Line(0, 0), Line(0, 0))
    assert [found.bandwidth_for(size) for size in (1, 100, 500, 5000, 10**6)] == [9.0, 9.0, 9.0, 2.0, 2.0]


def test_line():
    assert Line(1.0, 0.5).at(2) == 1.0
    assert Line(1.0, 0.5).at(4) == 2.0
    assert Line(1.0, -1.0).at(9) == 0.0


def test_cache_size(tmp_path):
    for index, size in enumerate(("48K", "32K", "32M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(size + "\n")
    assert last_cache_bytes(tmp_path) == 32 * 2**20
    assert last_cache_bytes(tmp_path / "none") == 0
