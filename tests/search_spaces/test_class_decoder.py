import itertools
import json

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.inputs import InputSpec
from search_spaces.class_decoder import CLASS_DECODER, MAX_CLASSES, conditional_dcgan
from search_spaces.decoder import DECODER, dcgan
from search_spaces.norms import ConditionalNorm
from search_spaces.space import ImageShape, SearchSpaceError
from search_spaces.testing import check_genotype, check_space

DIGIT, PICTURE = ImageShape(1, 32, 32), ImageShape(3, 32, 32)
STAGED = {  # from 4 pixels with two blocks there, one x2 stage with a block behind it, then a depth-to-space x4
    "body": "conv",
    "rank": 0,
    "mapping": 0,
    "start": 4,
    "width": 24,
    "last": "shuffle4",
    "last_kernel": 3,
    "early": "shuffle2",
    "early_kernel": 3,
    "width2": 16,
    "blocks": 2,
    "blocks2": 1,
    "block": "plain",
    "kernel": 3,
    "class_into": "latent",
    "embedding": 8,
    "norm": "batch",
    "activation": "relu",
    "output": "tanh",
}
NORMED = {key: value for key, value in STAGED.items() if key not in ("embedding", "norm")} | {"class_into": "norm"}


def labels(classes=10, **changes):
    prior = {"kind": "integers", "low": 0, "high": classes - 1}
    return InputSpec("label", (), "int64", prior | changes)


@pytest.fixture
def both(z):
    return (*z, labels())


def draw(module, rows=6):
    return {"z": torch.randn(rows, 100), "label": torch.arange(rows)}


def conditional(module):
    return [name for name, layer in module.named_modules() if isinstance(layer, ConditionalNorm)]


# --- the whole space -------------------------------------------------------------------------------------------------


def test_every_choice_of_every_knob_keeps_the_contract(both, export, run):
    check_space(CLASS_DECODER, both, PICTURE, export=export, run=run)


def random_genotype_keeps_the_contract(z, export, run, seed, side, classes):
    rng = np.random.default_rng(seed)
    style = InputSpec("style", (3,), "float32", {"kind": "uniform", "low": -1.0, "high": 1.0})
    inputs, image = (labels(classes), *z, style), ImageShape(1, side, side)
    check_genotype(CLASS_DECODER, CLASS_DECODER.sample(rng), inputs, image, export=export, run=run, rng=rng)


ANY = {"seed": st.integers(0, 2**32), "side": st.sampled_from((32, 64)), "classes": st.sampled_from((2, 10, 1000))}


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ANY)
def test_random_genotypes_keep_the_contract(z, export, run, seed, side, classes):
    random_genotype_keeps_the_contract(z, export, run, seed, side, classes)


@pytest.mark.slow
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ANY)
def test_many_random_genotypes_keep_the_contract(z, export, run, seed, side, classes):
    random_genotype_keeps_the_contract(z, export, run, seed, side, classes)


def test_count_by_hand():
    """Decoders by whether norms that classes may enter exist: blocks at the first resolution, and stages behind it.

    Of one decoder with its "norm" fixed, classes make: latent, 4 embeddings * 2 norms; stem, 2 norms; norm alone or
    with one of 4 embeddings, times 2 for blocks and 2 for stages where there are some.
    """
    own, ways = 8 * 10 * 6, 4 * 2 + 2  # 3 ranks or 5 hidden layers, widths, activations with outputs
    with_blocks, without = 4 * 6, 1  # at 8 pixels before shuffle4 there are no stages
    single = 3 * (with_blocks * (ways + 5 * 2) + without * (ways + 5))

    def staged(forms, resolutions):
        """``resolutions``: numbers of blocks to choose from behind the first one."""
        behind = int(np.prod(resolutions))
        some, none = 4 * behind * 6, 1 + (behind - 1) * 6
        return forms * (some * (ways + 5 * 4) + none * (ways + 5 * 2))

    convolutional = own * (
        single + staged(3 * 10 * 9, [4]) + staged(10 * 10 * 9, [4]) + staged(10 * 10 * 9 * 6, [4, 3])
    )
    perceptrons = 4 * 6 * (1 * (4 + 1 + 5) + 2 * (4 + 1 + 5 * 2))
    assert CLASS_DECODER.count() == convolutional + perceptrons == 27_699_689_760


def test_a_change_of_one_knob_is_another_network(both):
    def network(genotype):
        with torch.device("meta"):
            module = CLASS_DECODER.build(genotype, both, DIGIT)
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in module.state_dict().items())
        return str(module), shapes, tuple(getattr(layer, "side", 0) for layer in module.layers)

    rng, compared, defaults = np.random.default_rng(1), 0, {k: c.values[0] for k, c in CLASS_DECODER.knobs.items()}
    for _ in range(4):
        genotype = CLASS_DECODER.sample(rng)
        mine = network(genotype)
        for knob, choice in CLASS_DECODER.knobs.items():
            for value in choice.values if knob in genotype else ():
                if value != genotype[knob]:
                    assert network({**defaults, **genotype, knob: value}) != mine, (genotype, knob, value)
                    compared += 1
    assert compared > 100


# --- where the class enters ------------------------------------------------------------------------------------------


def test_an_embedding_is_appended_to_the_latents(both):
    module = CLASS_DECODER.build(STAGED, both, DIGIT).eval()
    plain = {key: value for key, value in STAGED.items() if key in DECODER.knobs}
    wide = InputSpec("z", (108,), "float32", {"kind": "normal"})
    twin = DECODER.build(plain, (wide,), DIGIT).eval()
    state = module.state_dict()
    table = state.pop("embedding.weight")
    twin.load_state_dict(state)
    inputs = draw(module)
    assert torch.equal(module(**inputs), twin(z=torch.cat([inputs["z"], table[inputs["label"]]], 1)))


@pytest.mark.parametrize("norm", ["batch", "convs"])
def test_a_bias_per_class_at_the_stem(both, norm):
    """One row of numbers for each of 24 maps of 4 x 4; the linear layer then needs no bias of its own."""
    module = CLASS_DECODER.build({**STAGED, "class_into": "stem", "norm": norm}, both, DIGIT).eval()
    stem, label = module.layers[0], torch.tensor([3, 7])
    assert stem.norm.table.weight.shape == (10, 24 * 16)
    assert stem.main.bias is None
    z = torch.randn(1, 100).expand(2, 100)
    stem.activation = nn.Identity()
    maps = stem(z, label)
    rows = stem.norm.table.weight[label].reshape(2, 24, 4, 4)
    assert torch.allclose(maps[1] - maps[0], rows[1] - rows[0], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"class_blocks": False, "class_stages": False}, ["layers.0.norm"]),
        ({"class_blocks": True, "class_stages": False}, ["layers.0.norm", "layers.1.norm", "layers.2.norm"]),
        ({"class_blocks": False, "class_stages": True}, ["layers.0.norm", "layers.3.norm", "layers.4.norm"]),
        ({"class_blocks": True, "class_stages": True}, [f"layers.{index}.norm" for index in range(5)]),
    ],
)
def test_where_norms_are_conditional(both, changes, expected):
    assert conditional(CLASS_DECODER.build({**NORMED, **changes}, both, DIGIT)) == expected


def test_both_norms_of_a_residual_block_are_conditional(both):
    genotype = {**NORMED, "block": "residual", "blocks": 1, "class_blocks": True, "class_stages": False}
    module = CLASS_DECODER.build(genotype, both, DIGIT)
    assert conditional(module) == ["layers.0.norm", "layers.1.first.norm", "layers.1.second.norm"]


def test_a_conditional_norm_by_hand():
    """x = 3 with mean 1 and variance 4 becomes 1; class 0 leaves it, class 1 makes 5 * 1 - 2 of it."""
    norm = ConditionalNorm(nn.BatchNorm2d(1, eps=0.0, affine=False), 2).eval()
    norm.norm.running_mean.fill_(1.0)
    norm.norm.running_var.fill_(4.0)
    x = torch.full((2, 1, 1, 1), 3.0)
    assert norm(x, torch.tensor([0, 1])).flatten().tolist() == [1.0, 1.0]  # gamma 1 and beta 0 to begin with
    with torch.no_grad():
        norm.gamma.weight[1], norm.beta.weight[1] = 5.0, -2.0
    assert norm(x, torch.tensor([0, 1])).flatten().tolist() == [1.0, 3.0]


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_a_conditional_norm_trains_and_draws_like_a_plain_one_until_classes_differ(kind):
    plain, conditional_norm = kind(3), ConditionalNorm(kind(3, affine=False), 4)
    x = torch.randn(5, 3) if kind is nn.BatchNorm1d else torch.randn(5, 3, 2, 2)
    label = torch.tensor([0, 1, 2, 3, 0])
    for mode in (True, False):
        plain.train(mode)
        conditional_norm.train(mode)
        assert torch.allclose(conditional_norm(x, label), plain(x), atol=1e-6)
    assert torch.equal(conditional_norm.norm.running_var, plain.running_var)


def test_a_conditional_norm_costs_four_nodes(both, export):
    """Two Gathers, a Mul and an Add behind each batch norm, which is folded into the weights later."""
    module = CLASS_DECODER.build({**NORMED, "class_blocks": True, "class_stages": False}, both, DIGIT).eval()
    for table in (layer for layer in module.modules() if isinstance(layer, nn.Embedding)):
        nn.init.normal_(table.weight)  # the exporter shares equal ones by Identity nodes
    graph = onnx.load_from_string(export(module, draw(module, 2))).graph
    kinds = [node.op_type for node in graph.node if node.op_type not in ("Constant", "Identity")]
    assert (kinds.count("Gather"), kinds.count("Mul"), kinds.count("Add")) == (6, 3, 3)
    kinds = [kind for kind in kinds if kind not in ("Gather", "Mul", "Add")]
    assert sorted(set(kinds)) == ["BatchNormalization", "Conv", "DepthToSpace", "MatMul", "Relu", "Reshape", "Tanh"]
    tables = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    gathered = [tables.get(node.input[0]) for node in graph.node if node.op_type == "Gather"]
    assert gathered == [(10, 24, 1, 1)] * 6, "reshaped when it was exported, not in every call"


def test_groups_hold_the_tables(both):
    genotype = {**NORMED, "early": "shuffle2", "blocks": 0, "class_stages": True}
    stem, stage, _ = CLASS_DECODER.build(genotype, both, DIGIT).channel_groups()
    parts = [(part.module.removeprefix("layers."), part.repeat) for part in stem.slices]
    assert parts == [("0.main", 16), ("0.norm.norm", 1), ("0.norm.gamma", 1), ("0.norm.beta", 1), ("1.main", 1)]
    assert [part.repeat for part in stage.slices] == [4, 4, 4, 4, 1]


# --- the stock reference ---------------------------------------------------------------------------------------------


def test_the_conditional_dcgan_is_a_genotype(both):
    torch.manual_seed(3)
    searched = CLASS_DECODER.build(CLASS_DECODER.named["conditional_dcgan64"], both, DIGIT)
    torch.manual_seed(3)
    made = conditional_dcgan([256, 128, 64], json.loads(json.dumps([spec.to_json() for spec in both])), [1, 32, 32])
    assert str(searched) == str(made)
    assert all(torch.equal(a, b) for a, b in zip(searched.parameters(), made.parameters(), strict=True))
    assert (made.inputs, made.image) == (both, DIGIT)


def test_the_conditional_dcgan_is_the_stock_one_with_tables(both, z):
    """Its layers, 32 more latents, and a table of scales and one of shifts for each norm instead of one row of both."""
    stock, made = dcgan((256, 128, 64), z, DIGIT), conditional_dcgan((256, 128, 64), both, DIGIT)
    assert [type(layer.main) for layer in made.layers] == [type(layer.main) for layer in stock.layers]
    sizes = [sum(parameter.numel() for parameter in module.parameters()) for module in (made, stock)]
    assert sizes[0] - sizes[1] == 32 * 4096 + 10 * 32 + (10 - 1) * 2 * (256 + 128 + 64)
    assert made.layers[0].main.weight.std().item() == pytest.approx(0.02, abs=1e-4)


@pytest.mark.parametrize(
    ("widths", "image", "message"),
    [([], [1, 32, 32], "1 to 10 integers"), ([64, 32], [1, 30, 30], "multiple of 4"), ([64], [1, 32, 16], "square")],
)
def test_the_conditional_dcgan_refuses_hostile_arguments(both, widths, image, message):
    with pytest.raises(SearchSpaceError, match=message):
        conditional_dcgan(widths, both, image)


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_the_label_may_stand_anywhere_and_have_any_name(z):
    digit = InputSpec("digit", (), "int64", {"kind": "integers", "low": 0, "high": 2})
    module = CLASS_DECODER.build(STAGED, (digit, *z), DIGIT).eval()
    assert module(z=torch.randn(2, 100), digit=torch.tensor([0, 2])).shape == (2, 1, 32, 32)
    assert module.embedding.weight.shape == (3, 8)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ((), r"takes one label .*found \[\] among \['z'\]"),
        ((labels(), InputSpec("other", (), "int64", {"kind": "integers", "low": 0, "high": 1})), "takes one label"),
        ((InputSpec("label", (2,), "int64", {"kind": "integers", "low": 0, "high": 9}),), "takes one label"),
        ((InputSpec("label", (), "float32", {"kind": "normal"}),), "takes one label"),
        ((labels(low=1),), "starts at 0, found"),
        ((InputSpec("label", (), "int64", {"kind": "bank", "file": "a.npz", "array": "y"}),), "starts at 0, found"),
        ((labels(MAX_CLASSES + 1),), "at most 10000 classes, found 10001"),
        ((InputSpec("z", (), "int64", {"kind": "integers", "low": 0, "high": 9}),), "a name of its own"),
    ],
)
def test_other_inputs_are_refused(z, added, message):
    with pytest.raises(SearchSpaceError, match=message):
        CLASS_DECODER.build(STAGED, (*z, *added), DIGIT)


def test_a_label_alone_is_refused():
    with pytest.raises(SearchSpaceError, match="latents in all, found 0"):
        CLASS_DECODER.build(STAGED, (labels(),), DIGIT)


def test_tables_of_absurd_size_are_refused_before_they_are_made(z):
    """10,000 rows of 256 * 8 * 8 numbers are 164 million, a linear layer from 8,192 latents to those 134 million."""
    genotype = {**CLASS_DECODER.named["conditional_dcgan64"], "class_into": "stem", "norm": "batch", "start": 8}
    CLASS_DECODER.validate(genotype)
    wide = InputSpec("z", (8192,), "float32", {"kind": "normal"})
    with pytest.raises(SearchSpaceError, match="at most 268435456 parameters"):
        CLASS_DECODER.build(genotype, (wide, labels(MAX_CLASSES)), DIGIT)


@pytest.mark.parametrize("genotype", [STAGED, {**NORMED, "class_blocks": False, "class_stages": True}])
def test_labels_out_of_range_are_errors_on_both_sides(both, export, run, genotype):
    module = CLASS_DECODER.build(genotype, both, DIGIT).eval()
    model = export(module, draw(module, 2))
    for label in itertools.chain((10, 10**9), (-11,)):
        inputs = {"z": torch.randn(1, 100), "label": torch.tensor([label])}
        with pytest.raises(IndexError):
            module(**inputs)
        with pytest.raises(Exception, match="indices element out of data bounds"):
            run(model, {name: tensor.numpy() for name, tensor in inputs.items()})
