"""All pieces, two at a time in processes of their own; final timings alone, while everything else is paused."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.studies.proof.layout import PROGRAM, Piece
from examples.studies.proof.searches import is_searching
from examples.studies.proof.timing import THREADS

SLOTS = 2
PARENT = "LEANGEN_PROOF_PARENT"  # whose end ends a piece, told to it by its id
_POLL_S = 0.5
_TELL_S = 60.0
_PATIENCE_S = 30.0
_TAIL = 4096  # bytes of a log that its last line is looked for in

Command = Callable[[Piece, str], Sequence[str]]
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Running:
    """A piece that is being made, in a group of processes of its own."""

    piece: Piece
    process: "subprocess.Popen[bytes]"

    @property
    def is_searching(self) -> bool:
        """Whether it counts the minutes of a search."""
        return is_searching(self.piece.folder) or is_searching(self.piece.random_folder)

    def signal(self, number: int) -> None:
        """Send a signal to the process and its workers, unless all have ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def command_of(piece: Piece, step: str) -> Sequence[str]:
    """Return the command of ``step``: ``piece`` (without timings) or ``time``."""
    words = ["--no-time"] if step == "piece" else []
    program = [sys.executable, *PROGRAM.split()[1:], *piece.proof.arguments()]
    return [*program, step, piece.family, str(piece.seed), *words]


def start(piece: Piece, command: Sequence[str]) -> Running:
    """Start ``command`` in a process group of its own, with one thread; what it prints goes to the piece's log.

    A group of this session, not a session of its own: should this process be killed, the system continues a group that
    was paused, and ends it.
    """
    piece.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONUNBUFFERED": "1", PARENT: str(os.getpid())}
    with piece.log.open("ab") as log:
        return Running(
            piece,
            subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
                process_group=0,
            ),
        )  # fmt: skip


@contextlib.contextmanager
def paused(others: Sequence[Running]) -> Iterator[None]:
    """Stop ``others`` and their workers inside the block."""
    try:
        for one in others:
            one.signal(signal.SIGSTOP)
        yield
    finally:
        for one in others:
            one.signal(signal.SIGCONT)


class Together:
    """Makes pieces, ``SLOTS`` at a time, and times each as soon as nobody is searching.

    A pause takes from the minutes of a search, which random search has to have as many of; so timings wait for its end,
    while the next piece begins.

    Args:
        say: Prints a line.
        is_made: Whether only the timings of a piece are missing.
        command: Of a step of a piece.
    """

    def __init__(self, say: Say, is_made: Callable[[Piece], bool], command: Command = command_of) -> None:
        self._say, self._is_made, self._command = say, is_made, command
        self._running: list[Running] = []
        self._failed: list[Piece] = []

    def make(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Make and time ``pieces``, in order, and return those that failed; those with a result are done already."""
        todo = [piece for piece in pieces if not piece.result.is_file()]
        to_make = [piece for piece in todo if not self._is_made(piece)]
        to_time = [piece for piece in todo if self._is_made(piece)]
        told = time.monotonic()
        try:
            while to_make or to_time or self._running:
                while to_make and len(self._running) < SLOTS:
                    self._begin(to_make.pop(0))
                to_time += self._collect()
                if to_time and not any(one.is_searching for one in self._running) and self._time(to_time[0]):
                    to_time.pop(0)
                if time.monotonic() - told > _TELL_S:
                    told = time.monotonic()
                    self._tell()
                time.sleep(_POLL_S)
        finally:
            self._end()
        return self._failed

    def _begin(self, piece: Piece) -> None:
        self._running.append(start(piece, self._command(piece, "piece")))
        self._say(f"{piece.name}: begun; it writes to {piece.log}")

    def _collect(self) -> list[Piece]:
        """Return the pieces whose process has ended well."""
        ended = [one for one in self._running if one.process.poll() is not None]
        self._running = [one for one in self._running if one not in ended]
        return [one.piece for one in ended if self._went_well(one)]

    def _went_well(self, one: Running) -> bool:
        if one.process.returncode == 0:
            self._say(f"{one.piece.name}: {last_line(one.piece.log)}")
            return True
        self._failed.append(one.piece)
        self._say(f"{one.piece.name}: failed with {one.process.returncode}: {last_line(one.piece.log)}")
        return False

    def _time(self, piece: Piece) -> bool:
        """Take the timings of ``piece`` while the others rest; return False if one of them has begun to search."""
        with paused(self._running):
            if any(one.is_searching for one in self._running):  # asked again: now none can begin
                return False
            self._say(f"{piece.name}: final timings, {len(self._running)} paused")
            timed = start(piece, self._command(piece, "time"))
            try:
                timed.process.wait()
            finally:
                _stop(timed)
        self._went_well(timed)
        return True

    def _tell(self) -> None:
        self._say(" | ".join(f"{one.piece.name}: {last_line(one.piece.log)}" for one in self._running))

    def _end(self) -> None:
        """End what is still running, each at its last checkpoint."""
        for one in self._running:
            _stop(one)


def _stop(one: Running) -> None:
    """Interrupt a process that has not ended, and kill it and its workers if that does not help."""
    if one.process.poll() is None:
        one.signal(signal.SIGINT)
        try:
            one.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            one.signal(signal.SIGKILL)
            one.process.wait()


def last_line(log: Path) -> str:
    """Return the last line of ``log`` that says something."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return "nothing yet"
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing yet")


def end_with_parent() -> None:
    """End this process, with its workers, once the process that makes all pieces is gone; do nothing without one."""
    parent = os.environ.get(PARENT)
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)
