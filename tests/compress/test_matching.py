"""Distribution matching: the unbiased discrepancy by hand, what it is blind to, and what it pulls towards."""

import math

import pytest
import torch

from compress.matching import BANDWIDTHS, Matching, describe, kernel


def normal(n: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    return shift + scale * torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))


def rows_of(matching: Matching) -> torch.Tensor:
    return torch.arange(len(matching))


def test_kernel_by_hand():
    """Squared distance 8 over two features: 4 a feature."""
    found = kernel(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 2.0], [0.0, 0.0]]))
    assert found[0, 0] == pytest.approx(sum(math.exp(-4 / width) for width in BANDWIDTHS), rel=1e-5)
    assert found[0, 1] == pytest.approx(len(BANDWIDTHS))


def test_loss_by_hand():
    """Of -1 and 1 mean 0 and deviation sqrt 2 (+ 0.001); two drawn at 0: k(0, 0) among them, k at 1/2 to the real."""
    matching = Matching([torch.tensor([[-1.0], [1.0]])])
    away = sum(math.exp(-0.5 / width) for width in BANDWIDTHS)
    found = matching.loss([torch.zeros(2, 1)], torch.arange(2))
    assert float(found) == pytest.approx(len(BANDWIDTHS) - 2 * away, abs=0.005)


def test_the_same_distribution_is_nearest():
    matching = Matching([normal(400)])
    rows = rows_of(matching)
    same, moved, narrow = (
        float(matching.loss([normal(400, shift, scale, seed=1)], rows)) for shift, scale in ((0, 1), (1, 1), (0, 0.3))
    )
    assert same < moved
    assert same < narrow


def test_layers_count_alike_whatever_their_scale():
    small, large = normal(200), normal(200, seed=2)
    drawn = [normal(50, 0.5, seed=3), normal(50, 0.5, seed=4)]
    plain = Matching([small, large]).loss(drawn, torch.arange(200))
    scaled = Matching([small, large * 1000]).loss([drawn[0], drawn[1] * 1000], torch.arange(200))
    assert float(scaled) == pytest.approx(float(plain), abs=0.01)


def test_classes_have_to_match_too():
    """Two classes at -2 and 2: points drawn for the other class are as good on the whole, and worse by class."""
    classes = torch.arange(200) % 2
    real = normal(200, scale=0.3) + (4 * classes[:, None] - 2)
    asked = torch.arange(60) % 2
    drawn = normal(60, scale=0.3, seed=5) + (4 * asked[:, None] - 2)
    plain, joint = Matching([real]), Matching([real], classes, 2)
    rows = torch.arange(200)
    assert float(plain.loss([drawn], rows, asked)) == float(plain.loss([drawn], rows, 1 - asked))
    assert float(joint.loss([drawn], rows, asked)) < float(joint.loss([drawn], rows, 1 - asked)) - 1


def test_its_gradient_leads_to_the_real_distribution():
    matching = Matching([normal(500, shift=3.0, scale=2.0)])
    points = normal(64, seed=6).requires_grad_(True)
    optimizer, rows = torch.optim.Adam([points], 0.1), rows_of(matching)
    for _ in range(600):
        optimizer.zero_grad()
        matching.loss([points], rows).backward()
        optimizer.step()
    found = points.detach()
    assert found.mean().item() == pytest.approx(3.0, abs=0.5)  # from 0
    assert matching.loss([found], rows) < matching.loss([normal(64, shift=3.0, scale=2.0, seed=9)], rows)


def test_maps_are_averaged_and_small_ones_stay():
    large, small = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 1, 1)
    found = describe([large, small])
    assert [tuple(one.shape) for one in found] == [(2, 48), (2, 5)]
    assert torch.equal(found[1], small.flatten(1))
    assert found[0][0, 0].item() == pytest.approx(large[0, 0, :2, :2].mean().item())
