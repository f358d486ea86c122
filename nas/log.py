"""The log of a run: a line of JSON for every stage and every job that began, and for every one whose result was kept.

``log.jsonl`` is only ever appended to, and a line is on the disk before the run goes on. A job is told of as finished
after its result is in a record, so that what is finished here is never done again, whatever was killed meanwhile.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.files import FileError, read_bytes
from nas.executors import Job, Result

LOG_FILE = "log.jsonl"
_MAX_TEXT = 500  # of a note: the whole is in the record
MAX_LOG_BYTES = 256 * 2**20  # a line has some 200 bytes: more than a million of them

Line = dict[str, Any]


class Log:
    """Appends to one file; any thread may write.

    Args:
        path: The file, made with the first line.
        clock: Seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._lock = threading.Lock()
        self._mended = False

    def write(self, event: str, **facts: Any) -> None:
        """Append a line and have the system write it to the disk; facts that are ``None`` are left out."""
        line = {"time": round(self._clock(), 3), "event": event}
        line |= {name: fact for name, fact in facts.items() if fact is not None}
        data = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with self._lock:
            if not self._mended:
                _cut_torn_line(self._path)
                self._mended = True
            with self._path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    def started(self, job: Job, subject: str) -> None:
        """Tell that ``job`` begins; ``subject`` is the folder it is about, such as ``candidates/0123``."""
        self.write("started", kind=job.get("kind"), subject=subject, until=job.get("until"))

    def finished(
        self, job: Job, subject: str, result: Result, outcome: str, *, rung: int | None = None, note: str | None = None
    ) -> None:
        """Tell that the result of ``job`` is kept.

        Args:
            job: As it was submitted.
            subject: As it was when it started.
            result: What came back; its seconds and the step that its training went on from are told.
            outcome: ``done``, the outcome of a candidate that ends with it, or what went wrong.
            rung: How many rungs a candidate has finished.
            note: Why, in a few words; otherwise what the worker noted.
        """
        self.write(
            "finished",
            kind=job.get("kind"),
            subject=subject,
            until=job.get("until"),
            since=result.get("since"),
            seconds=result.get("seconds"),
            outcome=outcome,
            rung=rung,
            note=_short(note or result.get("note")),
        )


def read_log(path: Path, max_bytes: int = MAX_LOG_BYTES) -> list[Line]:
    """Return the lines of the log at ``path``, in order; a last line that was torn by a kill is left out.

    Raises:
        FileError: the file is missing, larger than ``max_bytes``, or has another line that is no JSON object.
    """
    rows = read_bytes(path, max_bytes).split(b"\n")
    lines = []
    for number, row in enumerate(rows[:-1], start=1):  # what follows the last line's end was torn, or is empty
        try:
            line = json.loads(row.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise FileError(f"{path}, line {number}: is not JSON: {error}. Remove the line.") from error
        if not isinstance(line, dict):
            raise FileError(f"{path}, line {number}: a line is a JSON object, found {row[:40]!r}. Remove the line.")
        lines.append(line)
    return lines


def _short(text: str | None) -> str | None:
    return f"{text[:_MAX_TEXT]} ..." if text and len(text) > _MAX_TEXT else text


def _cut_torn_line(path: Path) -> None:
    """Drop what follows the last line's end: a line that was never whole would spoil the one after it."""
    if path.is_file():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
