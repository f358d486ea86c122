import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENOTYPE = {"body": "mlp", "hidden": 128, "layers": 1, "activation": "relu", "output": "tanh"}


def test_it_trains_every_phase_and_prints_a_score_at_each_point(tiny_run, tmp_path):
    genotype = tmp_path / "genotype.json"
    genotype.write_text(json.dumps(GENOTYPE))
    program = [sys.executable, str(ROOT / "examples/studies/train_student.py"), str(tiny_run.folder), str(genotype)]
    options = [
        "--phase",
        "distill=8",
        "--phase",
        "features=4",
        "--phase",
        "finetune=4",
        "--phase",
        "match=4",
        "--also",
        "classifier",
        "--option",
        "distill_features=0.5",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*program, *options], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = re.findall(r"^(\w+) +(\d+) steps +\d+ CPU-s +fid ([\d.]+) ± ([\d.]+)$", done.stdout, re.MULTILINE)
    assert [(kind, int(steps)) for kind, steps, *_ in rows] == [
        *(("distill", steps) for steps in (2, 4, 6, 8)),
        *(("features", steps) for steps in (9, 10, 11, 12)),
        *(("finetune", steps) for steps in (13, 14, 15, 16)),
        *(("match", steps) for steps in (17, 18, 19, 20)),
    ]
    also = re.findall(r"^(\w+) +classifier@\w+ kid ([\d.]+) ± [\d.]+$", done.stdout, re.MULTILINE)
    assert [name for name, _ in also] == ["reference", "before", "after"]
    assert len({value for _, value in also}) == 3
