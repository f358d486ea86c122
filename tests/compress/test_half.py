"""fp16 for TensorRT: onnxruntime draws the same from it, and TensorRT-RTX builds it."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from benchmarks.inputs import InputSpec, draw_inputs
from benchmarks.runtimes import tensorrt
from benchmarks.runtimes.onnx import generate, input_specs
from compress.errors import CompressError
from compress.export import compare_images, export_onnx
from compress.generator import Generator
from compress.half import convert_to_half
from compress.quantize import quantize
from compress.quantize_settings import QuantizeSettings
from search_spaces import get_space
from search_spaces.space import ImageShape

TOLERANCE = 4e-3  # of pixels in [-1, 1]: half a grey level
Z = InputSpec("z", (100,), "float32", {"kind": "normal"})
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})

needs_builder = pytest.mark.skipif(
    tensorrt.find() is None, reason="no TensorRT can build here: pip install 'leangen[tensorrt-rtx]'"
)


class Enlarging(nn.Module):
    """What the converter must not change: the sizes of a Resize are no data; nor the limits of a Clip below 65,504."""

    inputs = (InputSpec("z", (4, 8, 8), "float32", {"kind": "normal"}),)

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, z):
        wide = nn.functional.interpolate(self.layer(z), scale_factor=2.0, mode="nearest")
        return torch.clamp(wide, -0.5, 3e38).clamp(max=1)


def types_of(path):
    graph = onnx.load(path).graph
    ports = {port.name: port.type.tensor_type.elem_type for port in (*graph.input, *graph.output)}
    return ports, {tensor.data_type for tensor in graph.initializer if numpy_helper.to_array(tensor).ndim > 1}


def test_it_computes_in_fp16_between_ports_that_stay(low16, low16_file, latents, tmp_path):
    convert_to_half(low16_file, tmp_path / "h.onnx")
    ports, weights = types_of(tmp_path / "h.onnx")
    assert ports == {"z": onnx.TensorProto.FLOAT, "image": onnx.TensorProto.FLOAT}
    assert weights == {onnx.TensorProto.FLOAT16}
    assert input_specs(tmp_path / "h.onnx") == low16.inputs
    stored = {entry.key: entry.value for entry in onnx.load(tmp_path / "h.onnx").metadata_props}
    assert stored["leangen.id"] == low16.id


@pytest.mark.parametrize(("space", "inputs"), [("decoder", (Z,)), ("class_decoder", (Z, LABEL))])
@pytest.mark.parametrize("seed", [0, 1])
def test_fp16_draws_the_same_within_half_a_grey_level(tmp_path, space, inputs, seed):
    torch.manual_seed(seed)
    genotype = get_space(space).sample(np.random.default_rng(seed))
    generator = Generator.from_genotype(space, genotype, inputs, ImageShape(1, 32, 32))
    check(generator, inputs, tmp_path)


@pytest.mark.parametrize("fast", [True, False])
def test_what_a_stranger_does_is_converted_too(tmp_path, fast):
    check(Enlarging(), Enlarging.inputs, tmp_path, fast=fast)


def check(generator, inputs, folder, fast=True):
    export_onnx(generator, folder / "f.onnx", fast=fast)
    convert_to_half(folder / "f.onnx", folder / "h.onnx")
    rows = draw_inputs(inputs, 64, 7)
    found = compare_images(generate(folder / "f.onnx", rows), generate(folder / "h.onnx", rows))
    assert 0 < found.max_abs <= TOLERANCE


def test_what_fp16_cannot_hold_is_refused(low16_file, latents, tmp_path):
    model = onnx.load(low16_file)
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = -70000
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(CompressError, match=rf"large\.onnx: fp16 holds .* up to 65504, but '{weight.name}' has 7e\+04"):
        convert_to_half(tmp_path / "large.onnx", tmp_path / "h.onnx")
    quantize(low16_file, tmp_path / "q.onnx", inputs=latents)
    with pytest.raises(CompressError, match="quantized already"):
        convert_to_half(tmp_path / "q.onnx", tmp_path / "h.onnx")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(CompressError, match="not an ONNX model"):
        convert_to_half(tmp_path / "junk.onnx", tmp_path / "h.onnx")
    assert not (tmp_path / "h.onnx").exists()


@needs_builder
@pytest.mark.parametrize("name", ["low16", "dcgan16"])
def test_a_plan_is_really_built_in_all_three_precisions(request, tmp_path, name, latents):
    generator = request.getfixturevalue(name)
    files = {precision: tmp_path / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8")}
    export_onnx(generator, files["fp32"])
    convert_to_half(files["fp32"], files["fp16"])
    quantize(files["fp32"], files["int8"], inputs=latents, settings=QuantizeSettings(True, "tensorrt"))
    for path in files.values():
        plan = tensorrt.build_plan(path, path.with_suffix(".plan"), inputs=generator.inputs)
        assert plan["bytes"] == path.with_suffix(".plan").stat().st_size > 1000
