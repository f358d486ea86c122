import os
import threading
import time

import numpy as np
import pytest

from benchmarks.records import BenchmarkError
from benchmarks.runtimes.affinity import allowed_cores, check_cores, pinned
from benchmarks.runtimes.onnx import OnnxRunner

needs_cores = pytest.mark.skipif(
    allowed_cores() is None or len(allowed_cores() or ()) < 2, reason="needs Linux and two cores"
)


def cores_of_threads() -> dict[str, str]:
    """Thread id -> the cores it may run on, as the kernel says."""
    told = {}
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/status") as status:
            told[thread] = next(line.split()[1] for line in status if line.startswith("Cpus_allowed_list"))
    return told


@needs_cores
def test_the_calling_thread_is_pinned_and_let_go():
    before = os.sched_getaffinity(0)
    core = max(before)
    seen = []

    def fail() -> None:
        with pinned([core]) as is_pinned:
            seen.append((is_pinned, os.sched_getaffinity(0)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [(True, {core})]
    assert os.sched_getaffinity(0) == before


@needs_cores
def test_only_the_calling_thread_is_pinned():
    everywhere = os.sched_getaffinity(0)
    seen: list[set[int]] = []
    go = threading.Event()

    def look() -> None:
        go.wait()
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=look)
    thread.start()
    with pinned([min(everywhere)]):
        go.set()
        thread.join()
    assert seen == [everywhere]


@pytest.mark.parametrize("cores", [[], [10**6], [-1]])
def test_cores_that_are_not_there_are_refused(cores):
    with pytest.raises(BenchmarkError, match=r"cores must be one or more of 0, 1, which this thread may run on, not"):
        check_cores(cores, frozenset({0, 1}))


def test_where_the_system_cannot_pin_nothing_happens_and_it_is_told(monkeypatch, linear_model):
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    with pinned([0]) as is_pinned:
        assert is_pinned is False
    with pytest.raises(BenchmarkError, match="leave affinity out"):
        OnnxRunner(linear_model(), {"z": np.ones((1, 3), np.float32)}, affinity=[0])


@needs_cores
def test_onnxruntimes_own_threads_are_pinned_and_the_calling_one_is_not(linear_model):
    first, second = sorted(os.sched_getaffinity(0))[:2]
    inputs = {"z": np.ones((1, 3), np.float32)}
    for mine, other in ((first, second), (second, first)):
        known = cores_of_threads()
        runner = OnnxRunner(linear_model(), inputs, threads=2, affinity=[mine, other])
        assert runner.name.endswith(f"2 threads on core {mine}+{other}")
        deadline = time.monotonic() + 20  # the thread pins itself when it first runs
        while (new := {key: cores for key, cores in cores_of_threads().items() if key not in known}) != {
            key: str(other) for key in new
        } and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(new.values()) == [str(other)]
        assert len(os.sched_getaffinity(0)) >= 2


@needs_cores
@pytest.mark.parametrize(
    ("threads", "affinity", "message"),
    [
        (1, [], "cores must be one or more"),
        (2, [0], "a core for each of 2 threads, not 1"),
        (1, [10**6], "not 1000000"),
    ],
)
def test_an_affinity_that_does_not_fit_is_explained(linear_model, threads, affinity, message):
    with pytest.raises(BenchmarkError, match=message):
        OnnxRunner(linear_model(), {"z": np.ones((1, 3), np.float32)}, threads=threads, affinity=affinity)
