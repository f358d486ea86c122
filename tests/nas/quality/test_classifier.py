"""The data set's own classifier: trained on ``seen`` once, the same every time, named by its hash."""

import hashlib

import numpy as np
import pytest
import torch

from benchmarks.files import sha256_file
from benchmarks.runtimes.onnx import input_specs
from nas.data import image_set, load_images, split, to_float
from nas.errors import NasError
from nas.experiment import DataConfig
from nas.progress import Silent
from nas.quality import classifier
from nas.quality.classifier import Classifier, classifier_file, get_labeller, train_classifier
from nas.quality.extractors import Extractor


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """1,000 digits, so 800 to learn from."""
    return split(load_images(DataConfig(name="mnist-5k", limit=1000), tmp_path_factory.mktemp("data")))


def classifier_extractor(seen, cache):
    path = classifier_file(seen, cache)
    return Extractor("classifier", path, sha256_file(path))


def two_classes(size=16, channels=1, n=240):
    """Noise that is dark in one class and bright in the other."""
    rng = np.random.default_rng(3)
    labels = np.arange(n) % 2
    values = rng.integers(0, 128, (n, channels, size, size)) + 127 * labels[:, None, None, None]
    return image_set(values.astype(np.uint8), labels, ("dark", "bright"))


@pytest.fixture(scope="module")
def quick():
    """Trainings of a few steps instead of the least number of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "EPOCHS", 1)
        patch.setattr(classifier, "LEAST_STEPS", 12)
        yield


@pytest.fixture(scope="module")
def trained(quick, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return classifier_extractor(two_classes(), cache), cache


def test_it_can_tell_digits_it_has_not_seen(digits, monkeypatch):
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    monkeypatch.setattr(classifier, "LEAST_STEPS", 300)
    model = train_classifier(digits.seen)
    assert not model.training
    with torch.inference_mode():
        found = model(torch.from_numpy(to_float(digits.held_out.images))).argmax(1).numpy()
    assert (found == digits.held_out.labels).mean() > 0.9


def test_two_trainings_give_the_same_features(quick, trained, tmp_path):
    first, _ = trained
    torch.manual_seed(77)
    state = torch.get_rng_state()
    again = classifier_extractor(two_classes(), tmp_path)
    assert torch.equal(state, torch.get_rng_state()), "training moves nobody's random numbers"
    images = to_float(two_classes().images[:10])
    assert again.digest == first.digest
    np.testing.assert_array_equal(first.features(images), again.features(images))


def test_another_seed_gives_others(quick):
    one, other = (train_classifier(two_classes(), seed=seed) for seed in (0, 1))
    assert not torch.equal(one.head.weight, other.head.weight)


def test_the_file_is_the_classifiers_features(quick, trained):
    extractor, _ = trained
    model = train_classifier(two_classes())
    images = to_float(two_classes().images[:7])
    with torch.inference_mode():
        wanted = model.features(torch.from_numpy(images)).numpy()
    found = extractor.features(images)
    assert found.shape == (7, classifier.FEATURES)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert [spec.shape for spec in input_specs(extractor.path)] == [(1, 16, 16)]


def test_features_do_not_depend_on_the_batch(trained):
    extractor, _ = trained
    images = np.tile(to_float(two_classes().images[:13]), (40, 1, 1, 1))  # 520 pictures: two full batches and a rest
    features = extractor.features(images)
    np.testing.assert_allclose(features[:13], features[-13:], atol=1e-5)
    np.testing.assert_allclose(features[5], extractor.features(images[5:6])[0], atol=1e-5)


def test_what_is_not_a_number_has_no_features(trained):
    """A ReLU could turn NaN into 0, and a diverged generator's pictures into good ones."""
    extractor, _ = trained
    images = to_float(two_classes().images[:3])
    images[1, 0, 8, 8] = np.nan
    assert np.isnan(extractor.features(images)).all(axis=1).tolist() == [False, True, False]


def test_a_cached_file_is_used_again(trained, monkeypatch):
    extractor, cache = trained
    before = extractor.path.stat().st_mtime_ns
    monkeypatch.setattr(classifier, "train_classifier", None)
    again = classifier_extractor(two_classes(), cache)
    assert again == extractor
    assert extractor.path.stat().st_mtime_ns == before
    assert not [path for path in cache.iterdir() if not path.name.endswith(".onnx") or path.name[0] == "."]


def test_other_pictures_and_other_versions_have_other_files(quick, trained, monkeypatch, tmp_path):
    extractor, _ = trained
    assert classifier_extractor(two_classes(n=250), tmp_path).path.name != extractor.path.name
    monkeypatch.setattr(classifier, "VERSION", classifier.VERSION + 1)
    assert classifier_extractor(two_classes(), tmp_path).path.name != extractor.path.name


def test_the_label_names_the_file(trained):
    extractor, _ = trained
    digest = hashlib.sha256(extractor.path.read_bytes()).hexdigest()
    assert extractor.digest == digest
    assert extractor.label == f"classifier@{digest[:12]}"


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (32, 3), (64, 1)])
def test_pictures_of_every_size(quick, size, channels, tmp_path):
    pictures = two_classes(size, channels, 20)
    features = classifier_extractor(pictures, tmp_path).features(to_float(pictures.images[:3]))
    assert features.shape == (3, classifier.FEATURES)
    assert np.isfinite(features).all()


def test_one_head_a_class():
    assert Classifier(3, 32, 7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_progress_is_told(quick):
    heard = []

    class Ear(Silent):
        def update(self, task, done, note=""):
            heard.append((task, done))

    train_classifier(two_classes(), progress=Ear())
    assert heard == [("classifier", step) for step in range(1, 13)]


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "train_classifier", lambda *_, **__: None)
    monkeypatch.setattr(classifier, "_Exportable", lambda *_, **__: None)

    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(classifier, "export_onnx", read_only)
    with pytest.raises(NasError, match=r"Read-only file system.*set LEANGEN_CACHE"):
        classifier_file(two_classes(), tmp_path / "nothing")


def test_the_labeller_is_another_classifier_of_the_same_pictures(quick, trained):
    """Its own file, from another seed."""
    _, cache = trained
    labeller = get_labeller(two_classes(), cache)
    assert labeller.path.name.startswith("labeller-v")
    assert labeller.label == f"labeller@{sha256_file(labeller.path)[:12]}"
    images = to_float(two_classes().images[:40])
    wanted = train_classifier(two_classes(), seed=classifier._LABELLER_SEED)
    with torch.inference_mode():
        np.testing.assert_array_equal(labeller.predict(images), wanted(torch.from_numpy(images)).argmax(1).numpy())
    assert (labeller.predict(images) == two_classes().labels[:40]).mean() > 0.9
    assert get_labeller(two_classes(), cache) == labeller


def test_the_labeller_sees_no_class_in_what_is_no_picture(quick, trained):
    _, cache = trained
    images = to_float(two_classes().images[:3])
    images[1] = np.nan
    assert (get_labeller(two_classes(), cache).predict(images) == -1).tolist() == [False, True, False]
