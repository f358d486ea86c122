"""What limits a model: hand-worked rows under made-up roofs, and big and small models under this machine's."""

import numpy as np
import pytest

from benchmarks import peaks as measured_peaks
from benchmarks.bottlenecks import amount, bottlenecks, headline
from benchmarks.nodes import NodeProfile, Tensor, settle
from benchmarks.operators import Work
from benchmarks.peaks import Line, Peaks, Rate, measure_peaks
from benchmarks.records import Estimate, Latency
from benchmarks.roofline import LIMITS, Roofline, Row, _limit, _row, roofline


def rate(value: float) -> Rate:
    return Rate(Estimate(value, (value, value), 9), "made up")


@pytest.fixture
def roofs() -> Peaks:
    """100 MACs a second in float32, 400 in int8; ten bytes a second from caches of 1000 bytes, two from memory."""
    macs = {"float32": rate(100.0), "int8": rate(400.0)}
    return Peaks(1, macs, {1000: rate(10.0), 100_000: rate(2.0)}, 0.5, Line(0.1, 0.05), Line(1.0, 0.0))


def profiled(operator: str, seconds: float) -> NodeProfile:
    tensor = Tensor("float32", (1,))
    return NodeProfile(operator.lower(), operator, (tensor,), (tensor,), seconds)


def test_row_under_the_lower_roof(roofs):
    """1000 MACs take 10 s; 60 bytes of weights, of 2000 in all, at 2 a second 30 s, and 50 of activations 5 s."""
    row = _row(profiled("Gemm", 70.0), Work("float32", 1000, 60, 50), roofs, 2000)
    assert (row.compute_s, row.memory_s, row.attainable_s) == (10.0, 35.0, 35.0)
    assert (row.fraction, row.of_peak, row.bound) == (0.5, pytest.approx(1 / 7), "memory")
    assert row.intensity == pytest.approx(1000 / 110)


def test_int8_has_its_own_roof(roofs):
    row = _row(profiled("QLinearConv", 10.0), Work("int8", 1000, 0, 0), roofs, 0)
    assert (row.compute_s, row.bound, row.int8) == (2.5, "compute", True)


@pytest.mark.parametrize(
    "work", [Work("float32", None, 10, 10), Work("float32", 5, None, None), Work("float16", 5, 1, 1)]
)
def test_what_cannot_be_counted_has_no_roof(roofs, work):
    row = _row(profiled("Einsum", 1.0), work, roofs, 10)
    assert (row.fraction, _limit(row, 1.0, 0.1)) == (None, "unknown")


@pytest.mark.parametrize(
    ("seconds", "start_s", "limit"),
    [
        (15.0, 0.1, "compute"),
        (21.0, 0.1, "kernel"),
        (15.0, 11.0, "compute"),
        (21.0, 11.0, "start"),
        (25.0, 11.0, "kernel"),
    ],
)
def test_limit(roofs, seconds, start_s, limit):
    """Ten seconds at the roof: near it up to twenty; starting it is the limit if that takes longer than its work."""
    row = _row(profiled("Conv", seconds), Work("float32", 1000, 0, 0), roofs, 0)
    assert _limit(row, seconds, start_s) == limit


def test_settle_takes_the_profilers_cost_off():
    """10 + 20 profiled, 3 each too much: the whole of 24 says so."""
    assert settle([10.0, 20.0], [2.0, 2.0], [0.0, 0.0], 24.0) == pytest.approx([7.0, 17.0], abs=1e-3)


def test_settle_takes_off_half_to_one_and_a_half_and_scales_the_rest():
    """9 and 4, then 7 and 2 are left."""
    assert settle([10.0, 5.0], [2.0, 2.0], [0.0, 0.0], 26.0) == pytest.approx([18.0, 8.0], abs=1e-3)
    assert settle([10.0, 5.0], [2.0, 2.0], [0.0, 0.0], 4.5) == pytest.approx([3.5, 1.0], abs=1e-3)
    assert settle([], [], [], 1.0) == []


def test_settle_leaves_what_the_roof_needs():
    assert settle([10.0, 3.0], [4.0, 4.0], [1.0, 2.0], 6.0) == pytest.approx([4.0, 2.0], abs=1e-3)


def made(roofs: Peaks) -> Roofline:
    """Two transposed convolutions (60 s) and a product in int8 (20 s) of 100 s."""
    rows = [
        _row(profiled("ConvTranspose", 30.0), Work("float32", 600, 0, 10), roofs, 0),
        _row(profiled("QGemm", 20.0), Work("int8", 4000, 100, 10), roofs, 100),
        _row(profiled("ConvTranspose", 30.0), Work("float32", 600, 0, 10), roofs, 0),
    ]
    latency = Latency(Estimate(100.0, (99.0, 101.0), 50), 110.0, 120.0, 0.0)
    return Roofline(roofs, 4, latency, tuple(rows))


def test_operators_together_the_longest_first(roofs):
    found = made(roofs)
    first, second = found.operators
    assert (first.operator, first.nodes, first.seconds, first.macs, first.fraction) == (
        "ConvTranspose", 2, 60.0, 1200, 0.2
    )  # fmt: skip
    assert (second.operator, second.int8) == ("QGemm", True)
    assert found.overhead_s == 20.0
    assert found.total is not None
    assert (found.total.macs, found.total.bytes, found.total.attainable_s) == (5200, 130, 6.0 + 6.0 + 11.0)
    record = found.to_json()
    assert [row["node"] for row in record["node_rows"]] == ["convtranspose", "qgemm", "convtranspose"]
    assert record["operators"][0]["share"] == pytest.approx(0.6)
    assert (record["fraction"], record["batch"]) == (pytest.approx(0.23), 4)
    assert "node_rows" not in found.to_json(nodes=False)


def test_sentences(roofs):
    first, second, last = bottlenecks(made(roofs))
    assert first == (
        "60 % of the time in ConvTranspose (fp32, 2 nodes), which has no int8 kernel; "
        "runs at 20 % of this core's fp32 peak"
    )
    assert second.startswith(
        "20 % of the time in QGemm (int8, 1 node); runs at 50 % of this core's int8 peak, and moves"
    )
    assert last.startswith("20 % of the time outside its operators")
    assert headline(made(roofs)).endswith("23 % of what this machine's roofs allow; bound by arithmetic")


def test_amount():
    assert [amount(value, "B") for value in (None, 0, 999, 1066880)] == ["–", "0 B", "999 B", "1.07 MB"]


@pytest.fixture(scope="module")
def machine():
    """This machine's roofs, by a large product and convolution and in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured_peaks, "MATMULS", ((256, 512, 256),))
        patch.setattr(measured_peaks, "CONVS", ())
        yield measure_peaks(seconds=1.0)


def test_a_big_product_comes_near_the_peak(machine, graph):
    """The peak is measured on such a product: the rest is noise, more of it the busier the machine is."""
    graph.weight("w", np.random.default_rng(0).normal(size=(512, 256)).astype(np.float32))
    graph.add("MatMul", ["x", "w"], "y")
    model = graph.build({"x": ("float32", ["n", 512])}, {"y": ("float32", ["n", 256])})
    found = roofline(model, {"x": np.ones((256, 512), np.float32)}, machine, seconds=0.5)
    (row,) = found.nodes
    assert row.macs == 256 * 512 * 256
    assert row.fraction is not None
    assert 0.3 < row.fraction < 1.3
    assert row.limit == "compute"
    assert found.batch == 256


def test_int8_model(machine, conv_model):
    inputs = {"x": np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)}
    found = roofline(conv_model(quantized=True), inputs, machine, seconds=0.1)
    assert {row.operator: row.int8 for row in found.nodes}["QuantizeLinear"] is False
    assert sum(row.seconds for row in found.nodes) + found.overhead_s == pytest.approx(found.seconds)
    assert {row.limit for row in found.nodes} <= LIMITS.keys()
    assert all(isinstance(row, Row) and row.seconds > 0 for row in found.nodes)


def test_a_model_that_cannot_be_counted_is_still_timed(machine, graph):
    graph.add("Einsum", ["x", "x"], "y", equation="ij,kj->ik")
    model = graph.build({"x": ("float32", ["n", 3])}, {"y": ("float32", ["n", "m"])})
    found = roofline(model, {"x": np.ones((2, 3), np.float32)}, machine, seconds=0.1)
    assert [row.limit for row in found.nodes] == ["unknown"]
    assert "cannot be counted" in bottlenecks(found)[0]
    assert "not known" in headline(found)
    assert found.to_json()["macs"] is None
