import json
import os

import pytest

from benchmarks import files
from benchmarks.files import FileError


def test_written_whole_and_folders_made(tmp_path):
    path = tmp_path / "a" / "b.bin"
    files.write_bytes(path, b"one")
    files.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["b.bin"]


def test_an_error_leaves_the_old_content_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail_halfway():
        with files.replacing(path) as beside:
            beside.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_replacing_keeps_the_suffix_for_writers_that_look_at_it(tmp_path):
    with files.replacing(tmp_path / "a.npz") as beside:
        assert beside.suffix == ".npz"
        assert beside.parent == tmp_path
        beside.write_bytes(b"x")
    assert (tmp_path / "a.npz").read_bytes() == b"x"


def test_json_round_trip_is_readable(tmp_path):
    value = {"b": [1, 2.5, None, True], "a": "Größe"}
    files.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "Größe" in text
    assert text.endswith("}\n")
    assert files.read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}, {1, 2}])
def test_what_is_not_json_is_not_written(tmp_path, value):
    with pytest.raises(FileError, match=r"x\.json"):
        files.write_json(tmp_path / "x.json", value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": Infinity}', "[" * 100_000, b"\xff\xfe"])
def test_damaged_json_is_named(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FileError, match=r"x\.json: is not JSON"):
        files.read_json(path)


def test_reading_stops_at_the_limit(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps("a" * 10))
    assert files.read_json(path, max_bytes=12) == "a" * 10
    with pytest.raises(FileError, match="at most 11 bytes"):
        files.read_json(path, max_bytes=11)


def test_a_missing_file_is_a_file_error(tmp_path):
    for read in (files.read_json, files.sha256_file):
        with pytest.raises(FileError, match="cannot be read"):
            read(tmp_path / "none")


def test_sha256(tmp_path):
    """The digest of "abc" stands in FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_bytes(b"abc") == files.sha256_file(tmp_path / "abc") == digest


def test_paths_stay_inside(tmp_path):
    assert files.resolve_inside(tmp_path, "a/b.txt") == tmp_path.resolve() / "a" / "b.txt"
    assert files.resolve_inside(tmp_path, "a/../b.txt") == tmp_path.resolve() / "b.txt"


@pytest.mark.parametrize("relative", ["..", "../x", "a/../../x", "/etc/passwd", "", "a\0b"])
def test_paths_outside_are_refused(tmp_path, relative):
    with pytest.raises(FileError):
        files.resolve_inside(tmp_path, relative)


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(FileError, match="leads nowhere"):
        files.resolve_inside(tmp_path, "a/x")


def test_links_outside_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    with pytest.raises(FileError, match="inside"):
        files.resolve_inside(tmp_path / "in", "link/x")
