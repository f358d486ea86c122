"""Peak memory is that of the process that runs the model, whatever the process that asks is using."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks.memory import own_peak_mib, peak_mib
from benchmarks.records import BenchmarkError


@pytest.fixture
def model(tmp_path, linear_model):
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear_model())
    return path


def test_a_tiny_model_takes_what_python_and_onnxruntime_take(model):
    assert 20 < peak_mib(model, batch=1) < 500


def test_the_asking_process_does_not_count(model):
    """A process inherits the peak of the one that starts it, as ``getrusage`` tells it: measured here as 600 MiB."""
    before = peak_mib(model, batch=1)
    ballast = np.ones(600 * 2**17)
    after = peak_mib(model, batch=1)
    assert ballast.nbytes == 600 * 2**20
    assert after == pytest.approx(before, abs=100)


def test_a_larger_batch_takes_more(model):
    """A million rows of three floats: 12 MiB in, 12 MiB out."""
    assert peak_mib(model, batch=1_000_000) > peak_mib(model, batch=1) + 20


def test_own_peak_rises_with_what_is_used():
    code = (
        "import numpy; from benchmarks.memory import own_peak_mib; before = own_peak_mib(); "
        "numpy.ones(50 * 2**17); print(own_peak_mib() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 45 < float(done.stdout) < 60
    assert own_peak_mib() > 20


def test_relative_paths_are_the_callers(model, monkeypatch):
    monkeypatch.chdir(model.parent)
    assert peak_mib(type(model)(model.name), batch=1) > 20


def test_a_file_that_is_no_model_says_so(tmp_path):
    path = tmp_path / "none.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(BenchmarkError, match=r"none\.onnx could not be run to measure its memory"):
        peak_mib(path, batch=1)


def test_a_process_that_hangs_is_ended(model, monkeypatch):
    monkeypatch.setattr("benchmarks.memory._TIMEOUT_S", 0.01)
    with pytest.raises(BenchmarkError, match="take a smaller batch"):
        peak_mib(model, batch=1)
