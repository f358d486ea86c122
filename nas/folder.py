"""The run folder: everything an experiment wrote, enough to resume it, redo it, or report on it."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.files import read_json, write_json, write_text
from benchmarks.records import fingerprint
from nas.errors import NasError
from nas.experiment import Experiment

Record = dict[str, Any]

_FLUSH_S = 2.0
_LOCK = ".lock"
_DATA = "data.json"


class FolderError(NasError):
    """The run folder belongs to something else, or another process is using it."""


class RunFolder:
    """A folder of one experiment. Stages leave a ``record.json`` when, and only when, they are finished."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, experiment: Experiment, *, fresh: bool = False) -> "RunFolder":
        """Return the folder of ``experiment``: a new one, or the one that an earlier run of the same began.

        Args:
            path: Where.
            experiment: Written to ``experiment.yaml`` with every default.
            fresh: Rename an older folder out of the way; nothing is deleted.

        Raises:
            FolderError: the folder holds another experiment, is not a run folder at all, or is in use (``fresh``).
        """
        folder = cls(path)
        if not folder.experiment_file.is_file() and path.is_dir() and any(path.iterdir()):
            raise FolderError(f"{path} is not empty and holds no experiment.yaml: name another folder with --out")
        if fresh and path.exists():
            if path.is_dir():
                with folder.locked():  # not from under a process that is writing into it
                    pass
            path.rename(_free_name(path))
        if folder.experiment_file.is_file():
            if not folder._is_same(experiment):
                folder._start_over(experiment)
        else:
            path.mkdir(parents=True, exist_ok=True)
            write_text(folder.experiment_file, experiment.to_yaml())
        if not (path / "machine.json").is_file():  # also where an earlier process was killed between the two
            write_json(path / "machine.json", fingerprint().to_json())
        return folder

    @property
    def experiment_file(self) -> Path:
        """The experiment with every default written out."""
        return self.path / "experiment.yaml"

    def _is_same(self, experiment: Experiment) -> bool:
        """Whether the folder is that of ``experiment``; raises FolderError if it holds results of another one."""
        earlier = Experiment.load(self.experiment_file)
        if earlier.digest() == experiment.digest():
            return True
        if any(path.is_dir() for path in self.path.iterdir()):
            changed = _differences(earlier.decisive(), experiment.decisive())
            raise FolderError(
                f"{self.path} holds an earlier run of another experiment (changed: {', '.join(changed)}): "
                "write to another folder with --out, or rename the old one out of the way with --fresh"
            )
        return False

    def _start_over(self, experiment: Experiment) -> None:
        """Take over a folder whose run ended before it made anything, most likely at the mistake that is now put right.

        Raises:
            FolderError: a process is at work in it.
        """
        with self.locked():
            (self.path / _DATA).unlink(missing_ok=True)
            write_text(self.experiment_file, experiment.to_yaml())

    def check_data(self, digests: dict[str, str]) -> None:
        """Keep the hashes of the pictures in ``data.json``, or compare them with those that an earlier process kept.

        Raises:
            FolderError: the pictures are others now: some of ``held_out`` may have been trained on, or the other way.
        """
        path = self.path / _DATA
        if not path.is_file():
            write_json(path, digests)
        elif read_json(path) != digests:
            raise FolderError(
                f"the pictures have changed since the run in {self.path} began, so it cannot go on with them: put the "
                "old ones back, write to another folder with --out, or rename the old one out of the way with --fresh"
            )

    def record(self, stage: str) -> Record | None:
        """Return what ``stage`` (a folder's name) left when it finished, or ``None`` if it did not."""
        path = self.path / stage / "record.json"
        if not path.is_file():
            return None
        record: Record = read_json(path)
        return record

    def need(self, stage: str, command: str) -> Record:
        """Return the record of ``stage``; without one, say which command makes it."""
        record = self.record(stage)
        if record is None:
            raise FolderError(f"{self.path} has no finished {stage}: run `{command} {self.path}` first")
        return record

    def finish(self, stage: str, record: Record) -> Record:
        """Write the record that marks ``stage`` as finished, and return it."""
        (self.path / stage).mkdir(parents=True, exist_ok=True)
        write_json(self.path / stage / "record.json", record)
        return record

    @property
    def shown(self) -> Path:
        """The folder as a person here would type it: relative to the working directory where it lies below that."""
        here = Path.cwd()
        return self.path.relative_to(here) if self.path.is_relative_to(here) else self.path

    def relative(self, path: Path) -> str:
        """Return ``path`` as records name it: relative to the run folder, with forward slashes."""
        return path.relative_to(self.path).as_posix()

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds of each stage so far, summed over resumes."""
        path = self.path / "seconds.json"
        return dict(read_json(path)) if path.is_file() else {}

    @contextlib.contextmanager
    def timed(self, stage: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
        """Add the wall time of the block to ``stage``, also of a block that is killed (to within two seconds)."""
        before, began, ended = self.seconds, clock(), threading.Event()

        def flush() -> None:
            total = before.get(stage, 0.0) + clock() - began
            write_json(self.path / "seconds.json", {**before, stage: round(total, 2)})

        def keep_flushing() -> None:
            while not ended.wait(_FLUSH_S):
                flush()

        thread = threading.Thread(target=keep_flushing, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            flush()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; a second one is told who has it."""
        import os

        path = self.path / _LOCK
        with path.open("a+") as file:
            try:
                _lock_file(file.fileno())
            except OSError:
                file.seek(0)
                raise FolderError(
                    f"{self.path} is in use by process {file.read().strip() or '?'}: wait for it, end it, or name "
                    "another folder with --out"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _lock_file(descriptor: int) -> None:
    """Take the lock that the system itself drops when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs in one folder are not told apart there
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _free_name(path: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{n}" for n in range(1, 100))):
        name = path.with_name(f"{path.name}.{stamp}{suffix}")
        if not name.exists():
            return name
    raise FolderError(f"no free name beside {path} to move it to: rename it yourself")


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [d for key in keys for d in _differences(old.get(key), new.get(key), f"{prefix}{key}.")]
    return [] if json.dumps(old) == json.dumps(new) else [prefix.rstrip(".")]
