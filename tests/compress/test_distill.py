"""Distillation: its formulas by hand, and a small student that learns."""

import copy

import pytest
import torch
from torch import nn

from compress.distill import Distiller, DistillSettings, WeightAverage, distillation_loss, falling_rate

PLAIN = DistillSettings()


class Drawing(nn.Module):
    """z (N, 4) -> (N, 1, 4, 4)."""

    def __init__(self, hidden=32, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(4, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, 16))

    def forward(self, z):
        return self.body(z).tanh().reshape(-1, 1, 4, 4)


def batch(step, n=32):
    return {"z": torch.randn(n, 4, generator=torch.Generator().manual_seed(step))}


# The loss


def test_pixels_by_hand():
    """Errors 1, 0, 0, 2: mean square 5 / 4, times the weight 4."""
    student, teacher = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 0], [0, -2]]]])
    assert float(distillation_loss(student, teacher, None, PLAIN)) == pytest.approx(5)


def test_features_by_hand():
    """Layers x and x + 2: |gap| / |wanted| = 1 / 2 and 1 / 4, mean 3 / 8; pixels 4 * 1."""
    student, teacher = torch.full((2, 1, 2, 2), 1.0), torch.full((2, 1, 2, 2), 2.0)
    settings = DistillSettings(pixel_weight=4, feature_weight=8)
    found = distillation_loss(student, teacher, lambda image: [image, image + 2], settings)
    assert float(found) == pytest.approx(4 * 1 + 8 * 3 / 8)


def test_the_teacher_gets_no_gradient():
    """Neither through its pictures' features nor into the features' own weights by way of them."""
    layer = nn.Conv2d(1, 2, 1).requires_grad_(False)
    student = torch.zeros(1, 1, 2, 2, requires_grad=True)
    teacher = torch.ones(1, 1, 2, 2)
    graphs = []

    def features(image):
        graphs.append(image.requires_grad)
        return [layer(image)]

    distillation_loss(student, teacher, features, DistillSettings(feature_weight=1)).backward()
    assert sorted(graphs) == [False, True]
    assert student.grad.abs().sum() > 0
    assert layer.weight.grad is None


# The rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1 / 21), (9, 10 / 21), (19, 20 / 21), (20, 1), (60, 0.5), (99, 1 / 80), (100, 0)],
)
def test_falling_rate(step, expected):
    """Up over 20 steps, then from 1 at step 20 down to 0 at step 100."""
    assert falling_rate(step, 100, 20) == pytest.approx(expected)


@pytest.mark.parametrize("horizon", [1, 2, 5, 20, 21])
def test_short_trainings_have_a_rate_too(horizon):
    rates = [falling_rate(step, horizon, 20) for step in range(horizon)]
    assert all(0 < rate <= 1 for rate in rates)


def test_without_warm_up_the_first_step_is_a_whole_one():
    assert [falling_rate(step, 4, 0) for step in range(4)] == [1, 0.75, 0.5, 0.25]


def test_the_optimizer_gets_that_rate():
    distiller = Distiller(Drawing(), horizon=100, settings=DistillSettings(learning_rate=0.5))
    distiller.step(60, batch(0), torch.zeros(32, 1, 4, 4))
    assert distiller.optimizer.param_groups[0]["lr"] == pytest.approx(0.25)


# The average


def test_average_by_hand():
    """From 0 towards 1: decay 1 / 20 leaves 0.95; then 2 / 21 of that and the rest of 3."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = WeightAverage(module)
    nn.init.constant_(module.weight, 1.0)
    average.update(module, 0)
    assert float(average.module.weight.detach()) == pytest.approx(0.95)
    nn.init.constant_(module.weight, 3.0)
    average.update(module, 1)
    assert float(average.module.weight.detach()) == pytest.approx(0.95 * 2 / 21 + 3 * 19 / 21)


def test_the_average_forgets_slowly_in_the_end():
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = WeightAverage(module, longest=0.9)
    nn.init.ones_(module.weight)
    average.update(module, 10**6)
    assert float(average.module.weight.detach()) == pytest.approx(0.1)


def test_statistics_are_averaged_and_counters_copied():
    norm = nn.BatchNorm1d(2)
    average = WeightAverage(norm)
    norm(torch.tensor([[0.0, 0], [4, 8]]))  # running mean 0.1 * (2, 4)
    average.update(norm, 0)
    torch.testing.assert_close(average.module.running_mean, 0.95 * torch.tensor([0.2, 0.4]))
    assert int(average.module.num_batches_tracked) == 1


def test_the_average_is_a_module_of_its_own():
    module = Drawing()
    average = WeightAverage(module)
    assert not any(p.requires_grad for p in average.module.parameters())
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        module.body[0].weight.zero_()
    assert average.module.body[0].weight.abs().sum() > 0


# The student


def test_a_student_learns_its_teacher():
    teacher, student = Drawing(seed=1).eval(), Drawing(seed=2)
    distiller = Distiller(student, horizon=300, settings=DistillSettings(learning_rate=1e-2))
    before = copy.deepcopy(teacher.state_dict())
    losses = []
    for step in range(300):
        inputs = batch(step)
        with torch.no_grad():
            wanted = teacher(**inputs)
        losses.append(distiller.step(step, inputs, wanted))
    inputs = batch(1000, 256)
    with torch.no_grad():
        error = (distiller.average.module.eval()(**inputs) - teacher(**inputs)).square().mean()
        spread = teacher(**inputs).var()
    assert losses[-1] < 0.1 * losses[0]
    assert error < 0.1 * spread
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_student_in_eval_mode_is_trained_in_train_mode():
    student = Drawing().eval()
    Distiller(student, horizon=5).step(0, batch(0), torch.zeros(32, 1, 4, 4))
    assert int(student.body[1].num_batches_tracked) == 1
