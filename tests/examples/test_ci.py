"""The workflows of ``examples/ci``: their steps, run as a GitHub runner would run them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from benchmarks import bundle
from benchmarks.twins import SIZES, build

FOLDER = Path(__file__).parents[2] / "examples" / "ci"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))


def read_job(path):
    (job,) = yaml.safe_load(path.read_text())["jobs"].values()
    return job


def commands(path):
    """The steps' commands, but for the installation."""
    runs = [step["run"] for step in read_job(path)["steps"] if "run" in step]
    assert runs[0] == "pip install leangen"
    return runs[1:]


@pytest.fixture
def checkout(tmp_path):
    """A repository with a baseline, the same model as of its base, and `leangen` on the path."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model.onnx").write_bytes(build(SIZES[0]))
    shim = tmp_path / "bin" / "leangen"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -c "from nas.cli import main; main()" "$@"\n')
    shim.chmod(0o755)
    return tmp_path


def run_steps(path, checkout):
    """Run the steps one after the other until one fails; return its exit code. GitHub's shell is `bash -e`."""
    environment = {
        **os.environ,
        **read_job(path)["env"],
        "CATCH": "50%",  # a slowdown that shows on a busy machine, too
        "BUDGET": "20s",
        "PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"),
    }
    for command in commands(path):
        done = subprocess.run(
            ["bash", "-e", "-c", command], cwd=checkout, env=environment, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            break
    return done


def test_there_are_workflows():
    assert {path.name for path in WORKFLOWS} == {"speed-gate.yml", "speed-gate-base.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_step_takes_text_from_a_pull_request_into_its_shell(path):
    assert [command for command in commands(path) if "${{" in command] == []
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_is_kept_is_what_is_written(path):
    (keep,) = (step for step in read_job(path)["steps"] if step.get("uses", "").startswith("actions/upload-artifact"))
    files = keep["with"]["path"].split()
    assert files
    assert all(file in commands(path)[-1] for file in files)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
@pytest.mark.parametrize(("extra", "code", "verdict"), [(0, 0, "pass"), (12_000, 1, "regression")])
def test_the_steps(path, checkout, extra, code, verdict):
    (checkout / "model.onnx").write_bytes(build(SIZES[0], extra=extra))
    if "bench record" not in "".join(commands(path)):
        committed = checkout / read_job(path)["env"]["BUNDLE"]
        bundle.record(checkout / "base" / "model.onnx", committed, bundle.Options(), seconds=0.1)
    done = run_steps(path, checkout)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("::error title=speed gate: model.onnx" in done.stdout) == (code == 1)
    record = json.loads((checkout / "speed-gate.json").read_text())
    assert (record["verdict"], record["exit_code"]) == (verdict, code)
    suite = ElementTree.parse(checkout / "speed-gate.xml").getroot()
    assert suite.get("failures") == str(code)
    assert f"| `model.onnx` | {verdict} |" in (checkout / "summary.md").read_text()


def test_a_bundle_whose_bytes_git_changed_is_bad_input(checkout):
    """Line endings, where `.gitattributes` does not forbid it."""
    (path,) = (path for path in WORKFLOWS if path.name == "speed-gate.yml")
    (checkout / "model.onnx").write_bytes(build(SIZES[0]))
    folder = checkout / read_job(path)["env"]["BUNDLE"]
    bundle.record(checkout / "base" / "model.onnx", folder, bundle.Options(), seconds=0.1)
    text = (folder / "baseline.json").read_text()
    (folder / "baseline.json").write_bytes(text.replace("\n", "\r\n").encode())
    done = run_steps(path, checkout)
    assert done.returncode == 2
    assert "baseline.json was changed" in done.stderr
