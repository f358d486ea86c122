"""Families are the files of their folder, chosen and told what to do by the experiment."""

import types

import pytest

import nas.families
from nas.errors import NasError
from nas.experiment import Experiment
from nas.families import families, get_family
from nas.families.base import DataShape
from search_spaces.space import ImageShape

SHAPE = DataShape(ImageShape(1, 32, 32), (10, 10))


def experiment(tmp_path, family) -> Experiment:
    path = tmp_path / "tiny.yaml"
    path.write_text(f"data: mnist-5k\nfamily: {family}\n")
    return Experiment.load(path)


def test_tools_are_no_families():
    assert families() == ("cgan", "gan")


def test_a_family_and_its_options(tmp_path):
    family = get_family(experiment(tmp_path, "{name: gan, latent: 7, batch_size: 8}"), SHAPE)
    assert family.name == "gan"
    assert family.inputs[0].shape == (7,)


def test_an_unknown_family_names_the_known_ones_and_its_line(tmp_path):
    with pytest.raises(NasError, match=r"(?s)line 2.*families are cgan, gan; found 'gna'; choose one"):
        get_family(experiment(tmp_path, "gna"), SHAPE)


@pytest.mark.parametrize("tool", ["base", "adversary", "training"])
def test_a_tool_is_no_family(tmp_path, tool):
    with pytest.raises(NasError, match=f"found '{tool}'"):
        get_family(experiment(tmp_path, tool), SHAPE)


def test_an_unknown_option_names_its_neighbour(tmp_path):
    with pytest.raises(NasError, match=r"(?s)line 2.*latnet.*latent"):
        get_family(experiment(tmp_path, "{name: gan, latnet: 7}"), SHAPE)


@pytest.mark.parametrize("option", ["latent: 0", "batch_size: 2", "generator_rate: 0", "latent: many", "latent: 7.5"])
def test_a_wrong_option_is_refused(tmp_path, option):
    with pytest.raises(NasError, match=rf"(?s)family\.{option.split(':')[0]}"):
        get_family(experiment(tmp_path, f"{{name: gan, {option}}}"), SHAPE)


def test_a_family_is_called_like_its_file(tmp_path, monkeypatch):
    chosen = experiment(tmp_path, "gan")
    stranger = types.SimpleNamespace(Options=importlib_options(), make=lambda *_: types.SimpleNamespace(name="other"))
    monkeypatch.setattr(nas.families.importlib, "import_module", lambda _: stranger)
    with pytest.raises(NasError, match="makes a family called 'other'"):
        get_family(chosen, SHAPE)


def importlib_options():
    from nas.families.gan import Options

    return Options
