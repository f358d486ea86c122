"""Every choice of every knob of every space, through export, int8 and pruning."""

import numpy as np
import pytest

from benchmarks.inputs import draw_inputs
from compress.export import compare_images, export_onnx, parity
from compress.generator import Generator
from examples.studies.every_step import INPUTS, check, pretend_trained
from search_spaces import get_space
from search_spaces.space import ImageShape
from search_spaces.testing import covering_genotypes

GENOTYPES = [
    pytest.param(space, genotype, id=f"{space}-{get_space(space).id(genotype)}")
    for space in INPUTS
    for genotype in (*covering_genotypes(get_space(space), np.random.default_rng(0)), *get_space(space).named.values())
]


@pytest.mark.parametrize(("space", "genotype"), GENOTYPES)
def test_every_choice_exports_quantizes_and_prunes(space, genotype, tmp_path):
    """The study tries the same on thousands: `python -m examples.studies.every_step run`."""
    found = check(space, genotype, tmp_path)
    assert found.pop("failures") == []
    assert len(found) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["latent", "stem", "norm", "latent_norm"])
def test_what_ships_knows_its_classes(name, tmp_path):
    """The other exporter, with its own simplification, gives the same images for every class."""
    space = get_space("class_decoder")
    genotype = space.sample(np.random.default_rng(3), {"class_into": name, "last": "shuffle4"})
    generator = Generator.from_genotype("class_decoder", genotype, INPUTS["class_decoder"], ImageShape(1, 32, 32))
    pretend_trained(generator.module)
    export_onnx(generator, tmp_path / "model.onnx", fast=False)
    latents = draw_inputs(INPUTS["class_decoder"], 64, 0)
    assert parity(generator.module, tmp_path / "model.onnx", latents).max_abs < 1e-4


def test_images_of_two_generators_differ():
    """Guards the tests above: their comparison must be able to fail."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, 4, 1, 8, 8))
    assert compare_images(*images).psnr_db < 25
