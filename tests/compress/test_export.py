import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.runtimes.onnx import generate, input_specs, optimised_operators
from compress.errors import CompressError
from compress.export import compare_images, export_onnx, parity
from compress.generator import Edit, Generator
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from tests.compress.conftest import shake


class Conditional(nn.Module):
    """Two named inputs, one of them whole numbers, read in an order that is not that of the specs."""

    inputs = (
        InputSpec("z", (6,), "float32", {"kind": "normal"}),
        InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9}),
    )

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.layer = nn.Linear(6, 64, bias=False)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, label, z):
        return torch.tanh(self.norm(self.layer(z * self.embed(label)).reshape(-1, 4, 4, 4)))


def shape_of(port):
    return [axis.dim_param or axis.dim_value for axis in port.type.tensor_type.shape.dim]


@pytest.mark.parametrize("fast", [True, False])
def test_the_file_is_self_contained_and_says_what_it_is(low16, latents, tmp_path, fast):
    low16.module.train()
    path = tmp_path / "model.onnx"
    export_onnx(low16, path, fast=fast, metadata={"leangen.scores": "[]"})
    assert low16.module.training  # left as it was
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    model = onnx.load(path)
    assert [(port.name, shape_of(port)) for port in model.graph.input] == [("z", ["batch", 16])]
    assert [(port.name, shape_of(port)) for port in model.graph.output] == [("image", ["batch", 1, 32, 32])]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert model.opset_import[0].version == 20
    stored = {entry.key: entry.value for entry in model.metadata_props}
    assert set(stored) == {"leangen.inputs", "leangen.origin", "leangen.edits", "leangen.id", "leangen.scores"}
    assert stored["leangen.id"] == low16.id
    assert json.loads(stored["leangen.origin"]) == low16.origin.to_json()
    assert input_specs(path) == low16.inputs
    report = parity(low16.module, path, latents)
    assert report.max_abs < 1e-4
    assert report.n == 64


def test_any_batch_size_runs(low16_file, latents):
    whole = generate(low16_file, latents, batch=64)
    assert np.allclose(generate(low16_file, latents, batch=1), whole, atol=1e-6)


@pytest.mark.parametrize("fast", [True, False])
def test_several_named_inputs(tmp_path, fast):
    module = Conditional()
    module.norm.running_mean.uniform_(-1, 1)
    export_onnx(module, tmp_path / "c.onnx", fast=fast)
    inputs = draw_inputs(module.inputs, 64, 0)
    assert parity(module, tmp_path / "c.onnx", inputs).max_abs < 1e-5
    session = ort.InferenceSession(tmp_path / "c.onnx", providers=["CPUExecutionProvider"])
    assert {port.name: port.shape for port in session.get_inputs()} == {"z": ["batch", 6], "label": ["batch"]}


def test_edits_stand_in_the_metadata(low16, tmp_path):
    pruned = low16.with_edit(Edit("prune", {"kept": {"layers.0": list(range(8))}}))
    export_onnx(pruned, tmp_path / "p.onnx")
    stored = {entry.key: entry.value for entry in onnx.load(tmp_path / "p.onnx").metadata_props}
    assert json.loads(stored["leangen.edits"]) == [edit.to_json() for edit in pruned.edits]


def test_the_whole_of_a_dcgan_folds(dcgan16, latents, tmp_path):
    export_onnx(dcgan16, tmp_path / "d.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "d.onnx").graph.node]
    assert kinds.count("ConvTranspose") == 3
    assert "BatchNormalization" not in kinds
    assert parity(dcgan16.module, tmp_path / "d.onnx", latents).max_abs < 1e-4


class Flat(nn.Module):
    inputs = (InputSpec("z", (4,), "float32", {"kind": "normal"}),)

    def forward(self, z):
        return z


def test_modules_that_are_no_generators(tmp_path):
    with pytest.raises(CompressError, match=r"\(N, C, H, W\), found \(2, 4\)"):
        export_onnx(Flat(), tmp_path / "x.onnx")
    with pytest.raises(CompressError, match="Linear does not say what it takes"):
        export_onnx(nn.Linear(4, 4), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_an_export_that_fails_leaves_the_old_file(low16, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"old")
    with pytest.raises(CompressError, match="Try fast=False"):
        export_onnx(low16, tmp_path / "x.onnx", opset=3)
    assert (tmp_path / "x.onnx").read_bytes() == b"old"


def test_parity_by_hand():
    """One pixel of 2 x 4 is off by 0.2: MSE 0.04 / 8 = 0.005, PSNR 10 log10(4 / 0.005) = 29.03 dB."""
    expected = np.zeros((2, 1, 2, 2), dtype="f4")
    found = expected.copy()
    found[1, 0, 0, 1] = 0.2
    report = compare_images(expected, found)
    assert report.max_abs == pytest.approx(0.2)
    assert report.psnr_db == pytest.approx(29.0309, abs=1e-3)
    assert (report.n, report.worst) == (2, 1)
    assert compare_images(expected, expected).to_json() == {"max_abs": 0.0, "psnr_db": None, "n": 2, "worst": 0}


def test_parity_refuses_what_proves_nothing(low16, low16_file, latents):
    with pytest.raises(CompressError, match="at least 64"):
        parity(low16.module, low16_file, {"z": latents["z"][:63]})
    zero = np.zeros((2, 1, 2, 2))
    with pytest.raises(CompressError, match="same shape"):
        compare_images(zero, zero[:1])
    with pytest.raises(CompressError, match="finite"):
        compare_images(zero, zero + np.nan)


def test_a_loaded_generator_exports_the_same(low16, tmp_path, latents):
    low16.save(tmp_path / "g")
    export_onnx(Generator.load(tmp_path / "g"), tmp_path / "a.onnx")
    assert parity(low16.module, tmp_path / "a.onnx", latents).max_abs < 1e-4


class Unflattening(nn.Module):
    """Asks for its sizes in forward, as strangers do."""

    inputs = (InputSpec("z", (8,), "float32", {"kind": "normal"}),)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Linear(8, 64), nn.BatchNorm2d(4)
        self.last = nn.ConvTranspose2d(4, 1, 4, 2, 1)
        shake(self)

    def forward(self, z):
        return torch.tanh(self.last(torch.relu(self.norm(self.stem(z).unflatten(1, (4, 4, 4))))))


def test_sizes_read_in_forward_hide_nothing(tmp_path):
    """The quick exporter writes Shape, Slice and Concat; behind them a norm is not folded and nothing is unfolded."""
    module, path = Unflattening(), tmp_path / "model.onnx"
    export_onnx(module, path)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert operators == {"Gemm", "Reshape", "Relu", "ConvTranspose", "Tanh"}
    assert parity(module.eval(), path, draw_inputs(module.inputs, 64, 0)).max_abs < 1e-5
    quantize(
        path, tmp_path / "int8.onnx", inputs=draw_inputs(module.inputs, 64, 1), settings=QuantizeSettings(unfold=True)
    )
    assert ("ConvTranspose", "float32") not in optimised_operators(tmp_path / "int8.onnx")


class Counting(nn.Module):
    """Its forward asks how many rows there are: a number to a tracer."""

    def __init__(self):
        super().__init__()
        self.inputs = (InputSpec("z", (8,), "float32", {"kind": "normal"}),)
        self.head, self.last = nn.Linear(8, 32), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, z):
        return torch.tanh(self.last(self.head(z).view(len(z), -1, 4, 4)))


class Wary(Counting):
    """Looks at its numbers, which one of the exporters cannot follow."""

    def forward(self, z):
        x = self.head(z)
        if torch.isnan(x).any():
            raise ValueError("NaN")
        return torch.tanh(self.last(x.view(z.shape[0], -1, 4, 4)))


def test_the_quick_exporter_stays_where_it_is_right(tmp_path):
    """It warns of a branch on numbers; the other exporter would fail."""
    module = Wary()
    export_onnx(module, tmp_path / "model.onnx")
    assert parity(module, tmp_path / "model.onnx", draw_inputs(module.inputs, 65, 0)).max_abs < 1e-6
    with pytest.raises(CompressError, match="could not export"):
        export_onnx(module, tmp_path / "careful.onnx", fast=False)


@pytest.mark.parametrize("fast", [True, False])
def test_a_forward_that_counts_rows_still_draws_any_number_of_them(tmp_path, fast):
    module = Counting()
    export_onnx(module, tmp_path / "model.onnx", fast=fast)
    assert parity(module, tmp_path / "model.onnx", draw_inputs(module.inputs, 65, 0)).max_abs < 1e-6
