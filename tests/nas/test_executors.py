"""Real worker processes: a job, one that is killed, and what becomes of workers whose driver is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from benchmarks.files import read_json
from compress.generator import Generator
from nas.context import Context
from nas.executors import LocalExecutor, result_of
from nas.families.base import Phase
from nas.worker import measure_job, read_progress, train_job

ROOT = Path(__file__).parents[2]


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor(2) as made:
        yield made


def pids(executor: LocalExecutor) -> list[int]:
    return [pid for pool in executor._pools for pid in (pool._processes or {})]


def test_workers_and_threads_are_at_least_one():
    for workers, threads in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be 1 or more"):
            LocalExecutor(workers, threads)


def test_a_future_with_a_dead_process_is_an_error_that_helps():
    future: Future[dict[str, object]] = Future()
    future.set_exception(BrokenProcessPool("gone"))
    assert "try search.workers=1" in result_of(future)["error"]


def test_a_killed_worker_fails_its_own_job_and_the_next_one_finds_a_new_worker(tiny_run, executor, tmp_path):
    """A long training and a measurement side by side: the first one's process is killed."""
    context = Context.of_folder(tiny_run.folder)
    record = read_json(tiny_run.folder / "reference" / "record.json")
    reference = tiny_run.folder / record["files"][record["fastest"]]
    narrow = context.family.narrowed(0.5, 0)
    endless = (Phase("distill", 1_000_000),)
    long = executor.submit(train_job(context, tmp_path, endless, until=1_000_000, origin=narrow.origin))
    (victim,) = pids(executor)
    short = executor.submit(measure_job(context, narrow, reference, 0.1))
    wait_for(lambda: read_progress(tmp_path) > 0)
    os.kill(victim, signal.SIGKILL)
    assert "worker process died" in result_of(long)["error"]
    measured = result_of(short)
    assert 0 < measured["ratio"]["value"] < 20
    assert measured["seconds"] > 0
    again = result_of(executor.submit({"kind": "train", "run": "nowhere"}))
    assert again["error"]
    assert "traceback" in again
    assert len(pids(executor)) == 2
    assert victim not in pids(executor)


def test_environment_is_the_drivers_again_after_a_submit(executor, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    executor.submit({"kind": "no such kind"}).result()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")
def test_workers_end_with_a_driver_that_is_killed():
    code = (
        "import time\nfrom nas.executors import LocalExecutor\nexecutor = LocalExecutor(1)\n"
        "executor.submit({'kind': 'no such kind'}).result()\n"
        "print(*executor._pools[0]._processes, flush=True)\ntime.sleep(120)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert alive(worker)
        process.kill()
    wait_for(lambda: not alive(worker), 20)


def test_after_an_error_workers_are_ended_not_waited_for(tiny_run, tmp_path):
    context = Context.of_folder(tiny_run.folder)
    endless = (Phase("distill", 1_000_000),)
    origin = Generator.load(tiny_run.folder / "reference").origin
    job = train_job(context, tmp_path, endless, until=1_000_000, origin=origin)

    def interrupted() -> None:
        with LocalExecutor(1) as made:
            made.submit(job)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - began < 30
