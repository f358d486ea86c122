import numpy as np
import pytest

from benchmarks.records import BenchmarkError
from benchmarks.runtimes.base import Runner
from benchmarks.runtimes.callable import CallableRunner


def test_runs_the_function_and_names_its_arrays():
    runner = CallableRunner(lambda: np.ones(2), "ones")
    assert isinstance(runner, Runner)
    assert runner.name == "ones"
    assert np.array_equal(runner.run(), np.ones(2))
    assert list(runner.outputs()) == ["output"]
    assert list(CallableRunner(lambda: {"x": np.ones(1), "y": np.zeros(1)}, "two").outputs()) == ["x", "y"]


@pytest.mark.parametrize("result", [None, [1.0], {"x": 1}])
def test_outputs_must_be_arrays(result):
    with pytest.raises(BenchmarkError, match="must return an array"):
        CallableRunner(lambda: result, "odd").outputs()
