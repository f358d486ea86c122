import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_times_what_it_drew_and_counts_how_many_are_how_fast():
    program = [sys.executable, str(ROOT / "examples/studies/time_space.py"), "class_decoder", "--n", "2"]
    options = ["--seconds", "0.2", "--fix", "last=shuffle4", "--fix", "width=16"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*program, *options], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = dict(re.findall(r"^(\w+=\w+) +(\d+) +[\d.]+x +[\d.]+x$", done.stdout, re.MULTILINE))
    assert (rows["last=shuffle4"], rows["width=16"]) == ("2", "2")
    assert not {choice for choice in rows if choice.startswith("width=")} - {"width=16"}
    assert re.search(r"^of 2 genotypes so many reach  5x: [012]  10x: ", done.stdout, re.MULTILINE)
