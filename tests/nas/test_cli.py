"""The command line as a contract: what is printed where, exit codes, and what an import costs."""

import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner, Result

from benchmarks.inputs import METADATA_KEY, InputSpec, dump_specs
from benchmarks.records import Ratio
from nas.cli import app
from nas.cli.bench import describe
from nas.cli.doctor import examine
from nas.cli.progress import PlainProgress, RichProgress, show_progress
from nas.experiment import Experiment
from nas.progress import Silent

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "optuna", "pandas", "plotly", "onnx", "onnxruntime", "PIL")
EXPERIMENT = "data: mnist-5k\nsearch: {trials: 3}\n"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def experiment_file(tmp_path: Path) -> Path:
    path = tmp_path / "digits.yaml"
    path.write_text(EXPERIMENT)
    return path


class Stages(types.ModuleType):
    """Stands in for ``nas.stages``: remembers what it was asked, and answers as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__("nas.stages")
        self.asked: dict[str, Any] = {}
        self.verdict: dict[str, Any] | None = {"met": True, "missed": []}
        self.effect: Callable[[], object] = lambda: None
        monkeypatch.setitem(sys.modules, "nas.stages", self)

    def run(self, experiment: Experiment, out: Path, **keywords: Any) -> dict[str, Any]:
        self.asked = {"experiment": experiment, "out": out, **keywords}
        keywords["progress"].say("working")
        self.effect()
        return {"schema": 1, "command": "leangen run", "family": "gan", "verdict": self.verdict}

    def plan(self, experiment: Experiment) -> list[dict[str, Any]]:
        row = {"stage": "search", "what": f"{experiment.search.trials} trials", "minutes": 5, "disk_mb": 30}
        return [{**row, "memory_mb": 900}, {**row, "stage": "export", "memory_mb": 1200}]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    return Stages(monkeypatch)


# leangen run and its stages


def test_run_prints_the_verdict_on_stdout_and_progress_on_stderr(stages: Stages, experiment_file: Path, tmp_path: Path):
    (tmp_path / "out" / "report").mkdir(parents=True)
    (tmp_path / "out" / "report" / "index.html").write_text("")
    result = invoke("run", experiment_file, "--out", tmp_path / "out", "--set", "search.trials=60", "--set", "seed=7")
    assert result.exit_code == 0
    assert (
        result.stdout == f"Every limit and the budget are met.\nreport: {tmp_path / 'out' / 'report' / 'index.html'}\n"
    )
    assert result.stderr == "working\n"
    asked = stages.asked
    assert (asked["experiment"].search.trials, asked["experiment"].seed) == (60, 7)
    assert (asked["out"], asked["stages"], asked["fresh"]) == (tmp_path / "out", None, False)


def test_run_goes_into_runs_by_the_experiments_name(stages: Stages, experiment_file: Path):
    assert invoke("run", experiment_file, "--fresh", "--quiet").exit_code == 0
    assert stages.asked["out"] == Path("runs/digits")
    assert stages.asked["fresh"] is True
    assert isinstance(stages.asked["progress"], Silent)


def test_a_missed_budget_is_exit_1(stages: Stages, experiment_file: Path):
    stages.verdict = {"met": False, "missed": ["quality.budget"]}
    result = invoke("run", experiment_file)
    assert result.exit_code == 1
    assert "quality.budget cannot be met" in result.stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("search", ("data", "reference", "search", "finalists")),
        ("compress", ("compress",)),
        ("export", ("export",)),
    ],
)
def test_one_stage_of_a_run_folder(stages: Stages, tmp_path: Path, command: str, expected: tuple[str, ...]):
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "experiment.yaml").write_text("name: digits\n" + EXPERIMENT)
    stages.verdict = None
    result = invoke(command, folder)
    assert result.exit_code == 0
    assert "has not reached its verdict yet" in result.stdout
    assert (stages.asked["out"], stages.asked["stages"]) == (folder, expected)


def test_a_folder_that_is_no_run_folder(tmp_path: Path):
    result = invoke("search", tmp_path)
    assert result.exit_code == 2
    assert "a run folder has an experiment.yaml" in result.stderr


def test_dry_run_prints_settings_and_sums(stages: Stages, experiment_file: Path):
    result = invoke("run", experiment_file, "--dry-run", "--out", "here")
    assert result.exit_code == 0
    assert "sampler: tpe" in result.stdout, "every default"
    assert "plan, into here" in result.stdout
    assert re.search(r"search +│ 3 trials +│ +5\.0 │ +30 │ +900", result.stdout)
    assert re.search(r"all +│ memory: the largest, per process +│ +10\.0 │ +60 │ +1,200", result.stdout)
    assert not stages.asked, "nothing ran"


def test_a_mistake_in_the_experiment_is_exit_2_with_its_line(experiment_file: Path):
    experiment_file.write_text("data: mnist-5k\nsearch:\n  trails: 3\n")
    result = invoke("run", experiment_file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"error: {experiment_file}, line 3: there is no key 'search.trails'; did you mean 'trials'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_says_that_work_is_saved(stages: Stages, experiment_file: Path):
    def interrupt() -> None:
        raise KeyboardInterrupt

    stages.effect = interrupt
    result = invoke("run", experiment_file)
    assert result.exit_code == 130
    assert "saved; run the same command to go on" in result.stderr


def test_our_own_bug_says_what_to_report(stages: Stages, experiment_file: Path):
    stages.effect = lambda: [][1]
    result = invoke("run", experiment_file)
    assert result.exit_code == 70
    assert "IndexError: list index out of range" in result.stderr
    file = Path(re.search(r"file +(\S+)", result.stderr)[1])
    text = file.read_text()
    file.unlink()
    assert "Traceback (most recent call last)" in text
    assert "list index out of range" in text
    assert text.startswith("leangen ")


def test_a_missing_package_names_its_extra(stages: Stages, experiment_file: Path):
    def no_torch() -> None:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    stages.effect = no_torch
    result = invoke("run", experiment_file)
    assert result.exit_code == 2
    assert "pip install 'leangen[full]'" in result.stderr


def test_a_full_disk_is_no_bug(stages: Stages, experiment_file: Path):
    def full() -> None:
        raise OSError(28, "No space left on device", "runs/digits")

    stages.effect = full
    result = invoke("run", experiment_file)
    assert result.exit_code == 2
    assert "error: the disk is full (runs/digits): free some space, then run the same command" in result.stderr


def test_a_file_that_cannot_be_written_is_no_bug(stages: Stages, experiment_file: Path):
    def read_only() -> None:
        raise OSError(30, "Read-only file system", "runs/digits")

    stages.effect = read_only
    result = invoke("run", experiment_file)
    assert result.exit_code == 2
    assert result.stderr.endswith("error: runs/digits: Read-only file system\n")


@pytest.mark.parametrize("arguments", [["run"], ["run", "x.yaml", "--bad"], ["nonsense"], ["spaces", "count"]])
def test_wrong_usage_is_exit_2(arguments: list[str]):
    assert invoke(*arguments).exit_code == 2


def test_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert re.fullmatch(r"leangen \S.*\n", result.stdout)


# leangen report


def test_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    reporting = types.ModuleType("nas.reporting")
    reporting.write_report = lambda folder: folder / "report" / "index.html"
    monkeypatch.setitem(sys.modules, "nas.reporting", reporting)
    result = invoke("report", tmp_path)
    assert result.exit_code == 2
    assert "a report is made from summary.json" in result.stderr
    (tmp_path / "summary.json").write_text("{}")
    result = invoke("report", tmp_path)
    assert (result.exit_code, result.stdout) == (0, f"report: {tmp_path / 'report' / 'index.html'}\n")


# leangen spaces


def test_spaces_list_and_show():
    assert "decoder" in invoke("spaces", "list").stdout
    shown = invoke("spaces", "show", "decoder").stdout
    assert "last_kernel" in shown
    assert "body is conv" in shown
    assert json.loads(invoke("spaces", "show", "decoder", "--json").stdout)["knobs"][0]["knob"] == "body"


def test_spaces_count_is_a_number():
    assert int(invoke("spaces", "count", "decoder").stdout) >= 10_000


def test_spaces_sample_is_read_by_check(tmp_path: Path):
    drawn = invoke("spaces", "sample", "decoder", "--seed", 3).stdout
    assert drawn == invoke("spaces", "sample", "decoder", "--seed", 3).stdout
    assert drawn != invoke("spaces", "sample", "decoder", "--seed", 4).stdout
    file = tmp_path / "genotype.json"
    file.write_text(drawn)
    assert invoke("spaces", "check", file).stdout == drawn


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"space": "dekoder"}, "did you mean 'decoder'?"),
        ({"id": "000000000000"}, "the id of this genotype is"),
        ({"more": 1}, "found also more"),
        ({"genotype": 3}, "maps knobs to values"),
        ({"genotype": {"boddy": "conv"}}, "boddy"),
        ({"space": None}, "a genotype file is"),
    ],
)
def test_spaces_check_refuses(tmp_path: Path, change: dict[str, Any], told: str):
    file = tmp_path / "genotype.json"
    file.write_text(json.dumps({**json.loads(invoke("spaces", "sample", "decoder").stdout), **change}))
    result = invoke("spaces", "check", file)
    assert result.exit_code == 2
    assert told in result.stderr


# leangen bench compare, leangen sample


def save_generator(path: Path, *, repeats: int = 1, latent: int = 16, output: str = "image") -> Path:
    """tanh of z (N, latent) times a matrix, ``repeats`` times over, as images (N, 1, 8, 8)."""
    weights = np.random.default_rng(0).standard_normal((latent, 64)).astype(np.float32)
    square = np.eye(64, dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["z", "w"], ["h0"])]
    nodes += [helper.make_node("MatMul", [f"h{i}", "s"], [f"h{i + 1}"]) for i in range(repeats - 1)]
    nodes += [
        helper.make_node("Tanh", [f"h{repeats - 1}"], ["t"]),
        helper.make_node("Reshape", ["t", "shape"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", latent])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", 1, 8, 8])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(square, "s"),
            numpy_helper.from_array(np.array([-1, 1, 8, 8]), "shape"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_bench_compare(tmp_path: Path):
    a, b = save_generator(tmp_path / "a.onnx", repeats=60), save_generator(tmp_path / "b.onnx")
    out = tmp_path / "ratio.json"
    result = invoke("bench", "compare", a, b, "--batch", 4, "--seconds", 0.3, "--restarts", 1, "--json", out)
    assert result.exit_code == 0
    last = result.stdout.splitlines()[-1]
    assert re.fullmatch(
        r"B takes [\d.]+ \[[\d.]+, [\d.]+\] of A's time: [\d.]+x faster \(batch 4, 1 thread, 2 processes, \d+ pairs\)",
        last,
    )
    record = json.loads(out.read_text())
    assert record["ratio"]["value"] < 0.8
    assert record["speedup"]["value"] == pytest.approx(1 / record["ratio"]["value"])
    assert record["a"]["file"] == str(a)
    assert record["b"]["latency_ms"]["median"] < record["a"]["latency_ms"]["median"]
    assert (record["batch"], record["threads"], record["processes"]) == (4, 1, 2)
    assert len(record["ratio_by_process"]) == 2


@pytest.mark.parametrize(
    ("other", "told"),
    [({"latent": 8}, "names and shapes of their inputs must agree"), ({"output": "x"}, "of their outputs must agree")],
)
def test_bench_compare_refuses_different_jobs(tmp_path: Path, other: dict[str, Any], told: str):
    a, b = save_generator(tmp_path / "a.onnx"), save_generator(tmp_path / "b.onnx", **other)
    result = invoke("bench", "compare", a, b, "--seconds", 0.2)
    assert result.exit_code == 2
    assert told in result.stderr


def test_bench_compare_of_what_is_no_model(tmp_path: Path):
    assert invoke("bench", "compare", tmp_path / "no.onnx", tmp_path / "no.onnx").exit_code == 2


@pytest.mark.parametrize(
    ("ratio", "line"),
    [
        (
            Ratio(0.52, (0.51, 0.53), 480),
            "B takes 0.52 [0.51, 0.53] of A's time: 1.92x faster (batch 1, 1 thread, 1 process, 480 pairs)",
        ),
        (
            Ratio(0.998, (0.997, 0.999), 900),
            "B takes 0.998 [0.997, 0.999] of A's time: the same within 0.5% (batch 1, 1 thread, 1 process, 900 pairs)",
        ),
        (
            Ratio(1.3, (1.2, 1.4), 12),
            "B takes 1.3 [1.2, 1.4] of A's time: 1.3x slower (batch 1, 1 thread, 1 process, 12 pairs)",
        ),
        (
            Ratio(1.01, (0.9, 1.2), 12),
            "B takes 1.01 [0.9, 1.2] of A's time: no difference shown (batch 1, 1 thread, 1 process, 12 pairs)",
        ),
    ],
)
def test_describe(ratio: Ratio, line: str):
    assert describe(ratio, 1, 1) == line


def test_sample(tmp_path: Path):
    model, out = save_generator(tmp_path / "a.onnx"), tmp_path / "grid.png"
    result = invoke("sample", model, "--n", 12, "--seed", 5, "--out", out)
    assert result.exit_code == 0
    assert result.stdout == f"{out}: 12 images of 8x8 pixels, seed 5\n"
    first = out.read_bytes()
    with Image.open(out) as grid:
        assert grid.size == (8 * 8 * 2, 2 * 8 * 2)
    invoke("sample", model, "--n", 12, "--seed", 5, "--out", out)
    assert out.read_bytes() == first
    assert invoke("sample", model, "--out", tmp_path / "grid.jpg").exit_code == 2


def save_shades(path: Path) -> Path:
    """label (N,) int64 -> pictures (N, 1, 8, 8), all of the shade label / 10."""
    nodes = [
        helper.make_node("Cast", ["label"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["f", "ten"], ["s"]),
        helper.make_node("Reshape", ["s", "column"], ["c"]),
        helper.make_node("Expand", ["c", "picture"], ["image"]),
    ]
    constants = {"ten": np.float32([10]), "column": np.int64([-1, 1, 1, 1]), "picture": np.int64([1, 1, 8, 8])}
    graph = helper.make_graph(
        nodes,
        "shades",
        [helper.make_tensor_value_info("label", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    label = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
    model.metadata_props.add(key=METADATA_KEY, value=dump_specs([label]))
    onnx.save(model, path)
    return path


def test_sample_of_one_class(tmp_path: Path):
    model, out = save_shades(tmp_path / "a.onnx"), tmp_path / "grid.png"
    assert invoke("sample", model, "--n", 32, "--out", out).exit_code == 0
    with Image.open(out) as grid:
        assert len(np.unique(np.asarray(grid))) == 10
    assert invoke("sample", model, "--n", 8, "--fix", "label=3", "--out", out).exit_code == 0
    with Image.open(out) as grid:
        assert set(np.unique(np.asarray(grid))) == {round(1.3 * 127.5)}
    for wrong, told in (("label=x", "takes numbers of type int64"), ("z=1", r"names an input of the model (label)")):
        result = invoke("sample", model, "--fix", wrong, "--out", out)
        assert result.exit_code == 2
        assert told in result.stderr


# leangen doctor


def test_doctor_succeeds_and_names_remedies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setenv("LEANGEN_CACHE", "/proc/nowhere")
    result = invoke("doctor")
    assert result.exit_code == 0
    assert "pip install 'leangen[tensorrt-rtx]'" in result.stdout
    assert "set LEANGEN_CACHE to a folder of yours" in result.stdout
    assert "Missing: cache." in result.stdout


def test_doctor_names_the_extra_of_a_missing_package(monkeypatch: pytest.MonkeyPatch):
    from importlib import metadata

    def version(name: str) -> str:
        if name == "optuna":
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)
    (finding,) = [finding for finding in examine() if finding.what == "optuna"]
    assert (finding.state, finding.remedy) == ("missing", "pip install 'leangen[full]'")


# progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_plain_progress_writes_at_most_every_ten_seconds():
    lines: list[str] = []
    clock = Clock()
    progress = PlainProgress(lines.append, clock)
    progress.start("reference", 3000, "steps")
    for second in range(1, 31):
        clock.now = second
        progress.update("reference", second * 50, "fid 12.3" if second == 20 else "")
    progress.finish("reference", "fid 8.1")
    progress.update("reference", 9999)
    progress.say("done")
    assert lines == [
        "reference: 3,000 steps",
        "reference: 500 of 3,000 steps, 50 s left",
        "reference: 1,000 of 3,000 steps, 40 s left, fid 12.3",
        "reference: 1,500 of 3,000 steps, 30 s left",
        "reference: done in 30 s, fid 8.1",
        "done",
    ]


def test_what_an_earlier_process_did_says_nothing_about_the_time_left():
    lines: list[str] = []
    clock = Clock()
    progress = PlainProgress(lines.append, clock)
    progress.start("self-test", 1000, "gates", done=900)
    clock.now = 10.0
    progress.update("self-test", 900)
    clock.now = 20.0
    progress.update("self-test", 910)
    assert lines == [
        "self-test: 1,000 gates, 900 done before",
        "self-test: 900 of 1,000 gates",
        "self-test: 910 of 1,000 gates, 3 min 0 s left",
    ]


def test_bars_on_a_terminal():
    clock = Clock()
    console = Console(force_terminal=True, width=100, color_system=None, record=True)
    with RichProgress(console, clock) as progress:
        progress.start("search [1]", 24, "trials")
        clock.now = 65.0
        progress.update("search [1]", 12, "fid [9]")
        progress.update("never started", 1)
        progress.finish("search [1]", "front of 5")
        progress.say("look [here]")
    text = console.export_text()
    assert "search [1]: done in 1 min 5 s, front of 5" in text
    assert "look [here]" in text


@pytest.mark.parametrize(
    ("console", "quiet", "expected"),
    [
        (Console(force_terminal=True, color_system=None), False, RichProgress),
        (Console(force_terminal=False), False, PlainProgress),
        (Console(force_terminal=True), True, Silent),
    ],
)
def test_progress_fits_the_console(console: Console, quiet: bool, expected: type):
    with show_progress(console, quiet=quiet) as progress:
        assert isinstance(progress, expected)


# what imports cost


def imports_of(code: str) -> set[str]:
    """The heavy packages that ``code`` brings in."""
    result = python(f"import sys\n{code}\nprint('HEAVY', *[name for name in {HEAVY!r} if name in sys.modules])")
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split("HEAVY")[-1].split())


CALL = """
try:
    sys.argv = ['leangen', {}]
    from nas.cli import main
    main()
except SystemExit as exit:
    assert not exit.code
"""


def test_help_and_version_import_nothing_heavy():
    assert imports_of(CALL.format("'--help'")) == set()
    assert imports_of(CALL.format("'--version'")) == set()
    assert imports_of("import nas") == set()


def test_experiment_and_spaces_import_no_torch():
    assert imports_of("from nas import Experiment\nExperiment.load('examples/mnist.yaml')") == set()
    assert imports_of(CALL.format("'spaces', 'count', 'decoder'")) == set()


def test_bench_compare_sample_and_doctor_import_no_torch(tmp_path: Path):
    model, out = str(save_generator(tmp_path / "a.onnx")), str(tmp_path / "grid.png")
    light = {"torch", "optuna", "pandas", "plotly"}
    assert not light & imports_of(CALL.format(f"'bench', 'compare', {model!r}, {model!r}, '--seconds', '0.2'"))
    assert not light & imports_of(CALL.format(f"'sample', {model!r}, '--out', {out!r}"))
    assert not light & imports_of(CALL.format("'doctor'"))


@pytest.mark.skipif(sys.platform == "win32", reason="resource usage of children is POSIX")
def test_help_takes_half_a_second():
    """CPU seconds of the best of five runs: a busy machine does not slow those."""
    import resource

    def cpu_seconds() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(5):
        before = cpu_seconds()
        assert python("import sys; sys.argv = ['leangen', '--help']; from nas.cli import main; main()").returncode == 0
        times.append(cpu_seconds() - before)
    assert min(times) <= 0.5, times


def test_errors_are_red_on_a_terminal_and_plain_with_no_color():
    code = "import sys; sys.argv = ['leangen', 'spaces', 'count', 'x']; from nas.cli import main; main()"
    assert "\x1b[31m" in python(code, FORCE_COLOR="1", NO_COLOR="", TERM="xterm").stderr
    assert "\x1b[31m" not in python(code, FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").stderr


def test_public_names():
    import nas

    assert nas.Experiment is Experiment
    assert dir(nas) == ["Experiment", "run"]
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        nas.walk  # noqa: B018
