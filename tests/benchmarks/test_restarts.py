import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import restarts
from benchmarks.records import BenchmarkError, Ratio
from benchmarks.restarts import pool, ratio_over_restarts
from benchmarks.sides import Side
from benchmarks.twins import SIZES, build
from benchmarks.workers import WorkerError


def test_quantiles_are_those_of_student():
    quantiles = [stats.t.ppf(0.975, df) for df in range(1, 11)]
    assert list(restarts._T) == pytest.approx(quantiles, abs=1e-4)


def test_one_is_itself_and_none_is_refused():
    one = Ratio(0.5, (0.4, 0.6), 9)
    assert pool([one]) == one
    with pytest.raises(BenchmarkError):
        pool([])


def test_spread_between_processes_widens():
    """Logs -0.01, 0, 0.01: sd 0.01, t = 4.3027 with two degrees of freedom, so 0.0248 to either side."""
    found = pool([Ratio(math.exp(x), (math.exp(x - 0.001), math.exp(x + 0.001)), 10) for x in (-0.01, 0, 0.01)])
    assert found.value == pytest.approx(1.0)
    assert math.log(found.ci95[1]) == pytest.approx(4.3027 * 0.01 / math.sqrt(3))
    assert found.pairs == 30


def test_processes_that_agree_by_chance_do_not_narrow_beyond_their_own_intervals():
    found = pool([Ratio(1.0, (math.exp(-0.02), math.exp(0.02)), 10)] * 4)
    assert math.log(found.ci95[1]) == pytest.approx(0.01)


def test_coverage_over_processes_that_differ():
    """Within 0.1 %, between 0.3 % (standard deviations): the pooled interval covers, that of one process does not."""
    rng = np.random.default_rng(0)
    pooled = alone = 0
    for _ in range(1000):
        found = []
        for shift in rng.normal(0, 0.003, 3):
            middle = shift + rng.normal(0, 0.001)
            found.append(Ratio(math.exp(middle), (math.exp(middle - 0.00196), math.exp(middle + 0.00196)), 100))
        low, high = pool(found).ci95
        pooled += low <= 1 <= high
        alone += found[0].ci95[0] <= 1 <= found[0].ci95[1]
    assert pooled >= 930
    assert alone < 700


def test_fresh_processes_measure(tmp_path):
    (tmp_path / "a.onnx").write_bytes(build(SIZES[0]))
    (tmp_path / "b.onnx").write_bytes(build(SIZES[0], extra=12_000))
    np.savez(tmp_path / "inputs.npz", z=np.zeros((1, 100), np.float32))
    a, b = (Side(tmp_path / f"{name}.onnx", tmp_path / "inputs.npz") for name in "ab")
    heard = []
    found = ratio_over_restarts(a, b, seconds=0.2, restarts=2, on_restart=heard.append)
    assert heard == found
    assert all(one.value > 1.2 for one in found)
    with pytest.raises(WorkerError, match="fresh process"):
        ratio_over_restarts(a, Side(tmp_path / "no.onnx", tmp_path / "inputs.npz"), seconds=0.1, restarts=1)
