"""``device.json``: read back as written, refused when it is not one, and used for exactly what was profiled."""

import json
from dataclasses import replace

import pytest

from benchmarks.files import FileError
from benchmarks.fingerprint import fingerprint
from benchmarks.inputs import InputSpec
from benchmarks.records import Target
from nas.device_profile import SCHEMA, Anchor, DeviceProfile, ProfileError, SpaceKey, describe, space_hash
from nas.predictor import Errors
from search_spaces import get_space
from search_spaces.space import ImageShape

Z = InputSpec("z", (100,), "float32", {"kind": "normal"})
IMAGE = ImageShape(1, 32, 32)
SPACE = get_space("decoder")
GOOD, BAD = Errors(100, 0.06, 0.99, 0.94, -0.2), Errors(100, 0.3, 0.8, 0.6, -0.6)


@pytest.fixture
def profile() -> DeviceProfile:
    return DeviceProfile(
        schema=SCHEMA,
        space=SpaceKey(name=SPACE.name, sha256=space_hash(SPACE)),
        machine=fingerprint().to_json(),
        target=Target().to_json(),
        image=(1, 32, 32),
        inputs=[Z.to_json()],
        seed=0,
        anchor=Anchor(genotype=dict(SPACE.named["dcgan64"]), seconds=0.001),
        members=300,
        prices={"fp32": {"call": 0.1, "conv 3 macs": 1e-8}, "int8": {"call": 0.2}},
        held_out=GOOD,
        macs=BAD,
    )


def test_it_is_read_as_it_was_written(profile, tmp_path):
    path = tmp_path / "device.json"
    profile.write(path)
    assert json.loads(path.read_text())["schema"] == SCHEMA
    assert DeviceProfile.read(path) == profile
    predictor = DeviceProfile.read(path).predictor(SPACE, (Z,), IMAGE, Target())
    assert predictor.prices == profile.prices


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema": 2}, "reads schema 1, found 2"),
        ({"prices": {"fp32": {"call": -1.0}}}, "prices.fp32.call"),
        ({"prices": {"fp32": {}}}, "prices"),
        ({"prices": {f"p{index}": {"call": 1.0} for index in range(9)}}, "prices"),
        ({"prices": {"fp32": {str(index): 1.0 for index in range(10_001)}}}, "10,000 prices"),
        ({"space": {"name": "decoder", "sha256": "../../etc"}}, "space.sha256"),
        ({"held_out": {"members": "many"}}, "held_out"),
        ({"held_out": {**GOOD.to_json(), "slack": float("1e999")}}, "held_out.slack"),
        ({"surprise": 1}, "surprise"),
        ({"image": [1, 32]}, "image"),
    ],
)
def test_what_is_no_profile_is_refused_by_name(profile, tmp_path, change, complaint):
    path = tmp_path / "device.json"
    text = json.dumps(profile.model_dump(mode="json", by_alias=True) | change).replace("Infinity", "1e999")
    path.write_text(text)  # JSON that is read as infinity
    with pytest.raises(ProfileError, match=complaint) as error:
        DeviceProfile.read(path)
    assert str(path) in str(error.value)


def test_other_json_a_nan_and_what_is_too_large_are_refused(tmp_path):
    path = tmp_path / "device.json"
    for text, kind in (("[]", ProfileError), ('{"schema": NaN}', FileError), (" " * (4 * 2**20 + 1), FileError)):
        path.write_text(text)
        with pytest.raises(kind):
            DeviceProfile.read(path)


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"space": get_space("class_decoder")}, "the space was decoder and now is class_decoder"),
        ({"image": ImageShape(3, 32, 32)}, "the image was"),
        ({"inputs": (replace(Z, shape=(64,)),)}, "the inputs was"),
        ({"target": Target(threads=2)}, "the threads was 1 and now is 2"),
        ({"target": Target(batch=32)}, "the batch was 1 and now is 32"),
    ],
)
def test_it_predicts_exactly_what_was_profiled(profile, wanted, complaint):
    use = {"space": SPACE, "inputs": (Z,), "image": IMAGE, "target": Target()} | wanted
    with pytest.raises(ProfileError, match=complaint):
        profile.predictor(**use)


def test_a_space_whose_knobs_have_changed_is_another(profile):
    knobs = dict(SPACE.knobs)
    knobs["activation"] = replace(knobs["activation"], values=("relu",), odds=())
    changed = replace(SPACE, knobs=knobs, named={})
    with pytest.raises(ProfileError, match="definition of the space"):
        profile.predictor(changed, (Z,), IMAGE, Target())
    reworded = replace(SPACE, description="other words")
    assert space_hash(reworded) == space_hash(SPACE)


def test_another_prior_is_the_same_input(profile):
    uniform = replace(Z, prior={"kind": "uniform", "low": -1.0, "high": 1.0})
    assert profile.predictor(SPACE, (uniform,), IMAGE, Target()).prices == profile.prices


def test_another_machine_is_told_by_the_field_that_differs(profile):
    here = fingerprint()
    assert profile.differences(here) == ()
    (told,) = profile.differences(replace(here, cores=here.cores + 1))
    assert told == f"cores was {here.cores} and is {here.cores + 1}"


def test_the_line_that_is_printed():
    assert describe("predictor", GOOD) == ("predictor  median error 6.0%, Spearman 0.990, in the fastest quarter 0.940")
