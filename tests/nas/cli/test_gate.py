"""``leangen bench record``, ``gate`` and ``selftest`` as a CI job calls them: lines, files, exit codes."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.decision import INCONCLUSIVE, Decision
from benchmarks.twins import SIZES, build
from nas.cli import app
from nas.cli.ci import bar, table
from nas.cli.gate import read_rule
from nas.errors import NasError
from reports.junit import junit

QUICK = ("--catch", "50%", "--budget", "20s", "--quiet")


def invoke(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("gate")
    (root / "model.onnx").write_bytes(build(SIZES[0]))
    (root / "slow.onnx").write_bytes(build(SIZES[0], extra=12_000))
    (root / "other.onnx").write_bytes(build(SIZES[0], seed=1))
    (root / "larger.onnx").write_bytes(build(SIZES[1]))
    result = invoke("record", root / "model.onnx", "--out", root / "bundle", "--seconds", "0.1")
    assert result.exit_code == 0
    assert "next: leangen bench gate" in result.output
    return root


def test_pass(folder, tmp_path):
    out = tmp_path / "gate.json"
    result = invoke("gate", folder / "bundle", folder / "model.onnx", *QUICK, "--json", out)
    assert result.exit_code == 0, result.output
    assert "pass; this run would have caught +" in result.output
    record = json.loads(out.read_text())
    assert record["verdict"] == "pass"
    assert record["kind"] is None
    assert record["ci95"][0] <= record["ratio"] <= record["ci95"][1]
    assert {"would_have_caught", "seconds", "looks", "fingerprints", "models"} <= record.keys()
    assert record["fingerprints"]["recorded"]["cpu"] == record["fingerprints"]["here"]["cpu"]


def test_regression_among_several(folder, tmp_path, monkeypatch):
    """One passes, one is slower: an annotation, a table and test cases tell which."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    names = ("model", "slow")
    pairs = [part for name in names for part in (folder / "bundle", folder / f"{name}.onnx")]
    result = invoke("gate", *pairs, *QUICK, "--junit-xml", tmp_path / "junit.xml")
    assert result.exit_code == 1, result.output
    assert "::error title=speed gate: " in result.output
    assert "regression (compute)" in result.output
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert "| regression |" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(("name", "code", "told"), [("other", 5, "outputs differ"), ("larger", 4, "not comparable")])
def test_other_exit_codes(folder, name, code, told):
    result = invoke("gate", folder / "bundle", folder / f"{name}.onnx", *QUICK)
    assert result.exit_code == code
    assert told in result.output


def test_bad_input(folder, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert invoke("gate", folder / "bundle", broken).exit_code == 2
    assert invoke("gate", folder / "bundle").exit_code == 2
    assert invoke("gate", tmp_path, folder / "model.onnx").exit_code == 2
    assert invoke("gate", folder / "bundle", folder / "model.onnx", "--catch", "much").exit_code == 2


@pytest.mark.parametrize(("how", "code"), [("warn", 0), ("pass", 0), ("fail", 3)])
def test_inconclusive(folder, monkeypatch, how, code):
    """The verdict is scripted: by chance a model is measured as 2 % faster than itself."""
    undecided = Decision(INCONCLUSIVE, None, "its interval holds the line")
    monkeypatch.setattr("benchmarks.looks.decide_last", lambda look, rule: undecided)
    result = invoke(
        "gate", folder / "bundle", folder / "model.onnx", "--catch", "0.2%", "--budget", "1s", "--inconclusive", how
    )
    assert "inconclusive" in result.output
    assert result.exit_code == code


def test_another_interpreter_that_is_not_there(folder):
    result = invoke("gate", folder / "bundle", folder / "model.onnx", "--baseline-python", "/no/python")
    assert result.exit_code == 2
    assert "/no/python" in result.output


def test_rule():
    rule = read_rule(" 2.5 %", "4", 5)
    assert (rule.catch, rule.budget_s, rule.alpha) == (0.025, 4.0, 0.01)
    with pytest.raises(NasError, match="--budget 10s"):
        read_rule("5%", "10m", 1)


def test_an_intervals_picture():
    assert bar(0, 0, 5.0).count("#") == 1
    assert bar(-30, 30, 5.0).strip("=#") == ""
    assert len(bar(4, 5, 5.0)) == 41
    row = {"model": "m", "verdict": "not comparable", "ratio": None, "reason": "a|b\nc"}
    assert "a\\|b c" in table([row])


def test_junit_of_every_verdict():
    def case(verdict):
        return {"model": verdict, "verdict": verdict, "line": "x", "reason": "because <&>", "seconds": 1.0}

    verdicts = ["pass", "regression", "inconclusive", "not comparable", "outputs differ"]
    suite = ElementTree.fromstring(junit([case(one) for one in verdicts]))
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "2", "1", "1"]
    assert suite[1][1].get("message") == "because <&>"
    assert ElementTree.fromstring(junit([case("inconclusive")], inconclusive_fails=True)).get("failures") == "1"


def test_self_test_of_few_runs(tmp_path, monkeypatch):
    from benchmarks import selftest

    monkeypatch.setattr(selftest, "_VERIFY_S", 1.0)
    monkeypatch.setattr(selftest, "_CALIBRATE_S", 0.3)
    monkeypatch.setattr(selftest, "SHARES", {"+0 %": 1.0, "+10 %": 1.0})
    options = ("--sizes", "20us", "--runs", 1, "--out", tmp_path, "--quiet", "--budget", "20s")
    result = invoke("selftest", *options)
    assert result.exit_code in (0, 1), result.output
    assert "operating curve" in result.output
    rows = selftest.read_rows(tmp_path)
    assert {row["twin"] for row in rows} == {"+0 %", "+10 %"}
    curve = json.loads((tmp_path / "curve-load0.json").read_text())["lines"]
    assert all(np.isclose(sum(line[name][0] for name in ("pass", "regression", "inconclusive")), 1) for line in curve)
    twins = json.loads((tmp_path / "20us" / "twins.json").read_text())
    verified = {line["twin"]: line["verified"] for line in curve}
    assert verified == {"+0 %": None, "+10 %": [twins["+10 %"]["value"], *twins["+10 %"]["ci95"]]}
    assert twins["+2.5 %"]["value"] < twins["+10 %"]["value"]
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"torn')
    invoke("selftest", *options)
    assert len(selftest.read_rows(tmp_path)) == len(rows)  # nothing was run again


def test_self_test_of_an_unknown_size():
    result = invoke("selftest", "--sizes", "3ms")
    assert result.exit_code == 2
    assert "20us" in result.output
