import json
import math

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.inputs import InputSpec
from search_spaces.blocks import LEAK
from search_spaces.decoder import DECODER, dcgan, dcgan_widths
from search_spaces.space import ImageShape, SearchSpaceError
from search_spaces.testing import check_genotype, check_space

DIGIT, PICTURE = ImageShape(1, 32, 32), ImageShape(3, 32, 32)
LOW48 = {  # three convolutions of 48 channels at 8 x 8, one depth-to-space x4
    "body": "conv",
    "start": 8,
    "width": 48,
    "upsampling": "shuffle4",
    "blocks": 3,
    "kernel": 3,
    "norm": "convs",
    "activation": "relu",
    "output": "tanh",
}


def operators(model: bytes) -> list[str]:
    """What computes: the exporter merges equal biases (all 0 at the start) by Identity nodes."""
    nodes = onnx.load_from_string(model).graph.node
    return [node.op_type for node in nodes if node.op_type not in {"Constant", "Identity"}]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- the whole space -------------------------------------------------------------------------------------------------


def test_every_choice_of_every_knob_keeps_the_contract(z, export, run):
    check_space(DECODER, z, PICTURE, export=export, run=run)


@settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), side=st.sampled_from((32, 64)), channels=st.sampled_from((1, 3)))
def test_random_genotypes_keep_the_contract(z, export, run, seed, side, channels):
    rng = np.random.default_rng(seed)
    latents = (*z, InputSpec("style", (3,), "float32", {"kind": "uniform", "low": -1.0, "high": 1.0}))
    image = ImageShape(channels, side, side)
    check_genotype(DECODER, DECODER.sample(rng), latents, image, export=export, run=run, rng=rng)


def test_count_agrees_with_listing():
    """By hand: MLPs 3*2*3*2 = 36. Each convolutional body comes in 10 widths, 2 norms, 3 activations, 2 outputs = 120.

    From 4 pixels: 2 tapers; 1 + 4*2*2 block settings for transposed, 2 + 16 for each of the others: 2 * 71 = 142.
    From 8: 2 tapers but for shuffle4; 1 + 4*2 for transposed, 2 + 8 for the others: 2 * (9 + 10 + 10) + 10 = 68.
    """
    assert DECODER.count() == 36 + 120 * (142 + 68) == 25_236
    assert sum(1 for _ in DECODER.genotypes()) == 25_236


# --- the stock reference ---------------------------------------------------------------------------------------------


def test_the_stock_dcgan_is_a_genotype(z):
    """Linear 100*4096, norms 2*(256+128+64), transposed 256*128*16 + 128*64*16 + 64*1*16, no bias anywhere."""
    module = DECODER.build(DECODER.named["dcgan64"], z, DIGIT)
    assert parameters(module) == 1_066_880
    assert [type(layer.main).__name__ for layer in module.layers] == ["Linear"] + ["ConvTranspose2d"] * 3
    assert all(layer.main.bias is None for layer in module.layers)


def test_genotype_and_factory_build_the_same_module(z):
    torch.manual_seed(3)
    searched = DECODER.build(DECODER.named["dcgan64"], z, DIGIT)
    torch.manual_seed(3)
    made = dcgan([256, 128, 64], json.loads(json.dumps([spec.to_json() for spec in z])), [1, 32, 32])
    assert str(searched) == str(made)
    assert list(searched.state_dict()) == list(made.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(searched.parameters(), made.parameters(), strict=True))
    assert made.inputs == z
    assert made.image == DIGIT


def test_dcgan_starts_with_its_own_weights(z):
    """N(0, 0.02) for 409,600 weights: the standard error of their deviation is 0.02 / sqrt(819,200) = 2.2e-5."""
    module = dcgan((256, 128, 64), z, DIGIT)
    assert module.layers[0].main.weight.std().item() == pytest.approx(0.02, abs=1e-4)
    assert module.layers[0].norm.weight.mean().item() == pytest.approx(1.0, abs=0.006)
    assert module.layers[0].norm.weight.std().item() == pytest.approx(0.02, abs=0.004)


def test_any_widths_make_a_narrowed_dcgan(z, export, run):
    module = dcgan([37, 18, 9], z, {"channels": 1, "height": 32, "width": 32})
    assert [group.size for group in module.channel_groups()] == [37, 18, 9]
    latents = torch.randn(4, 100)
    with torch.no_grad():
        expected = module.eval()(z=latents).numpy()
    assert run(export(module, {"z": latents}), {"z": latents.numpy()}) == pytest.approx(expected, abs=1e-5)


def test_dcgan_starts_from_whatever_is_left(z):
    """28 = 7 * 2 * 2: two widths, maps from 7 x 7."""
    assert dcgan([64, 32], z, [1, 28, 28]).layers[0].side == 7


def test_dcgan_widths():
    assert dcgan_widths(DIGIT) == (256, 128, 64)
    assert dcgan_widths(ImageShape(3, 64, 64)) == (512, 256, 128, 64)
    assert dcgan_widths(DIGIT, scale=0.29) == (74, 37, 19)
    assert dcgan_widths(DIGIT, scale=1e-9) == (1, 1, 1)
    with pytest.raises(SearchSpaceError, match="scale must be above 0, found nan"):
        dcgan_widths(DIGIT, scale=math.nan)


@pytest.mark.parametrize(
    ("widths", "image", "message"),
    [
        ([], [1, 32, 32], "1 to 10 integers"),
        ([64.0], [1, 32, 32], "1 to 10 integers"),
        ([0], [1, 32, 32], "1 to 10 integers"),
        ([10**9], [1, 32, 32], "1 to 10 integers"),
        ([64, 32], [1, 30, 30], "multiple of 4, found 30"),
        ([64, 32], [1, 32, 16], "square, found 32 x 16"),
        ([8192, 8192, 8192], [1, 32, 32], "at most 268435456 parameters, found"),
    ],
)
def test_dcgan_refuses_hostile_arguments(z, widths, image, message):
    with pytest.raises(SearchSpaceError, match=message):
        dcgan(widths, z, image)


# --- structure -------------------------------------------------------------------------------------------------------


def test_a_depth_to_space_decoder_by_hand(z, export):
    """Linear 100*3072 with bias, three 3x3 convolutions of 48 channels at 8 x 8, one to 16 channels."""
    module = DECODER.build(LOW48, z, DIGIT)
    assert parameters(module) == 101 * 3072 + 3 * (48 * 48 * 9 + 2 * 48) + (48 * 16 * 9 + 16)
    model = export(module, {"z": torch.randn(2, 100)})
    assert operators(model) == (["Gemm", "Relu", "Reshape"] + ["Conv", "Relu"] * 3 + ["Conv", "Tanh", "DepthToSpace"])
    (shuffle,) = (node for node in onnx.load_from_string(model).graph.node if node.op_type == "DepthToSpace")
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in shuffle.attribute}
    assert attributes == {"blocksize": 4, "mode": b"CRD"}


@pytest.mark.parametrize(
    ("upsampling", "expected"),
    [
        ("transposed", [(8, "ConvTranspose2d", 24), (16, "ConvTranspose2d", 8), (32, "ConvTranspose2d", 1)]),
        ("nearest", [(8, "Conv2d", 24), (16, "Conv2d", 8), (32, "Conv2d", 1)]),
        ("shuffle2", [(8, "Conv2d", 96), (16, "Conv2d", 32), (32, "Conv2d", 4)]),
        ("shuffle4", [(8, "Conv2d", 96), (32, "Conv2d", 16)]),
    ],
)
def test_stages_of_every_upsampling(z, upsampling, expected):
    """From 4 pixels and 40 channels, taper 0.5: 40 -> 20, which rounds to 24, -> 10, which rounds to 8."""
    genotype = {**LOW48, "start": 4, "width": 40, "upsampling": upsampling, "blocks": 0, "taper": 0.5}
    module = DECODER.build(genotype, z, DIGIT)
    x, seen = torch.randn(2, 100), []
    for layer in module.layers:
        x = layer(x)
        if not isinstance(layer.main, nn.Linear):
            seen.append((x.shape[-1], type(layer.main).__name__, layer.main.out_channels))
    assert seen == expected


@pytest.mark.parametrize(("start", "blocks_at", "sides"), [(4, 4, [4, 4]), (4, 8, [8, 8]), (8, 8, [8, 8])])
def test_blocks_stand_where_they_should(z, start, blocks_at, sides):
    genotype = {**LOW48, "start": start, "blocks": 2, "blocks_at": blocks_at, "taper": 1.0}
    module = DECODER.build(genotype, z, DIGIT)
    x, found = torch.randn(2, 100), []
    for layer in module.layers:
        before, x = x, layer(x)
        if x.shape == before.shape:
            found.append(x.shape[-1])
    assert found == sides


def test_a_perceptron_by_hand(z, export):
    genotype = {"body": "mlp", "hidden": 128, "layers": 2, "activation": "relu", "output": "hardtanh"}
    module = DECODER.build(genotype, z, PICTURE)
    assert parameters(module) == 102 * 128 + 130 * 128 + 129 * 3 * 32 * 32
    assert [group.size for group in module.channel_groups()] == [128, 128]
    hidden = ["MatMul", "BatchNormalization", "Relu"]
    assert operators(export(module, {"z": torch.randn(2, 100)})) == hidden * 2 + ["Gemm", "Clip", "Reshape"]


def test_channel_groups_by_hand(z):
    """A stem of 8 x 8 maps owns 64 rows a channel; a shuffle x2 owns 4 maps a channel; the image is in no group."""
    genotype = {**LOW48, "start": 4, "taper": 1.0, "blocks": 1, "blocks_at": 8, "norm": "batch"}
    groups = DECODER.build(genotype, z, DIGIT).channel_groups()
    assert [
        (group.name, group.size, [(part.module, part.axis, part.repeat) for part in group.slices]) for group in groups
    ] == [
        ("layers.0", 48, [("layers.0.main", "out", 16), ("layers.0.norm", "out", 1), ("layers.1.main", "in", 1)]),
        ("layers.1", 48, [("layers.1.main", "out", 4), ("layers.1.norm", "out", 4), ("layers.2.main", "in", 1)]),
        ("layers.2", 48, [("layers.2.main", "out", 1), ("layers.2.norm", "out", 1), ("layers.3.main", "in", 1)]),
    ]


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "upsampling"),
    [(a, u) for a in ("relu", "leaky_relu", "hardswish") for u in ("transposed", "nearest", "shuffle2", "shuffle4")],
)
def test_signals_keep_their_size(z, activation, upsampling):
    """Four blocks deep, with norms that do nothing yet (eval mode), the image's values neither vanish nor saturate."""
    genotype = {
        **LOW48, "start": 4, "taper": 1.0, "blocks": 4, "blocks_at": 4,
        "norm": "convs", "activation": activation, "upsampling": upsampling,
    }  # fmt: skip
    with torch.no_grad():
        images = DECODER.build(genotype, z, DIGIT).eval()(z=torch.randn(64, 100))
    assert 0.05 < images.std().item() < 0.7


def test_the_slope_of_leaky_relu(z):
    genotype = {**LOW48, "activation": "leaky_relu"}
    slopes = [layer.activation.negative_slope for layer in DECODER.build(genotype, z, DIGIT).layers[:-1]]
    assert set(slopes) == {LEAK} == {0.2}


def test_inputs_are_concatenated_in_their_order():
    inputs = [InputSpec(name, (2,), "float32", {"kind": "normal"}) for name in ("b", "a")]
    module = DECODER.build(DECODER.named["dcgan64"], inputs, DIGIT).eval()
    b, a = torch.randn(3, 2), torch.randn(3, 2)
    together = dcgan([256, 128, 64], [InputSpec("z", (4,), "float32", {"kind": "normal"})], DIGIT).eval()
    together.load_state_dict(module.state_dict())
    assert torch.equal(module(a=a, b=b), together(z=torch.cat([b, a], 1)))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_forward_takes_exactly_its_inputs(z):
    module = DECODER.build(LOW48, z, DIGIT)
    with pytest.raises(SearchSpaceError, match=r"inputs are \['z'\], found \['label', 'z'\]"):
        module(z=torch.randn(2, 100), label=torch.zeros(2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9}),
            "real-valued vectors only.*'label'",
        ),
        (InputSpec("x", (4, 4), "float32", {"kind": "normal"}), r"shape \(4, 4\)"),
        (InputSpec("x", (4,), "float64", {"kind": "normal"}), "dtype float64"),
        (InputSpec("z", (4,), "float32", {"kind": "normal"}), "name of its own"),
    ],
)
def test_other_inputs_are_refused(z, spec, message):
    with pytest.raises(SearchSpaceError, match=message):
        DECODER.build(LOW48, (*z, spec), DIGIT)


def test_no_input_is_refused():
    with pytest.raises(SearchSpaceError, match="found 0"):
        DECODER.build(LOW48, (), DIGIT)


@pytest.mark.parametrize(
    ("changes", "side", "message"),
    [
        ({}, 16, r"8 \* 2\^k with k >= 2 \(32, 64, 128, 256 ...\), found 16"),
        ({}, 48, "found 48"),
        ({"upsampling": "shuffle2", "taper": 1.0}, 8, "k >= 1 .*found 8"),
        ({"upsampling": "shuffle2", "taper": 1.0}, 4, "found 4"),
        ({"start": 4, "taper": 1.0, "blocks_at": 8}, 16, r"before the last stage \(4 pixels here\), found 8"),
    ],
)
def test_images_that_cannot_be_reached_are_refused(z, changes, side, message):
    with pytest.raises(SearchSpaceError, match=message):
        DECODER.build({**LOW48, **changes}, z, ImageShape(1, side, side))


def test_images_that_are_not_square_are_refused(z):
    for genotype in (LOW48, {"body": "mlp", "hidden": 128, "layers": 1, "activation": "relu", "output": "tanh"}):
        with pytest.raises(SearchSpaceError, match="square, found 32 x 64"):
            DECODER.build(genotype, z, ImageShape(1, 32, 64))
