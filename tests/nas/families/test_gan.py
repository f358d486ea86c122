"""The family gan: what it builds, and trainings that repeat, resume, warm up and diverge as they promise."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.inputs import draw_inputs
from compress.checkpoint import save_checkpoint
from compress.errors import CompressError
from nas.bank import Bank
from nas.errors import NasError
from nas.experiment import ReferenceConfig
from nas.families.base import DataShape, Phase, Pictures, Teacher, TrainingError
from nas.families.gan import Options, make
from nas.families.training import DISCRIMINATOR_FILE
from search_spaces.space import ImageShape

ADVERSARIAL = (Phase("adversarial", 6),)
DISTILL = (Phase("distill", 6),)
FINETUNE = (Phase("finetune", 6),)
FEATURES = (Phase("features", 6),)
BOTH = (Phase("distill", 3), Phase("finetune", 4))
MATCH = (Phase("match", 6),)
OBSERVE = (Phase("adversarial", 2), Phase("observe", 4))
SETTINGS = {"latent": 8, "batch_size": 4, "discriminator_width": 8, "finetune_warm_up": 2}


def family(size=16, channels=1, width=8, **settings):
    return make(
        Options(**{**SETTINGS, **settings}),
        ReferenceConfig(width=width),
        DataShape(ImageShape(channels, size, size), (12, 12)),
    )


def pictures(gan, n=24):
    image = gan.image
    values = torch.randn(n, image.channels, image.height, image.width, generator=torch.Generator().manual_seed(5))
    return Pictures(values.clamp(-1, 1), torch.arange(n) % 2)


@pytest.fixture
def teacher(tmp_path):
    """A bank of smooth pictures and a discriminator, as a finished reference leaves them."""
    return teacher_of(family(), tmp_path / "reference")


def teacher_of(gan, folder):
    inputs = draw_inputs(gan.inputs, 32, 1)
    image = gan.image
    shade = np.tanh(inputs["z"][:, 0])[:, None, None, None]
    drawn = np.broadcast_to(shade, (32, image.channels, image.height, image.width)).astype(np.float16)
    trainer = gan.trainer(module_of(gan, 7), ADVERSARIAL, data=pictures(gan), teacher=None, seed=7)
    trainer.run(2)
    trainer.keep(folder)
    return Teacher(Bank(inputs, np.ascontiguousarray(drawn)), folder)


def module_of(gan, seed=0):
    return gan.reference(seed).module


def trainer_of(schedule, teacher, gan=None, seed=3, module_seed=0):
    gan = gan or family()
    teacher = None if schedule[0].kind == "adversarial" else teacher
    return gan.trainer(module_of(gan, module_seed), schedule, data=pictures(gan), teacher=teacher, seed=seed)


def state(trainer):
    modules, optimizers = trainer._state()
    tensors = {f"{name}.{key}": v for name, m in modules.items() for key, v in m.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": torch.as_tensor(v) for key, v in values.items()}
    return tensors


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


# What it builds


def test_the_reference_is_the_stock_dcgan():
    """z 100 -> 256 x 4 x 4 -> 128 x 8 x 8 -> 64 x 16 x 16 -> 1 x 32 x 32: weights, and two numbers a normed channel."""
    gan = make(Options(), ReferenceConfig(), DataShape(ImageShape(1, 32, 32), (12, 12)))
    generator = gan.reference(0)
    first, second, third = 100 * 256 * 16 + 512, 256 * 128 * 16 + 256, 128 * 64 * 16 + 128
    assert sum(p.numel() for p in generator.module.parameters()) == 1_066_880
    assert first + second + third + 64 * 16 == 1_066_880
    assert generator.id == gan.narrowed(1.0, 5).id


def test_narrowed():
    gan = make(Options(), ReferenceConfig(), DataShape(ImageShape(1, 32, 32), (12, 12)))
    assert gan.narrowed(0.25, 0).origin.arguments["widths"] == [64, 32, 16]
    assert gan.narrowed(1e-9, 0).origin.arguments["widths"] == [1, 1, 1]


def test_weights_follow_from_the_seed_alone():
    gan = family()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    one = module_of(gan, 4).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(7)
    assert_same(one, module_of(gan, 4).state_dict())
    assert any(not torch.equal(value, module_of(gan, 5).state_dict()[name]) for name, value in one.items())


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (16, 3), (32, 1), (64, 3)])
def test_shapes(size, channels):
    """Every size and both kinds of pictures train a step and draw."""
    gan = family(size, channels)
    trainer = gan.trainer(module_of(gan), ADVERSARIAL, data=pictures(gan, 8), teacher=None, seed=0)
    trainer.run(1)
    assert trainer.average(z=torch.zeros(2, 8)).shape == (2, channels, size, size)


@pytest.mark.parametrize(("height", "width"), [(32, 16), (24, 24), (4, 4), (33, 33)])
def test_pictures_of_other_shapes_are_refused(height, width):
    with pytest.raises(NasError, match=rf"power of two from 8 pixels, got {height}x{width}: set data\.size"):
        make(Options(), ReferenceConfig(), DataShape(ImageShape(1, height, width), (12, 12)))


# How it trains


@pytest.mark.parametrize("schedule", [ADVERSARIAL, DISTILL, FINETUNE, BOTH, MATCH, OBSERVE])
def test_equal_seeds_give_equal_trainings(schedule, teacher):
    runs = [trainer_of(schedule, teacher) for _ in range(2)]
    for seed, trainer in enumerate(runs):
        torch.manual_seed(seed)  # the global state has no say
        trainer.run(5)
    assert_same(state(runs[0]), state(runs[1]))
    other = trainer_of(schedule, teacher, seed=4)
    other.run(5)
    assert any(not torch.equal(v, state(other)[k]) for k, v in state(runs[0]).items() if k.startswith("average"))


@pytest.mark.parametrize("cut", [1, 3, 4])
@pytest.mark.parametrize("schedule", [ADVERSARIAL, DISTILL, FINETUNE, BOTH, MATCH, OBSERVE])
def test_a_cut_training_ends_where_an_uncut_one_ends(schedule, cut, teacher, tmp_path):
    """Bit for bit: weights, averages, discriminator and moments; the second trainer begins with other weights."""
    whole = trainer_of(schedule, teacher)
    whole.run(6)
    first = trainer_of(schedule, teacher)
    first.run(cut)
    first.save(tmp_path / "c.safetensors")
    second = trainer_of(schedule, teacher, module_seed=8)
    second.load(tmp_path / "c.safetensors")
    assert second.step == cut
    second.run(6)
    assert_same(state(whole), state(second))


def test_running_in_parts_is_running_at_once(teacher):
    """Learning rates follow from the schedule, not from how far a call goes."""
    whole, parts = trainer_of(BOTH, teacher), trainer_of(BOTH, teacher)
    whole.run(7)
    for until in (2, 2, 3, 7):
        parts.run(until)
    assert_same(state(whole), state(parts))


def test_every_finished_step_is_told(teacher):
    trainer, told = trainer_of(BOTH, teacher), []
    trainer.run(4, told.append)
    assert told == [1, 2, 3, 4]
    trainer.run(3, told.append)
    assert told == [1, 2, 3, 4], "a step that is done is not done again"


def test_a_checkpoint_of_another_generator_is_refused(tmp_path):
    trainer_of(ADVERSARIAL, None).save(tmp_path / "c.safetensors")
    wider = trainer_of(ADVERSARIAL, None, family(width=16))
    with pytest.raises(CompressError, match="belongs to another network"):
        wider.load(tmp_path / "c.safetensors")


def test_while_the_discriminator_warms_up_the_generator_stands_still(teacher):
    trainer = trainer_of(FINETUNE, teacher)
    weights = [p.detach().clone() for p in trainer.student.parameters()]
    average = copy.deepcopy(trainer.average.state_dict())
    judge = copy.deepcopy(trainer._discriminator.state_dict())
    trainer.run(2)
    assert all(torch.equal(a, b) for a, b in zip(weights, trainer.student.parameters(), strict=True))
    assert_same(average, trainer.average.state_dict())
    assert not torch.equal(judge["head.weight"], trainer._discriminator.state_dict()["head.weight"])
    trainer.run(3)
    assert not any(torch.equal(a, b) for a, b in zip(weights, trainer.student.parameters(), strict=True))


def test_distillation_leaves_the_discriminator_alone(teacher):
    trainer = trainer_of(DISTILL, teacher)
    before = copy.deepcopy(trainer._discriminator.state_dict())
    trainer.run(3)
    assert_same(before, trainer._discriminator.state_dict())


def test_distillation_learns_what_the_teacher_draws(teacher):
    """Grey pictures whose shade is the first latent."""
    gan = family(batch_size=16)
    trainer = trainer_of((Phase("distill", 80),), teacher, gan)
    inputs = {"z": torch.from_numpy(teacher.bank.inputs["z"])}
    wanted = torch.from_numpy(teacher.bank.pictures.astype(np.float32))

    def error():
        with torch.no_grad():
            return float((trainer.average.eval()(**inputs) - wanted).square().mean())

    before = error()
    trainer.run(80)
    assert error() < 0.2 * before


def test_features_of_the_reference_can_be_distilled(teacher):
    plain, with_features = (trainer_of((Phase(kind, 6),), teacher) for kind in ("distill", "features"))
    plain.run(2)
    with_features.run(2)
    assert not torch.equal(*(next(iter(t.average.parameters())) for t in (plain, with_features)))
    assert all(p.grad is None for p in with_features._judge.parameters())


def test_one_rate_falls_over_both_phases_of_a_distillation(teacher):
    trainer, rates = trainer_of((Phase("distill", 30), Phase("features", 30)), teacher), []
    trainer.run(60, lambda _: rates.append(trainer._distiller.optimizer.param_groups[0]["lr"]))
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[30] > 0.7 * max(rates)
    assert rates[-1] < 0.05 * max(rates)


def test_students_begin_with_the_references_discriminator(teacher):
    trainer = trainer_of(FINETUNE, teacher)
    kept = trainer_of(ADVERSARIAL, None)._discriminator
    assert not torch.equal(kept.head.weight, trainer._discriminator.head.weight)
    save_checkpoint(teacher.folder / DISCRIMINATOR_FILE, 0, {"discriminator": kept})
    assert torch.equal(kept.head.weight, trainer_of(FINETUNE, teacher)._discriminator.head.weight)


def test_rates_fall_to_zero_over_the_last_two_fifths():
    trainer, rates = trainer_of((Phase("adversarial", 10),), None), []
    trainer.run(10, lambda _: rates.append(trainer._generator_optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([4e-4] * 7 + [4e-4 * share for share in (0.75, 0.5, 0.25)])


@pytest.mark.parametrize("schedule", [DISTILL, FINETUNE, BOTH, MATCH])
def test_students_need_a_teacher(schedule):
    gan = family()
    with pytest.raises(NasError, match="need a trained reference"):
        gan.trainer(module_of(gan), schedule, data=pictures(gan), teacher=None, seed=0)


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [(ADVERSARIAL, "adversarial"), (DISTILL, "distill"), (FEATURES, "features"), (BOTH, "finetune"), (MATCH, "match")],
)
def test_divergence_names_step_and_phase(schedule, kind, teacher):
    """A NaN among the weights, before the fifth step."""
    trainer = trainer_of(schedule, teacher)
    trainer.run(4)
    with torch.no_grad():
        next(trainer.student.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=rf"the loss is nan at step 4 \({kind}\); a lower learning rate"):
        trainer.run(6)
    assert trainer.step == 4


def test_pictures_beyond_every_range_are_divergence(teacher):
    """Weights of a million, no norm, no bound: the square of the error is more than float32 holds."""

    class Straight(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 256)
            nn.init.constant_(self.layer.weight, 1e7)

        def forward(self, z):
            return self.layer(z).reshape(-1, 1, 16, 16) ** 3

    gan = family()
    trainer = gan.trainer(Straight(), DISTILL, data=pictures(gan), teacher=teacher, seed=0)
    with pytest.raises(TrainingError, match=r"diverged: the loss is (inf|nan) at step 0 \(distill\)"):
        trainer.run(6)


def test_no_two_draws_of_a_training_share_their_numbers(teacher):
    """Latents differ from step to step, and the reals do not follow the latents."""
    trainer, latents, reals = trainer_of(ADVERSARIAL, teacher), [], []
    for trainer.step in range(4):
        latents.append(trainer._inputs()["z"])
        reals.append(trainer._real().pictures)
    for values in (latents, reals):
        assert not any(torch.equal(a, b) for a, b in itertools.combinations(values, 2))


def observed(gan, folder, classes=(12, 12)):
    """A teacher whose observer has learnt."""
    found = teacher_of(gan, folder)
    trainer = gan.trainer(module_of(gan), (Phase("observe", 60),), data=dark_and_light(gan), teacher=None, seed=7)
    trainer.run(60)
    trainer.keep(folder)
    return found


def dark_and_light(gan, n=24):
    image, labels = gan.image, torch.arange(n) % 2
    shades = (labels * 1.6 - 0.8)[:, None, None, None].float()
    return Pictures(shades.expand(n, image.channels, image.height, image.width).contiguous(), labels)


def test_the_observer_learns_the_classes_and_nothing_else_moves(tmp_path):
    gan = family(batch_size=16)
    trainer = gan.trainer(module_of(gan), (Phase("observe", 60),), data=dark_and_light(gan), teacher=None, seed=0)
    before = copy.deepcopy([trainer.student.state_dict(), trainer._discriminator.state_dict()])
    losses = []
    learn = trainer._observing.learn
    trainer._observing.learn = lambda *given: losses.append(learn(*given)) or losses[-1]
    trainer.run(60)
    assert losses[-1] < 0.2 * losses[0]
    for state, module in zip(before, (trainer.student, trainer._discriminator), strict=True):
        assert_same(state, module.state_dict())


def test_matching_brings_the_pictures_nearer_to_the_real_ones(tmp_path):
    """A student of grey pictures, real ones that are dark or light, and no pull to the teacher."""
    gan = family(batch_size=16, finetune_pull=0.0, match_rate=2e-3)
    data = dark_and_light(gan)
    trainer = gan.trainer(
        module_of(gan), (Phase("match", 60),), data=data, teacher=observed(gan, tmp_path / "reference"), seed=0
    )
    z = {"z": torch.randn(200, 8, generator=torch.Generator().manual_seed(1))}

    def away():
        with torch.no_grad():
            return float((trainer.average.eval()(**z).mean(dim=(1, 2, 3)).abs() - 0.8).abs().mean())

    before = away()
    trainer.run(60)
    assert away() < 0.6 * before


def test_one_class_is_matched_by_what_the_discriminator_sees(tmp_path):
    gan = make(Options(**SETTINGS), ReferenceConfig(width=8), DataShape(ImageShape(1, 16, 16), (24,)))
    teacher = teacher_of(gan, tmp_path / "reference")
    data = Pictures(pictures(gan).images, torch.zeros(24, dtype=torch.int64))
    observing = gan.trainer(module_of(gan), (Phase("observe", 2),), data=data, teacher=None, seed=0)
    observing.run(2)
    trainer = gan.trainer(module_of(gan), (Phase("match", 2),), data=data, teacher=teacher, seed=0)
    assert trainer._observing._features == trainer._judge.features
    before = copy.deepcopy(trainer.average.state_dict())
    trainer.run(2)
    assert not torch.equal(*(next(iter(state.values())) for state in (before, trainer.average.state_dict())))
