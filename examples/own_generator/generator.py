"""A generator of one's own, as leangen has never seen it: residual blocks at full width, noise called ``noise``."""

import torch
from torch import nn


class Block(nn.Module):
    """Doubles the resolution: nearest-neighbour, two convolutions, and a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inside), nn.BatchNorm2d(outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.shortcut = nn.Conv2d(inside, outside, 1)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        main = self.conv1(self.up(torch.relu(self.norm1(x))))
        return self.conv2(torch.relu(self.norm2(main))) + self.up(self.shortcut(x))


class Generator(nn.Module):
    """noise (N, latent) -> pictures (N, 1, 32, 32) in [-1, 1]."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.stem = nn.Linear(latent, width * 16)
        self.blocks = nn.Sequential(Block(width, width), Block(width, width), Block(width, width // 2))
        self.norm = nn.BatchNorm2d(width // 2)
        self.head = nn.Conv2d(width // 2, 1, 3, padding=1)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        maps = self.blocks(self.stem(noise).reshape(noise.shape[0], -1, 4, 4))
        return torch.tanh(self.head(torch.relu(self.norm(maps))))


def make(width: int = 64, latent: int = 64) -> Generator:
    """The factory that experiment.yaml names."""
    return Generator(width, latent)
