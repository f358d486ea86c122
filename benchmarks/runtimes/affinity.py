"""Which logical cores threads run on; numbered from 0, as the system and ``taskset`` do."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from benchmarks.records import BenchmarkError


def allowed_cores() -> frozenset[int] | None:
    """The cores that the calling thread may run on; None where the system does not tell (macOS, Windows)."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def check_cores(cores: Collection[int], allowed: frozenset[int]) -> None:
    """Raise BenchmarkError unless ``cores`` are one or more of ``allowed``."""
    if not cores or not allowed.issuperset(cores):
        raise BenchmarkError(
            f"cores must be one or more of {_listed(allowed)}, which this thread may run on, not {_listed(cores)}."
        )


@contextmanager
def pinned(cores: Collection[int]) -> Iterator[bool]:
    """Keep the calling thread on ``cores`` until the block ends; then it may run again where it could before.

    For the time of a measurement: open runners before it, because threads that are made inside inherit its cores, and
    a pool that shares one core is slow.

    Yields:
        Whether the thread is pinned: False where the system cannot (macOS, Windows), which is no error.

    Raises:
        BenchmarkError: there are no cores, or the thread may not run on one of them.
    """
    before = allowed_cores()
    if before is None:
        yield False
        return
    check_cores(cores, before)
    os.sched_setaffinity(0, cores)
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


def _listed(cores: Collection[int]) -> str:
    return ", ".join(map(str, sorted(cores))) or "none"
