"""Contract of a space, as functions that any author's tests can call: ``check_space`` runs all of them.

The room knows neither exporter nor runtime, so both come in as arguments::

    def test_my_space():
        check_space(MY_SPACE, inputs, ImageShape(3, 32, 32), export=to_onnx, run=run_onnx)
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.inputs import InputSpec, draw_inputs
from search_spaces.channels import ChannelGroup, HasChannelGroups, keep_channels, zero_channels
from search_spaces.space import Genotype, ImageShape, Scalar, SearchSpace

Array: TypeAlias = npt.NDArray[Any]
Export: TypeAlias = Callable[[nn.Module, Mapping[str, torch.Tensor]], bytes]
"""A module in eval mode and example inputs by name -> the exported file; the batch axis must come out dynamic."""

Run: TypeAlias = Callable[[bytes, Mapping[str, Array]], Array]
"""An exported file and inputs by name -> its first output."""

EXPORT_TOLERANCE = 1e-4
PRUNE_TOLERANCE = 1e-5
BATCH = 6  # images per check; the export is traced with another number


class ContractError(AssertionError):
    """A space, or a generator it built, breaks its contract; the message names the genotype."""


def covering_genotypes(space: SearchSpace, rng: np.random.Generator, tries: int = 32) -> tuple[Genotype, ...]:
    """A small set of genotypes in which every value of every knob occurs.

    Greedy: of ``tries`` random genotypes with the first choice that is still missing, the one with most missing
    choices is taken. The same ``rng`` state gives the same set.
    """
    missing: dict[tuple[str, Scalar], None] = {
        (knob, value): None for knob, choice in space.knobs.items() for value in choice.values
    }
    chosen: list[Genotype] = []
    while missing:
        knob, value = next(iter(missing))
        samples = [space.sample(rng, {knob: value}) for _ in range(tries)]
        best = max(samples, key=lambda sample: sum(choice in missing for choice in sample.items()))
        chosen.append(best)
        for choice in best.items():
            missing.pop(choice, None)
    return tuple(chosen)


def check_space(
    space: SearchSpace,
    inputs: Sequence[InputSpec],
    image: ImageShape,
    *,
    export: Export,
    run: Run,
    seed: int = 0,
    genotypes: Iterable[Genotype] | None = None,
) -> None:
    """Run every check on ``genotypes`` (default: a covering set and the named ones), in a forked torch random state.

    Raises:
        ContractError: the first broken rule, with the genotype it was found on.
    """
    rng = np.random.default_rng(seed)
    if genotypes is None:
        genotypes = (*covering_genotypes(space, rng), *space.named.values())
    for genotype in genotypes:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            check_genotype(space, genotype, inputs, image, export=export, run=run, rng=rng)


def check_genotype(
    space: SearchSpace,
    genotype: Genotype,
    inputs: Sequence[InputSpec],
    image: ImageShape,
    *,
    export: Export,
    run: Run,
    rng: np.random.Generator,
) -> None:
    """Run every check on one genotype.

    Raises:
        ContractError: a rule is broken.
    """
    try:
        check_identity(space, genotype)
        module = check_build(space, genotype, inputs, image)
        check_output(module, _draw(inputs, rng), image)
        check_training(module, _draw(inputs, rng), image)
        check_integer_inputs(module, inputs, _draw(inputs, rng))
        check_export(module, _draw(inputs, rng), export=export, run=run)
        check_channels(module, _draw(inputs, rng), rng)
    except ContractError as error:
        raise ContractError(f"space {space.name!r}, genotype {json.dumps(dict(genotype))}: {error}") from error


def check_identity(space: SearchSpace, genotype: Genotype) -> None:
    """Canonical form and id survive JSON, the order of knobs, and added inactive knobs."""
    canonical = space.validate(genotype)
    again = space.validate(json.loads(json.dumps(dict(reversed(canonical.items())))))
    _require(list(again.items()) == list(canonical.items()), f"JSON changed the canonical form: {again}")
    inactive = {knob: choice.values[0] for knob, choice in space.knobs.items() if knob not in canonical}
    _require(space.id({**inactive, **canonical}) == space.id(canonical), "an inactive knob changed the id")


def check_build(space: SearchSpace, genotype: Genotype, inputs: Sequence[InputSpec], image: ImageShape) -> nn.Module:
    """The generator, which names its inputs and image and repeats itself under the same seed."""
    state = torch.random.get_rng_state()
    module = space.build(genotype, inputs, image)
    torch.random.set_rng_state(state)
    twin = space.build(genotype, inputs, image).state_dict()
    named = getattr(module, "inputs", None)
    _require(isinstance(named, tuple) and named == tuple(inputs), f"`inputs` must be those asked for, found {named}")
    shape = getattr(module, "image", None)
    _require(shape == image, f"`image` must be the one asked for, found {shape}")
    _require(list(module.state_dict()) == list(twin), "two builds differ in their layers")
    same = all(torch.equal(tensor, twin[name]) for name, tensor in module.state_dict().items())
    _require(same, "two builds under the same seed differ in their weights")
    return module


def check_output(module: nn.Module, inputs: Mapping[str, torch.Tensor], image: ImageShape) -> None:
    """In eval mode: (N, C, H, W), float32, in [-1, 1], and not the same for all inputs."""
    images = _generate(module, inputs)
    expected = (_rows(inputs), image.channels, image.height, image.width)
    _require(tuple(images.shape) == expected, f"images must have shape {expected}, found {tuple(images.shape)}")
    _require(images.dtype == torch.float32, f"images must be float32, found {images.dtype}")
    _require(bool(torch.isfinite(images).all()), "images must be finite")
    _require(float(images.abs().max()) <= 1, f"images must lie in [-1, 1], found {float(images.abs().max())}")
    _require(float((images - images[0]).abs().max()) > 0, "images must depend on the inputs")


def check_integer_inputs(module: nn.Module, specs: Sequence[InputSpec], inputs: Mapping[str, torch.Tensor]) -> None:
    """Images depend on each integer input, all else being equal, once tables that start alike have been learnt."""
    module = copy.deepcopy(module)
    _disturb(module, seed=2)
    for spec in (spec for spec in specs if spec.prior["kind"] == "integers"):
        low, high = spec.prior["low"], spec.prior["high"]
        values = inputs[spec.name]
        others = torch.where(values < high, values + 1, low) if low < high else values
        change = (_generate(module, inputs) - _generate(module, {**inputs, spec.name: others})).abs().max()
        _require(low == high or float(change) > 0, f"images must depend on {spec.name}")


def check_training(module: nn.Module, inputs: Mapping[str, torch.Tensor], image: ImageShape) -> None:
    """One step of SGD: a finite loss, and a gradient that is finite and somewhere not 0 for every parameter."""
    module.train()
    target = 2 * torch.rand(_rows(inputs), image.channels, image.height, image.width) - 1
    loss = nn.functional.mse_loss(module(**inputs), target)
    loss.backward()  # type: ignore[no-untyped-call]
    _require(bool(torch.isfinite(loss)), f"the loss must be finite, found {loss.item()}")
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        reached = gradient is not None and bool(torch.isfinite(gradient).all()) and bool(gradient.any())
        _require(reached, f"no usable gradient reaches {name}")
    torch.optim.SGD(module.parameters(), lr=1e-3).step()
    module.zero_grad(set_to_none=True)


def check_export(module: nn.Module, inputs: Mapping[str, torch.Tensor], *, export: Export, run: Run) -> None:
    """The exported file, traced with two rows, gives the module's images for any number of rows."""
    expected = _generate(module, inputs).numpy()
    model = export(module.eval(), {name: tensor[:2] for name, tensor in inputs.items()})
    for rows in (1, _rows(inputs)):
        found = run(model, {name: tensor[:rows].numpy() for name, tensor in inputs.items()})
        _require(found.shape == expected[:rows].shape, f"the runtime's output has shape {found.shape}")
        error = float(np.abs(found - expected[:rows]).max())
        _require(error < EXPORT_TOLERANCE, f"the runtime is off by {error:.1e}, allowed {EXPORT_TOLERANCE:.0e}")


def check_channels(module: nn.Module, inputs: Mapping[str, torch.Tensor], rng: np.random.Generator) -> None:
    """Removing random channels of every group gives the images that silencing them gives, and really removes them.

    Norms first get statistics, scales and shifts of their own, and tables other rows, as after training.
    """
    _require(isinstance(module, HasChannelGroups), "a generator has channel_groups()")
    assert isinstance(module, HasChannelGroups)
    groups = module.channel_groups()
    kept = {group.name: _some_channels(group, rng) for group in groups}
    pruned, masked = copy.deepcopy(module), copy.deepcopy(module)
    for copied in (pruned, masked):
        _disturb(copied, seed=1)
    keep_channels(pruned, kept)
    zero_channels(masked, kept)
    error = float((_generate(pruned, inputs) - _generate(masked, inputs)).abs().max())
    _require(error < PRUNE_TOLERANCE, f"pruned and masked differ by {error:.1e}, allowed {PRUNE_TOLERANCE:.0e}")
    assert isinstance(pruned, HasChannelGroups)
    sizes = {group.name: group.size for group in pruned.channel_groups()}
    _require(sizes == {name: len(channels) for name, channels in kept.items()}, f"sizes after pruning: {sizes}")
    smaller = not groups or _parameters(pruned) < _parameters(module)
    _require(smaller, "pruning removed no parameter")


def _draw(specs: Sequence[InputSpec], rng: np.random.Generator) -> dict[str, torch.Tensor]:
    arrays = draw_inputs(specs, BATCH, int(rng.integers(2**31)))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _rows(inputs: Mapping[str, torch.Tensor]) -> int:
    return len(next(iter(inputs.values())))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _generate(module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    module.eval()
    with torch.no_grad():
        images = module(**inputs)
    assert isinstance(images, torch.Tensor)
    return images


def _some_channels(group: ChannelGroup, rng: np.random.Generator) -> list[int]:
    """Between one and all but one of a group's channels (its only one, if there is but one)."""
    count = int(rng.integers(1, max(group.size, 2)))
    return sorted(rng.choice(group.size, size=count, replace=False).tolist())


def _disturb(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    lows = {"running_mean": -0.2, "running_var": 0.5, "weight": 0.5, "bias": -0.2}
    for layer in module.modules():
        if isinstance(layer, nn.Embedding):
            layer.weight.data.add_(torch.rand(layer.weight.shape, generator=generator) - 0.5)
        for name, low in lows.items() if isinstance(layer, _BatchNorm) else ():
            tensor = getattr(layer, name)
            if tensor is not None:
                tensor.data.uniform_(low, low + 0.4, generator=generator)


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ContractError(rule)
