"""Nothing is lost: kills at moments drawn from a run's own log, SIGTERM, a full disk, and files that were damaged."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from benchmarks.files import read_json, write_json
from benchmarks.runtimes.onnx import generate
from compress.generator import Generator
from nas.cli import app
from nas.context import Context
from nas.experiment import Experiment
from nas.families.base import Phase
from nas.folder import RunFolder
from nas.log import LOG_FILE, read_log
from nas.seeds import Stream
from nas.study import Search
from nas.worker import evaluate, train_job

ROOT = Path(__file__).parents[2]
STAGES = ("reference", "search", "finalists", "compress", "export")
SEARCHED = STAGES[:3]  # what `leangen search` does
FOLDERS = {  # a stage -> the folders whose files are finished with it; its record is in the first
    "reference": ("reference",),
    "search": ("candidates",),
    "finalists": ("finalists",),
    "compress": ("compressed", "baseline"),
    "export": ("export",),
}
posix = pytest.mark.skipif(not Path("/proc/self").exists(), reason="kills groups and looks processes up in /proc")


class Leangen:
    """A command in a process group of its own, its measurements shortened."""

    def __init__(self, short: str, command: str, *arguments: object) -> None:
        words = ["leangen", command, *map(str, arguments), "--quiet"]
        code = f"{short}\nimport sys\nsys.argv = {words!r}\nfrom nas.cli import main\nmain()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_until(self, condition: Callable[[], object], seconds: float = 600.0) -> None:
        """Wait for ``condition``, which must hold before the process ends."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            assert self.process.poll() is None, self.process.stdout.read()
            time.sleep(0.01)

    def end(self) -> None:
        """Leave nothing behind of a test that failed."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()

    def kill(self, *, group: bool) -> None:
        """kill -9: of all of its processes at once, or of the driver alone, whose workers must then end themselves."""
        workers = children_of(self.process.pid)
        with self.process:
            if group:
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                os.kill(self.process.pid, signal.SIGKILL)
        assert self.process.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{pid}/stat").exists() for pid in workers):
            assert time.monotonic() < deadline, "workers outlived their driver"
            time.sleep(0.05)

    def finish(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=400)
        return self.process.returncode, output


Start = Callable[..., Leangen]


@pytest.fixture
def start(short: str) -> Iterator[Start]:
    """Start a command; what still runs when the test is over is killed."""
    started = []

    def do(*words: object) -> Leangen:
        started.append(Leangen(short, *map(str, words)))
        return started[-1]

    yield do
    for one in started:
        one.end()


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def log_of(folder: Path) -> list[dict[str, Any]]:
    return read_log(folder / LOG_FILE) if (folder / LOG_FILE).is_file() else []


def stage_seconds(folder: Path) -> dict[str, float]:
    """How long each stage took by the log of a run that was not cut."""
    times = {(line["event"], line["subject"]): line["time"] for line in log_of(folder) if line.get("kind") == "stage"}
    return {stage: times["finished", stage] - times["started", stage] for stage in STAGES}


def hashes_of_finished_stages(folder: Path) -> dict[str, str]:
    finished = [part for parts in FOLDERS.values() if (folder / parts[0] / "record.json").is_file() for part in parts]
    files = [path for part in finished for path in (folder / part).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kinds(folder: Path, parts: Iterable[str]) -> set[str]:
    """What there is, ids taken out; not what depends on the clock: progress, and whether int8 happened to be faster."""
    found = set()
    for path in [path for part in parts for path in (folder / part).rglob("*")]:
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{12}", "ID", path.relative_to(folder).as_posix())
        if path.is_file() and path.name != "progress" and "int8" not in path.name:
            found.add("compressed/..." if name.startswith("compressed/0") else name)
    return found


def check_whole(folder: Path, uncut: Path, kills: int, stages: Sequence[str]) -> None:
    """The run in ``folder``, of ``stages``, was killed ``kills`` times, and lost nothing that ``uncut`` has."""
    lines = log_of(folder)
    jobs = [line for line in lines if line.get("kind") in ("measure", "train")]
    counted = Counter(
        (line["kind"], line["subject"], line.get("until"))
        for line in jobs
        if line["event"] == "finished" and line["subject"].startswith(("candidates/", "finalists/"))
    )
    assert counted
    assert set(counted.values()) == {1}, "an evaluation was done twice"
    started = sum(line["event"] == "started" for line in jobs)
    finished = sum(line["event"] == "finished" for line in jobs)
    assert started - finished <= 2 * kills  # in `compress` recovery and baseline are under way together
    for stage in stages:
        ends = [line for line in lines if line.get("kind") == "stage" and line["subject"] == stage]
        assert ends[-1]["event"] == "finished"
    parts = [part for stage in stages for part in FOLDERS[stage]]
    assert kinds(folder, (*parts, "artifacts")) == kinds(uncut, (*parts, "artifacts"))
    context = Context.of_folder(uncut)
    files = list(folder.rglob("*.onnx"))
    assert {path.relative_to(folder).parts[0] for path in files} >= set(parts) - {"candidates"}
    for path in files:
        drawn = generate(path, context.inputs(Stream.GRID, 2))
        assert drawn.shape == (2, 1, 32, 32)
        assert np.isfinite(drawn).all()
    # Trained from the same seed, cut or not: whoever was scored in both runs has the same scores.
    ours, theirs = (
        {one["id"]: one for one in read_json(path / "candidates" / "record.json")["rows"]} for path in (folder, uncut)
    )
    common = [(ours[name]["rungs"], theirs[name]["rungs"]) for name in ours.keys() & theirs.keys()]
    assert any(one and other for one, other in common)
    for one, other in common:
        for mine, its in zip(one, other, strict=False):
            assert mine == its
    verdict = read_json(folder / "summary.json")["verdict"]
    assert verdict == ({"met": True, "missed": []} if "export" in stages else None)


def cut_and_resume(
    moments: list[tuple[str, float]], tiny_run: Any, start: Start, folder: Path, stages: Sequence[str] = STAGES
) -> None:
    """Kill a run at each of ``moments`` (stage, share of the time that it takes uncut), then let it finish.

    A stage that is faster this time is killed at the moment when it is finished.
    """
    command = ("search" if tuple(stages) == SEARCHED else "run", tiny_run.file, "--out", folder)
    seconds, kept = stage_seconds(tiny_run.folder), dict[str, str]()
    for number, (stage, share) in enumerate(moments):
        one, known = start(*command), len(log_of(folder))

        def reached(event: str, stage: str = stage, known: int = known) -> bool:
            return any(line["event"] == event and line["subject"] == stage for line in log_of(folder)[known:])

        one.wait_until(lambda reached=reached: reached("started"))
        moment = time.monotonic() + share * seconds[stage]
        one.wait_until(lambda reached=reached, moment=moment: time.monotonic() >= moment or reached("finished"))
        one.kill(group=number % 2 == 1)
        now = hashes_of_finished_stages(folder)
        assert {name: now[name] for name in kept} == kept
        kept = now
    code, output = start(*command).finish()
    assert code == 0, output
    now = hashes_of_finished_stages(folder)
    assert {name: now[name] for name in kept} == kept
    check_whole(folder, tiny_run.folder, len(moments), stages)


def draw_moments(seed: int, *stages: str) -> list[tuple[str, float]]:
    rng = random.Random(seed)
    return [(stage, rng.uniform(0.05, 0.95)) for stage in stages]


# kill -9


@posix
def test_killed_in_training_and_in_the_search_the_same_command_loses_nothing(tmp_path, start, tiny_run):
    cut_and_resume(draw_moments(2, "reference", "search"), tiny_run, start, tmp_path / "run", SEARCHED)


@posix
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment_of_any_stage_the_same_command_loses_nothing(tmp_path, start, tiny_run, seed):
    """Three kills each, in the order of the stages; with six seeds every stage is killed at least twice."""
    stages = sorted(random.Random(f"stages {seed}").sample(STAGES, 3), key=STAGES.index)
    cut_and_resume(draw_moments(seed, *stages), tiny_run, start, tmp_path / "run")


# SIGTERM


@posix
def test_sigterm_stops_like_ctrl_c_wherever_it_comes(tmp_path, start, tiny_run):
    """A scheduler sends it to every process of a job: in the reference's training, then in the search."""
    folder = tmp_path / "run"
    for reached in (lambda line: line["event"] == "scored", lambda line: line.get("kind") == "train"):
        one = start("search", tiny_run.file, "--out", folder, "--set", "search.minutes=9")
        one.wait_until(lambda reached=reached: any(map(reached, log_of(folder))))
        os.killpg(one.process.pid, signal.SIGTERM)
        code, output = one.finish()
        assert (code, output.strip()) == (143, "stopped: saved; run the same command to go on")
    assert (folder / "reference" / "record.json").is_file()
    outcomes = {path.parent.name: read_json(path)["outcome"] for path in folder.glob("candidates/*/record.json")}
    assert outcomes
    assert "failed" not in outcomes.values()


# a full disk


def may_mount() -> bool:
    """Whether this user may mount a file system of his own, in a namespace of his own."""
    command = ["unshare", "--user", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[str], None]]:
    """A shell that sees a tmpfs at ``tmp_path / "disk"``; called with a line, it runs it and raises if that fails."""
    if not may_mount():
        pytest.skip("this user may not mount a small file system")
    place = tmp_path / "disk"
    place.mkdir()
    shell = subprocess.Popen(
        ["unshare", "--user", "--mount", "--map-root-user", "bash"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )

    def run(line: str) -> tuple[int, str]:
        shell.stdin.write(f"{{ {line}; }} 2>&1; code=$?; echo; echo ended $code\n")
        shell.stdin.flush()
        lines = []
        while not (lines and re.fullmatch(r"ended \d+", lines[-1])):
            lines.append(shell.stdout.readline().rstrip("\n"))
            assert lines[-1] or shell.poll() is None
        return int(lines[-1].split()[1]), "\n".join(lines[:-1])

    yield run
    with shell:
        shell.stdin.close()


@pytest.mark.slow
def test_on_a_full_disk_the_run_stops_fails_no_candidate_and_goes_on_once_there_is_room(
    tmp_path, short, tiny_run, small_disk
):
    """It fills up in the driver (the reference), and then, with the reference of another run, in a worker."""
    program, disk = tmp_path / "program.py", tmp_path / "disk"
    main = "    import sys\n    from nas.cli import main\n    main()\n"
    program.write_text(f"{short}\nif __name__ == '__main__':\n{main}")
    leangen = f"PYTHONPATH={ROOT} {sys.executable} {program}"
    taken = sum(path.stat().st_size for path in (tiny_run.folder / "reference").iterdir())
    search = f"{leangen} search {tiny_run.file} --out {disk}/run --quiet"
    reuse = f"{leangen} run {tiny_run.file} --out {disk}/run --reference-from {tiny_run.folder} --quiet"

    assert small_disk(f"mount -t tmpfs -o size=600k none {disk}")[0] == 0
    code, output = small_disk(search)
    assert code == 2, output
    assert "the disk is full" in output
    small_disk(f"rm -r {disk}/run; mount -o remount,size={taken + 900_000} {disk}")
    code, output = small_disk(reuse)
    assert code == 2, output
    assert "the disk is full" in output
    assert "run the same command" in output
    assert small_disk(f'grep -l \'"outcome": "failed"\' {disk}/run/candidates/*/record.json')[0] == 1
    small_disk(f"mount -o remount,size=300m {disk}")
    code, output = small_disk(search)
    assert code == 0, output


def test_a_worker_without_room_ends_the_run_and_fails_no_candidate(tiny_run, tmp_path, scripted, make_context):
    from nas.limits import Limits
    from nas.progress import Silent
    from nas.worker import DiskFullError

    context = make_context(search={"trials": 2})
    full = {"error": "OSError: [Errno 28] No space left on device: 'x'", "disk_full": True}
    search = Search(context, Limits(tmp_path, 1.0, 9.0, 1.0, 2.0), scripted(lambda job: full), Silent())
    with pytest.raises(DiskFullError, match="free some space, then run the same command"):
        search.run()
    (record,) = context.folder.path.glob("candidates/*/record.json")
    assert read_json(record)["outcome"] is None


def test_a_job_says_that_the_disk_is_full(tiny_run, tmp_path, monkeypatch):
    from nas import worker

    def full(*_: object) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise ValueError("cannot be written") from error

    monkeypatch.setattr(worker, "grid_png", full)
    context = Context.of_folder(tiny_run.folder)
    origin = context.family.narrowed(0.25, 0).origin
    job = train_job(context, tmp_path, (Phase("distill", 1),), until=1, origin=origin, stream=Stream.RUNG)
    assert evaluate(job)["disk_full"] is True


# damaged files


@pytest.fixture
def copy(tiny_run, tmp_path) -> Callable[..., Path]:
    """A copy of the finished run without some of its parts."""

    def make(*without: str) -> Path:
        folder = tmp_path / "run"
        shutil.copytree(tiny_run.folder, folder)
        for part in without:
            path = folder / part
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return folder

    return make


AFTER_SEARCH = ("finalists", "compressed", "baseline", "export", "report", "summary.json")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--quiet"])


def test_a_study_that_is_damaged_is_made_anew_from_the_records(copy, shortened):
    """Without it nothing is measured or trained again; what the rows hold is what they held."""
    folder = copy("candidates/record.json")
    before = {path.parent.name: read_json(path) for path in folder.glob("candidates/*/record.json")}
    study = folder / "study.db"
    study.write_bytes(b"not a database" * 100)
    found = invoke("search", folder)
    assert found.exit_code == 2
    assert f"{study} cannot be used (file is not a database): restore it, or move it away" in found.stderr
    study.unlink()
    known = len(log_of(folder))
    found = invoke("search", folder)
    assert found.exit_code == 0, found.stderr
    after = {row["id"]: row for row in read_json(folder / "candidates" / "record.json")["rows"]}
    for name, row in before.items():
        assert {**after[name], "trial": None} == {**row, "trial": None}
    assert not [line for line in log_of(folder)[known:] if line["subject"].startswith("candidates/")]


def flip(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 16
    path.write_bytes(data)


def test_a_damaged_checkpoint_of_a_candidate_costs_its_training_and_nothing_else(tiny_run, tmp_path):
    context = Context.of_folder(tiny_run.folder)
    origin = context.family.narrowed(0.25, 0).origin

    def train(until: int) -> dict[str, Any]:
        schedule = (Phase("distill", 6),)
        return evaluate(train_job(context, tmp_path, schedule, until=until, origin=origin, stream=Stream.RUNG))

    whole = train(6)
    weights = Generator.load(tmp_path).module.state_dict()
    (checkpoint,) = tmp_path.glob("checkpoint-*.safetensors")
    flip(checkpoint, 0.7)
    again = train(6)
    assert (whole["since"], whole["note"], again["since"]) == (0, None, 0)
    assert re.search(r"from the start again: checkpoint .*\.safetensors is damaged", again["note"])
    assert again["quality"] == whole["quality"]
    assert all(
        np.array_equal(weights[name], value) for name, value in Generator.load(tmp_path).module.state_dict().items()
    )
    assert checkpoint.with_suffix(".damaged").is_file()
    assert train(6)["since"] == 6


def test_a_damaged_checkpoint_of_the_reference_is_the_users_to_delete(copy, shortened):
    folder = copy("reference/record.json", "candidates", *AFTER_SEARCH)
    (folder / "reference" / "checkpoint.safetensors").write_bytes(b"\0" * 100)
    found = invoke("search", folder)
    assert found.exit_code == 2
    assert "checkpoint.safetensors cannot be read" in found.stderr
    assert "delete it and run again: its training then begins anew" in found.stderr
    assert re.search(r"trained for \d+\.\d minutes so far", found.stderr)


@pytest.mark.parametrize("name", ["discriminator.safetensors", "weights.safetensors"])
def test_a_damaged_file_of_the_finished_reference_is_found_before_it_fails_every_candidate(copy, name):
    folder = copy("candidates", "study.db", *AFTER_SEARCH)
    path = folder / "reference" / name
    path.write_bytes(path.read_bytes()[:-100])
    found = invoke("search", folder)
    assert found.exit_code == 2
    assert f"{path} of the finished reference is damaged" in found.stderr
    assert "trains the reference anew" in found.stderr
    assert not (folder / "candidates").exists()


def test_a_damaged_bank_is_drawn_again(copy, tiny_run, shortened):
    folder = copy()
    bank = folder / "reference" / "bank.npy"
    bank.write_bytes(b"")
    found = invoke("search", folder)
    assert found.exit_code == 2
    assert "delete it and run again, it is drawn anew" in found.stderr
    bank.unlink()
    found = invoke("search", folder)
    assert found.exit_code == 0, found.stderr
    assert bank.read_bytes() == (tiny_run.folder / "reference" / "bank.npy").read_bytes()


def changed(path: Path, change: Callable[[Any], object]) -> None:
    value = read_json(path)
    change(value)
    write_json(path, value)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("reference/record.json", lambda r: r.pop("files"), "lacks 'files'"),
        ("reference/record.json", lambda r: r["files"].update(fp32="../../x.onnx"), "must be a relative path inside"),
        ("reference/record.json", lambda r: r["files"].update(fp32="/etc/passwd"), "must be a relative path inside"),
        ("candidates/record.json", lambda r: r["rows"][0].update(surprise=1), "surprise: "),
        ("candidates/record.json", lambda r: r["rows"][0].update(id="../../x"), "an id is letters and digits"),
        ("candidates/record.json", lambda r: r["rows"][0].pop("trial"), "trial: "),
        ("candidates/record.json", lambda r: r["rows"][0].update(rungs="many"), "rungs: "),
        ("finalists/record.json", lambda r: r.update(winner="../reference"), "an id is letters and digits"),
    ],
)
def test_a_record_that_was_tampered_with_is_named_and_nothing_outside_is_touched(copy, file, change, message):
    folder = copy("compressed", "baseline", "export", "finalists/record.json" if "candidates" in file else "report")
    changed(folder / file, change)
    found = invoke("run", folder)
    assert found.exit_code == 2, found.output
    assert str(folder / file) in found.stderr
    assert message in found.stderr


@pytest.mark.parametrize("content", ["", "[1", "[]", "3"])
def test_a_record_that_is_no_object_is_named(copy, content):
    folder = copy("export")
    (folder / "compressed" / "record.json").write_text(content)
    found = invoke("run", folder)
    assert found.exit_code == 2, found.output
    assert str(folder / "compressed" / "record.json") in found.stderr
    assert "delete it" in found.stderr


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"step": 3}]', "nonsense"])
def test_a_curve_that_is_none_is_named(copy, content):
    folder = copy("reference/record.json", "candidates", *AFTER_SEARCH)
    (folder / "reference" / "curve.json").write_text(content)
    found = invoke("search", folder)
    assert found.exit_code == 2, found.output
    assert "curve.json" in found.stderr


def test_a_candidates_record_on_its_way_that_was_tampered_with_is_named(copy):
    folder = copy("candidates/record.json", *AFTER_SEARCH)
    path = next(folder.glob("candidates/*/record.json"))
    changed(path, lambda row: row.update(surprise=1))
    found = invoke("search", folder)
    assert found.exit_code == 2, found.output
    assert f"{path}: surprise" in found.stderr


# what a kill leaves lying about, and what another run may take over


def test_unfinished_files_are_swept_and_others_stay(tmp_path):
    made = RunFolder.create(tmp_path / "run", Experiment.model_validate({"data": "mnist-5k"}))
    left = [".seconds.123-0a1b2c3d.json", "reference/.bank.77-00000000.npy", "candidates/ab/.record.9-ffffffff.json"]
    kept = [".lock", "reference/.hidden", "picked/ab/reference/.bank.77-00000000.npy", "reference/bank.npy"]
    for name in (*left, *kept):
        (made.path / name).parent.mkdir(parents=True, exist_ok=True)
        (made.path / name).touch()
    made.sweep()
    assert not any((made.path / name).exists() for name in left)
    assert all((made.path / name).exists() for name in kept)


@pytest.fixture
def other(tiny_run, tmp_path) -> Callable[..., Path]:
    """The tiny experiment with other settings, as a file."""

    def make(**changes: Any) -> Path:
        values = Experiment.load(tiny_run.file).model_dump(mode="json")
        for section, settings in changes.items():
            values[section] = {**values[section], **settings} if isinstance(settings, dict) else settings
        file = tmp_path / "other.yaml"
        file.write_text(json.dumps(values))  # JSON is YAML
        return file

    return make


def test_another_search_over_an_old_folder_is_told_how_to_keep_its_reference(other, tiny_run):
    found = invoke("run", other(search={"trials": 9}, target={"min_speedup": 2}), "--out", tiny_run.folder)
    assert found.exit_code == 2
    assert "(changed: search.trials, target.min_speedup)" in found.stderr
    assert "--reference-from" in found.stderr
    found = invoke("run", other(seed=5), "--out", tiny_run.folder)
    assert found.exit_code == 2
    assert "--reference-from" not in found.stderr


def test_a_reference_is_taken_over_if_it_is_the_same(other, tiny_run, tmp_path, monkeypatch):
    from nas import stages

    monkeypatch.setattr(stages._Run, "do", lambda self, stages: {})
    loaded = Experiment.load(other(search={"trials": 9}, quality={"budget": ["fid<=+1"]}))
    stages.run(loaded, tmp_path / "new", reference_from=tiny_run.folder)
    one, same = (path / "reference" / "bank.npy" for path in (tmp_path / "new", tiny_run.folder))
    assert one.stat().st_ino == same.stat().st_ino
    assert read_json(tmp_path / "new" / "data.json") == read_json(tiny_run.folder / "data.json")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"reference": {"steps": 61}}, "reference.steps"),
        ({"quality": {"samples": 401}}, "quality.samples"),
        ({"target": {"threads": 2}}, "target.threads"),
        ({"export": {"opset": 21}}, "export.opset"),
    ],
)
def test_another_reference_is_refused_by_what_makes_it_another(other, tiny_run, tmp_path, changes, key):
    found = invoke("run", other(**changes), "--out", tmp_path / "new", "--reference-from", tiny_run.folder)
    assert found.exit_code == 2
    assert f"(changed: {key})" in found.stderr
    assert not (tmp_path / "new" / "reference").exists()
