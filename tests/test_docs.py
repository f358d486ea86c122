"""Every command that a page shows is run here, on small runs in place of ``runs/mnist`` and ``runs/own-generator``."""

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from typer.testing import CliRunner

from benchmarks import bundle
from benchmarks.inputs import InputSpec
from compress.export import export_onnx
from compress.generator import Generator
from nas.checks import check
from nas.cli import app
from nas.experiment import Experiment
from nas.folder import RunFolder
from nas.picking import describe_front, read_candidates

ROOT = Path(__file__).parents[1]
TUTORIAL, EXPERIMENT_PAGE, COMPRESSION = "docs/tutorial.md", "docs/experiment.md", "docs/compression.md"
MAY_BE_NO = ("leangen compress ",)  # of generators so small that int8 may not be faster
WRITTEN = ("docs/demo.md", "docs/results.md")  # by programs, of other runs
PAGES = tuple(
    page
    for page in sorted(
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.md", "docs/*.md", "examples/**/*.md", "examples/**/*.yaml")
        for path in ROOT.glob(pattern)
    )
    if page not in WRITTEN
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAMS = ("leangen ", "make ", "python -m ", "python examples/", "optuna-dashboard ")
INLINE = re.compile(rf"`((?:{'|'.join(PROGRAMS)})[^`\n]+)`")
COMMENT = re.compile(r"^#   (?=leangen |python )", re.MULTILINE)

# Too long for a test; each is run small by the test named.
LONG_SELFTEST = "leangen bench selftest --sizes 20us,1.5ms,10ms --runs 100"
OWN_MODULE = (
    "leangen compress examples.own_generator.generator:make --weights weights.safetensors --inputs noise:Nx64 "
    "--out runs/shrunk"
)
ELSEWHERE = {
    "leangen bench selftest": "tests/nas/cli/test_gate.py",
    LONG_SELFTEST: "tests/nas/cli/test_gate.py",
    f"{LONG_SELFTEST} --load 2": "tests/nas/cli/test_gate.py",
    "leangen pick runs/mnist ID": "tests/nas/test_picking.py, and the tutorial below",
    "leangen run examples/mnist-cgan.yaml": "tests/nas/families/test_cgan.py",
    "leangen run examples/own_generator/experiment.yaml --trust-code": "the tutorial below",
    "python examples/studies/train_student.py runs/proof/gan-0 genotype.json": "tests/examples/test_train_student.py",
    "python -m examples.own_generator.train": "the tutorial below",
    "python -m examples.studies.compress_dcgan run runs/proof/gan-0": "tests/examples/test_compress_dcgan.py",
    "python -m examples.studies.gain_of_compression run runs/proof/gan-0": "tests/examples/test_gain_of_compression.py",
    "python -m examples.studies.harmful_steps run --steps 200 --seed 1": "tests/examples/test_harmful_steps.py",
    "python -m examples.studies.every_step run --genotypes 1000": "tests/examples/test_every_step.py",
    "python -m examples.studies.ways_to_prune run runs/proof/gan-0 --seed 0": "tests/examples/test_ways_to_prune.py",
    OWN_MODULE: "the page on compression below",
    "python -m examples.studies.proof piece gan 0": "tests/examples/test_proof.py",
    "python -m examples.studies.proof piece cgan 0": "tests/examples/test_proof.py",
    "python -m examples.studies.readme docs/results.md README.md": "tests/examples/test_readme.py",
}
SHORTER = {  # what a test adds to a command of the pages
    "leangen bench compare": ["--seconds", "0.3", "--restarts", "1"],
    "leangen bench record": ["--seconds", "0.2"],
    OWN_MODULE: ["--minutes", "0.02"],
    "leangen bench gate": ["--catch", "50%", "--budget", "2s"],
    "leangen run examples/mnist.yaml --set": ["--dry-run"],
    "python -m examples.own_generator.train": ["--steps", "2"],
    "leangen run examples/own_generator/experiment.yaml": [
        "--set=data={name: mnist-5k, limit: 600}",
        "--set=family.discriminator_width=8",
        "--set=reference.steps=2",
        "--set=reference.observer=2",
        "--set=quality={budget: fid<=+100000, samples: 200}",
        "--set=search={trials: 2, rungs: [10], workers: 1, finalists: 1, final_distill: 10, final_features: 2, "
        "final_adversarial: 2, final_match: 2}",
        "--set=target.min_speedup=1.5",
        "--set=compress={prune: false, quantize: false}",
        "--set=export.tensorrt=false",
    ],
}


@dataclass(frozen=True)
class Shown:
    """A command, where it stands, and whether in a block (else in a sentence)."""

    page: str
    line: str
    block: bool

    @property
    def is_name(self) -> bool:
        """Only a command's name in a sentence, perhaps with options: they have to be there."""
        return not self.block and re.fullmatch(r"leangen( [a-z][a-z-]*)+( --.*)?", self.line) is not None

    @property
    def is_form(self) -> bool:
        """With words that stand for others: RUN, FILE.onnx, KEY=VALUE, or three dots."""
        return any(re.fullmatch(r"[A-Z_]+(=[A-Z_]+)?(\.\w+)?|\.\.\.", word) for word in shlex.split(self.line))


def commands(page: str) -> Iterator[Shown]:
    """Yield the commands of a page: in its blocks, in its sentences, in its comments if it is YAML."""
    text = (ROOT / page).read_text()
    if page.endswith(".yaml"):
        lines = [line for line in COMMENT.sub("$ ", text).splitlines() if line.startswith("$ ")]
        blocks = "\n".join(line.removeprefix("$ ") for line in lines)
    else:
        blocks = "\n".join(block for _, block in FENCE.findall(text))
    for line in blocks.splitlines():
        command = line.split(" #")[0].split("  ")[0].strip()
        if command.startswith(PROGRAMS):
            yield Shown(page, command, block=True)
    yield from (Shown(page, line, block=False) for line in INLINE.findall(FENCE.sub("", text)))


def blocks(page: str, kind: str) -> list[str]:
    """Return the blocks of a page that are marked ``kind``."""
    return [block for marked, block in FENCE.findall((ROOT / page).read_text()) if marked == kind]


def distinct() -> list[Shown]:
    """Return each command once, as the first page shows it; those of the tutorial's blocks have a test of their own."""
    found: dict[str, Shown] = {}
    for page in PAGES:
        for shown in commands(page):
            if not (page == TUTORIAL and shown.block):
                found.setdefault(shown.line, shown)
    return list(found.values())


EVERY = distinct()
MAKE = [one for one in EVERY if one.line.startswith("make ")]
PYTHON = [one for one in EVERY if one.line.startswith("python ")]
LEANGEN = [one for one in EVERY if one.line.startswith("leangen ")]


@pytest.fixture(scope="module")
def home(tiny_run, tmp_path_factory):
    """A checkout with its pages, pictures of one's own, and a finished run of the demo's name."""
    home = tmp_path_factory.mktemp("docs")
    shutil.copytree(tiny_run.folder, home / "runs" / "mnist")
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    (home / "examples" / "mnist.yaml").write_text(tiny_run.file.read_text().replace("name: tiny", "name: mnist"))
    rng = np.random.default_rng(0)
    for folder in ("cats", "dogs"):
        (home / "pictures" / folder).mkdir(parents=True)
        for index in range(120):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(
                home / "pictures" / folder / f"{index}.png"
            )
    tiles = rng.integers(0, 255, (300, 32, 32, 3), np.uint8)
    np.savez(home / "textures.npz", tiles=tiles)
    export_classes(home / "runs" / "mnist-cgan" / "export" / "model.onnx")
    export = home / "runs" / "mnist" / "export" / "model.onnx"
    bundle.record(export, home / "speed-gate" / "baseline", bundle.Options(), seconds=0.2)
    return home


def export_classes(path: Path) -> None:
    """Write a generator that takes a label, as a run of family cgan would."""
    label = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
    inputs = (InputSpec("z", (8,), "float32", {"kind": "normal"}), label)
    arguments = {"widths": [4, 4, 4], "inputs": [spec.to_json() for spec in inputs], "image": [1, 32, 32]}
    path.parent.mkdir(parents=True)
    export_onnx(Generator.from_factory("search_spaces.class_decoder:conditional_dcgan", arguments, inputs), path)


@pytest.fixture
def here(home, monkeypatch):
    """The same, as the working directory; torch's threads are put back."""
    monkeypatch.chdir(home)
    threads = torch.get_num_threads()
    yield home
    torch.set_num_threads(threads)


def leangen(command: str) -> str:
    """Run a command of the pages in this process, shortened where it may be."""
    more = [word for start, words in SHORTER.items() if command.startswith(start) for word in words]
    done = CliRunner().invoke(app, [*shlex.split(command)[1:], *more], catch_exceptions=False)
    allowed = (0, 1) if command.startswith(MAY_BE_NO) else (0,)
    assert done.exit_code in allowed, done.output[-2000:]
    return done.output


def python(command: str, folder: Path) -> None:
    """Run ``python -m module ...`` in a process of its own."""
    more = SHORTER.get(command, [])
    words = [sys.executable, *shlex.split(command)[1:], *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def check_form(command: str) -> None:
    """The command is there, and has every option that is named."""
    words = shlex.split(command)[1:]
    name = words[:2] if words[0] in ("bench", "spaces") else words[:1]
    told = leangen(shlex.join(["leangen", *name, "--help"]))
    assert [word for word in words if word.startswith("--") and word.split("=")[0] not in told] == []


def test_the_pages_show_commands():
    assert {one.page for one in EVERY} >= {"README.md", "CONTRIBUTING.md", EXPERIMENT_PAGE, "docs/architecture.md"}
    lines = {one.line for one in EVERY}
    assert lines >= {"make demo", "leangen run examples/mnist.yaml", "leangen pick runs/mnist"}


@pytest.mark.parametrize("shown", MAKE, ids=lambda shown: shown.line)
def test_make_targets_are_there(shown):
    done = subprocess.run(["make", "-n", *shlex.split(shown.line)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shown", LEANGEN, ids=lambda shown: shown.line)
def test_commands_run(shown, here, shortened):
    if shown.is_form or shown.is_name or shown.line in ELSEWHERE:
        check_form(shown.line)
    else:
        leangen(shown.line)


@pytest.mark.parametrize("shown", [one for one in PYTHON if one.line not in ELSEWHERE], ids=lambda shown: shown.line)
def test_programs_write_the_pages_as_they_are(shown, here):
    """``python -m program page``: a page that is out of date differs after it."""
    page = here / shlex.split(shown.line)[-1]
    before = page.read_text()
    python(shown.line, here)
    assert page.read_text() == before, f"out of date: run `{shown.line}`"


def test_the_dashboard_is_told_what_is_there(here):
    (command,) = {one.line for one in EVERY if one.line.startswith("optuna-dashboard ") and one.block}
    program, storage, option, artifacts = shlex.split(command)
    assert Path(storage.removeprefix("sqlite:///")).is_file()
    assert option == "--artifact-dir"
    assert Path(artifacts).is_dir()
    assert program in {entry.name for entry in importlib.metadata.entry_points(group="console_scripts")}


def test_what_is_run_elsewhere_is_shown_somewhere():
    shown = {one.line for page in PAGES for one in commands(page)}
    assert [command for command in ELSEWHERE if command not in shown] == []
    for words in map(shlex.split, (command for command in ELSEWHERE if command.startswith("python "))):
        assert importlib.util.find_spec(words[2]) if words[1] == "-m" else (ROOT / words[1]).is_file(), words


def test_the_tutorial(here, shortened, monkeypatch):
    """Its blocks in their order, in one folder; ID is a candidate that the search found."""
    monkeypatch.syspath_prepend(str(ROOT))
    run = here / "runs" / "own-generator"
    for kind, block in FENCE.findall((ROOT / TUTORIAL).read_text()):
        if kind == "python":
            execute(block)
        for line in block.splitlines() if kind == "" else ():
            command = line.replace(" ID ", f" {first_of_front(run)} ") if " ID " in line else line
            python(command, here) if command.startswith("python ") else leangen(command)
    assert len(list((run / "picked").glob("*/report/index.html"))) == 1


def first_of_front(run: Path) -> str:
    """Return the id of the fastest candidate that `leangen pick` lists."""
    return describe_front(read_candidates(RunFolder(run)))[0][0]


def execute(block: str) -> None:
    """Run a page's Python; it may end with exit code 0."""
    try:
        exec(compile(block, "a page's Python", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if end.code:
            pytest.fail(f"it ends with exit code {end.code}")


def test_the_tutorial_shows_the_experiment_as_it_is(tmp_path):
    (block,) = blocks(TUTORIAL, "yaml")
    file = ROOT / "examples" / "own_generator" / "experiment.yaml"
    (tmp_path / "shown.yaml").write_text(block.replace("weights: ", f"weights: {file.parent}/"))
    shown, whole = Experiment.load(tmp_path / "shown.yaml"), Experiment.load(file)
    assert (shown.data, shown.reference, shown.target) == (whole.data, whole.reference, whole.target)


def test_the_python_of_the_readme(here, shortened):
    (block,) = blocks("README.md", "python")
    execute(block)


def test_the_module_and_the_python_of_the_page_on_compression(here, shortened, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.own_generator.generator import make

    safetensors.torch.save_file(make().state_dict(), here / "weights.safetensors")
    leangen(OWN_MODULE)
    shutil.copy(here / "runs" / "mnist" / "reference" / "model.onnx", here / "model.onnx")
    for block in blocks(COMPRESSION, "python"):
        execute(block)
    assert (here / "out" / "export" / "model.onnx").is_file()


@pytest.mark.parametrize("block", blocks(EXPERIMENT_PAGE, "yaml"), ids=["shortest", "classes", "no-classes"])
def test_the_examples_of_the_experiment_page_can_be_run(block, here):
    if "efficientnet-lite0" in block:
        pytest.importorskip("efficientnet_lite_pytorch", reason="pip install 'leangen[efficientnet]'")
    (here / "shown.yaml").write_text(block)
    check(Experiment.load(here / "shown.yaml"))


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/**/*.yaml")), ids=lambda path: path.name)
def test_every_example_can_be_run(file):
    check(Experiment.load(file))


def test_links_between_pages_lead_somewhere():
    wrong = [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", (ROOT / page).read_text())
        if not (ROOT / page).parent.joinpath(target).exists()
    ]
    assert wrong == []


def test_the_numbers_of_the_readme_stand_in_the_demo_report():
    """The report in ``docs/demo.md`` is what ``make demo`` wrote; the README may only repeat it."""
    paragraph = next(part for part in (ROOT / "README.md").read_text().split("\n\n") if "docs/demo.md" in part)
    numbers = re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w%])", paragraph.split("docs/demo.md).")[1])
    report = (ROOT / "docs" / "demo.md").read_text()
    claimed = [number for number in numbers if number not in ("1", "32")]
    assert len(claimed) >= 5
    assert [number for number in claimed if not re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", report)] == []
