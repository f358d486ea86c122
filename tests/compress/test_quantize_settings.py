import pytest

from compress.edits import Edit, apply_edits
from compress.errors import CompressError
from compress.quantize_settings import QuantizeSettings

UNUSUAL = QuantizeSettings(True, "tensorrt", ("conv", "gemm"), True, "entropy")


@pytest.mark.parametrize("settings", [QuantizeSettings(), UNUSUAL])
def test_an_edit_gives_the_settings_back(settings):
    edit = Edit.from_json(settings.edit((1, 2), 64).to_json())
    assert QuantizeSettings.of_edit(edit) == settings
    assert (edit.settings["calibration_seed"], edit.settings["calibration_rows"]) == ([1, 2], 64)
    assert apply_edits(None, [edit]) is None


def test_the_usual_edit_is_that_of_older_run_folders():
    """So the ids of generators stay."""
    assert QuantizeSettings().edit(3, 64).settings == {
        "target": "onnxruntime", "per_channel": False, "calibration_seed": 3, "calibration_rows": 64, "exclude": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (QuantizeSettings(), "per tensor"),
        (QuantizeSettings(True, unfold=True), "per channel, unfolded"),
        (QuantizeSettings(exclude=("a",), calibration="percentile"), "per tensor, percentile, 1 node in float"),
        (QuantizeSettings(exclude=("a", "b")), "per tensor, 2 nodes in float"),
    ],
)
def test_names(settings, name):
    assert settings.name == name


def test_wrong_settings_say_what_to_do():
    with pytest.raises(CompressError, match="onnxruntime or tensorrt, found 'tpu'"):
        QuantizeSettings(target="tpu")
    with pytest.raises(CompressError, match="minmax, percentile, entropy, found 'mean'"):
        QuantizeSettings(calibration="mean")


@pytest.mark.parametrize("broken", [{"unfold": 1}, {"calibration": []}, {"exclude": None}, {"surprise": 1}])
def test_an_edit_of_a_hostile_file_is_refused(broken):
    edit = Edit("quantize", {**QuantizeSettings().edit(0, 64).settings, **broken})
    with pytest.raises(CompressError, match="The edit quantize"):
        apply_edits(None, [edit])
