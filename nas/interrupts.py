"""Ctrl-C and SIGTERM: a training that is told to stop finishes its step, saves, and only then ends."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def at_a_safe_moment() -> Iterator[Callable[[], bool]]:
    """Hold SIGINT back inside the block and yield a function that tells whether it came.

    Leaving the block raises the KeyboardInterrupt that was held back. A second SIGINT is not held back. Outside the
    main thread signals cannot be held back, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        came.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGINT, before)
    if came.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def terminated_like_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Treat SIGTERM (a scheduler's or ``kill``'s) as Ctrl-C inside the block; yield a function that tells if it came.

    Outside the main thread signals cannot be taken, and nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.set()
        held = signal.getsignal(signal.SIGINT)
        if not callable(held):  # ignored, as it is for what a script puts in the background
            raise KeyboardInterrupt
        held(number, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
