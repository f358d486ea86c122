import itertools
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
from search_spaces.space import Choice, ImageShape, SearchSpace, SearchSpaceError
from search_spaces.testing import check_genotype, check_space

DIGIT, PICTURE = ImageShape(1, 32, 32), ImageShape(3, 32, 32)
LOW48 = {  # three convolutions of 48 channels at 8 x 8, one depth-to-space x4
    "body": "conv",
    "rank": 0,
    "mapping": 0,
    "start": 8,
    "width": 48,
    "last": "shuffle4",
    "last_kernel": 3,
    "blocks": 3,
    "block": "plain",
    "kernel": 3,
    "norm": "convs",
    "activation": "relu",
    "output": "tanh",
}
STAGED = {  # from 4 pixels: 40 -> 24 -> 16 channels, one block at 4 and two at 8
    "body": "conv",
    "rank": 0,
    "mapping": 0,
    "start": 4,
    "width": 40,
    "last": "shuffle2",
    "last_kernel": 3,
    "early": "shuffle2",
    "early_kernel": 3,
    "width2": 24,
    "width3": 16,
    "blocks": 1,
    "blocks2": 2,
    "blocks3": 0,
    "block": "plain",
    "kernel": 3,
    "norm": "batch",
    "activation": "relu",
    "output": "tanh",
}


def operators(model: bytes) -> list[str]:
    """What computes: the exporter merges equal biases (all 0 at the start) by Identity nodes."""
    nodes = onnx.load_from_string(model).graph.node
    return [node.op_type for node in nodes if node.op_type not in {"Constant", "Identity"}]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def network(genotype, inputs, image=DIGIT):
    """What tells networks apart: their modules with all settings, and every tensor's name and shape."""
    with torch.device("meta"):
        module = DECODER.build(genotype, inputs, image)
    shapes = tuple((name, tuple(tensor.shape)) for name, tensor in module.state_dict().items())
    return str(module), shapes, tuple(getattr(layer, "side", 0) for layer in module.layers)


# --- the whole space -------------------------------------------------------------------------------------------------


def test_every_choice_of_every_knob_keeps_the_contract(z, export, run):
    check_space(DECODER, z, PICTURE, export=export, run=run)


def random_genotype_keeps_the_contract(z, export, run, seed, side, channels):
    rng = np.random.default_rng(seed)
    latents = (*z, InputSpec("style", (3,), "float32", {"kind": "uniform", "low": -1.0, "high": 1.0}))
    image = ImageShape(channels, side, side)
    check_genotype(DECODER, DECODER.sample(rng), latents, image, export=export, run=run, rng=rng)


ANY = {"seed": st.integers(0, 2**32), "side": st.sampled_from((32, 64)), "channels": st.sampled_from((1, 3))}


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ANY)
def test_random_genotypes_keep_the_contract(z, export, run, seed, side, channels):
    random_genotype_keeps_the_contract(z, export, run, seed, side, channels)


@pytest.mark.slow
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ANY)
def test_many_random_genotypes_keep_the_contract(z, export, run, seed, side, channels):
    random_genotype_keeps_the_contract(z, export, run, seed, side, channels)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), image=st.sampled_from([DIGIT, PICTURE, ImageShape(3, 64, 64)]))
def test_random_genotypes_build_and_say_what_they_are(z, seed, image):
    genotype = DECODER.sample(np.random.default_rng(seed))
    assert DECODER.validate(genotype) == genotype
    with torch.device("meta"):
        module = DECODER.build(genotype, z, image)
    groups = module.channel_groups()
    assert len({group.name for group in groups}) == len(groups) >= 1
    assert module.image == image


def test_count_by_hand():
    """MLPs: 4 hidden * 3 layers * 6 = 72. A body's own settings: 10 widths * 2 norms * 6 = 120, times 8 for what comes
    before its maps: 3 ranks, or none with one of 5 hidden layers.

    An upsampling by 2 comes in 1 + 3 * 3 = 10 forms (transposed; three others with three kernels), shuffle4 in 3.
    Blocks that there are come in 3 kinds and 2 kernels; counts at one, two or three resolutions: 5, 5 * 4, 5 * 4 * 3.
    """
    one, two, three = 1 + 4 * 6, 1 + 19 * 6, 1 + 59 * 6
    bodies = {
        "4 x2": 10 * 10 * (9 * 6) * three,
        "4 shuffle4": 3 * 10 * 9 * two,
        "8 x2": 10 * 10 * 9 * two,
        "8 shuffle4": 3 * one,
    }
    assert DECODER.count() == 72 + 8 * 120 * sum(bodies.values()) == 1_969_560_072


def test_count_agrees_with_listing_where_the_space_is_small_enough_to_list():
    """The same knobs and conditions with two values at most: every genotype once, each a network of its own."""
    few = {
        "body": ("conv", "mlp"), "hidden": (64,), "layers": (1, 2), "rank": (0,), "mapping": (0,),
        "width": (16,), "width2": (8, 16),
        "width3": (8,), "last": ("transposed", "shuffle2", "shuffle4"), "last_kernel": (1, 3),
        "early": ("transposed", "nearest"), "early_kernel": (3,), "blocks": (0, 1), "blocks2": (0, 1), "blocks3": (0,),
        "block": ("plain", "separable"), "kernel": (3,), "norm": ("batch", "convs"), "activation": ("relu",),
        "output": ("tanh",),
    }  # fmt: skip

    def fewer(knob, values):
        return tuple(value for value in values if value in few.get(knob, values))

    knobs = {}
    for knob, choice in DECODER.knobs.items():
        conditions = tuple({k: fewer(k, allowed) for k, allowed in c.items()} for c in choice.conditions)
        knobs[knob] = Choice(fewer(knob, choice.values), when=tuple(c for c in conditions if all(c.values())))
    space = SearchSpace("few", knobs, DECODER.build)
    listed = list(space.genotypes())
    inputs = (InputSpec("z", (4,), "float32", {"kind": "normal"}),)
    assert space.count() == len(listed) == len({space.id(genotype) for genotype in listed}) > 300
    assert len({network(genotype, inputs) for genotype in listed}) == len(listed)


def test_a_change_of_one_knob_is_another_network(z):
    """Also where it makes other knobs active, which then take their first values."""
    rng, compared = np.random.default_rng(0), 0
    for _ in range(4):
        genotype = DECODER.sample(rng)
        mine = network(genotype, z)
        for knob, choice in DECODER.knobs.items():
            for value in choice.values if knob in genotype else ():
                if value != genotype[knob]:
                    changed = {**{k: c.values[0] for k, c in DECODER.knobs.items()}, **genotype, knob: value}
                    assert network(changed, z) != mine, (genotype, knob, value)
                    compared += 1
    assert compared > 100


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


@pytest.mark.parametrize(("side", "widths"), [(16, [256, 128]), (32, [256, 128, 64]), (64, [256, 128, 64, 32])])
def test_the_stock_dcgan_keeps_its_names_and_shapes(z, side, widths):
    """Weights of earlier versions must go on loading: names and shapes as they were before there were blocks."""
    module = DECODER.build(DECODER.named["dcgan64"], z, ImageShape(3, side, side))
    expected = {"layers.0.main.weight": (widths[0] * 16, 100)}
    for index, (width, following) in enumerate(itertools.pairwise([*widths, 3]), 1):
        expected[f"layers.{index}.main.weight"] = (width, following, 4, 4)
        for name in ("weight", "bias", "running_mean", "running_var"):
            expected[f"layers.{index - 1}.norm.{name}"] = (width,)
        expected[f"layers.{index - 1}.norm.num_batches_tracked"] = ()
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == expected


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
    ("early", "last", "expected"),
    [
        ("transposed", "transposed", [(8, "ConvTranspose", 24), (16, "ConvTranspose", 16), (32, "ConvTranspose", 1)]),
        ("nearest", "bilinear", [(8, "Conv", 24), (16, "Conv", 16), (32, "Conv", 1)]),
        ("shuffle2", "nearest", [(8, "Conv", 96), (16, "Conv", 64), (32, "Conv", 1)]),
        ("bilinear", "shuffle2", [(8, "Conv", 24), (16, "Conv", 16), (32, "Conv", 4)]),
        ("transposed", "shuffle4", [(8, "ConvTranspose", 24), (32, "Conv", 16)]),
    ],
)  # fmt: skip
def test_stages_of_every_upsampling(z, early, last, expected):
    genotype = {**STAGED, "early": early, "last": last, "blocks": 0, "blocks2": 0}
    module = DECODER.build(genotype, z, DIGIT)
    x, seen = torch.randn(2, 100), []
    for layer in module.layers:
        x = layer(x)
        if not isinstance(layer.main, nn.Linear):
            seen.append((x.shape[-1], type(layer.main).__name__.removesuffix("2d"), layer.main.out_channels))
    assert seen == expected


def test_blocks_stand_where_they_should(z):
    module = DECODER.build({**STAGED, "blocks3": 1}, z, DIGIT)
    x, found = torch.randn(2, 100), []
    for layer in module.layers:
        before, x = x, layer(x)
        if x.shape == before.shape:
            found.append(x.shape[1:])
    assert found == [(40, 4, 4), (24, 8, 8), (24, 8, 8), (16, 16, 16)]


@pytest.mark.parametrize(
    ("side", "genotype", "sizes"),
    [
        (16, STAGED, [40, 40, 24, 24, 24]),  # 4 -> 8 -> 16: no third width
        (64, STAGED, [40, 40, 24, 24, 24, 16, 8]),  # 4 -> 8 -> 16 -> 32 -> 64: half of the third
        (64, LOW48, [48, 48, 48, 48, 24]),  # 8 -> 16 -> 64: half of the first
        (128, {**STAGED, "width3": 48}, [40, 40, 24, 24, 24, 48, 24, 16]),  # 12 rounds to 16
    ],
)
def test_other_sizes_add_stages_of_half_the_width_or_leave_some_out(z, side, genotype, sizes):
    module = DECODER.build(genotype, z, ImageShape(1, side, side))
    assert [group.size for group in module.channel_groups()] == sizes
    assert module.eval()(z=torch.randn(1, 100)).shape == (1, 1, side, side)


def test_a_perceptron_by_hand(z, export):
    genotype = {"body": "mlp", "hidden": 128, "layers": 2, "activation": "relu", "output": "hardtanh"}
    module = DECODER.build(genotype, z, PICTURE)
    assert parameters(module) == 102 * 128 + 130 * 128 + 129 * 3 * 32 * 32
    assert [group.size for group in module.channel_groups()] == [128, 128]
    hidden = ["MatMul", "BatchNormalization", "Relu"]
    assert operators(export(module, {"z": torch.randn(2, 100)})) == hidden * 2 + ["Gemm", "Clip", "Reshape"]


def test_a_low_rank_stem_by_hand(z):
    """100 -> 16 without bias, then 16 -> 48 * 64 with one: two products in a row, their 16 numbers a group."""
    module = DECODER.build({**{k: v for k, v in LOW48.items() if k != "mapping"}, "rank": 16}, z, DIGIT)
    assert parameters(module) == 100 * 16 + 17 * 3072 + 3 * (48 * 48 * 9 + 2 * 48) + (48 * 16 * 9 + 16)
    assert [group.size for group in module.channel_groups()] == [16, 48, 48, 48, 48]


def groups_of(genotype, inputs):
    return [
        (group.name, group.size, [(part.module, part.axis, part.repeat) for part in group.slices])
        for group in DECODER.build(genotype, inputs, DIGIT).channel_groups()
    ]


def test_channel_groups_by_hand(z):
    """A stem of 4 x 4 maps owns 16 rows a channel; a shuffle x2 owns 4 maps a channel; the image is in no group."""
    assert groups_of({**STAGED, "last": "shuffle4", "blocks": 0, "blocks2": 1}, z) == [
        ("layers.0", 40, [("layers.0.main", "out", 16), ("layers.0.norm", "out", 1), ("layers.1.main", "in", 1)]),
        ("layers.1", 24, [("layers.1.main", "out", 4), ("layers.1.norm", "out", 4), ("layers.2.main", "in", 1)]),
        ("layers.2", 24, [("layers.2.main", "out", 1), ("layers.2.norm", "out", 1), ("layers.3.main", "in", 1)]),
    ]


def test_a_skip_ties_channels_together(z):
    """The stem's channels and those of both sums are one group; those inside each block are its own."""
    groups = groups_of({**LOW48, "block": "residual", "blocks": 2}, z)
    assert [(name, size) for name, size, _ in groups] == [
        ("layers.0", 48),
        ("layers.1.first", 48),
        ("layers.2.first", 48),
    ]
    assert [part[:2] for part in groups[0][2]] == [
        ("layers.0.main", "out"),
        ("layers.1.first.main", "in"), ("layers.1.second.main", "out"), ("layers.1.second.norm", "out"),
        ("layers.2.first.main", "in"), ("layers.2.second.main", "out"), ("layers.2.second.norm", "out"),
        ("layers.3.main", "in"),
    ]  # fmt: skip
    assert [part[:2] for part in groups[1][2]] == [
        ("layers.1.first.main", "out"), ("layers.1.first.norm", "out"), ("layers.1.second.main", "in")
    ]  # fmt: skip


def test_a_depthwise_convolution_belongs_to_the_channels_it_reads(z):
    groups = groups_of({**LOW48, "block": "separable", "blocks": 1}, z)
    assert groups[0] == (
        "layers.0",
        48,
        [("layers.0.main", "out", 64), ("layers.1.depthwise", "out", 1), ("layers.1.main", "in", 1)],
    )


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["plain", "residual", "separable"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "hardswish"])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest", "bilinear", "shuffle2"])
def test_signals_keep_their_size(z, activation, upsampling, block):
    """Nine blocks deep, with norms that do nothing yet (eval mode), the image's values neither vanish nor saturate."""
    genotype = {
        **STAGED, "blocks": 4, "blocks2": 3, "blocks3": 2, "block": block,
        "activation": activation, "early": upsampling, "last": upsampling,
    }  # fmt: skip
    with torch.no_grad():
        images = DECODER.build(genotype, z, DIGIT).eval()(z=torch.randn(64, 100))
    assert 0.02 < images.std().item() < 0.75


def test_residual_branches_start_small_but_alive(z):
    """1 / sqrt(3) of each of three; not 0, which would give the branch's first layer no gradient."""
    module = DECODER.build({**LOW48, "block": "residual"}, z, DIGIT)
    scales = [layer.second.norm.weight for layer in module.layers if hasattr(layer, "second")]
    assert [scale.unique().tolist() for scale in scales] == [[pytest.approx(3**-0.5)]] * 3


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
        (STAGED, 4, "k >= 1 .*found 4"),
        (STAGED, 2, "found 2"),
    ],
)
def test_images_that_cannot_be_reached_are_refused(z, changes, side, message):
    with pytest.raises(SearchSpaceError, match=message):
        DECODER.build({**LOW48, **changes}, z, ImageShape(1, side, side))


def test_images_that_are_not_square_are_refused(z):
    for genotype in (LOW48, {"body": "mlp", "hidden": 128, "layers": 1, "activation": "relu", "output": "tanh"}):
        with pytest.raises(SearchSpaceError, match="square, found 32 x 64"):
            DECODER.build(genotype, z, ImageShape(1, 32, 64))
