"""Locks on files that the system drops when their process ends, however it ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class Busy(Exception):
    """Another process holds the lock; the message is its id, as far as it is known."""


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock ``path`` (a file that is made for it) and leave this process's id in it.

    Args:
        path: The file.
        wait: Wait until nobody else has it.

    Raises:
        Busy: another process has it, and ``wait`` is false.
    """
    with path.open("a+") as file:
        try:
            _lock(file.fileno(), wait)
        except OSError:
            file.seek(0)
            raise Busy(file.read().strip() or "?") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(descriptor: int, wait: bool) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: two processes are not told apart there
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
