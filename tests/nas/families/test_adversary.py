"""The discriminator: shapes, losses worked by hand, and what a step touches."""

import math

import pytest
import torch
from torch.optim import Adam

from nas.families.adversary import (
    Batch,
    Discriminator,
    ProjectionDiscriminator,
    discriminator_loss,
    discriminator_step,
    generator_loss,
)


def test_stock_discriminator():
    """DCGAN's at 32 pixels: 32 -> 16 -> 8 -> 4, widths 64, 128, 256; no bias before a norm."""
    found = Discriminator(1, 32, 64)
    first, second, third = 64 * 16 + 64, 64 * 128 * 16 + 2 * 128, 128 * 256 * 16 + 2 * 256
    assert sum(p.numel() for p in found.parameters()) == first + second + third + 256 * 16 + 1
    shapes = [tuple(one.shape) for one in found.features(torch.zeros(2, 1, 32, 32))]
    assert shapes == [(2, 64, 16, 16), (2, 128, 8, 8), (2, 256, 4, 4)]


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16), (3, 64), (1, 256)])
def test_one_score_a_picture(channels, size):
    found = Discriminator(channels, size, 8)
    assert found(torch.zeros(5, channels, size, size)).shape == (5,)
    assert max(p.shape[0] for p in found.parameters() if p.ndim == 4) <= 8 * 8  # doubled up to 8 times


def test_losses_by_hand():
    """softplus(0) = log 2; -log sigmoid(log 3) = log(4 / 3); -log(1 - sigmoid(log 3)) = log 4."""
    zero, three = torch.zeros(2), torch.full((2,), math.log(3))
    assert float(discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2))
    assert float(discriminator_loss(three, three)) == pytest.approx(math.log(4 / 3) + math.log(4))
    assert float(discriminator_loss(three, -three)) == pytest.approx(2 * math.log(4 / 3))
    assert float(generator_loss(three)) == pytest.approx(math.log(4 / 3))
    assert float(generator_loss(torch.tensor([0.0, math.log(3)]))) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_losses_of_hopeless_scores_stay_finite():
    assert float(generator_loss(torch.tensor([-1000.0]))) == pytest.approx(1000)
    assert float(discriminator_loss(torch.tensor([-1000.0]), torch.tensor([1000.0]))) == pytest.approx(2000)


def test_a_step_learns_to_tell_and_sends_no_gradient_to_the_generator():
    torch.manual_seed(0)
    discriminator = Discriminator(1, 8, 8)
    optimizer = Adam(discriminator.parameters(), 1e-3)
    real = torch.ones(16, 1, 8, 8)
    generated = torch.full((16, 1, 8, 8), -1.0, requires_grad=True)
    losses = [float(discriminator_step(discriminator, optimizer, Batch(real), Batch(generated))) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert generated.grad is None
    assert not any(p.requires_grad for p in discriminator.parameters())
    discriminator.eval()
    assert (discriminator(real) > discriminator(generated)).all()


def test_the_generator_learns_through_a_frozen_discriminator():
    discriminator = Discriminator(1, 8, 8).requires_grad_(False)
    generated = torch.zeros(4, 1, 8, 8, requires_grad=True)
    generator_loss(discriminator(generated)).backward()
    assert generated.grad is not None
    assert generated.grad.abs().sum() > 0
    assert all(p.grad is None for p in discriminator.parameters())


def test_the_projection_asks_whether_the_picture_is_of_its_class():
    """Bright pictures are class 1, dark ones class 0: both are real, so only the class can tell the pairs apart."""
    torch.manual_seed(0)
    discriminator = ProjectionDiscriminator(1, 8, 8, 2)
    optimizer = Adam(discriminator.parameters(), 2e-3)
    shades = torch.rand(16) * 2 - 1
    pictures, classes = shades[:, None, None, None].expand(16, 1, 8, 8), (shades > 0).long()
    for _ in range(150):
        discriminator_step(discriminator, optimizer, Batch(pictures, classes), Batch(pictures, 1 - classes))
    discriminator.eval()
    assert (discriminator(pictures, classes) > discriminator(pictures, 1 - classes)).all()
