"""The log: lines that are whole, whatever was killed, and a reader that takes nothing else."""

import json

import pytest

from benchmarks.files import FileError
from nas.log import Log, read_log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.jsonl"


def test_lines_in_order_with_their_time_and_without_what_is_not_known(path):
    log = Log(path, clock=iter([10.0, 11.5]).__next__)
    log.write("started", kind="stage", subject="search", until=None)
    log.write("finished", kind="stage", subject="search")
    assert read_log(path) == [
        {"time": 10.0, "event": "started", "kind": "stage", "subject": "search"},
        {"time": 11.5, "event": "finished", "kind": "stage", "subject": "search"},
    ]


def test_a_job_is_told_of_with_what_came_back(path):
    log, job = Log(path, clock=lambda: 5.0), {"kind": "train", "until": 60, "out": "x"}
    log.started(job, "candidates/ab")
    result = {"seconds": 2.5, "since": 20, "steps": 60, "note": "began anew"}
    log.finished(job, "candidates/ab", result, "complete", rung=2, note=None)
    log.finished(job, "candidates/ab", {"error": "x" * 9000}, "failed", note="x" * 9000)
    first, second, third = read_log(path)
    common = {"time": 5.0, "kind": "train", "subject": "candidates/ab", "until": 60}
    assert first == {**common, "event": "started"}
    assert second == {
        **common, "event": "finished", "since": 20, "seconds": 2.5, "outcome": "complete", "rung": 2,
        "note": "began anew",
    }  # fmt: skip
    assert len(third["note"]) < 600


def test_a_line_that_a_kill_tore_is_not_read_and_spoils_none_after_it(path):
    Log(path).write("started", subject="a")
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        assert [line["subject"] for line in read_log(path)] == ["a"]
        Log(path).write("finished", subject="b")
        assert [line["subject"] for line in read_log(path)] == ["a", "b"]


def test_a_log_of_one_torn_line_is_an_empty_one(path):
    path.write_bytes(b'{"time": 1')
    assert read_log(path) == []
    Log(path).write("started")
    assert len(read_log(path)) == 1


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff", b"[" * 5000])
def test_a_damaged_line_in_the_middle_is_named(path, line):
    path.write_bytes(b'{"event": "a"}\n' + line + b'\n{"event": "b"}\n')
    with pytest.raises(FileError, match=r"log\.jsonl, line 2: .* Remove the line"):
        read_log(path)


def test_no_more_is_read_than_asked_for(path):
    path.write_text(json.dumps({"event": "x" * 1000}) + "\n")
    with pytest.raises(FileError, match="larger"):
        read_log(path, max_bytes=100)
