"""How long work tells what it is doing: one small Protocol, and the silent one that libraries and tests use."""

from typing import Protocol


class Progress(Protocol):
    """Hears of tasks: ``start``, any number of ``update``, then ``finish``; tasks may overlap."""

    def start(self, task: str, total: float, unit: str, *, done: float = 0) -> None:
        """A task of ``total`` units begins (``unit`` is a plural noun: steps, trials).

        ``done`` of them were finished by an earlier process: they say nothing about the time that is left.
        """

    def update(self, task: str, done: float, note: str = "") -> None:
        """``done`` units of the task are finished; ``note`` is a few words on the latest of them."""

    def finish(self, task: str, note: str = "") -> None:
        """The task ended; ``note`` says how."""

    def say(self, message: str) -> None:
        """One line that a person should read now."""


class Silent:
    """A progress that nobody watches."""

    def start(self, task: str, total: float, unit: str, *, done: float = 0) -> None:
        """Say nothing."""

    def update(self, task: str, done: float, note: str = "") -> None:
        """Say nothing."""

    def finish(self, task: str, note: str = "") -> None:
        """Say nothing."""

    def say(self, message: str) -> None:
        """Say nothing."""
