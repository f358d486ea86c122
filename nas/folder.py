"""The run folder: everything an experiment wrote, enough to resume it, redo it, or report on it."""

import contextlib
import functools
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.files import FileError, read_json, replacing, resolve_inside, write_json, write_text
from benchmarks.fingerprint import fingerprint
from nas.errors import NasError
from nas.experiment import Experiment
from nas.locks import Busy, hold
from nas.log import LOG_FILE, Log

Record = dict[str, Any]

_FLUSH_S = 2.0
_LOCK = ".lock"
DATA_FILE = "data.json"
MACHINE_FILE = "machine.json"
RECORD = "record.json"
# Keys of an experiment that nothing in reference/ depends on.
_FREE = (
    "search",
    "space",
    "compress",
    "quality.budget",
    "quality.also",
    "target.min_speedup",
    "target.max_latency_ms",
    "export.tensorrt",
)
# What is written into by one process at a time: the one that holds the folder, and its workers.
_PARTS = ("reference", "candidates", "finalists", "baseline", "compressed", "export", "report")
_UNFINISHED = re.compile(r"\..+\.\d+-[0-9a-f]{8}(\.[^.]+)?")  # as ``benchmarks.files.replacing`` names them
REMEDY = "it was changed, or another version wrote it; restore it, or delete it to have its stage done again"


class FolderError(NasError):
    """The run folder belongs to something else, or another process is using it."""


class Stored(dict[str, Any]):
    """A record as read: a key that it lacks is the file's fault, and the message says which file's."""

    path: Path

    @classmethod
    def of(cls, value: Any, path: Path) -> Any:
        """Return ``value``, which was read from ``path``, with every object in it of this class."""
        if isinstance(value, list):
            return [cls.of(item, path) for item in value]
        if not isinstance(value, dict):
            return value
        stored = cls((key, cls.of(item, path)) for key, item in value.items())
        stored.path = path
        return stored

    def __missing__(self, key: str) -> Any:
        raise FolderError(f"{self.path} lacks {key!r}: {REMEDY}")


def check_name(name: object, where: Path) -> str:
    """Return ``name``, read from ``where``, if it can only be one plain folder's. Raises FolderError if not."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise FolderError(f"{where}: an id is letters and digits, found {str(name)[:80]!r}: {REMEDY}")
    return name


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
        if not (path / MACHINE_FILE).is_file():  # also where an earlier process was killed between the two
            write_json(path / MACHINE_FILE, fingerprint().to_json())
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
            changed = differences(earlier.decisive(), experiment.decisive())
            kept = self.record("reference") is not None and not any(map(decides_reference, changed))
            raise FolderError(
                f"{self.path} holds an earlier run of another experiment (changed: {', '.join(changed)}): "
                "write to another folder with --out, or rename the old one out of the way with --fresh"
                + (f". Its reference would be the same: --out NEW --reference-from {self.shown} keeps it" * kept)
            )
        return False

    def _start_over(self, experiment: Experiment) -> None:
        """Take over a folder whose run ended before it made anything, most likely at the mistake that is now put right.

        Raises:
            FolderError: a process is at work in it.
        """
        with self.locked():
            (self.path / DATA_FILE).unlink(missing_ok=True)
            write_text(self.experiment_file, experiment.to_yaml())

    def check_data(self, digests: dict[str, str]) -> None:
        """Keep the hashes of the pictures in ``data.json``, or compare them with those that an earlier process kept.

        Raises:
            FolderError: the pictures are others now: some of ``held_out`` may have been trained on, or the other way.
        """
        path = self.path / DATA_FILE
        if not path.is_file():
            write_json(path, digests)
        elif read_json(path) != digests:
            raise FolderError(
                f"the pictures have changed since the run in {self.path} began, so it cannot go on with them: put the "
                "old ones back, write to another folder with --out, or rename the old one out of the way with --fresh"
            )

    def record(self, stage: str, name: str = RECORD) -> Record | None:
        """Return what ``stage`` (a folder's name) left when it finished, or ``None`` if it did not.

        Args:
            stage: The folder.
            name: What the record is called while it is not valid yet, see ``nas.reuse``.
        """
        path = self.path / stage / name
        return self._checked(path, read_json(path)) if path.is_file() else None

    def _checked(self, path: Path, record: object) -> Record:
        """Return ``record`` if it is an object whose files lie in this folder and whose winner is a plain name."""
        if not isinstance(record, dict):
            raise FolderError(f"{path} must hold an object, found {type(record).__name__}: {REMEDY}")
        files = record.get("files", {})
        named = [record[key] for key in ("file", "folder", "shipped") if key in record]
        for name in [*named, *(files.values() if isinstance(files, dict) else [files])]:
            try:
                resolve_inside(self.path, str(name))
            except FileError as error:
                raise FolderError(f"{path}: {error} Or {REMEDY}") from error
        check_name(record.get("winner") or "none", path)
        checked: Record = Stored.of(record, path)
        return checked

    def need(self, stage: str, command: str) -> Record:
        """Return the record of ``stage``; without one, say which command makes it."""
        record = self.record(stage)
        if record is None:
            raise FolderError(f"{self.path} has no finished {stage}: run `{command} {self.path}` first")
        return record

    def finish(self, stage: str, record: Record) -> Record:
        """Write the record that marks ``stage`` as finished, and return it."""
        (self.path / stage).mkdir(parents=True, exist_ok=True)
        write_json(self.path / stage / RECORD, record)
        return record

    @functools.cached_property
    def log(self) -> Log:
        """What began and ended in this folder; only the process that holds the folder writes it."""
        return Log(self.path / LOG_FILE)

    def sweep(self) -> None:
        """Remove the unfinished files that a killed process left beside those it was writing."""
        for part in (self.path, *(self.path / name for name in _PARTS)):
            for path in part.glob(".*") if part == self.path else part.rglob(".*"):
                if _UNFINISHED.fullmatch(path.name) and path.is_file():
                    path.unlink(missing_ok=True)

    def link(self, source: "RunFolder", part: str, record: str = RECORD) -> None:
        """Take over the folder ``part`` of another run, its record last, as ``record``: hard links, or else copies.

        Nobody writes into a file here, but beside it and then over its name: a link never changes the other run.
        """
        files = [path for path in (source.path / part).rglob("*") if path.is_file() and not path.is_symlink()]
        own = source.path / part / RECORD
        for path in sorted(files, key=lambda path: path == own):
            name = path.relative_to(source.path) if path != own else Path(part, record)
            with replacing(self.path / name) as beside:
                try:
                    os.link(path, beside)
                except OSError:  # another disk, or one without links
                    shutil.copyfile(path, beside)

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
                with contextlib.suppress(OSError):  # a full disk is told of by what the stage itself writes
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
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self.path / _LOCK))
            except Busy as holder:
                raise FolderError(
                    f"{self.path} is in use by process {holder}: wait for it, end it, or name another folder with --out"
                ) from None
            yield


def _free_name(path: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{n}" for n in range(1, 100))):
        name = path.with_name(f"{path.name}.{stamp}{suffix}")
        if not name.exists():
            return name
    raise FolderError(f"no free name beside {path} to move it to: rename it yourself")


def decides_reference(key: str) -> bool:
    """Return whether the reference, its files or its score could be others if ``key`` of the experiment were."""
    return not any(key == free or key.startswith(f"{free}.") for free in _FREE)


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys in which two experiments, as ``Experiment.decisive`` has them, differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [d for key in keys for d in differences(old.get(key), new.get(key), f"{prefix}{key}.")]
    return [] if json.dumps(old) == json.dumps(new) else [prefix.rstrip(".")]
