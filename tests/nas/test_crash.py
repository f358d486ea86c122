"""kill -9 of a real ``leangen`` under way, twice: the same command then finishes, and does nothing a second time."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.files import read_json

ROOT = Path(__file__).parents[2]
EXPERIMENT = """\
data: {name: mnist-5k, limit: 600}
family: {name: gan, discriminator_width: 16}
reference: {steps: 150, evaluations: 3, width: 16}
quality: {budget: "fid<=+100000", samples: 400}
search: {trials: 3, minutes: 2, rungs: [60, 160], finalists: 1, final_distill: 20, final_adversarial: 0, workers: 1}
"""


class Leangen:
    """``leangen search`` in a process of its own, its measurements shortened."""

    def __init__(self, file: Path, folder: Path, short: str) -> None:
        arguments = ["leangen", "search", str(file), "--out", str(folder), "--quiet"]
        code = f"{short}\nimport sys\nsys.argv = {arguments!r}\nfrom nas.cli import main\nmain()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def kill_when(self, condition) -> None:
        """kill -9 as soon as ``condition`` holds."""
        deadline = time.monotonic() + 120
        with self.process:
            while not condition():
                assert self.process.poll() is None, self.process.stdout.read()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            self.process.send_signal(signal.SIGKILL)
            assert self.process.wait() == -signal.SIGKILL

    def finish(self) -> None:
        output, _ = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, output


def finished_candidates(folder: Path) -> dict[str, tuple[bytes, int]]:
    found = {}
    for path in folder.glob("candidates/*/record.json"):
        if read_json(path)["outcome"] is not None:
            found[path.parent.name] = (path.read_bytes(), path.stat().st_mtime_ns)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_killed_in_training_and_in_the_search_the_same_command_finishes(tmp_path, short, cache, tiny_run):
    """``tiny_run`` is there for its cache only: the extractor of the same 600 digits is trained already."""
    file, folder = tmp_path / "small.yaml", tmp_path / "run"
    file.write_text(EXPERIMENT)
    reference = folder / "reference"

    Leangen(file, folder, short).kill_when((reference / "curve.json").is_file)
    assert not (reference / "record.json").exists()
    points = read_json(reference / "curve.json")

    Leangen(file, folder, short).kill_when(lambda: finished_candidates(folder))
    assert not (folder / "candidates" / "record.json").exists()
    before = finished_candidates(folder)
    trained = {name: (reference / name).read_bytes() for name in ("record.json", "weights.safetensors", "model.onnx")}
    assert read_json(reference / "record.json")["curve"][: len(points)] == points  # no point was scored again
    spent = read_json(folder / "seconds.json")

    Leangen(file, folder, short).finish()
    after = finished_candidates(folder)
    assert {name: after[name] for name in before} == before
    assert len(after) >= 3
    assert {name: (reference / name).read_bytes() for name in trained} == trained
    assert (folder / "finalists" / "record.json").is_file()
    summary = read_json(folder / "summary.json")
    assert summary["search"]["trials"] == sum(
        summary["search"][name] for name in ("complete", "infeasible", "dominated", "failed", "duplicate")
    )
    assert summary["seconds"]["search"] > spent["search"]
