"""Distribution matching: a student's pictures, taken together, become like the real ones.

Distillation can make a student no better than its teacher. The maximum mean discrepancy between what a network sees in
drawn and in real pictures asks for no teacher: it is zero when both are the same distribution (Gretton et al. 2012,
*A Kernel Two-Sample Test*, JMLR 13; as a loss of generators: Li et al. 2015, arXiv 1502.02761; of compressed ones:
arXiv 2405.11614). The network must not be the one that scores are taken with.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

SIDE = 4  # feature maps are averaged down to so many pixels a side
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the mean squared difference of a feature, which is 2 between real pictures
_SMALLEST = 1e-3  # standard deviation: features that never move would otherwise count for everything


def describe(maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return ``(N, D)`` features of each layer, from its feature maps ``(N, C, H, W)``."""
    return [functional.adaptive_avg_pool2d(one.float(), min(SIDE, one.shape[-1])).flatten(1) for one in maps]


class Matching:
    """The distance of drawn pictures from real ones, by what a network sees in both.

    Args:
        real: Features ``(N, D)`` of the real pictures, layer by layer, see ``describe``.
        classes: Of the real pictures ``(N,)``, int64, where pictures are asked for by class: their classes then have
            to match too.
        count: How many classes there are.
    """

    def __init__(self, real: Sequence[torch.Tensor], classes: torch.Tensor | None = None, count: int = 1) -> None:
        self._means = [layer.mean(dim=0) for layer in real]
        self._deviations = [layer.std(dim=0) + _SMALLEST for layer in real]
        self._real = self._standardised(real)
        self._classes, self._count = classes, count

    def __len__(self) -> int:
        return len(self._real[0])

    def _standardised(self, layers: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        every = zip(layers, self._means, self._deviations, strict=True)
        return [(layer - mean) / deviation for layer, mean, deviation in every]

    def loss(
        self, drawn: Sequence[torch.Tensor], rows: torch.Tensor, classes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the unbiased squared discrepancy (Gretton et al., equation 3), meant over layers.

        The term between real pictures is left out: it has no gradient. With classes the kernel is one of pictures and
        classes together, k(x, y) (1 + count [class x = class y]): alike on the whole, and class by class.

        Args:
            drawn: Features ``(N, D)`` of the drawn pictures, with gradients, N at least 2.
            rows: Which real pictures to compare them with, ``(M,)``, int64.
            classes: That the drawn pictures were asked for, ``(N,)``.
        """
        among, between = self._weights(classes, classes), self._weights(classes, self._real_classes(rows))
        found = []
        for layer, real in zip(self._standardised(drawn), self._real, strict=True):
            n = len(layer)
            own = kernel(layer, layer) * among
            repelled = (own.sum() - own.diagonal().sum()) / (n * (n - 1))
            found.append(repelled - 2 * (kernel(layer, real[rows]) * between).mean())
        return torch.stack(found).mean()

    def _real_classes(self, rows: torch.Tensor) -> torch.Tensor | None:
        return None if self._classes is None else self._classes[rows]

    def _weights(self, one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | float:
        if one is None or other is None:
            return 1.0
        return 1.0 + self._count * (one[:, None] == other[None, :]).float()


def kernel(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return ``(N, M)``, the sum over ``BANDWIDTHS`` b of exp(-|x - y|² / (b D)), for ``(N, D)`` and ``(M, D)``."""
    squared = one.square().sum(1)[:, None] + other.square().sum(1)[None, :] - 2 * one @ other.T
    distance = squared.clamp_min(0.0) / one.shape[1]
    return torch.stack([torch.exp(-distance / width) for width in BANDWIDTHS]).sum(dim=0)
