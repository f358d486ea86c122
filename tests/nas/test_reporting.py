"""The report is written from the summary alone, without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas.reporting import write_report
from reports.summary import SummaryError

ROOT = Path(__file__).parents[2]
BARE = {"schema": 1, "command": "leangen run x.yaml", "family": "gan"}


def test_a_summary_with_nothing_in_it_makes_a_page(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(BARE))
    assert write_report(tmp_path) == tmp_path / "report" / "index.html"
    assert (tmp_path / "report" / "report.md").is_file()
    assert not (tmp_path / "export").exists()


def test_a_damaged_summary_is_refused_and_nothing_written(tmp_path):
    (tmp_path / "summary.json").write_text('{"schema": 1}')
    with pytest.raises(SummaryError):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_written_again_the_report_is_the_same_and_imports_no_torch(tiny_run, tmp_path):
    """``leangen report`` in a process of its own, on a copy that lies elsewhere."""
    shutil.copy(tiny_run.folder / "summary.json", tmp_path)
    (tmp_path / "report").mkdir()
    for path in (tiny_run.folder / "report").glob("*.png"):
        shutil.copy(path, tmp_path / "report")
    code = (
        f"import sys\nsys.argv = ['leangen', 'report', {str(tmp_path)!r}]\nfrom nas.cli import main\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code, exit.code\n"
        "assert not {'torch', 'optuna', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("report/index.html", "report/report.md", "export/latency.csv"):
        assert (tmp_path / name).read_bytes() == (tiny_run.folder / name).read_bytes()
