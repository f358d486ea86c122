"""A class-conditional run, end to end: the label goes through every stage, and classes are judged one by one."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from benchmarks.runtimes.onnx import generate, input_specs
from nas import Experiment, run
from nas.checks import check
from nas.errors import NasError

YAML = """\
data: {name: mnist-5k, limit: 600}
family: {name: cgan, discriminator_width: 16}
space: class_decoder
reference: {steps: 60, observer: 20, evaluations: 3, width: 32}
quality: {budget: ["fid<=+100000", "accuracy>=-100pt"], samples: 400}
search: {trials: 3, minutes: 2, workers: 1, rungs: [40, 120], finalists: 1, final_distill: 120,
         final_features: 10, final_adversarial: 20, final_match: 10}
target: {min_speedup: 1.5}
compress: {recover: 20}
export: {tensorrt: false}
"""


@pytest.mark.usefixtures("shortened")
def test_the_label_goes_through_every_stage(tmp_path):
    (tmp_path / "e.yaml").write_text(YAML)
    summary = run(Experiment.load(tmp_path / "e.yaml"), tmp_path / "run")
    assert summary["verdict"] == {"met": True, "missed": []}
    shipped = tmp_path / "run" / summary["final"]["artifact"]
    assert [port.name for port in onnx.load(shipped).graph.input] == ["z", "label"]
    assert input_specs(shipped)[1].prior == {"kind": "integers", "low": 0, "high": 9}
    with np.errstate(all="ignore"):
        pictures = generate(shipped, {"z": np.zeros((10, 100), np.float32), "label": np.arange(10)})
    assert len({picture.tobytes() for picture in pictures}) > 1, "the class changes the picture"

    quality = json.loads((tmp_path / "run" / "export" / "record.json").read_text())["quality"]
    assert 0 <= quality["metrics"]["final"]["accuracy"]["value"] <= 1
    rows = (
        quality["classes"]["final"]["classes"]
        if "classes" in quality["classes"]["final"]
        else quality["classes"]["final"]
    )
    assert [row["name"] for row in rows] == list("0123456789")
    with Image.open(tmp_path / "run" / "report" / "final.png") as grid:
        assert grid.width % 10 == 0, "a column for each class"


@pytest.mark.parametrize(("family", "space"), [("cgan", "decoder"), ("gan", "class_decoder")])
def test_a_space_that_cannot_take_the_inputs_is_refused_before_anything_is_trained(tmp_path, family, space):
    (tmp_path / "e.yaml").write_text(f"data: mnist-5k\nfamily: {family}\nspace: {space}\n")
    with pytest.raises(NasError, match=rf"(?s)line 3.*space {space} builds no generator for family {family}.*label"):
        check(Experiment.load(tmp_path / "e.yaml"))
