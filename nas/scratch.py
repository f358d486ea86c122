"""A run's own folder for temporary files, so that what a kill leaves behind is found and removed by the next run."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nas.locks import Busy, hold

PREFIX = "leangen-work-"
_LOCK = ".lock"
_YOUNG_S = 60.0  # a folder without a lock may be one that is being made
_VARIABLES = ("TMPDIR", "TEMP", "TMP")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Let this process, and those it starts, put temporary files into a folder that goes when the block ends.

    A process that is killed leaves its folder, of which the system drops the lock: whoever comes next removes it.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_if_left(folder)
    before, variables = tempfile.tempdir, {name: os.environ.get(name) for name in _VARIABLES}
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as made, hold(Path(made) / _LOCK):
        tempfile.tempdir = made
        os.environ.update(dict.fromkeys(_VARIABLES, made))
        try:
            yield Path(made)
        finally:
            tempfile.tempdir = before
            for name, value in variables.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _remove_if_left(folder: Path) -> None:
    """Remove ``folder`` if it is ours and its process is gone; what cannot be removed stays."""
    lock = folder / _LOCK
    with contextlib.suppress(OSError, Busy):
        status = folder.lstat()
        if folder.is_symlink() or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
            return
        if not lock.is_file() and time.time() - status.st_mtime < _YOUNG_S:
            return
        with hold(lock):
            pass
        shutil.rmtree(folder, ignore_errors=True)  # now that its lock is closed: Windows removes no open file
