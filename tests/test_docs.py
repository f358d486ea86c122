"""Every command that a page shows is run here, on a small run in place of ``runs/mnist``."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/summary.md", "examples/mnist.yaml")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:leangen|make|python -m) [^`\n]+)`")
WHOLE_RUNS = ("leangen run examples/mnist.yaml",)  # minutes: the small run of the fixture stands for them


def commands(page: str) -> list[str]:
    """Return the command lines of a page's blocks, and those in its sentences and comments."""
    text = (ROOT / page).read_text()
    lines = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
    lines += INLINE.findall(text) + [line.lstrip("# ") for line in text.splitlines() if line.startswith("#   leangen")]
    found = [line.split("#")[0].split("  ")[0].strip() for line in lines]
    return sorted({line for line in found if line.startswith(("leangen ", "make ", "python -m "))})


EVERY = [(page, command) for page in PAGES for command in commands(page)]


def test_the_pages_show_commands():
    assert {page for page, _ in EVERY} >= {"README.md", "CONTRIBUTING.md"}
    assert ("README.md", "make demo") in EVERY


@pytest.mark.parametrize(("page", "command"), [pair for pair in EVERY if pair[1].startswith("make")])
def test_make_targets_are_there(page, command):
    done = subprocess.run(["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("page", "command"), [pair for pair in EVERY if pair[1].startswith(("leangen", "python"))])
def test_commands_run(page, command, tiny_run, tmp_path):
    if command in WHOLE_RUNS:
        return
    words = shlex.split(command)
    if any(word.isupper() for word in words):
        return  # the form of a command
    if f"`{command}`" in (ROOT / page).read_text() and re.fullmatch(r"[a-z ]+", command):
        words.append("--help")  # only the name of a command, in a sentence: it has to be there
    shutil.copytree(tiny_run.folder, tmp_path / "runs" / "mnist")
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    program = "from nas.cli import main; main()"
    start = [sys.executable, "-c", program] if words[0] == "leangen" else [sys.executable, *words[1:3]]
    rest = words[1:] if words[0] == "leangen" else words[3:]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*start, *rest], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_numbers_of_the_readme_stand_in_the_demo_report():
    """The report in ``docs/demo.md`` is what ``make demo`` wrote; the README may only repeat it."""
    paragraph = next(part for part in (ROOT / "README.md").read_text().split("\n\n") if "docs/demo.md" in part)
    numbers = re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w%])", paragraph.split("docs/demo.md).")[1])
    report = (ROOT / "docs" / "demo.md").read_text()
    claimed = [number for number in numbers if number not in ("1", "32")]
    assert len(claimed) >= 5
    assert [number for number in claimed if not re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", report)] == []
