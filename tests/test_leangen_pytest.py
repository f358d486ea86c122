"""The pytest plug-in inside a stranger's project, whose folders have the names of ours."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import bundle
from benchmarks.twins import SIZES, build

ROOT = Path(__file__).parents[1]
ROOMS = ("nas", "compress", "search_spaces", "benchmarks", "reports")

TESTS = """\
import contextlib
import importlib

import pytest
from leangen_pytest import SpeedGateInconclusive

LARGE = {"catch": "50%", "budget": "20s"}
TINY = {"catch": "0.2%", "budget": "1s"}

def test_the_folders_are_the_projects_own():
    for name in ("nas", "compress", "search_spaces", "benchmarks", "reports"):
        with pytest.raises(RuntimeError, match="a stranger's"):
            importlib.import_module(name)

def test_pass(speed_gate):
    result = speed_gate("baseline", "same.onnx", **LARGE)
    assert (result["verdict"], result["exit_code"]) == ("pass", 0)
    assert result["ci95"][0] <= result["ratio"] <= result["ci95"][1]

def test_regression(speed_gate):
    speed_gate("baseline", "slow.onnx", seed=1, **LARGE)

def test_outputs_differ(speed_gate):
    speed_gate("baseline", "other.onnx", tolerance=0.01, **LARGE)

def test_not_comparable(speed_gate):
    speed_gate("baseline", "larger.onnx", **LARGE)

# A tenth of such gates has an answer: by the rule's own error, 5 % on each side of its line.
def test_inconclusive(speed_gate):
    verdicts = []
    with pytest.warns(SpeedGateInconclusive, match="same.onnx.*inconclusive"):
        for seed in range(4):
            with contextlib.suppress(pytest.fail.Exception):
                verdicts.append(speed_gate("baseline", "same.onnx", seed=seed, **TINY)["verdict"])
    assert "inconclusive" in verdicts

def test_inconclusive_fails(speed_gate):
    for seed in range(4):
        try:
            speed_gate("baseline", "same.onnx", inconclusive="fail", seed=seed, **TINY)
        except pytest.fail.Exception as error:
            if "inconclusive" in str(error):
                raise

def test_bad_input(speed_gate):
    speed_gate("no-bundle", "same.onnx")

def test_options_of_the_command_line(speed_gate):
    speed_gate("baseline", "same.onnx")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Models, a bundle, a test file, and packages of our names that cannot be imported."""
    root = tmp_path_factory.mktemp("stranger")
    for name in ROOMS:
        (root / name).mkdir()
        (root / name / "__init__.py").write_text("raise RuntimeError('this is a stranger\\'s')")
    for name, size, more in (
        ("same", SIZES[0], {}),
        ("slow", SIZES[0], {"extra": 12_000}),
        ("other", SIZES[0], {"seed": 1}),
        ("larger", SIZES[1], {}),
    ):
        (root / f"{name}.onnx").write_bytes(build(size, **more))
    bundle.record(root / "same.onnx", root / "baseline", bundle.Options(), seconds=0.1)
    (root / "test_speed.py").write_text(TESTS)
    (root / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return root


def run_pytest(project, *arguments):
    """Return standard output, and the outcome and message of each test; `-m` puts the project's folders first."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "leangen_pytest",
        "-p",
        "no:cacheprovider",
        "--junit-xml=junit.xml",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    cases = ElementTree.parse(project / "junit.xml").getroot().iter("testcase")
    return done.stdout, {case.get("name"): case for case in cases}


@pytest.fixture(scope="module")
def ran(project):
    return run_pytest(project, "--speed-gate-catch=much", "--speed-gate-budget=7s")


def message(case):
    """Why a test failed or was skipped; None if it passed."""
    found = [child for child in case if child.tag in ("failure", "error", "skipped")]
    return f"{found[0].tag}: {found[0].get('message')}\n{found[0].text}" if found else None


def test_a_pass(ran):
    out, cases = ran
    assert message(cases["test_the_folders_are_the_projects_own"]) is None
    assert message(cases["test_pass"]) is None, out
    (line,) = (one.get("value") for one in cases["test_pass"].iter("property") if one.get("name") == "speed_gate")
    assert "pass; this run would have caught +" in line
    assert f"test_speed.py::test_pass: {line}" in out.partition("= speed gates =")[2]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("test_regression", ("slow.onnx", "regression (compute)", "lie over the line")),
        ("test_outputs_differ", ("other.onnx", "outputs differ", "0.01 is allowed")),
        ("test_not_comparable", ("larger.onnx", "not comparable", "must agree")),
        ("test_inconclusive_fails", ("same.onnx", "inconclusive")),
        ("test_bad_input", ("exit code 2", "no-bundle", "leangen bench record")),
        ("test_options_of_the_command_line", ("exit code 2", "'much'", "--catch 5%")),
    ],
)
def test_a_failure_says_what_is_wrong_and_shows_no_code_of_ours(ran, name, told):
    text = message(ran[1][name])
    assert text is not None
    assert text.startswith("failure: Failed: speed gate: ")
    assert [words for words in told if words not in text] == []
    assert "leangen_pytest.py" not in text


def test_an_inconclusive_answer_warns(ran):
    """Where warnings are errors it fails the test; ``pytest.warns`` took it here."""
    assert message(ran[1]["test_inconclusive"]) is None


def test_gates_can_be_skipped(project):
    _, cases = run_pytest(project, "--no-speed-gate")
    assert message(cases.pop("test_the_folders_are_the_projects_own")) is None
    assert len(cases) > 5
    assert all("--no-speed-gate" in message(case) for case in cases.values())


def test_the_module_imports_none_of_ours():
    tree = ast.parse((ROOT / "leangen_pytest.py").read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) == {"pytest", "_pytest"}
