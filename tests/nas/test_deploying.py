"""The deploy folder: a stranger's environment, pictures that are the model's, and checksums that notice."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from benchmarks.files import read_json, sha256_file
from benchmarks.inputs import InputSpec
from compress.export import export_onnx
from compress.generator import Generator
from nas.deploying import write_program, write_sums
from reports.summary import load
from search_spaces.space import ImageShape

NEEDED = ("numpy", "numpy.libs", "onnxruntime")
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 2})
LATENT = InputSpec("z", (8,), "float32", {"kind": "normal"})


def deployed(folder: Path, *inputs: InputSpec, channels: int = 1) -> Path:
    """A folder with the program and an untrained generator."""
    space = "decoder" if len(inputs) == 1 else "class_decoder"
    genotype = {"body": "mlp", "hidden": 64, "layers": 1, "activation": "relu", "output": "tanh"}
    if len(inputs) > 1:
        genotype["class_into"] = "stem"
    torch.manual_seed(0)
    generator = Generator.from_genotype(space, genotype, inputs, ImageShape(channels, 16, 16))
    export_onnx(generator, folder / "made" / "model.onnx")
    write_program(folder / "deploy", {"fp32": folder / "made" / "model.onnx"})
    write_sums(folder / "deploy")
    return folder / "deploy"


@pytest.fixture
def bare(tmp_path):
    """Run the program where nothing but numpy and onnxruntime can be imported."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in NEEDED:
        found = Path(onnxruntime.__file__).parents[1] / name
        if found.exists():
            (packages / name).symlink_to(found)

    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(packages)}
        command = [sys.executable, "-S", "-s", "-W", "error", str(folder / "draw.py"), *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_it_draws_what_the_model_draws_with_numpy_and_onnxruntime_alone(bare, tmp_path):
    folder = deployed(tmp_path, LATENT)
    done = bare(folder, "--n", "5", "--seed", "3", "--out", "grid.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "grid.png: 5 pictures by model.onnx, seed 3\n"
    found = np.asarray(Image.open(tmp_path / "grid.png"))
    assert found.shape == (32, 48)  # two rows of three, the last place empty
    assert (found[16:, 32:] == 0).all()
    z = np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)
    images = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"z": z})[0]
    wanted = np.rint((np.clip(images[4, 0], -1, 1) + 1) * 127.5)
    assert np.abs(found[16:, 16:32] - wanted).max() <= 1  # another process may add in another order: half a level


def test_colours_classes_and_one_class_for_all(bare, tmp_path):
    folder = deployed(tmp_path, LATENT, LABEL, channels=3)
    assert bare(folder, "--n", "4", "--out", "all.png").returncode == 0
    assert bare(folder, "--n", "4", "--fix", "label=1", "--out", "ones.png").returncode == 0
    wrong = bare(folder, "--fix", "lable=1")
    assert wrong.returncode == 1
    assert wrong.stderr == "--fix lable: inputs are z, label\n"
    every, ones = (np.asarray(Image.open(tmp_path / name)) for name in ("all.png", "ones.png"))
    assert every.shape == ones.shape == (32, 32, 3)
    assert not np.array_equal(every, ones)


def test_an_input_that_is_not_drawn_at_random_is_named(bare, tmp_path):
    folder = deployed(tmp_path, LATENT)
    model = folder / "model.onnx"
    proto = onnx.load(model)
    (entry,) = [one for one in proto.metadata_props if one.key == "leangen.inputs"]
    (spec,) = json.loads(entry.value)
    entry.value = json.dumps([{**spec, "prior": {"kind": "bank", "file": "text.npz", "array": "t"}}])
    onnx.save(proto, model)
    done = bare(folder)
    assert done.returncode == 1
    assert "z is no random number" in done.stderr
    assert bare(folder, "--fix", "z=0.5").returncode == 0


def test_checksums_notice_a_changed_file(tmp_path):
    folder = deployed(tmp_path, LATENT)
    lines = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sorted(lines) == ["draw.py", "model.onnx", "requirements.txt"]
    assert all(sha256_file(folder / name) == digest for name, digest in lines.items())
    (folder / "model.onnx").write_bytes(b"x")
    assert sha256_file(folder / "model.onnx") != lines["model.onnx"]


def test_versions_are_those_that_were_tested(tmp_path):
    needs = (deployed(tmp_path, LATENT) / "requirements.txt").read_text().split()
    constraints = (Path(__file__).parents[2] / "constraints.txt").read_text().split()
    assert [line.split("==")[0] for line in needs] == ["numpy", "onnxruntime"]
    assert set(needs) <= set(constraints)


def test_a_run_leaves_files_program_and_card(tiny_run):
    folder = tiny_run.folder / "export" / "deploy"
    exported = read_json(tiny_run.folder / "export" / "record.json")
    names = {Path(path).name for path in exported["files"].values()}
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "SHA256SUMS", "draw.py", "requirements.txt", *names
    }  # fmt: skip
    for name in names:
        assert sha256_file(folder / name) == sha256_file(tiny_run.folder / "export" / name)
    card = (folder / "README.md").read_text()
    summary = load(tiny_run.folder / "summary.json")
    assert "mnist-5k: 480 pictures of 32x32 pixels in 10 classes" in card
    assert summary.final.quality.extractor in card
    assert re.search(r"^\| 1 \| (fp32|int8) \| [\d.]+ \([\d.–]+\) \| [\d.]+× \[", card, re.MULTILINE)


def test_files_that_are_there_are_not_copied_again(tmp_path):
    folder = deployed(tmp_path, LATENT)
    before = (folder / "model.onnx").stat().st_mtime_ns
    write_program(folder, {"fp32": tmp_path / "made" / "model.onnx"})
    assert (folder / "model.onnx").stat().st_mtime_ns == before
