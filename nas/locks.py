"""Locks on files that the system drops when their process ends, however it ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

_ID_AT = 1  # Windows locks the first byte of the file, also against reading


class Busy(Exception):
    """Another process holds the lock; the message is its id, as far as it is known."""


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock ``path`` (a file that is made for it, and stays) and leave this process's id in it.

    Args:
        path: The file.
        wait: Wait until nobody else has it.

    Raises:
        Busy: another process has it, and ``wait`` is false.
        OSError: the file cannot be opened, or its disk has no locks.
    """
    with path.open("a+") as file:
        if not lock_descriptor(file.fileno(), blocking=wait):
            file.seek(_ID_AT)
            raise Busy(file.read().strip() or "?")
        file.truncate(0)
        file.write(f"{'':{_ID_AT}}{os.getpid()}")
        file.flush()
        yield
