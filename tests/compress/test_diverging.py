"""A file that draws something else than its module: the part at which that begins is named."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from benchmarks.inputs import InputSpec, draw_inputs
from compress.diverging import first_divergence
from compress.errors import CompressError
from compress.export import export_onnx
from compress.files import prove
from compress.generator import Generator
from compress.origin import Origin

Z = (InputSpec("z", (8,), "float32", {"kind": "normal"}),)


class Small(nn.Module):
    """A linear layer, two convolutions with batch norm between them, a tanh."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(8, 4 * 4 * 4)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 1, 3, padding=1)
        self.last = nn.Tanh()

    def forward(self, z):
        h = torch.relu(self.norm(self.first(self.stem(z).view(-1, 4, 4, 4))))
        return self.last(self.second(h))


@pytest.fixture
def exported(tmp_path):
    """The generator, its file, and rows."""
    origin = Origin.of_factory("tests.compress.test_diverging:Small", {}, Z)
    generator = Generator(origin, (), Small())
    path = tmp_path / "model.onnx"
    export_onnx(generator, path)
    return generator, path, draw_inputs(Z, 4, 0)


def damage(path, shape):
    """Add one to the weights of this shape."""
    model = onnx.load(path)
    (weight,) = [one for one in model.graph.initializer if tuple(one.dims) == shape]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(1), weight.name))
    onnx.save(model, path)


def test_a_changed_weight_is_found(exported):
    """The second convolution has weights of its own: what is before it agrees, merged norm or not."""
    generator, path, rows = exported
    damage(path, (1, 4, 3, 3))
    assert first_divergence(generator.module, path, rows) == "the first part that differs is second (Conv2d)"


def test_nothing_agrees(exported):
    """The first layer is wrong, so all are."""
    generator, path, rows = exported
    model = onnx.load(path)
    (stem,) = [one for one in model.graph.initializer if sorted(one.dims) == [8, 64]]
    damage(path, tuple(stem.dims))
    assert first_divergence(generator.module, path, rows) == "the first part that differs is stem (Linear)"


class Conditional(Small):
    """The same with a table of its own, whose rows are added behind the first convolution."""

    def __init__(self):
        super().__init__()
        self.table = nn.Linear(8, 4)

    def forward(self, z):
        h = self.first(self.stem(z).view(-1, 4, 4, 4)) + self.table(z)[:, :, None, None]
        return self.last(self.second(torch.relu(h)))


def test_a_branch_that_agrees_behind_it_does_not_hide_it(tmp_path):
    """The table runs after the first convolution and agrees: the convolution is still the first that differs."""
    generator = Generator(Origin.of_factory("tests.compress.test_diverging:Conditional", {}, Z), (), Conditional())
    path = tmp_path / "model.onnx"
    export_onnx(generator, path)
    damage(path, (4, 4, 3, 3))
    found = first_divergence(generator.module, path, draw_inputs(Z, 4, 0))
    assert found == "the first part that differs is first (Conv2d)"


def test_what_forward_does_is_no_part(exported):
    generator, path, rows = exported
    generator.module.forward = lambda z: 2 * Small.forward(generator.module, z)
    assert "what its forward does besides" in first_divergence(generator.module, path, rows)


def test_the_proof_names_it(exported):
    generator, path, _ = exported
    damage(path, (1, 4, 3, 3))
    with pytest.raises(CompressError, match=r"the first part that differs is second \(Conv2d\)"):
        prove(generator, {"fp32": path}, draw_inputs(Z, 64, 0))


def test_nobody_listens_any_more(exported):
    """The hooks are gone, whatever happened."""
    generator, path, rows = exported
    first_divergence(generator.module, path, rows)
    assert not any(part._forward_hooks for part in generator.module.modules())
