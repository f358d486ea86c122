"""Every choice of every knob of every space, through export, int8 and pruning."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from benchmarks.inputs import InputSpec, draw_inputs
from compress.export import compare_images, export_onnx, parity
from compress.generator import Generator
from compress.prune import prune
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from search_spaces import get_space
from search_spaces.space import ImageShape
from search_spaces.testing import covering_genotypes

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
INPUTS = {"decoder": Z, "class_decoder": (*Z, LABEL)}
GENOTYPES = [
    pytest.param(space, genotype, id=f"{space}-{get_space(space).id(genotype)}")
    for space in INPUTS
    for genotype in (*covering_genotypes(get_space(space), np.random.default_rng(0)), *get_space(space).named.values())
]


def learnt(module):
    """Statistics and tables as if it had been trained: those of a new network hide what is not carried over."""
    with torch.no_grad():
        for name, tensor in module.named_buffers():
            if "running" in name:
                tensor.uniform_(0.5, 1.5)
        for table in (layer for layer in module.modules() if isinstance(layer, nn.Embedding)):
            table.weight.add_(torch.rand_like(table.weight) - 0.5)


@pytest.mark.parametrize(("space", "genotype"), GENOTYPES)
def test_every_choice_exports_quantizes_and_prunes(space, genotype, tmp_path):
    torch.manual_seed(1)
    inputs, image = INPUTS[space], ImageShape(3 if genotype["output"] == "tanh" else 1, 32, 32)
    generator = Generator.from_genotype(space, genotype, inputs, image)
    learnt(generator.module)
    latents = draw_inputs(inputs, 64, 0)
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_onnx(generator, fp32)
    assert parity(generator.module, fp32, latents).max_abs < 1e-4
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(fp32).graph.node}

    for settings in (QuantizeSettings(), QuantizeSettings(unfold=True), QuantizeSettings(True, unfold=True)):
        record = quantize(fp32, int8, inputs=latents, settings=settings)
        assert set(record.floats) <= (set() if settings.unfold else {"ConvTranspose"})
        assert parity(generator.module, int8, latents).psnr_db > 25

    few = {name: rows[:4] for name, rows in latents.items()}
    pruned = prune(generator, 0.4, inputs=few)  # asserts that pruned = masked
    assert parity_of(pruned, fp32, latents) < 1e-4
    pruned.save(tmp_path / "pruned")
    again = Generator.load(tmp_path / "pruned")
    assert parity_of(again, fp32, latents) < 1e-4


def parity_of(generator, path, latents):
    export_onnx(generator, path)
    return parity(generator.module, path, latents).max_abs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["latent", "stem", "norm", "latent_norm"])
def test_what_ships_knows_its_classes(name, tmp_path):
    """The other exporter, with its own simplification, gives the same images for every class."""
    space = get_space("class_decoder")
    genotype = space.sample(np.random.default_rng(3), {"class_into": name, "last": "shuffle4"})
    generator = Generator.from_genotype("class_decoder", genotype, INPUTS["class_decoder"], ImageShape(1, 32, 32))
    learnt(generator.module)
    export_onnx(generator, tmp_path / "model.onnx", fast=False)
    latents = draw_inputs(INPUTS["class_decoder"], 64, 0)
    assert parity(generator.module, tmp_path / "model.onnx", latents).max_abs < 1e-4


def test_images_of_two_generators_differ():
    """Guards the tests above: their comparison must be able to fail."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, 4, 1, 8, 8))
    assert compare_images(*images).psnr_db < 25
