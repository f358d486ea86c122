import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.files import FileError
from benchmarks.inputs import DTYPES, InputError, InputSpec, covering_rows, draw_inputs, dump_specs, load_specs

NORMAL = {"kind": "normal"}
Z = InputSpec("z", (4, 2), "float32", NORMAL)
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})


def bank(name, array, shape, dtype, file="bank.npz"):
    return InputSpec(name, shape, dtype, {"kind": "bank", "file": file, "array": array})


def test_json_round_trip():
    specs = (Z, LABEL, InputSpec("t", (1,), "float16", {"kind": "uniform", "low": -1, "high": 0.5}))
    assert load_specs(dump_specs(specs)) == specs
    assert json.loads(dump_specs([Z])) == [{"name": "z", "shape": [4, 2], "dtype": "float32", "prior": NORMAL}]


def test_shapes_and_dtypes_of_a_draw():
    drawn = draw_inputs([Z, LABEL], 5, seed=0)
    assert {name: (value.shape, value.dtype.name) for name, value in drawn.items()} == {
        "z": ((5, 4, 2), "float32"),
        "label": ((5,), "int64"),
    }


def test_same_seed_same_draw_other_seed_other_draw():
    assert np.array_equal(draw_inputs([Z], 3, 7)["z"], draw_inputs([Z], 3, (7,))["z"])
    seeds = [7, 8, (7, 0), (0, 7)]
    draws = {draw_inputs([Z], 3, seed)["z"].tobytes() for seed in seeds}
    assert len(draws) == len(seeds)


def test_the_stream_stays_what_it_was():
    """A golden value: banks and calibration sets of older runs must stay what they were."""
    first = draw_inputs([InputSpec("z", (), "float64", NORMAL), LABEL], 3, (1, 2))
    assert first["z"] == pytest.approx([-1.7932424157589872, -0.33550853953916693, -0.8044053550430251])
    assert first["label"].tolist() == [5, 1, 7]


def test_adding_an_input_changes_no_other():
    alone, both = draw_inputs([Z], 4, 1), draw_inputs([LABEL, Z], 4, 1)
    assert np.array_equal(alone["z"], both["z"])


@pytest.mark.parametrize("rows", [10, 64, 1000])
def test_labels_are_drawn_evenly(rows):
    counts = np.bincount(draw_inputs([LABEL], rows, 3)["label"], minlength=10)
    assert abs(counts - rows / 10).max() <= 2


def test_weighted_labels_follow_their_weights_and_rare_ones_are_covered():
    weights = [90, 9, 0, 1]
    rare = InputSpec("label", (), "int64", {"kind": "integers", "low": 5, "high": 8, "weights": weights})
    assert InputSpec.from_json(rare.to_json()) == rare
    rows = covering_rows([Z, rare], 64)
    assert covering_rows([Z, LABEL], 64) == 64 < rows == 262
    for seed in range(20):
        counts = np.bincount(draw_inputs([rare], rows, seed)["label"], minlength=9)
        assert abs(counts[5:] - rows * np.array(weights) / 100).max() <= 2
        assert counts[8] >= 1


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, -1], [0, 0], [1, float("nan")], [1, True], "ab"])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InputError, match="weight"):
        InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 1, "weights": weights})


@pytest.mark.parametrize("spec", [Z, LABEL, InputSpec("u", (3,), "float16", {"kind": "uniform", "low": 0, "high": 1})])
def test_a_longer_draw_starts_with_the_shorter(spec):
    short, long = draw_inputs([spec], 3, 5), draw_inputs([spec], 50, 5)
    assert np.array_equal(short[spec.name], long[spec.name][:3])


def test_priors_have_the_distribution_they_name():
    specs = [
        InputSpec("n", (), "float32", NORMAL),
        InputSpec("u", (), "float32", {"kind": "uniform", "low": -3, "high": 1}),
        InputSpec("i", (), "int32", {"kind": "integers", "low": -1, "high": 1}),
        InputSpec("b", (), "bool", {"kind": "integers", "low": 0, "high": 1}),
    ]
    drawn = draw_inputs(specs, 20_000, 0)
    assert drawn["n"].mean() == pytest.approx(0, abs=0.03)
    assert drawn["n"].std() == pytest.approx(1, abs=0.03)
    assert drawn["u"].min() >= -3
    assert drawn["u"].max() <= 1
    assert drawn["u"].mean() == pytest.approx(-1, abs=0.05)
    assert np.unique(drawn["i"]).tolist() == [-1, 0, 1]
    assert drawn["b"].mean() == pytest.approx(0.5, abs=0.03)


def test_no_rows_is_an_empty_draw():
    assert draw_inputs([Z], 0, 0)["z"].shape == (0, 4, 2)
    with pytest.raises(InputError, match="0 or more"):
        draw_inputs([Z], -1, 0)


def test_inputs_of_one_bank_are_drawn_row_by_row_together(tmp_path):
    text = np.arange(100, dtype=np.float32).reshape(50, 2)
    np.savez(tmp_path / "bank.npz", text=text, mask=np.arange(50))
    specs = [bank("t", "text", (2,), "float32"), bank("m", "mask", (), "int64")]
    drawn = draw_inputs(specs, 200, 3, root=tmp_path)
    assert np.array_equal(drawn["t"], text[drawn["m"]])
    assert len(np.unique(drawn["m"])) > 40


def test_a_changed_bank_is_read_again(tmp_path):
    spec = bank("t", "t", (), "float32")
    for value in (1.0, 2.0):
        np.savez(tmp_path / "bank.npz", t=np.full(3 + int(value), value, np.float32))
        assert set(draw_inputs([spec], 4, 0, root=tmp_path)["t"]) == {value}


def test_a_bank_may_be_narrower_but_not_wider_than_its_spec(tmp_path):
    np.savez(tmp_path / "bank.npz", half=np.zeros((2, 1), np.float16), double=np.zeros((2, 1)))
    assert draw_inputs([bank("h", "half", (1,), "float32")], 1, 0, root=tmp_path)["h"].dtype == np.float32
    with pytest.raises(InputError, match="float64, which does not fit float32"):
        draw_inputs([bank("d", "double", (1,), "float32")], 1, 0, root=tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (bank("t", "text", (3,), "float32"), r"\(rows, \*\(3,\)\), not \(5, 2\)"),
        (bank("t", "none", (2,), "float32"), "has no array 'none', but text, more, scalar, object"),
        (bank("t", "scalar", (), "float32"), "must have a row axis"),
        (bank("t", "object", (), "float32"), "plain arrays"),
        (bank("t", "text", (2,), "float32", file="../bank.npz"), "inside"),
        (bank("t", "text", (2,), "float32", file="none.npz"), "cannot be read"),
        (bank("t", "text", (2,), "float32", file="junk.npz"), "cannot be read"),
    ],
)
def test_a_bad_bank_is_explained(tmp_path, spec, message):
    arrays = {"text": np.zeros((5, 2), np.float32), "more": np.zeros((6, 2), np.float32), "scalar": np.float32(1)}
    np.savez(tmp_path / "bank.npz", **arrays, object=np.array([{}], dtype=object))
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises((InputError, FileError), match=message):
        draw_inputs([spec], 1, 0, root=tmp_path)


def test_arrays_of_one_bank_have_the_same_number_of_rows(tmp_path):
    np.savez(tmp_path / "bank.npz", a=np.zeros(5, np.float32), b=np.zeros(6, np.float32))
    with pytest.raises(InputError, match="lengths differ"):
        draw_inputs([bank("a", "a", (), "float32"), bank("b", "b", (), "float32")], 1, 0, root=tmp_path)


def test_a_bank_needs_a_root_and_is_limited(tmp_path, monkeypatch):
    np.savez(tmp_path / "bank.npz", t=np.zeros(100, np.float32))
    spec = bank("t", "t", (), "float32")
    with pytest.raises(InputError, match="root"):
        draw_inputs([spec], 1, 0)
    monkeypatch.setattr("benchmarks.inputs.MAX_BANK_BYTES", 100)
    with pytest.raises(FileError, match="at most 100 bytes"):
        draw_inputs([spec], 1, 0, root=tmp_path)


@pytest.mark.parametrize("name", ["", " z", "a b", "a/b", "../z", ".z", "z\n", "é", "a" * 129, 3, None])
def test_names(name):
    with pytest.raises(InputError, match="name"):
        InputSpec(name, (), "float32", NORMAL)


@pytest.mark.parametrize("shape", [(0,), (-1,), ("3",), (2.0,), (True,), None, "12", 4, (1,) * 9, (2**20, 2**20)])
def test_shapes(shape):
    with pytest.raises(InputError, match="'z': shape"):
        InputSpec("z", shape, "float32", NORMAL)


@pytest.mark.parametrize(
    ("dtype", "prior", "message"),
    [
        ("float8", NORMAL, "dtype"),
        ("int64", NORMAL, "needs a float dtype"),
        ("float32", {"kind": "gauss"}, "kind must be one of normal"),
        ("float32", {"kind": ["normal"]}, "kind"),
        ("float32", "normal", "kind"),
        ("float32", {"kind": "normal", "std": 2}, "exactly kind"),
        ("float32", {"kind": "uniform", "low": 0}, "exactly high, kind, low"),
        ("float32", {"kind": "uniform", "low": 1, "high": 1}, "low must be below high"),
        ("float32", {"kind": "uniform", "low": 0, "high": float("nan")}, "low must be below high"),
        ("float16", {"kind": "uniform", "low": 0, "high": 1e6}, "finite in float16"),
        ("float32", {"kind": "uniform", "low": "0", "high": 1}, "low must be below high"),
        ("float32", {"kind": "integers", "low": 0, "high": 1}, "integer dtype"),
        ("bool", {"kind": "integers", "low": 0, "high": 2}, "within bool"),
        ("int32", {"kind": "integers", "low": 0, "high": 2**31}, "within int32"),
        ("int64", {"kind": "integers", "low": 0, "high": 1.5}, "whole"),
        ("int64", {"kind": "integers", "low": 3, "high": 2}, "low <= high"),
        ("float32", {"kind": "bank", "file": "", "array": "a"}, "names"),
    ],
)
def test_priors(dtype, prior, message):
    with pytest.raises(InputError, match=message):
        InputSpec("z", (), dtype, prior)


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", "[1]", '[{"name": "z"}]'])
def test_damaged_specs_are_refused(text):
    with pytest.raises(InputError):
        load_specs(text)


def test_names_must_differ():
    with pytest.raises(InputError, match="z occurs more than once"):
        load_specs(dump_specs([Z, Z]))


def test_a_spec_is_hashable_and_does_not_share_its_prior():
    prior = {"kind": "uniform", "low": 0, "high": 1}
    spec = InputSpec("z", [2], "float32", prior)
    prior["high"] = 2
    assert spec.prior["high"] == 1
    assert spec.shape == (2,)
    assert len({spec, InputSpec("z", (2,), "float32", spec.prior)}) == 1


@given(
    shape=st.lists(st.integers(1, 4), max_size=3),
    dtype=st.sampled_from(DTYPES),
    n=st.integers(0, 5),
    seed=st.integers(0, 2**70),
)
def test_every_dtype_and_shape_draws(shape, dtype, n, seed):
    prior = NORMAL if dtype.startswith("float") else {"kind": "integers", "low": 0, "high": 1}
    spec = InputSpec("x", tuple(shape), dtype, prior)
    drawn = draw_inputs([InputSpec.from_json(spec.to_json())], n, seed)["x"]
    assert drawn.shape == (n, *shape)
    assert drawn.dtype == dtype
