"""``leangen compress`` of what leangen did not find, from the command line to the report."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.inputs import draw_inputs
from benchmarks.records import Ratio
from benchmarks.runtimes.onnx import generate, input_specs, optimised_operators
from compress.distill import Distiller
from compress.export import export_onnx
from compress.generator import Generator
from compress.measure import Bench
from compress.planner import Recipe
from nas import shrinking, shrunk
from nas.cli import app
from nas.shrinking import Request
from nas.shrunk import left_whole
from nas.sources import Source, parse_input

STRANGER = '''
import torch
from torch import nn

class Stranger(nn.Module):
    """A stock DCGAN for one class at a time, wide enough for int8 to be 1.7 times as fast where it is unfolded."""
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.stem = nn.Linear(12, 128 * 4 * 4)
        self.body = nn.Sequential(
            nn.BatchNorm2d(128), nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh(),
        )
    def forward(self, z, label):
        x = self.stem(torch.cat([z, self.embed(label)], dim=1))
        return self.body(x.unflatten(1, (128, 4, 4)))

def make():
    torch.manual_seed(0)
    return Stranger()

def loudness(pictures):
    return float(abs(pictures).mean())

loudness.direction = "higher"
'''


INPUTS = ("--inputs", "z:Nx8", "--inputs", "label:N:int64:0..2")


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "stranger_code.py").write_text(STRANGER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("stranger_code", None)


@pytest.fixture
def file(home):
    """The stranger's generator as an ONNX file, without metadata of ours."""
    specs = tuple(map(parse_input, INPUTS[1::2]))
    generator = Generator.from_factory("stranger_code:make", {}, specs, trust_code=True)
    export_onnx(generator, home / "model.onnx")
    model = onnx.load(home / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, home / "model.onnx")
    return home / "model.onnx"


def leangen(*words, says=0):
    found = CliRunner().invoke(app, ["compress", *map(str, words)])
    assert found.exit_code == says, found.output
    return found.output


def test_an_onnx_file_to_a_faster_one_and_its_report(home, file, shortened):
    said = leangen(file, *INPUTS, "--out", "out", "--budget", "distance<=0.1")
    assert "faster at batch 1" in said
    summary = json.loads((home / "out/summary.json").read_text())
    assert summary["verdict"]["met"]
    steps = {step["name"]: step for step in summary["steps"]}
    assert steps["quantize per tensor, unfolded"]["kept"], steps
    assert summary["baseline"] is summary["search"] is summary["candidates"] is None
    assert any("pruning and distillation were not possible" in note for note in summary["notes"])
    shipped = home / "out" / summary["final"]["artifact"]
    assert ("ConvTranspose", "float32") not in optimised_operators(shipped)
    assert [spec.name for spec in input_specs(shipped)] == ["z", "label"]
    rows = draw_inputs(input_specs(shipped), 12, 0)
    assert np.abs(generate(shipped, rows) - generate(file, rows)).mean() < 0.1
    page = (home / "out/report/index.html").read_text()
    assert "how good they are, nobody judged" in page
    card = (home / "out/export/deploy/README.md").read_text()
    assert "not known to leangen, which was given" in card
    assert (home / "out/report/final.png").read_bytes()[:4] == b"\x89PNG"
    before = {path: path.stat().st_mtime_ns for path in (home / "out").rglob("*.json")}
    leangen(file, *INPUTS, "--out", "out", "--budget", "distance<=0.1")
    assert before == {path: path.stat().st_mtime_ns for path in (home / "out").rglob("*.json")}
    assert "another request" in leangen(file, *INPUTS, "--out", "out", says=2)


def test_the_deployed_program_draws(home, file, shortened):
    leangen(file, *INPUTS, "--out", "out", "--budget", "distance<=0.1")
    deploy = home / "out/export/deploy"
    subprocess.run(
        [sys.executable, "-P", "draw.py", "--n", "4", "--out", "grid.png"], cwd=deploy, check=True, timeout=120
    )
    assert (deploy / "grid.png").read_bytes()[:4] == b"\x89PNG"


def test_a_module_is_judged_by_a_function_of_ones_own(home, shortened):
    leangen(
        "stranger_code:make", *INPUTS, "--quality", "stranger_code:loudness", "--budget", "loudness>=-20%", "--out",
        "out", "--minutes", "0.05",
    )  # fmt: skip
    summary = json.loads((home / "out/summary.json").read_text())
    assert summary["final"]["quality"]["metric"] == "loudness"
    assert "nobody judged" not in " ".join(summary["notes"])
    assert summary["speedup_vs_eager"]["1"]["value"] > 0
    assert next(step["name"] for step in summary["steps"]) == "prune 75%"
    assert (home / "out/compressed/kept/weights.safetensors").is_file()


def test_what_costs_quality_is_refused_where_none_may_be_lost(home, file, shortened):
    """Cleaning up costs none, and may or may not be faster."""
    words = [file, *INPUTS, "--out", "out", "--budget", "distance<=0.0000000001"]
    found = CliRunner().invoke(app, ["compress", *map(str, words)])
    summary = json.loads((home / "out/summary.json").read_text())
    kept = [step["name"] for step in summary["steps"] if step["kept"]]
    assert kept in ([], ["clean up"])
    assert summary["verdict"] == {"met": bool(kept), "missed": [] if kept else ["compress"]}
    assert (found.exit_code, "Nothing helped" in found.output) == ((0, False) if kept else (1, True)), found.output
    assert (home / "out/export/model.onnx").is_file()


def test_where_nothing_helps_the_generator_ships_as_it_was(home, file, shortened, monkeypatch):
    """Every file takes equally long."""
    same = Ratio(1.0, (0.99, 1.01), 50)
    monkeypatch.setattr(Bench, "ratios", lambda self, against, files, seconds: dict.fromkeys(files, same))
    said = leangen(file, *INPUTS, "--out", "out", says=1)
    assert "Nothing helped: no step made it measurably faster inside the budget, so it ships as it was given" in said
    summary = json.loads((home / "out/summary.json").read_text())
    assert not any(step["kept"] for step in summary["steps"])
    assert summary["final"]["artifact"] == "export/model.onnx"
    assert (home / "out/report/index.html").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("model.onnx",), "with --out"),
        (("model.onnx", "--out", "out"), "label"),
        (("model.onnx", *INPUTS, "--out", "."), "holds something else"),
        (("model.onnx", *INPUTS, "--out", "out", "--budget", "fid<=+5%"), "--quality package.module:function"),
        (("model.onnx", *INPUTS, "--out", "out", "--budget", "distance>=1"), "lower is better"),
        (("model.onnx", *INPUTS, "--out", "out", "--recipe", "magic"), "auto or quantize"),
        (("model.onnx", *INPUTS, "--out", "out", "--set", "a=1"), "changes an experiment"),
        (("model.onnx", *INPUTS, "--out", "out", "--weights", "w.safetensors"), "belong to a module"),
        (("stranger_code:make", "--out", "out"), "--inputs"),
        (("stranger_code:nothing", *INPUTS, "--out", "out"), "cannot be imported"),
        (("stranger_code:make", "--inputs", "z:Nx9", "--inputs", "label:N:int64:0..2", "--out", "out"), "cannot draw"),
        (("missing.onnx", "--out", "out"), "missing.onnx"),
        ((".", "--budget", "fid<=1"), "--set quality.budget"),
        ((".", "--minutes", "10"), "--minutes is for a module or an ONNX file"),
        ((".",), "no run folder with an experiment.yaml"),
        (("stranger_code.make",), "package.module:function"),
        (("model.onnx", *INPUTS, "--out", "out", "--device", "cuda"), "CUDA"),
        (("model.onnx", *INPUTS, "--out", "out", "--trust-code"), "--trust-code is about an experiment"),
    ],
)
def test_bad_input_is_refused_in_a_clear_line_and_leaves_nothing(home, file, words, says):
    said = leangen(*words, says=2)
    assert says in " ".join(said.split()), said
    assert not (home / "out").exists()


def test_other_weights_or_another_judge_are_another_request(home):
    """So they never get the answer to an earlier one."""
    import stranger_code

    first = Request(Source("stranger_code:make", None, tuple(map(parse_input, INPUTS[1::2]))))
    one = first.source.load()
    same, other = (first.to_json(one) for _ in range(2)), first.source.load()
    assert len({json.dumps(found) for found in same}) == 1
    with torch.no_grad():
        next(other.module.parameters()).add_(1)
    assert first.to_json(one) != first.to_json(other)
    assert first.to_json(one) != replace(first, judged_by=("stranger_code:loudness",)).to_json(one)
    assert stranger_code.make


def test_a_report_that_was_cut_short_is_made_by_the_same_command(home, file, shortened):
    words = (file, *INPUTS, "--out", "out", "--budget", "distance<=0.1")
    found = CliRunner().invoke(app, ["compress", *map(str, words)])
    shutil.rmtree(home / "out/report")
    shutil.rmtree(home / "out/export/deploy")
    again = CliRunner().invoke(app, ["compress", *map(str, words)])
    assert found.exit_code == again.exit_code
    assert (home / "out/report/index.html").is_file()
    assert (home / "out/export/deploy/draw.py").is_file()


def test_what_was_trained_before_it_was_cut_is_not_trained_again(home, shortened, monkeypatch):
    """Killed when everything was compressed: the same command times and judges anew, and does no step of training."""
    half = Ratio(0.5, (0.49, 0.51), 50)
    monkeypatch.setattr(shrinking, "auto_recipe", lambda *_: Recipe((0.5,)))  # not as often as there is time
    monkeypatch.setattr(Bench, "ratios", lambda self, against, files, seconds: dict.fromkeys(files, half))
    steps = []
    real = Distiller.step
    monkeypatch.setattr(Distiller, "step", lambda *words, **named: steps.append(1) or real(*words, **named))
    words = ("stranger_code:make", *INPUTS, "--out", "out", "--budget", "distance<=0.5", "--minutes", "0.05")
    with monkeypatch.context() as cut:
        cut.setattr(shrinking, "export", lambda *_: sys.exit(9))
        leangen(*words, says=9)
    assert steps
    assert list((home / "out/recovering").glob("*.safetensors"))
    steps.clear()
    again = CliRunner().invoke(app, ["compress", *words])
    assert again.exit_code in (0, 1), again.output  # the final measurement is real, and may find it no faster
    assert not steps
    assert not (home / "out/recovering").exists()


def test_steps_that_do_not_stand_in_the_final_measurement_are_undone(home, file, shortened, monkeypatch):
    """Each step is twice as fast; in the end, what ships is not."""
    twice = Ratio(0.5, (0.49, 0.51), 50)
    monkeypatch.setattr(Bench, "ratios", lambda self, against, files, seconds: dict.fromkeys(files, twice))
    real = shrunk.measure_latency

    def slower(*words):
        found = real(*words)
        found["speedup"]["1"] = {"value": 0.9, "ci95": [0.8, 1.0]}
        return found

    monkeypatch.setattr(shrunk, "measure_latency", slower)
    assert "Nothing helped" in leangen(file, *INPUTS, "--out", "out", "--budget", "distance<=1", says=1)
    summary = json.loads((home / "out/summary.json").read_text())
    assert any(step["kept"] for step in summary["steps"])
    assert summary["final"]["artifact"] == "export/model.onnx"
    assert any("so it ships as it was given" in note for note in summary["notes"])
    assert not list((home / "out/export").rglob("*int8*"))


def test_what_pruning_leaves_alone_is_told_with_its_reason():
    assert left_whole({}) == []
    many = {f"layer{number}": "a grouped convolution" for number in range(10)}
    (told,) = left_whole(many)
    assert told.startswith("Pruning left these as they are: layer0: a grouped convolution; ")
    assert told.endswith("; and 2 more.")
    assert "the module: it cannot be traced" in left_whole({"": "it cannot be traced"})[0]
