"""Timing a model in another process: a fresh one, or one with another interpreter's onnxruntime.

The other process answers one JSON line for each it is sent: ``open`` a side, ``warm_up``, ``time``, ``outputs``. Two of
them that take turns through their pipes tell a slowdown as well as two sessions in one process do.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.files import replacing
from benchmarks.paired import LocalTimer, Timing, Warmth, no_garbage_collection
from benchmarks.records import BenchmarkError
from benchmarks.sides import Side

PROTOCOL = 3
_ROOT = Path(__file__).parents[1]
_END_S = 10.0

# Its own packages come first, ours last: another environment must run its own onnxruntime. -P and -E keep the working
# folder and PYTHONPATH out, so that a stranger's folder called `benchmarks` is not taken for ours.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from benchmarks.{module} import {function}; {function}()"


class WorkerError(BenchmarkError):
    """Another process that could not be started, or ended; the message holds its last words."""


def command(module: str, function: str, python: str | None = None) -> list[str]:
    """Return the command that calls ``benchmarks.<module>.<function>()`` in a fresh process."""
    return [python or sys.executable, "-P", "-E", "-c", _PROGRAM.format(module=module, function=function), str(_ROOT)]


def ask_fresh(module: str, function: str, request: Mapping[str, Any], *, timeout_s: float, what: str) -> dict[str, Any]:
    """Return what ``benchmarks.<module>.<function>()`` answers to ``request`` in a fresh process.

    Args:
        module, function: What is called; it reads the request from standard input and answers by ``answers``.
        request: Plain JSON.
        timeout_s: Longest time it may take.
        what: What errors call it.

    Raises:
        WorkerError: the process failed or took too long; the message holds its last words.
    """
    try:
        done = subprocess.run(
            command(module, function), input=json.dumps(request), capture_output=True, text=True, check=False,
            timeout=timeout_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise WorkerError(f"{what}: a fresh process took longer than {timeout_s:.0f} s.") from error
    try:
        return dict(json.loads(done.stdout))
    except ValueError as error:
        words = done.stderr.strip()[-300:] or "it said nothing"
        raise WorkerError(f"{what}: a fresh process failed: {words}") from error


class RemoteTimer:
    """Times a side in a process of its own; use it as a context manager.

    Args:
        side: What is timed.
        name: What errors call it.

    Raises:
        WorkerError: the process cannot be started, is of another protocol, or cannot open the side.
    """

    def __init__(self, side: Side, name: str) -> None:
        self._name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                command("workers", "serve", side.python),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, bufsize=1,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise WorkerError(f"{name}: {side.python} cannot be started: {error.strerror}.") from error
        try:
            hello = self._ask("open", side={**side.to_json(), "python": None})
            if hello.get("protocol") != PROTOCOL:
                raise WorkerError(f"{name}: {side.python} has another version of leangen; install the same there.")
            self._known = bool(hello["known"])
            self.runtime = str(hello["runtime"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "RemoteTimer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def known(self) -> bool:
        """Whether the system tells of switches."""
        return self._known

    def warm_up(self) -> Warmth:
        """Call the model until its times settle."""
        found = self._ask("warm_up")
        return Warmth(int(found["calls"]), float(found["seconds"]), float(found["call_s"]))

    def time(self) -> Timing:
        """Take one timing, after one call that warms the core up: another process ran before."""
        seconds, cpu_seconds, switches, waited = self._ask("time")["timing"]
        return Timing(float(seconds), float(cpu_seconds), int(switches), float(waited))

    def renew(self) -> float | None:
        """Open the model again, elsewhere in memory; return the CPU seconds that took, None if it cannot be done."""
        spent = self._ask("renew")["cpu_seconds"]
        return None if spent is None else float(spent)

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        """What one inference computes, by output name."""
        with tempfile.TemporaryDirectory(prefix="leangen-outputs-") as folder:
            file = Path(folder) / "outputs.npz"
            self._ask("outputs", file=str(file))
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    def _ask(self, what: str, **details: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"what": what, **details}) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            raise WorkerError(f"{self._name}: the process that timed it ended: {self._last_words()}") from error
        if "error" in answer:
            raise WorkerError(f"{self._name}: {answer['error']}")
        return dict(answer)

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", errors="replace").strip()[-400:] or "it said nothing"


def serve() -> None:
    """Answer requests from standard input until it closes."""
    with answers() as answer, no_garbage_collection():
        timer: LocalTimer | None = None
        for line in sys.stdin:
            request = json.loads(line)
            try:
                if request["what"] == "open":
                    side = Side.from_json(request["side"])
                    runner = side.open()
                    timer = side.timer("the model", runner)
                    answer({"protocol": PROTOCOL, "known": timer.known, "runtime": runner.name})
                elif timer is not None:
                    answer(_reply(request, timer, runner))
            except BenchmarkError as error:
                answer({"error": str(error)})


def _reply(request: Mapping[str, Any], timer: LocalTimer, runner: Any) -> dict[str, Any]:
    if request["what"] == "warm_up":
        return timer.warm_up()._asdict()
    if request["what"] == "renew":
        return {"cpu_seconds": timer.renew()}
    if request["what"] == "outputs":
        with replacing(Path(request["file"])) as beside:
            np.savez(beside, **runner.outputs())
        return {}
    runner.run()
    return {"timing": list(timer.time())}


@contextmanager
def answers() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes one line of JSON to standard output; whatever else prints goes to standard error."""
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)

        def answer(value: Mapping[str, Any]) -> None:
            out.write(json.dumps(value) + "\n")

        yield answer
