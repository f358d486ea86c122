"""Extractors by name and the user's own: pictures are brought to what a file takes; hostile files are refused."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from benchmarks.files import sha256_file
from nas.data import image_set
from nas.errors import NasError
from nas.progress import Silent
from nas.quality import classifier, extractors
from nas.quality.extractors import check_extractor, get_extractor, open_file
from search_spaces.space import ImageShape

GREY = ImageShape(1, 16, 16)
COLOUR = ImageShape(3, 16, 16)


def means(path, shape=("n", 3, 8, 8), *, flat=False, metadata=None, dtype=TensorProto.FLOAT, factor=None):
    """Write an ONNX file whose features are the means over the pixels of each channel, and return its path."""
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["pooled"])]
    last = "pooled"
    if factor is not None:
        nodes.append(helper.make_node("Mul", [last, "factor"], ["scaled"]))
        last = "scaled"
    if flat:
        nodes.append(helper.make_node("Flatten", [last], ["flat"]))
        last = "flat"
    weights = [] if factor is None else [numpy_helper.from_array(np.array(factor, np.float32), "factor")]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(last, dtype, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


@pytest.fixture
def pictures():
    return np.random.default_rng(0).uniform(-1, 1, (7, 3, 16, 16)).astype(np.float32)


def test_a_file_is_named_by_its_stem_and_hash(tmp_path):
    path = means(tmp_path / "my inception.onnx")
    found = open_file(path, COLOUR)
    assert found.label == f"my-inception@{sha256_file(path)[:12]}"


@pytest.mark.parametrize("flat", [False, True])
def test_features_may_be_flat_or_pooled(tmp_path, pictures, flat):
    found = open_file(means(tmp_path / "f.onnx", ("n", 3, 16, 16), flat=flat), COLOUR).features(pictures)
    np.testing.assert_allclose(found, pictures.mean(axis=(2, 3)), atol=1e-6)
    assert found.dtype == np.float64


def test_pictures_are_resized_to_what_the_file_takes(tmp_path, pictures):
    """From 16 to 24 pixels between their centres; the mean over a channel follows from torch's own resizing."""
    found = open_file(means(tmp_path / "f.onnx", ("n", 3, 24, 24)), COLOUR)
    assert (found.side, found.channels) == (24, 3)
    resized = functional.interpolate(torch.from_numpy(pictures), (24, 24), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found.features(pictures), resized.mean(dim=(2, 3)).numpy(), atol=1e-5)


def test_a_file_of_any_size_takes_pictures_as_they_are(tmp_path, pictures):
    found = open_file(means(tmp_path / "f.onnx", ("n", 3, "h", "w")), COLOUR)
    assert found.side is None
    np.testing.assert_allclose(found.features(pictures), pictures.mean(axis=(2, 3)), atol=1e-6)


def test_grey_pictures_are_repeated_to_three_channels(tmp_path, pictures):
    found = open_file(means(tmp_path / "f.onnx", ("n", 3, 16, 16)), GREY).features(pictures[:, :1])
    np.testing.assert_allclose(found, np.repeat(pictures[:, :1].mean(axis=(2, 3)), 3, axis=1), atol=1e-6)


def test_the_range_stands_in_the_metadata(tmp_path, pictures):
    path = means(tmp_path / "f.onnx", ("n", 3, 16, 16), metadata={"leangen.range": "[0, 255]"})
    found = open_file(path, COLOUR).features(pictures)
    np.testing.assert_allclose(found, 127.5 * (pictures.mean(axis=(2, 3)) + 1), rtol=1e-4)


def test_a_fixed_batch_is_filled_up(tmp_path, pictures):
    found = open_file(means(tmp_path / "f.onnx", (4, 3, 24, 24)), COLOUR).features(pictures)
    free = open_file(means(tmp_path / "g.onnx", ("n", 3, 24, 24)), COLOUR).features(pictures)
    np.testing.assert_allclose(found, free, atol=1e-6)


def test_slow_extractors_say_how_far_they_are(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(extractors, "_AT_ONCE", 3)
    heard = []

    class Ear(Silent):
        def update(self, task, done, note=""):
            heard.append((task, done))

    extractor = open_file(means(tmp_path / "slow.onnx", ("n", 3, 24, 24)), COLOUR)
    parts = extractor.features(pictures, progress=Ear())
    assert heard == [("slow", 3), ("slow", 6), ("slow", 7)]
    np.testing.assert_allclose(parts[4:5], extractor.features(pictures[4:5]), atol=1e-6)


def test_what_is_no_picture_has_no_features(tmp_path, pictures):
    pictures[2, 0, 3, 3] = np.inf
    found = open_file(means(tmp_path / "f.onnx", ("n", 3, 24, 24)), COLOUR).features(pictures)
    assert np.isnan(found).all(axis=1).tolist() == [False, False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ("n", 2, 16, 16)}, r"pictures of 2 channels, and those of the data have 3"),
        ({"shape": ("n", 1, 16, 16)}, r"pictures of 1 channels, and those of the data have 3"),
        ({"shape": ("n", 3, 16, 24)}, r"must be square"),
        ({"shape": ("n", 3, 5000, 5000)}, r"8 to 1024 pixels wide; found 5000"),
        ({"shape": ("n", 3, 16)}, r"must be float32 \(N, C, H, W\)"),
        ({"dtype": TensorProto.DOUBLE}, r"must be float32"),
        ({"metadata": {"leangen.range": "[255, 0]"}}, r"leangen\.range must be JSON \[low, high\].*found '\[255, 0\]'"),
        ({"metadata": {"leangen.range": "[0, NaN]"}}, r"leangen\.range must be JSON"),
        ({"metadata": {"leangen.range": "[" * 2000}}, r"leangen\.range must be JSON"),
        ({"metadata": {"leangen.range": json.dumps({"low": 0})}}, r"leangen\.range must be JSON"),
        ({"factor": np.nan}, r"must be finite numbers"),
        ({"factor": np.ones((1, 1, 2, 2))}, r"features \(N, D\).*found \(2, 3, 2, 2\).*Pool"),
        ({"factor": np.ones((1, 3, 1, 1)), "shape": ("n", 1, "h", "w")}, r"1 channels"),
    ],
)
def test_files_that_are_no_extractors_are_refused(tmp_path, options, message):
    path = means(tmp_path / "f.onnx", **options)
    with pytest.raises(NasError, match=rf"(?s)the extractor .*f\.onnx cannot be used: .*{message}"):
        open_file(path, COLOUR)


def test_more_features_than_a_covariance_can_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(extractors, "MAX_FEATURES", 2)
    with pytest.raises(NasError, match=r"D from 2 to 2; found \(2, 3, 1, 1\)"):
        open_file(means(tmp_path / "f.onnx"), COLOUR)


def test_weights_in_another_file_are_refused(tmp_path):
    path = means(tmp_path / "f.onnx", factor=np.ones((1, 3, 1, 1)))
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NasError, match="only self-contained ONNX files are read"):
        open_file(path, COLOUR)


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", None])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "f.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NasError, match=r"f\.onnx cannot be used"):
        check_extractor(str(path), COLOUR, tmp_path)


def test_an_unknown_extractor_lists_the_known_ones(tmp_path):
    with pytest.raises(NasError, match=r"classifier, efficientnet-lite0, or the path of an \.onnx file; found 'incep'"):
        check_extractor("incep", GREY, tmp_path)


def test_get_extractor_takes_names_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    monkeypatch.setattr(classifier, "LEAST_STEPS", 5)
    values = np.random.default_rng(1).integers(0, 256, (20, 1, 16, 16)).astype(np.uint8)
    seen = image_set(values, np.arange(20) % 2, ("a", "b"))
    own = get_extractor("classifier", seen, tmp_path)
    assert own.path.parent == tmp_path / "extractors"
    assert own.label == f"classifier@{sha256_file(own.path)[:12]}"
    monkeypatch.setattr(classifier, "train_classifier", None)
    assert get_extractor("classifier", seen, tmp_path) == own
    path = means(tmp_path / "f.onnx", ("n", 3, 16, 16))
    assert get_extractor(str(path), seen, tmp_path) == open_file(path, GREY)
