"""Locks: one process at a time, named to the others, and gone with the process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.locks import Busy, hold

ROOT = Path(__file__).parents[2]
HOLD = (
    "import pathlib, time\nfrom nas.locks import hold\nwith hold(pathlib.Path({lock!r})): print(1, flush=True); {then}"
)


def holder(lock: Path, then: str) -> subprocess.Popen:
    """Another process that holds ``lock`` while it does ``then``."""
    code = HOLD.format(lock=str(lock), then=then)
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def test_a_lock_names_who_holds_it(tmp_path):
    with hold(tmp_path / "lock"), pytest.raises(Busy, match=f"^{os.getpid()}$"), hold(tmp_path / "lock"):
        pass
    with hold(tmp_path / "lock"):
        pass


def test_a_killed_process_holds_nothing(tmp_path):
    with holder(tmp_path / "lock", "time.sleep(60)") as process:
        with pytest.raises(Busy, match=f"^{process.pid}$"), hold(tmp_path / "lock"):
            pass
        process.kill()
    with hold(tmp_path / "lock"):
        pass


def test_who_waits_gets_it(tmp_path):
    with holder(tmp_path / "lock", "time.sleep(0.5)"):
        began = time.monotonic()
        with hold(tmp_path / "lock", wait=True):
            assert time.monotonic() - began > 0.2


def test_it_is_no_lock_of_posix_alone(tmp_path, monkeypatch):
    """Without fcntl, as on Windows, a second holder was let in; there, a held file's first byte cannot be read."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with hold(tmp_path / "lock"):
        with pytest.raises(Busy), hold(tmp_path / "lock"):
            pass
        assert (tmp_path / "lock").read_text()[1:] == str(os.getpid())
