"""The proof's pieces side by side: two at a time, pauses that pause, and timings that are taken alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from examples.studies.proof.layout import Piece, Proof
from examples.studies.proof.searches import is_searching
from examples.studies.proof.together import Running, Together, paused, start

ROOT = Path(__file__).parents[2]
COUNT = """
import subprocess, sys, time
if {worker!r}:
    subprocess.Popen({worker!r})
while True:
    open({path!r}, "a").write("x")
    time.sleep(0.01)
"""


def sleeper(path: Path, worker: list[str] | None = None) -> list[str]:
    """A program that makes a file longer and longer."""
    return [sys.executable, "-c", COUNT.format(path=str(path), worker=worker)]


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def grows(file: Path) -> bool:
    before = file.stat().st_size if file.is_file() else 0
    time.sleep(0.25)
    return file.is_file() and file.stat().st_size > before


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[list[str]], Running]]:
    """Starts programs as pieces are started, and ends what it started."""
    running: list[Running] = []

    def start_one(command: list[str]) -> Running:
        running.append(start(Piece("gan", len(running), Proof(runs=tmp_path)), command))
        return running[-1]

    yield start_one
    for one in running:
        one.signal(signal.SIGKILL)
        one.process.wait()


def test_a_pause_stops_a_process_and_its_workers_and_they_go_on(tmp_path, begin):
    """Two sleepers, one with a worker of its own: while paused nobody writes, afterwards all of them do."""
    files = [tmp_path / name for name in ("one", "two", "worker")]
    running = [begin(sleeper(files[0])), begin(sleeper(files[1], sleeper(files[2])))]
    wait_for(lambda: all(file.is_file() for file in files))
    with paused(running):
        time.sleep(0.1)
        assert not any(grows(file) for file in files)
    for file in files:
        wait_for(lambda file=file: grows(file))


def test_a_pause_ends_with_an_error_too(tmp_path, begin):
    running = [begin(sleeper(tmp_path / "one"))]
    with pytest.raises(RuntimeError, match="timing failed"), paused(running):
        raise RuntimeError("timing failed")
    wait_for(lambda: grows(tmp_path / "one"))


PARENT = """
import signal, sys, time, pathlib
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, would have it ignored
from examples.studies.proof.layout import Piece, Proof
from examples.studies.proof.together import paused, start
one = start(Piece("gan", 0, Proof(runs=pathlib.Path({root!r}))), {command!r})
while not pathlib.Path({file!r}).is_file():
    time.sleep(0.02)
with paused([one]):
    print(one.process.pid, flush=True)
    time.sleep(60)
"""


def test_what_is_paused_ends_with_the_process_that_paused_it(tmp_path):
    """Also when that is killed: nothing may stay behind for ever, stopped, with its run folder locked."""
    file = tmp_path / "one"
    text = PARENT.format(root=str(tmp_path), command=sleeper(file), file=str(file))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        parent.stdout.close()
        wait_for(lambda: not is_there(group))
    finally:
        if is_there(group):
            os.kill(group, signal.SIGKILL)


def is_there(process: int) -> bool:
    """Whether it runs or is stopped; one that ended and that nobody asked about is gone as well."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


MAKE = """
import time
for _ in range({n}):
    open({own!r}, "a").write("x")
    time.sleep(0.01)
open({own!r} + ".made", "w")
"""
WATCH = """
import pathlib, time
def sizes():
    return [path.stat().st_size for path in sorted(pathlib.Path({root!r}).glob("gan-?"))]
time.sleep(0.1)
before = sizes()
time.sleep(0.3)
print("alone" if sizes() == before else "disturbed")
"""
FINISH = """
import pathlib
result = pathlib.Path({result!r})
result.parent.mkdir(exist_ok=True)
result.write_text("{{}}")
"""
SEARCH = """
import pathlib, time
from nas.locks import hold
with hold(pathlib.Path({folder!r}) / ".searching", wait=True):
    time.sleep(1.5)
open({order!r}, "a").write("searched ")
time.sleep(2)
"""


def finish(piece: Piece) -> str:
    return FINISH.format(result=str(piece.result.absolute()))


def python(text: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{text}"]


def test_pieces_are_made_two_at_a_time_and_timed_alone(tmp_path):
    """Each piece counts for a while; what is timed watches that the others stand still."""
    proof = Proof(runs=tmp_path, results=tmp_path / "results")
    pieces = [Piece("gan", seed, proof) for seed in range(3)]

    def command(piece: Piece, step: str) -> list[str]:
        if step == "piece":
            return python(MAKE.format(n=20 + 150 * piece.seed, own=str(tmp_path / piece.name)))
        return python(WATCH.format(root=str(tmp_path)) + finish(piece))

    lines: list[str] = []
    failed = Together(lines.append, lambda piece: (tmp_path / f"{piece.name}.made").is_file(), command).make(pieces)
    assert failed == []
    assert all(piece.result.is_file() for piece in pieces)
    assert [piece.log.read_text().split()[-1] for piece in pieces] == ["alone"] * 3
    assert any("1 paused" in line for line in lines), lines
    lines.clear()
    assert Together(lines.append, lambda _: True, command).make(pieces) == []
    assert lines == []  # all have their result: nothing was started


def test_a_failed_piece_is_told_of_and_the_others_go_on(tmp_path):
    proof = Proof(runs=tmp_path, results=tmp_path / "results")
    pieces = [Piece("gan", seed, proof) for seed in range(2)]
    lines: list[str] = []

    def command(piece: Piece, _step: str) -> list[str]:
        return python("raise SystemExit('no disk')" if piece.seed == 0 else finish(piece))

    failed = Together(lines.append, lambda _: False, command).make(pieces)
    assert failed == [pieces[0]]
    assert any("no disk" in line for line in lines)
    assert pieces[1].result.is_file()


def test_a_search_is_not_paused(tmp_path):
    """One piece waits for its timings, and the other is searching: the timings come after the search, not after all."""
    proof = Proof(runs=tmp_path, results=tmp_path / "results")
    made, searching = Piece("gan", 0, proof), Piece("gan", 1, proof)
    order = tmp_path / "order"
    searching.folder.mkdir()

    def command(piece: Piece, step: str) -> list[str]:
        if step == "time":
            return python(f"open({str(order)!r}, 'a').write('timed-{piece.seed} ')\n" + finish(piece))
        text = SEARCH.format(folder=str(searching.folder), order=str(order))
        return python(f"{text}\nopen({str(order)!r}, 'a').write('made ')")

    pieces = Together(lambda _: None, lambda piece: piece is made, command)
    pieces._begin(searching)
    wait_for(lambda: is_searching(searching.folder))
    assert pieces.make([made]) == []
    assert order.read_text().split() == ["searched", "timed-0", "made", "timed-1"]
