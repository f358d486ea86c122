"""The page docs/experiment.md tells the truth about the models."""

from pathlib import Path

import pytest

from compress.quality import METRICS
from nas.experiment import Experiment
from nas.experiment_page import update_page
from nas.families import families
from search_spaces import spaces

PAGE = Path(__file__).parents[2] / "docs" / "experiment.md"


@pytest.fixture(scope="module")
def page() -> str:
    return update_page(PAGE.read_text(encoding="utf-8"))


def test_the_page_has_todays_tables(page):
    assert PAGE.read_text(encoding="utf-8") == page, "run `python -m nas.experiment_page docs/experiment.md`"


def test_every_key_stands_in_it(page):
    schema = Experiment.model_json_schema()
    sections = [schema, *(schema["$defs"][name] for name in schema["$defs"] if name != "Named")]
    keys = [key for section in sections for key in section["properties"]]
    assert len(keys) > 40
    assert [key for key in keys if f"| `{key}` |" not in page] == []


def test_every_family_space_knob_and_metric_stands_in_it(page):
    knobs = {knob for space in spaces().values() for knob in space.knobs}
    assert [name for name in families() if f"- `{name}`: " not in page] == []
    assert [name for name in spaces() if f"### `{name}`" not in page] == []
    assert [name for name in (*knobs, *METRICS) if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize(
    "line",
    [
        "| `name` | text | the file's stem | Names the run folder: letters, digits and . _ -; by default the file's "
        "stem |",
        "| `name` | `mnist-5k` or null | `null` | An embedded data set; your own pictures are written {folder: "
        "pictures/} |",
        "| `data` | [section](#data) | required | mnist-5k, or {folder: pictures/, size: 32, channels: 3} |",
        "| `family` | a name, or [name and settings](#families) | `gan` | How generators learn, e.g. gan |",
        "| `limit` | whole number, at least 200 or null | `null` | Use only that many images, for a quick try; "
        "null = all |",
        "| `tensorrt` | `auto` or `true` or `false` | `auto` | Build TensorRT plans: auto = if the package is "
        "installed, true = or else fail |",
        r"| `fid<=+10%\|+2` | 5 | 7 |",
        r"| `fid<=+10%\|+2` | 40 | 44 |",
        "| `accuracy>=-2pt` | 0.97 | 0.95 |",
        "| `layers` | 1, 2, 3 hidden layers | evenly | body is mlp | each is one more node |",
    ],
)
def test_rows(page, line):
    assert line in page.splitlines()


def test_a_knob_that_two_spaces_share_is_explained_once(page):
    assert page.count("| `width` | 16, 24, ") == 1
    assert "As in `decoder`: `body`, " in page
    assert page.count("| `norm` | batch, convs | ") == 2, "it is active under other conditions"
