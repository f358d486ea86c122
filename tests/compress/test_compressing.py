import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.inputs import draw_inputs
from benchmarks.runtimes.onnx import generate, optimised_operators
from compress import Generator, OnnxGenerator, compress, ledger
from compress.compressing import auto_recipe, check_batch, check_generator
from compress.errors import CompressError
from compress.export import export_onnx
from compress.generator import Origin
from compress.planner import Recipe


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(ledger, "STEP_S", 0.2)


def test_a_file_becomes_integer_and_says_what_is_not_possible(dcgan16, tmp_path, latents):
    export_onnx(dcgan16, tmp_path / "given.onnx")
    heard = []
    result = compress(OnnxGenerator.load(tmp_path / "given.onnx"), budget="distance<=0.5", on_step=heard.append)
    assert heard[0].name == "clean up"
    assert heard == list(result.kept.steps)
    assert any(step.kept and "unfolded" in step.name for step in heard), [step.reason for step in heard]
    assert result.helped
    saved = result.save(tmp_path / "out")
    assert saved.shipped == tmp_path / "out" / "export" / "model.int8.onnx"
    assert ("ConvTranspose", "float32") not in optimised_operators(saved.shipped)
    assert saved.parity["fp32"].max_abs < 1e-4
    np.testing.assert_allclose(generate(saved.shipped, latents), generate(tmp_path / "given.onnx", latents), atol=0.5)
    kinds = [edit["kind"] for edit in json.loads((tmp_path / "out/compressed/kept/edits.json").read_text())]
    assert kinds[-1] == "quantize"
    assert (tmp_path / "out/reference/source.onnx").is_file()


def test_a_module_is_pruned_and_recovered(tmp_path, low16):
    genotype = {**low16.origin.genotype, "width": 64}
    wide = Generator.from_genotype("decoder", genotype, low16.inputs, low16.origin.image)
    recipe = Recipe(prune_ratios=(0.5,), quantize=False)
    result = compress(wide, budget="distance<=1", recipe=recipe, minutes=0.1, folder=tmp_path / "work")
    (step,) = result.kept.steps
    assert step.kept, step.reason
    saved = result.save()
    assert Generator.load(tmp_path / "work/compressed/kept").id == result.kept.generator.id
    rows = draw_inputs(wide.inputs, 8, 5)
    np.testing.assert_allclose(
        generate(saved.shipped, rows), generate(result.kept.file, rows), atol=1e-4, err_msg="two exporters, one file"
    )


def test_where_nothing_helps_the_generator_ships_as_it_was(low16, low16_file, latents, tmp_path):
    result = compress(OnnxGenerator.load(low16_file), budget="distance<=0.0000001", recipe=Recipe(prune_ratios=()))
    assert not result.helped or [s.name for s in result.kept.steps if s.kept] == ["clean up"]
    saved = result.save(tmp_path / "out")
    assert saved.precision == "fp32"
    np.testing.assert_allclose(generate(saved.shipped, latents), generate(low16_file, latents), atol=1e-5)
    assert all(step.reason for step in result.kept.steps)


def test_of_a_file_no_pruning_is_tried_by_itself(low16_file, low16):
    assert auto_recipe(OnnxGenerator.load(low16_file), 10).prune_ratios == ()
    recipe = auto_recipe(low16, 10)
    assert (recipe.prune_ratios, recipe.adapt, recipe.multiple) == ((0.75,), True, None)


class Odd(nn.Module):
    """Draws what it is told to."""

    def __init__(self, draw):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.draw = draw

    def forward(self, z):
        return self.draw(self, z)


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda _, z: torch.rand(len(z), 1, 4, 4), "other pictures for the same inputs"),
        (lambda self, z: (self.weight * float("nan")).expand(len(z), 1, 4, 4), "NaN"),
        (lambda _, z: z @ torch.ones(3, 3), "cannot draw from z"),
        (lambda _, z: z, r"\(N, C, H, W\), found \(4, 16\)"),
        (lambda _, z: (z, z), "returned tuple"),
        (lambda _, z: {}["nothing"], "KeyError"),
    ],
)
def test_what_cannot_be_compressed_is_refused_in_one_line(low16, draw, says):
    generator = Generator(Origin.of_factory("odd:odd", {}, low16.inputs), (), Odd(draw))
    with pytest.raises(CompressError, match=says) as caught:
        check_generator(generator)
    assert "\n" not in str(caught.value)


def test_a_wrong_budget_is_refused_before_any_work(low16, tmp_path):
    with pytest.raises(CompressError, match="no metric 'size'"):
        compress(low16, budget="size<=3", folder=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_half_of_the_range_is_measured(low16):
    bright = Generator(
        Origin.of_factory("odd:odd", {}, low16.inputs), (), Odd(lambda _, z: 255 * z.sigmoid()[:, :, None, None])
    )
    assert 60 < check_generator(bright) < 127.5
    assert 0.2 < check_generator(low16) <= 1


def test_a_fixed_batch_is_that_of_the_target_or_refused(low16_file, tmp_path):
    model = onnx.load(low16_file)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "fixed.onnx")
    fixed = OnnxGenerator.load(tmp_path / "fixed.onnx")
    check_batch(fixed, 2)
    with pytest.raises(CompressError, match=r"takes 2 pictures a call and no other number.*--batch 2"):
        compress(fixed, folder=tmp_path / "x")
    assert not (tmp_path / "x").exists()
