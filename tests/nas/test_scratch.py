"""Temporary files of a run: in one folder, which is gone afterwards, or after a kill with the next run."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nas.scratch import PREFIX, scratch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The system's folder for temporary files, for this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def made_by_a_process_that_sleeps(home: Path) -> tuple[subprocess.Popen, Path]:
    code = (
        "import tempfile, time\nfrom nas.scratch import scratch\n"
        "with scratch(): print(tempfile.mkdtemp(prefix='leangen-measure-'), flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def test_temporary_files_go_there_also_those_of_child_processes_and_it_goes(home):
    with scratch() as folder:
        assert folder.parent == home
        assert Path(tempfile.mkdtemp()).parent == folder
        code = "import tempfile; print(tempfile.gettempdir())"
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert Path(child.stdout.strip()) == folder
    assert list(home.iterdir()) == []
    assert (tempfile.gettempdir(), os.environ["TMPDIR"]) == (str(home), str(home))


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and flock are POSIX")
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(home):
    process, left = made_by_a_process_that_sleeps(home)
    with process:
        with scratch():
            assert left.is_dir()
        process.kill()
    assert left.is_dir()
    with scratch():
        assert not left.parent.exists()


def test_what_looks_alike_and_is_not_ours_stays(home):
    """One that is being made has no lock yet; a link leads elsewhere."""
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".lock").touch()
    (home / f"{PREFIX}link").symlink_to(elsewhere)
    (home / f"{PREFIX}young").mkdir()
    with scratch():
        pass
    assert {path.name for path in home.iterdir()} == {"elsewhere", f"{PREFIX}link", f"{PREFIX}young"}
    assert (elsewhere / ".lock").is_file()
    os.utime(home / f"{PREFIX}young", (0, 0))
    with scratch():
        assert not (home / f"{PREFIX}young").exists()
