"""Where jobs run: local processes now; whatever maps a JSON job to a JSON result can stand in their place.

A job and its result are plain JSON with paths for tensors (contract 3 in docs/architecture.md), so that a local
process and a remote task run the same function, ``nas.worker.evaluate``.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Protocol, Self

Job = dict[str, Any]
Result = dict[str, Any]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Executor(Protocol):
    """Takes jobs and gives results, in any order."""

    workers: int

    def submit(self, job: Job) -> "Future[Result]":
        """Begin ``job``; the future's result has a key ``error`` where the job failed."""


class LocalExecutor:
    """Processes on this machine, each with its own fixed number of threads.

    Two busy threads on one core make both many times slower, so ``workers`` times ``threads`` should not be above the
    number of cores. A process that dies (killed, out of memory) fails its job with an error and is replaced; every
    worker is a pool of one process, because a pool that loses one process ends the jobs of all of them.
    """

    def __init__(self, workers: int, threads: int = 1) -> None:
        if workers < 1 or threads < 1:
            raise ValueError(f"workers and threads must be 1 or more, got {workers} and {threads}")
        self.workers = workers
        self._threads = threads
        self._pools = [self._new_pool() for _ in range(workers)]
        self._given: list[list[Future[Result]]] = [[] for _ in range(workers)]

    def submit(self, job: Job) -> "Future[Result]":
        """Begin ``job`` in a free process, or queue it where the fewest are waiting."""
        self._given = [[future for future in given if not future.done()] for given in self._given]
        place = min(range(self.workers), key=lambda index: len(self._given[index]))
        try:
            future = self._submit(place, job)
        except BrokenProcessPool:
            self._pools[place] = self._new_pool()
            future = self._submit(place, job)
        self._given[place].append(future)
        return future

    def _submit(self, place: int, job: Job) -> "Future[Result]":
        with _environment(dict.fromkeys(_THREAD_VARIABLES, str(self._threads))):
            return self._pools[place].submit(_evaluate, job)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(os.getpid(), self._threads),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error nobody waits for results: end the processes instead of finishing what they do.
        for pool in self._pools:
            processes = list((getattr(pool, "_processes", None) or {}).values())
            if kind is not None:
                for process in processes:
                    process.kill()
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)


def result_of(future: "Future[Result]") -> Result:
    """Return the result, or ``{"error": ...}`` where the process died under its job."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        return {"error": f"the worker process died ({error}); out of memory is the usual cause: try search.workers=1"}


def _evaluate(job: Job) -> Result:
    from nas.worker import evaluate

    return evaluate(job)


def _begin_worker(parent: int, threads: int) -> None:
    import torch

    # Ctrl-C reaches every process of a terminal, a scheduler's SIGTERM every process of its job: the driver ends its
    # workers, each at its last checkpoint.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process once its parent is gone: after a kill -9 nothing may go on writing into the run folder."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
