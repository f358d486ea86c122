"""``leangen bench profile-device``: what is refused before anything is measured, and where a measurement goes."""

import json

import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.cli.profile_device import _inputs
from search_spaces import get_space
from search_spaces.space import ImageShape


def run(*arguments: object):
    return CliRunner().invoke(app, ["bench", "profile-device", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "spaces are"),
        (["decoder", "--image", "32"], "channels x height x width"),
        (["decoder", "--family", "vae"], "families are"),
        (["class_decoder", "--family", "gan"], "one label"),
        (["decoder", "--image", "1x24x24"], "24"),
    ],
)
def test_bad_input_is_refused_with_code_2(tmp_path, arguments, complaint):
    result = run(*arguments, "--out", tmp_path / "device.json")
    assert result.exit_code == 2
    assert complaint in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "inputs"), [("decoder", ["z"]), ("class_decoder", ["z", "label"])])
def test_the_family_is_the_one_that_the_space_fits(name, inputs):
    assert [spec.name for spec in _inputs(get_space(name), "", ImageShape(1, 32, 32))] == inputs


def test_what_was_measured_in_the_time_is_kept_for_the_next_call(tmp_path):
    result = run("decoder", "--out", tmp_path / "device.json", "--minutes", 0.1, "--quiet")
    assert result.exit_code == 2
    assert "give the same command again" in result.output
    first, *members = [json.loads(line) for line in (tmp_path / "device.jsonl").read_text().splitlines()]
    assert (first["event"], first["space"]["name"]) == ("profile", "decoder")
    assert members
    assert all(row["event"] == "member" and row["ratios"] for row in members)
