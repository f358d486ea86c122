import contextlib
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import input_files
from benchmarks.files import FileError
from benchmarks.graph import Port
from benchmarks.input_files import load_inputs
from benchmarks.inputs import InputError, InputSpec
from benchmarks.records import BenchmarkError

Z = InputSpec("z", (4, 2), "float32", {"kind": "normal"})
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
GOOD = {"z": np.arange(24, dtype=np.float32).reshape(3, 4, 2), "label": np.array([1, 2, 3])}


def write(path, save=np.savez, **arrays):
    save(path, **arrays)
    return path


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def write_members(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name + ".npy", content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("specs", [[Z, LABEL], [LABEL, Z], None])
def test_what_was_saved_is_loaded(tmp_path, save, specs):
    loaded = load_inputs(write(tmp_path / "in.npz", save, **GOOD), specs)
    assert set(loaded) == {"z", "label"}
    for name, array in loaded.items():
        assert np.array_equal(array, GOOD[name])
        assert array.dtype == GOOD[name].dtype
        array[:] = 0  # the caller's own


def test_other_byte_and_axis_orders_become_the_machines_own(tmp_path):
    path = write(tmp_path / "in.npz", z=np.asfortranarray(GOOD["z"]).astype(">f4"))
    loaded = load_inputs(path, [Z])["z"]
    assert loaded.dtype == np.float32
    assert loaded.flags.c_contiguous
    assert np.array_equal(loaded, GOOD["z"])


def test_a_graph_alone_may_say_what_fits(tmp_path):
    """For files without specifications: dynamic axes besides the batch, and a fixed batch."""
    path = write(tmp_path / "in.npz", x=np.ones((2, 3, 5), np.float32))
    assert load_inputs(path, [Port("x", "float32", (None, 3, None))])["x"].shape == (2, 3, 5)
    with pytest.raises(InputError, match=r"'x' must be \(1, 3, any\), not \(2, 3, 5\)"):
        load_inputs(path, [Port("x", "float32", (1, 3, None))])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": GOOD["z"]}, "must hold the arrays z, label, one for each input, but holds z"),
        ({**GOOD, "w": np.ones(3)}, "but holds z, label, w"),
        ({}, "but holds none"),
        ({**GOOD, "z": GOOD["z"].astype(np.float64)}, "'z' must be float32, not float64. Use astype"),
        ({**GOOD, "z": GOOD["z"][:, :3]}, r"'z' must be \(any, 4, 2\), not \(3, 3, 2\)"),
        ({**GOOD, "label": np.array([1, 2])}, r"same number of rows, at least 1, not \[2, 3\]"),
        ({"z": GOOD["z"][:0], "label": GOOD["label"][:0]}, r"at least 1, not \[0\]"),
    ],
)
def test_arrays_that_do_not_fit_are_explained(tmp_path, arrays, message):
    with pytest.raises(InputError, match=rf"in\.npz: .*{message}"):
        load_inputs(write(tmp_path / "in.npz", **arrays), [Z, LABEL])


def test_a_file_that_is_not_there_or_no_npz(tmp_path):
    with pytest.raises(FileError, match=r"no\.npz: cannot be read"):
        load_inputs(tmp_path / "no.npz", [Z])
    np.save(tmp_path / "z.npy", GOOD["z"])
    with pytest.raises(FileError, match=r"z\.npy: .*numpy\.savez"):
        load_inputs(tmp_path / "z.npy", [Z])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.array([{"a": 1}], dtype=object)), "is object, but inputs are numbers"),
        (npy(np.array(["text"])), "but inputs are numbers"),
        (npy(GOOD["z"])[:-4], "which is not float32"),
        (npy(GOOD["z"]) + b"more", "which is not float32"),
        (npy(GOOD["z"]).replace(b"(3, 4, 2), ", b"(-3, -4, 2)"), "which is not float32"),
        (npy(GOOD["z"]).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"), "which plain arrays do not need"),
        (b"junk", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
@pytest.mark.parametrize("specs", [[Z], None])
def test_hostile_arrays_are_refused(tmp_path, content, message, specs):
    with pytest.raises(FileError, match=message):
        load_inputs(write_members(tmp_path / "in.npz", z=content), specs)


def test_a_shape_that_the_file_does_not_hold_takes_no_memory(tmp_path, monkeypatch):
    huge = npy(GOOD["z"]).replace(b"(3, 4, 2), }     ", b"(3000000000,4,2)}")
    monkeypatch.setattr(input_files, "_read_array", lambda *_: pytest.fail("was read"))
    with pytest.raises(FileError, match="which is not float32"):
        load_inputs(write_members(tmp_path / "in.npz", z=huge), None)


def test_size_is_limited_before_anything_is_unpacked(tmp_path, monkeypatch):
    path = write(tmp_path / "in.npz", np.savez_compressed, z=np.zeros((1000, 4, 2), np.float32))
    monkeypatch.setattr(input_files, "MAX_BANK_BYTES", 10_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(FileError, match=r"at most 10,000 bytes, these have 32,"):
        load_inputs(path, [Z])


def test_other_members_and_names_twice_are_refused(tmp_path):
    path = write_members(tmp_path / "in.npz", z=npy(GOOD["z"]))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.txt", "x")
    with pytest.raises(FileError, match=r"holds \.\./evil\.txt, which is no array"):
        load_inputs(path, None)
    path = write_members(tmp_path / "twice.npz", z=npy(GOOD["z"]))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("z.npy", npy(GOOD["z"] + 1))
    with pytest.raises(FileError, match="holds a name twice"):
        load_inputs(path, None)


def test_a_flipped_bit_is_found(tmp_path):
    path = write(tmp_path / "in.npz", z=GOOD["z"])
    data = bytearray(path.read_bytes())
    data[data.index(GOOD["z"].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match="CRC"):
        load_inputs(path, [Z])


@settings(deadline=None)  # a busy machine
@given(cut=st.integers(0, 900), spoil=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=6))
def test_damage_is_an_error_of_ours_or_harmless(tmp_path_factory, cut, spoil):
    path = write(tmp_path_factory.getbasetemp() / "damaged.npz", np.savez_compressed, **GOOD)
    data = bytearray(path.read_bytes())
    for place, value in spoil:
        data[place % len(data)] = value
    path.write_bytes(data[: len(data) - cut] if cut < len(data) and cut % 3 == 0 else data)
    shapes = {"z": (3, 4, 2), "label": (3,)}
    with contextlib.suppress(BenchmarkError):
        shapes = {name: array.shape for name, array in load_inputs(path, [Z, LABEL]).items()}
    assert shapes == {"z": (3, 4, 2), "label": (3,)}
