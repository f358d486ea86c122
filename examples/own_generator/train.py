"""Train the generator of ``generator.py`` on the digits in plain torch, and save it as safetensors.

    python -m examples.own_generator.train --steps 3000 --out examples/own_generator/weights.safetensors

This stands for the training that you did long ago; nothing of leangen is needed for it but the digits. The page
docs/tutorial.md goes on from here.
"""

import copy
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from examples.own_generator.generator import make
from nas.data import load_images, split, to_float
from nas.experiment import DataConfig


def discriminator(width: int = 32) -> nn.Module:
    layers: list[nn.Module] = []
    for inside, outside in ((1, width), (width, 2 * width), (2 * width, 4 * width)):
        norm = nn.BatchNorm2d(outside) if inside > 1 else nn.Identity()
        layers += [nn.Conv2d(inside, outside, 4, 2, 1), norm, nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 4), nn.Flatten(0))


def main(
    steps: int = 3000,
    out: Path = Path("examples/own_generator/weights.safetensors"),
    seed: int = 0,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = 2,
) -> None:
    """Train, and save the average of the weights."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    pictures = torch.from_numpy(to_float(split(load_images(DataConfig(name="mnist-5k"))).seen.images))
    generator, critic = make(), discriminator()
    average = copy.deepcopy(generator).requires_grad_(False)
    rates = [(generator, 4e-4), (critic, 2e-4)]
    optimizers = [torch.optim.Adam(module.parameters(), rate, (0.5, 0.999)) for module, rate in rates]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(one, lambda step: min(1.0, (steps - step) / (0.4 * steps)))
        for one in optimizers
    ]
    began = time.monotonic()
    for step in range(steps):
        real = pictures[torch.randint(len(pictures), (64,))]
        drawn = generator(torch.randn(64, 64))
        loss = functional.softplus(-critic(real)).mean() + functional.softplus(critic(drawn.detach())).mean()
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        fooling = functional.softplus(-critic(drawn)).mean()
        optimizers[0].zero_grad()
        fooling.backward()
        optimizers[0].step()
        for schedule in schedules:
            schedule.step()
        decay = min(0.998, (step + 1) / (step + 20))
        for kept, value in zip(average.state_dict().values(), generator.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(value, 1 - decay)
            else:
                kept.copy_(value)
        if step % 100 == 0 or step == steps - 1:
            print(f"{step + 1:,} of {steps:,} steps, {time.monotonic() - began:.0f} s", flush=True)
    save_file(average.state_dict(), out)
    print(f"saved {out}")


if __name__ == "__main__":
    typer.run(main)
