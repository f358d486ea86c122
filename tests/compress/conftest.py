import numpy as np
import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.inputs import InputSpec, draw_inputs
from compress.export import export_onnx
from compress.generator import Generator
from search_spaces.space import ImageShape

Z = (InputSpec("z", (16,), "float32", {"kind": "normal"}),)
IMAGE = ImageShape(1, 32, 32)


def shake(module, seed=0):
    """Give batch norms the statistics of a trained network: folding an untouched one proves nothing."""
    rng = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            with torch.no_grad():
                part.running_mean.normal_(0, 0.3, generator=rng)
                part.running_var.uniform_(0.5, 2, generator=rng)
                part.weight.uniform_(0.5, 1.5, generator=rng)
                part.bias.normal_(0, 0.3, generator=rng)
    return module


def conv_genotype(**changes):
    return {
        "body": "conv", "rank": 0, "mapping": 0, "start": 8, "width": 16, "last": "shuffle4", "last_kernel": 3,
        "blocks": 1, "block": "plain", "kernel": 3,
        "norm": "batch", "activation": "relu", "output": "tanh",
    } | changes  # fmt: skip


def make_generator(image=IMAGE, **changes):
    torch.manual_seed(0)
    generator = Generator.from_genotype("decoder", conv_genotype(**changes), Z, image)
    shake(generator.module)
    return generator


@pytest.fixture
def low16():
    return make_generator()


@pytest.fixture
def dcgan16():
    return make_generator(
        start=4, width=64, last="transposed", early="transposed", width2=32, width3=16, blocks=0, blocks2=0, blocks3=0
    )


@pytest.fixture
def latents():
    return draw_inputs(Z, 64, 7)


@pytest.fixture
def low16_file(low16, tmp_path):
    export_onnx(low16, tmp_path / "low16.onnx")
    return tmp_path / "low16.onnx"


@pytest.fixture
def rng():
    return np.random.default_rng(0)
