"""The discriminator's side of a GAN: its network, its losses, its features."""

import itertools
import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Adam

from compress.devices import autocast

BETAS = (0.5, 0.999)  # Radford et al. 2015 (DCGAN, arXiv 1511.06434), section 4


class Batch(NamedTuple):
    """Pictures ``(N, C, H, W)`` and, where a family has them, their classes ``(N,)``."""

    pictures: torch.Tensor
    classes: torch.Tensor | None = None


class Discriminator(nn.Module):
    """The stock DCGAN discriminator: strided 4x4 convolutions down to 4x4 pixels, then one score a picture.

    Args:
        channels: Of the pictures.
        size: Their height and width: 4 times a power of two.
        width: Channels of the first layer; doubled from layer to layer, up to 8 times.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        depth = int(math.log2(size // 4))
        widths = [channels, *(width * min(2**i, 8) for i in range(depth))]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inside, outside, 4, 2, 1, bias=i == 0),
                nn.BatchNorm2d(outside) if i else nn.Identity(),
                nn.LeakyReLU(0.2),
            )
            for i, (inside, outside) in enumerate(itertools.pairwise(widths))
        )
        self.head = nn.Conv2d(widths[-1], 1, 4)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.02)

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps of every layer for pictures ``(N, C, H, W)``."""
        maps = []
        for layer in self.layers:
            image = layer(image)
            maps.append(image)
        return maps

    def forward(self, image: torch.Tensor, classes: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002
        """Return one score a picture ``(N,)``: above zero means real. Classes are not looked at."""
        result: torch.Tensor = self.head(self.features(image)[-1]).flatten()
        return result


class ProjectionDiscriminator(Discriminator):
    """A discriminator that also asks whether the picture is of its class (Miyato & Koyama 2018, arXiv 1802.05637).

    Score = head(f) + <embedding of the class, f summed over places>, f being the last feature map (equation 7).

    Args:
        channels: Of the pictures.
        size: Their height and width.
        width: Channels of the first layer.
        classes: How many there are.
    """

    def __init__(self, channels: int, size: int, width: int, classes: int) -> None:
        super().__init__(channels, size, width)
        self.embedding = nn.Embedding(classes, self.head.in_channels)
        nn.init.normal_(self.embedding.weight, 0, 0.02)

    def forward(self, image: torch.Tensor, classes: torch.Tensor | None = None) -> torch.Tensor:
        """Return one score a picture ``(N,)``: above zero means real, and of its class."""
        assert classes is not None
        maps = self.features(image)[-1]
        result: torch.Tensor = self.head(maps).flatten() + (self.embedding(classes) * maps.sum(dim=(2, 3))).sum(dim=1)
        return result


class Observer(Discriminator):
    """A classifier of the discriminator's make: what students match real pictures by (``compress.matching``).

    It is another network than the extractors that score, from other random numbers, and sees other things.

    Args:
        channels: Of the pictures.
        size: Their height and width.
        width: Channels of the first layer.
        classes: How many there are.
    """

    def __init__(self, channels: int, size: int, width: int, classes: int) -> None:
        super().__init__(channels, size, width)
        self.head = nn.Conv2d(self.head.in_channels, classes, 4)

    def features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps of every layer for pictures ``(N, C, H, W)``, and last the class scores."""
        maps = super().features(image)
        return [*maps, self.head(maps[-1])]

    def forward(self, image: torch.Tensor, classes: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002
        """Return class scores ``(N, classes)``."""
        return self.features(image)[-1].flatten(1)


def discriminator_loss(real: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    """Return -log D(x) - log(1 - D(G(z))), means over scores ``(N,)`` (Goodfellow et al. 2014, equation 1)."""
    return functional.softplus(-real.float()).mean() + functional.softplus(generated.float()).mean()


def generator_loss(generated: torch.Tensor) -> torch.Tensor:
    """Return -log D(G(z)), the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return functional.softplus(-generated.float()).mean()


def discriminator_step(discriminator: nn.Module, optimizer: Adam, real: Batch, generated: Batch) -> torch.Tensor:
    """Train the discriminator on one batch of each and return its loss."""
    discriminator.train().requires_grad_(True)
    with autocast(real.pictures.device):
        drawn = generated._replace(pictures=generated.pictures.detach())
        loss = discriminator_loss(discriminator(*real), discriminator(*drawn))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    discriminator.requires_grad_(False)
    return loss.detach()
