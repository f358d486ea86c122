"""Progress for people: bars with the time left on a terminal, a plain line now and then anywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from nas.progress import Progress, Silent

LINE_EVERY_S = 10.0
_DRAW_EVERY_S = 0.1


@contextmanager
def show_progress(console: Console, *, quiet: bool = False) -> Iterator[Progress]:
    """The progress that fits ``console``: bars, lines, or nothing if ``quiet``. Leaves the terminal as it was."""
    if quiet:
        yield Silent()
    elif console.is_terminal and not console.is_dumb_terminal:
        bars = RichProgress(console)
        with bars:
            yield bars
    else:
        yield PlainProgress(lambda line: console.print(line, markup=False, soft_wrap=True))


class RichProgress:
    """One bar per running task; a finished task leaves one line.

    It draws when it is told something and not from a thread of its own, which would take time from measurements in
    this process. A task that was not started, or has ended, is not shown.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._drawn = clock()
        self._ids: dict[str, _Shown] = {}
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            _Count(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
            get_time=clock,
        )

    def __enter__(self) -> "RichProgress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def start(self, task: str, total: float, unit: str, *, done: float = 0) -> None:
        """A task begins, with a bar of its own."""
        self._drop(task)
        identity = self._bars.add_task(escape(task), total=total, completed=int(done), unit=unit, note="")
        self._ids[task] = _Shown(identity, self._clock())
        self._draw(at_once=True)

    def update(self, task: str, done: float, note: str = "") -> None:
        """Move the bar."""
        if task in self._ids:
            shown = self._ids[task]
            shown.note = note or shown.note
            self._bars.update(shown.identity, completed=done, note=shown.note)
            self._draw()

    def finish(self, task: str, note: str = "") -> None:
        """Replace the bar by a line."""
        shown = self._drop(task)
        if shown:
            self.say(_finished(task, self._clock() - shown.began, note))

    def say(self, message: str) -> None:
        """A line above the bars."""
        self._bars.console.print(Text(message))
        self._draw(at_once=True)

    def _drop(self, task: str) -> "_Shown | None":
        shown = self._ids.pop(task, None)
        if shown:
            self._bars.remove_task(shown.identity)
        return shown

    def _draw(self, *, at_once: bool = False) -> None:
        now = self._clock()
        if at_once or now - self._drawn >= _DRAW_EVERY_S:
            self._drawn = now
            self._bars.refresh()


class PlainProgress:
    """A line when a task begins and ends, and at most one in ten seconds in between: for logs and pipes."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._tasks: dict[str, _Line] = {}

    def start(self, task: str, total: float, unit: str, *, done: float = 0) -> None:
        """A task begins, or goes on."""
        now = self._clock()
        self._tasks[task] = _Line(total, unit, done, began=now, written=now)
        known = f", {_number(done)} done before" if done else ""
        self._write(f"{task}: {_number(total)} {unit}{known}")

    def update(self, task: str, done: float, note: str = "") -> None:
        """A line with the time left, unless the last one is younger than ten seconds."""
        line, now = self._tasks.get(task), self._clock()
        if line is None or now - line.written < LINE_EVERY_S:
            return
        line.written = now
        here = done - line.first
        left = (now - line.began) * (line.total - done) / here if here > 0 else None
        parts = [f"{_number(done)} of {_number(line.total)} {line.unit}"]
        parts += [f"{_duration(max(left, 0.0))} left"] if left is not None else []
        parts += [note] if note else []
        self._write(f"{task}: {', '.join(parts)}")

    def finish(self, task: str, note: str = "") -> None:
        """The task ended."""
        line = self._tasks.pop(task, None)
        if line:
            self._write(_finished(task, self._clock() - line.began, note))

    def say(self, message: str) -> None:
        """The message."""
        self._write(message)


@dataclass
class _Shown:
    identity: TaskID
    began: float
    note: str = ""


@dataclass
class _Line:
    total: float
    unit: str
    first: float  # units that were done before
    began: float
    written: float


class _Count(ProgressColumn):
    """``300 of 3,000 steps``."""

    def render(self, task: Task) -> Text:
        total = "?" if task.total is None else _number(task.total)
        return Text(f"{_number(task.completed)} of {total} {task.fields['unit']}")


def _finished(task: str, seconds: float, note: str) -> str:
    return f"{task}: done in {_duration(seconds)}{f', {note}' if note else ''}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _duration(seconds: float) -> str:
    """``8 s``, ``2 min 5 s``, ``1 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
