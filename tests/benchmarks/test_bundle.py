import json

import numpy as np
import pytest

from benchmarks import bundle
from benchmarks.bundle import BundleError, Options, load, record


@pytest.fixture
def model(tmp_path, linear_model):
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear_model())
    return path


@pytest.fixture
def made(tmp_path, model):
    return record(model, tmp_path / "bundle", Options(batch=4), seconds=0.05)


def test_a_bundle_holds_the_model_and_what_was_measured(made, model):
    again = load(made.folder)
    assert again == made
    assert (made.folder / "model.onnx").read_bytes() == model.read_bytes()
    assert again.side.threads == 1
    assert again.baseline.versions["onnxruntime"]
    assert again.baseline.latency_ms["median"] > 0
    samples = again.samples()
    assert len(samples["seconds"]) == len(samples["switches"]) == len(samples["outlier"]) == len(samples["turns"]) > 10
    with np.load(made.folder / "inputs.npz") as inputs:
        assert inputs["z"].shape == (4, 3)


def test_inputs_of_the_users_own(tmp_path, model):
    np.savez(tmp_path / "own.npz", z=np.ones((2, 3), np.float32))
    made = record(model, tmp_path / "bundle", Options(), inputs=tmp_path / "own.npz", seconds=0.05)
    assert made.baseline.options.batch == 2


@pytest.mark.parametrize("name", bundle.FILES)
def test_tampered_truncated_or_missing(made, name):
    path = made.folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError, match=f"{name} was changed"):
        load(made.folder)
    path.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match=f"{name} was cut off"):
        load(made.folder)
    path.unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load(made.folder)


def change(made, **values):
    path = made.folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_newer_schema_and_no_bundle_at_all(made, tmp_path):
    change(made, schema=99)
    with pytest.raises(BundleError, match="newer leangen"):
        load(made.folder)
    change(made, schema="1")
    with pytest.raises(BundleError, match="not the manifest"):
        load(made.folder)
    with pytest.raises(BundleError, match="leangen bench record"):
        load(tmp_path / "nowhere")


def test_a_manifest_cannot_point_elsewhere(made):
    files = json.loads((made.folder / "bundle.json").read_text())["files"]
    change(made, files={**files, "../linear.onnx": files["model.onnx"]})
    with pytest.raises(BundleError, match="not the manifest"):
        load(made.folder)


def test_a_model_behind_a_link_out_of_the_bundle_is_refused(made, model):
    (made.folder / "model.onnx").unlink()
    (made.folder / "model.onnx").symlink_to(model)
    with pytest.raises(ValueError, match="leads to"):
        load(made.folder)


def test_other_files_are_not_written_over(tmp_path, model):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(BundleError, match=r"thesis\.tex"):
        record(model, tmp_path / "full", Options(), seconds=0.05)


def test_a_baseline_that_computes_nan_is_refused(tmp_path, model):
    np.savez(tmp_path / "nan.npz", z=np.full((1, 3), np.nan, np.float32))
    with pytest.raises(BundleError, match="not finite"):
        record(model, tmp_path / "bundle", Options(), inputs=tmp_path / "nan.npz", seconds=0.05)
    assert not (tmp_path / "bundle").exists()
