"""What spaces say of their generators is what torch computes when these run."""

import time
from collections import Counter

import numpy as np
import pytest

from benchmarks.cost import count_cost
from benchmarks.inputs import InputSpec
from compress.export import export_onnx
from compress.generator import Generator
from nas.outlines import operators_of, trace
from search_spaces import get_space
from search_spaces.outline import CONV, DEPTHWISE, LINEAR, TRANSPOSED, Operator
from search_spaces.space import Genotype, ImageShape, SearchSpace, SearchSpaceError

Z = InputSpec("z", (100,), "float32", {"kind": "normal"})
LABEL = InputSpec("label", (), "int64", {"kind": "integers", "low": 0, "high": 9})
INPUTS = {"decoder": (Z,), "class_decoder": (Z, LABEL)}
WEIGHTED = (LINEAR, CONV, DEPTHWISE, TRANSPOSED)


def samples(space: SearchSpace, n: int, seed: int) -> list[Genotype]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(n)]


def weighted(operators: tuple[Operator, ...]) -> list[Operator]:
    """Convolutions and matrix products, in order."""
    return [one for one in operators if one.kind in WEIGHTED]


@pytest.mark.parametrize("name", sorted(INPUTS))
@pytest.mark.parametrize("image", [ImageShape(1, 32, 32), ImageShape(3, 64, 64)], ids=["32", "64"])
def test_what_is_outlined_is_what_torch_runs(name, image):
    space = get_space(name)
    for genotype in samples(space, 8, seed=0):
        said = operators_of(space, genotype, INPUTS[name], image)
        assert weighted(said) == weighted(trace(space, genotype, INPUTS[name], image)), genotype


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_other_operations_are_counted_as_torch_runs_them(name):
    """Beside weighted operations: look-ups, shuffles and resizes, by number."""
    kinds = {"gather": ("index_select", "embedding"), "shuffle": ("pixel_shuffle",), "nearest": ("upsample_nearest2d",)}
    space, image = get_space(name), ImageShape(1, 32, 32)
    for genotype in samples(space, 8, seed=1):
        said = Counter(one.kind for one in operators_of(space, genotype, INPUTS[name], image))
        ran = Counter(one.kind.split(" ")[0] for one in trace(space, genotype, INPUTS[name], image))
        for kind, names in kinds.items():
            assert said[kind] == sum(ran[one] for one in names), (kind, genotype)


def test_macs_of_an_outline_are_those_of_the_exported_file(tmp_path):
    space, image = get_space("class_decoder"), ImageShape(1, 32, 32)
    for seed in (0, 1):
        genotype = space.sample(np.random.default_rng(seed))
        generator = Generator.from_genotype(space.name, genotype, INPUTS[space.name], image)
        export_onnx(generator, tmp_path / "model.onnx")
        said = sum(one.macs for one in operators_of(space, genotype, INPUTS[space.name], image))
        assert said == count_cost(tmp_path / "model.onnx").macs


def test_an_outline_refuses_what_a_build_refuses():
    space = get_space("decoder")
    with pytest.raises(SearchSpaceError, match="found 24"):
        operators_of(space, space.named["dcgan64"], (Z,), ImageShape(1, 24, 24))


def test_ten_thousand_outlines_take_seconds():
    space, rng = get_space("decoder"), np.random.default_rng(0)
    genotypes = [space.sample(rng) for _ in range(500)]
    began = time.thread_time()
    for genotype in genotypes:
        operators_of(space, genotype, (Z,), ImageShape(1, 32, 32))
    assert (time.thread_time() - began) * 20 < 10


def test_macs_by_hand():
    assert Operator(LINEAR, 100, 4096).macs == 409_600
    assert Operator(CONV, 8, 16, 3, pixels=64, pixels_in=64).macs == 8 * 16 * 9 * 64
    assert Operator(DEPTHWISE, 8, 8, 5, pixels=64, pixels_in=64).macs == 8 * 25 * 64
    assert Operator(TRANSPOSED, 8, 16, 4, pixels=256, pixels_in=64).macs == 8 * 16 * 16 * 64
    assert Operator("relu", 8, 8, 1, 64, 64).macs == 0
