"""The family cgan: labels as an input, a discriminator that asks for the class, trainings that resume, errors."""

import numpy as np
import pytest
import torch

from benchmarks.inputs import InputSpec, draw_inputs
from compress.running import run_module
from nas.bank import Bank
from nas.errors import NasError
from nas.experiment import ReferenceConfig
from nas.families.adversary import ProjectionDiscriminator
from nas.families.base import DataShape, Phase, Pictures, SizeError, Teacher
from nas.families.cgan import Options, make
from search_spaces.space import ImageShape

SETTINGS = {"latent": 8, "batch_size": 16, "discriminator_width": 8, "finetune_warm_up": 2}


def family(counts=(20, 20, 20), stock=None, size=16, **settings):
    shape = DataShape(ImageShape(1, size, size), counts)
    return make(Options(**{**SETTINGS, **settings}), stock or ReferenceConfig(width=8), shape)


def shades(classes=3, n=60):
    """Pictures of one shade a class."""
    labels = torch.arange(n) % classes
    values = (2 * labels / (classes - 1) - 1)[:, None, None, None].expand(n, 1, 16, 16).contiguous()
    return Pictures(values * 0.8, labels)


def teacher_of(cgan, folder):
    """A bank in which the class decides the shade, and a discriminator."""
    inputs = draw_inputs(cgan.inputs, 64, 1)
    drawn = np.broadcast_to((inputs["label"] - 1.0)[:, None, None, None] * 0.8, (64, 1, 16, 16)).astype(np.float16)
    trainer = cgan.trainer(cgan.reference(7).module, (Phase("adversarial", 4),), data=shades(), teacher=None, seed=7)
    trainer.run(2)
    trainer.keep(folder)
    return Teacher(Bank(inputs, np.ascontiguousarray(drawn)), folder)


def test_the_label_is_a_second_input():
    cgan = family()
    assert cgan.label == "label"
    assert [spec.name for spec in cgan.inputs] == ["z", "label"]
    assert cgan.inputs[1].prior == {"kind": "integers", "low": 0, "high": 2}
    assert cgan.reference(0).inputs == cgan.inputs


def test_classes_are_drawn_as_often_as_the_data_shows_them():
    cgan = family((90, 30, 0))
    assert cgan.inputs[1].prior["weights"] == [90, 30, 0]
    counts = np.bincount(draw_inputs(cgan.inputs, 400, 0)["label"], minlength=3)
    assert abs(counts - [300, 100, 0]).max() <= 2


def test_the_reference_draws_other_pictures_for_other_classes():
    cgan = family()
    rows = {"z": np.zeros((3, 8), np.float32), "label": np.arange(3)}
    module = cgan.reference(0).module
    for norm in module.modules():
        if isinstance(norm, torch.nn.Embedding):
            torch.nn.init.normal_(norm.weight)
    pictures = run_module(module, rows)
    assert np.abs(np.diff(pictures, axis=0)).max() > 0


def test_narrowed():
    cgan = family()
    sizes = [sum(p.numel() for p in cgan.narrowed(f, 0).module.parameters()) for f in (0.25, 0.5, 1.0)]
    assert sizes == sorted(sizes)
    assert cgan.narrowed(1.0, 0).id == cgan.reference(5).id


def test_distillation_teaches_the_classes(tmp_path):
    cgan = family(distill_rate=0.01)
    teacher = teacher_of(cgan, tmp_path)
    trainer = cgan.trainer(cgan.reference(0).module, (Phase("distill", 120),), data=shades(), teacher=teacher, seed=0)
    trainer.run(120)
    rows = {"z": np.zeros((3, 8), np.float32), "label": np.arange(3)}
    found = run_module(trainer.average, rows).mean(axis=(1, 2, 3))
    assert np.abs(found - [-0.8, 0.0, 0.8]).max() < 0.25


def test_the_discriminator_is_given_the_classes_of_both_sides(tmp_path, monkeypatch):
    seen = []
    forward = ProjectionDiscriminator.forward

    def watched(self, image, classes=None):
        seen.append((len(image), None if classes is None else len(classes)))
        return forward(self, image, classes)

    monkeypatch.setattr(ProjectionDiscriminator, "forward", watched)
    cgan = family()
    for kind in ("adversarial", "finetune", "critic"):
        seen.clear()
        teacher = teacher_of(cgan, tmp_path / kind) if kind == "finetune" else None
        seen.clear()
        trainer = cgan.trainer(cgan.reference(0).module, (Phase(kind, 4),), data=shades(), teacher=teacher, seed=0)
        trainer.run(4)
        assert set(seen) == {(16, 16)}


def test_mode_seeking_punishes_what_looks_the_same():
    trainer = family().trainer(
        family().reference(0).module, (Phase("adversarial", 4),), data=shades(), teacher=None, seed=0
    )
    inputs = {"z": torch.randn(8, 8), "label": torch.zeros(8, dtype=torch.int64)}
    same, unlike = torch.zeros(8, 1, 16, 16), torch.rand(8, 1, 16, 16) * 2 - 1
    assert float(trainer._sameness(inputs, same)) > 1000 * float(trainer._sameness(inputs, unlike)) > 0
    without = family(diversity=0).trainer(
        family().reference(0).module, (Phase("adversarial", 4),), data=shades(), teacher=None, seed=0
    )
    assert without._sameness(inputs, same) == 0


@pytest.mark.parametrize("kinds", [("adversarial",), ("distill", "finetune"), ("critic",)])
def test_a_resumed_training_ends_where_an_uncut_one_does(tmp_path, kinds):
    cgan = family()
    teacher = teacher_of(cgan, tmp_path / "reference")
    schedule = tuple(Phase(kind, 4) for kind in kinds)

    def trainer():
        return cgan.trainer(cgan.reference(0).module, schedule, data=shades(), teacher=teacher, seed=3)

    whole, cut, resumed = trainer(), trainer(), trainer()
    whole.run(4 * len(kinds))
    cut.run(3)
    cut.save(tmp_path / "c.safetensors")
    resumed.load(tmp_path / "c.safetensors")
    resumed.run(4 * len(kinds))
    for one, other in zip(whole.average.state_dict().values(), resumed.average.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_one_class_is_no_task_for_it():
    with pytest.raises(NasError, match="two classes or more: use family gan"):
        family((60,))


def test_pictures_of_other_shapes_are_refused():
    with pytest.raises(SizeError, match=r"family cgan draws square.*data\.size"):
        family(size=24)


OWN = {"module": "a:b", "weights": "w.safetensors"}


def test_ones_own_reference_says_which_input_is_the_class():
    inputs = [
        {"name": "noise", "shape": [4]},
        {"name": "digit", "shape": [], "dtype": "int64", "prior": {"kind": "integers", "low": 0, "high": 2}},
    ]
    cgan = family(stock=ReferenceConfig(**OWN, inputs=inputs))
    assert cgan.label == "digit"
    assert cgan.inputs[0] == InputSpec("noise", (4,), "float32", {"kind": "normal"})
    with pytest.raises(NasError, match=r"reference\.inputs.*4 classes.*high: 3.*found 0"):
        family((9, 9, 9, 9), stock=ReferenceConfig(**OWN, inputs=inputs))
