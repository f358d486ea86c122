"""``docs/speed-gate.md`` against the program: every option, exit code, field and file that there is, and no other."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import leangen_pytest
from benchmarks import bundle
from benchmarks.decision import COMPUTE, NULL_SHARE, WAITING, WALL, Rule
from benchmarks.looks import EPOCH_S, LONGEST_EPOCH_S, RENEW_SHARE, RENEWED_BELOW_S
from benchmarks.paired import MIN_SAMPLE_S
from benchmarks.selftest import SHARES, SLOWDOWNS
from benchmarks.sides import TOLERANCE
from benchmarks.twins import SIZES, build
from nas.cli import app
from nas.cli import gate as gate_command
from nas.cli.errors import ANSWER_IS_NO, BAD_INPUT, OUR_BUG

PAGE = (Path(__file__).parents[1] / "docs" / "speed-gate.md").read_text()
CI_PAGE = (Path(__file__).parents[1] / "examples" / "ci" / "README.md").read_text()


def table(first: str, after: str = "# ", page: str = PAGE) -> dict[str, list[str]]:
    """The first table below ``after`` whose first column is ``first``: what its rows name -> their other cells."""
    rows = page.partition(after)[2].partition(f"\n| {first} |")[2].splitlines()[2:]
    found: dict[str, list[str]] = {}
    for row in rows[: next((index for index, row in enumerate(rows) if not row.startswith("|")), len(rows))]:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        for name in re.findall(r"`([^`]+)`", cells[0]) or [cells[0]]:
            found[name] = cells[1:]
    assert found, f"no table {first!r} after {after!r}"
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A bundle, and the record of a gate."""
    root = tmp_path_factory.mktemp("page")
    (root / "model.onnx").write_bytes(build(SIZES[0]))
    made = bundle.record(root / "model.onnx", root / "bundle", bundle.Options(), seconds=0.1)
    options = ("--catch", "50%", "--budget", "1s", "--quiet", "--json", str(root / "gate.json"))
    done = CliRunner().invoke(app, ["bench", "gate", str(root / "bundle"), str(root / "model.onnx"), *options])
    assert done.exit_code == 0, done.output
    return made, json.loads((root / "gate.json").read_text())


@pytest.mark.parametrize(
    ("command", "after"),
    [("record", "`leangen bench record "), ("gate", "`leangen bench gate BUNDLE"), ("selftest", "## It can fail")],
)
def test_options_and_their_defaults(command, after):
    shown = table("option", after)
    parameters = get_command(app).commands["bench"].commands[command].params
    options = {name: one for one in parameters if one.param_type_name == "option" for name in one.opts}
    assert shown.keys() == options.keys() - {"--help"}
    for name, one in options.items():
        default = "" if one.default is None or one.default is False or one.required else str(one.default)
        told = shown[name][0]
        if one.default is None and told:
            assert told in ("drawn", "this one", f"{TOLERANCE:g}"), name
        else:
            assert default.removesuffix(".0") in told.split(", "), name


def test_options_of_pytest():
    parser = pytest.Parser(_ispytest=True)
    leangen_pytest.pytest_addoption(parser)
    options = {name: option.default for option in parser.getgroup("speed gate").options for name in option.names()}
    assert {name: default or False for name, (default, _) in table("option of pytest").items()} == options
    arguments = [name for name in inspect.signature(leangen_pytest.SpeedGate.__call__).parameters if name != "self"]
    paragraph = next(part for part in PAGE.split("\n\n") if part.startswith("A regression, other outputs"))
    assert [name for name in arguments[2:] if f"`{name}`" not in paragraph] == []


@pytest.mark.parametrize("page", [PAGE, CI_PAGE], ids=["docs", "examples/ci"])
def test_exit_codes(page):
    ours = [gate_command.PASSED, ANSWER_IS_NO, BAD_INPUT, gate_command.INCONCLUSIVE]
    ours += [gate_command.NOT_COMPARABLE, gate_command.OUTPUTS_DIFFER, OUR_BUG]
    shown = table("code", "## Exit codes", page)
    assert list(shown) == [str(code) for code in ours]
    words = ("pass", "regression", "bad input", "inconclusive", "not comparable", "outputs differ", "bug")
    assert [word for word, told in zip(words, shown.values(), strict=True) if word not in told[0]] == []


def test_the_order_of_severity():
    codes = ", ".join(str(code) for code in gate_command._SEVERITY)
    assert f"the worst counts, in the order {codes}." in PAGE


def test_fields_of_the_record(measured):
    _, record = measured
    shown = table("field", "## The record")
    assert shown.keys() == record.keys()
    assert record["models"][0].keys() == record.keys() - {"schema", "exit_code", "alpha", "models"}
    look = record["looks"][0]
    assert [name for name in look if f"`{name}`" not in shown["looks"][0]] == []
    assert [kind for kind in (COMPUTE, WAITING, WALL) if f"`{kind}`" not in shown["kind"][0]] == []


def test_files_of_a_bundle(measured):
    made, _ = measured
    shown = table("file", "## The bundle")
    assert shown.keys() == {path.name for path in made.folder.iterdir()} == {bundle.MANIFEST, *bundle.FILES}
    baseline = json.loads((made.folder / bundle.BASELINE).read_text())
    assert [name for name in baseline if f"`{name}`" not in shown[bundle.BASELINE][0]] == []
    assert [name for name in baseline["options"] if name not in shown[bundle.BASELINE][0]] == []
    with np.load(made.folder / bundle.SAMPLES) as arrays:
        assert [name for name in arrays if f"`{name}`" not in shown[bundle.SAMPLES][0]] == []


def test_numbers_of_the_rule():
    """What the page says in words is what the constants are."""
    rule = Rule()
    assert f"+{100 * np.expm1(rule.line):.1f} %" == "+2.5 %"
    assert (rule.look_s, rule.alpha, NULL_SHARE, MIN_SAMPLE_S) == (1.0, 0.05, 0.2, 2e-4)
    assert (EPOCH_S, LONGEST_EPOCH_S, RENEW_SHARE, RENEWED_BELOW_S) == (0.08, 0.2, 0.4, 5e-3)
    for words in (
        "its logarithm: +2.5 %",
        "looked at each second",
        "alpha = 0.05 in all",
        "more than a fifth of `--catch`",
        "Models below 5 ms are opened anew every 80 ms, or less often where that takes more than 0.4 of the time",
        "less often than every 200 ms",
        "until it lasts 0.2 ms",
    ):
        assert words in PAGE
    assert list(SLOWDOWNS) == ["+2.5 %", "+5 %", "+10 %"]
    assert SHARES == {"+0 %": 3.0, "+5 %": 1.0, "+10 %": 0.5, "+2.5 %": 0.1, "waits": 0.1}
    assert "slower by +2.5, +5 and +10 %" in PAGE
