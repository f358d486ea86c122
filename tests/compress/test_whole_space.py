"""Every choice of every knob of the space "decoder", through export, int8 and pruning."""

import contextlib

import numpy as np
import onnx
import pytest
import torch

from benchmarks.inputs import InputSpec, draw_inputs
from compress.errors import CompressError
from compress.export import compare_images, export_onnx, parity
from compress.generator import Generator
from compress.prune import prune
from compress.quantize import quantize
from search_spaces import get_space
from search_spaces.space import ImageShape

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)
SPACE = get_space("decoder")
CHOICES = [(knob, value) for knob, choice in SPACE.knobs.items() for value in choice.values]


def draw_genotype(knob, value, image):
    """A random genotype with this choice that fits the image; narrow ones, for the tests' sake."""
    rng = np.random.default_rng(len(str(value)) + 100 * list(SPACE.knobs).index(knob))
    for _ in range(100):
        genotype = SPACE.sample(rng, {knob: value})
        if genotype.get("width", 0) > 48 and knob != "width":
            continue
        with contextlib.suppress(CompressError):  # e.g. blocks at a resolution that this one does not reach
            return Generator.from_genotype("decoder", genotype, Z, image)
    raise AssertionError(f"no genotype with {knob} = {value} fits {image}")


@pytest.mark.parametrize(("knob", "value"), CHOICES, ids=str)
def test_every_choice_exports_quantizes_and_prunes(knob, value, tmp_path):
    torch.manual_seed(1)
    image = ImageShape(3 if len(str(value)) % 2 else 1, 32, 32)
    generator = draw_genotype(knob, value, image)
    with torch.no_grad():
        for name, tensor in generator.module.named_buffers():
            if "running" in name:
                tensor.uniform_(0.5, 1.5)
    latents = draw_inputs(Z, 64, 0)
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_onnx(generator, fp32)
    assert parity(generator.module, fp32, latents).max_abs < 1e-4
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(fp32).graph.node}

    record = quantize(fp32, int8, inputs=latents, per_channel=False)
    assert set(record.floats) <= {"ConvTranspose"}
    assert parity(generator.module, int8, latents).psnr_db > 25

    if max(group.size for group in generator.module.channel_groups()) > 8:
        pruned = prune(generator, 0.4, inputs={"z": latents["z"][:4]})  # asserts that pruned = masked
        export_onnx(pruned, fp32)
        assert parity(pruned.module, fp32, latents).max_abs < 1e-4


def test_images_of_two_generators_differ():
    """Guards the test above: its comparison must be able to fail."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, 4, 1, 8, 8))
    assert compare_images(*images).psnr_db < 25
