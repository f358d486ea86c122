"""The reference pruned by torch-pruning alone: DepGraph (Fang et al. 2023, arXiv:2301.12900), magnitudes of groups.

torch-pruning 1.6 does not see through the reshape behind the stock DCGAN's linear stem, and leaves its widest layer as
it is; through the tables of a conditional norm it does not see either, and breaks the network. So it is handed the same
network in words that it knows: the stem as the transposed convolution that it is, the tables as modules. What is left
is taken back into the project's own module, and both steps are checked on pictures.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch_pruning
from torch import nn

from benchmarks.inputs import draw_inputs
from compress.generator import Generator
from compress.running import evaluating
from examples.studies.proof.layout import ProofError
from search_spaces.network import Decoder
from search_spaces.norms import ConditionalNorm

_TOLERANCE = 1e-4  # of pixels in [-1, 1]: sums in another order
_ROWS = 8


class Plain(nn.Module):
    """The layers of a stock DCGAN ``decoder``, conditional or not, as torch-pruning can follow them.

    forward: numbers (N, latents + embedding), labels (N,) or None -> pictures (N, C, H, W).
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        layers: list[Any] = list(decoder.layers)
        *normed, _ = layers
        self.mains = nn.ModuleList([_as_convolution(layers[0]), *(layer.main for layer in layers[1:])])
        self.norms = nn.ModuleList(_batch_norm(layer) for layer in normed)
        self.activations = nn.ModuleList(layer.activation for layer in layers)
        conditional = [layer.norm for layer in normed if isinstance(layer.norm, ConditionalNorm)]
        self.gammas = nn.ModuleList(norm.gamma for norm in conditional)
        self.betas = nn.ModuleList(norm.beta for norm in conditional)

    def forward(self, numbers: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        x = numbers[:, :, None, None]
        for index, main in enumerate(self.mains):
            x = main(x)
            if index < len(self.norms):
                x = self.norms[index](x)
                if len(self.gammas):
                    x = x * self.gammas[index](label)[:, :, None, None] + self.betas[index](label)[:, :, None, None]
            x = self.activations[index](x)
        return x

    @property
    def widths(self) -> list[int]:
        """Channels of the maps before each transposed convolution that doubles."""
        *mains, _ = self.mains
        return [int(main.out_channels) for main in mains]  # type: ignore[arg-type]


def prune_alone(reference: Generator, ratio: float, multiple: int) -> Generator:
    """Return ``reference`` without the least ``ratio`` of the channels of every layer, by torch-pruning, not recovered.

    Args:
        reference: A stock DCGAN, conditional or not.
        ratio: Uniform; above 0, below 1.
        multiple: Widths are rounded down to a multiple of it.

    Raises:
        ProofError: the reference is another network, a layer would lose all channels, or the result draws others.
    """
    decoder = reference.module
    if not isinstance(decoder, Decoder) or "widths" not in reference.origin.arguments:
        raise ProofError(f"only a stock DCGAN can be handed to torch-pruning here, found {type(decoder).__name__}")
    if min(reference.origin.arguments["widths"]) * (1 - ratio) < multiple:
        raise ProofError(f"{ratio:.0%} of the narrowest layer's channels leave fewer than {multiple}")
    rows = _example(decoder)
    plain = Plain(_copy(reference)).eval()
    _check(decoder, plain, rows, "before pruning")
    pruner = torch_pruning.pruner.BasePruner(
        plain,
        rows,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        round_to=multiple,
        ignored_layers=[plain.mains[-1]],
        out_channel_groups={},  # its default is one dictionary that all pruners share
    )
    pruner.step()
    taken = _taken_back(reference, plain)
    _check(taken.module, plain, rows, "after pruning")
    return taken


def _copy(reference: Generator) -> Decoder:
    module = reference.build()
    module.load_state_dict(reference.module.state_dict())
    assert isinstance(module, Decoder)
    return module


def _as_convolution(stem: Any) -> nn.ConvTranspose2d:
    """Return the linear ``stem`` as the transposed convolution of one pixel that it is."""
    main, side = stem.main, stem.side
    channels = main.out_features // side**2
    convolution = nn.ConvTranspose2d(main.in_features, channels, side, bias=False)
    weight = main.weight.detach().reshape(channels, side, side, -1).permute(3, 0, 1, 2)
    convolution.weight.data.copy_(weight)
    return convolution


def _batch_norm(layer: Any) -> nn.Module:
    norm: nn.Module = layer.norm
    return norm.norm if isinstance(norm, ConditionalNorm) else norm


def _taken_back(reference: Generator, plain: Plain) -> Generator:
    """Return the project's own module of the widths that are left, with the weights that are left."""
    arguments = {**reference.origin.arguments, "widths": plain.widths}
    taken = Generator.from_factory(reference.origin.factory, arguments, reference.inputs)
    decoder = taken.module
    assert isinstance(decoder, Decoder)
    if decoder.embedding is not None:
        assert isinstance(reference.module, Decoder)
        assert reference.module.embedding is not None
        decoder.embedding.load_state_dict(reference.module.embedding.state_dict())
    layers: list[Any] = list(decoder.layers)
    for index, layer in enumerate(layers):
        weight = plain.mains[index].get_parameter("weight").detach()
        layer.main.weight.data.copy_(weight if index else weight.permute(1, 2, 3, 0).reshape(-1, weight.shape[0]))
        if index < len(plain.norms):
            _batch_norm(layer).load_state_dict(plain.norms[index].state_dict())
        if index < len(plain.gammas):
            layer.norm.gamma.load_state_dict(plain.gammas[index].state_dict())
            layer.norm.beta.load_state_dict(plain.betas[index].state_dict())
    return taken


def _example(decoder: Decoder) -> tuple[torch.Tensor, ...]:
    """Return what ``Plain`` of this decoder takes for a few inputs: numbers with the class's own, and the class."""
    drawn = {name: torch.from_numpy(rows) for name, rows in draw_inputs(decoder.inputs, _ROWS, 0).items()}
    numbers = [drawn[spec.name] for spec in decoder.inputs if spec.name != decoder.label]
    if not decoder.label:
        return (torch.cat(numbers, dim=1),)
    label = drawn[decoder.label]
    if decoder.embedding is not None:
        numbers.append(decoder.embedding(label).detach())
    return torch.cat(numbers, dim=1), label


def _check(decoder: nn.Module, plain: Plain, rows: Sequence[torch.Tensor], when: str) -> None:
    """Raise ProofError unless both draw the same pictures of the same inputs."""
    assert isinstance(decoder, Decoder)
    drawn = {name: torch.from_numpy(values) for name, values in draw_inputs(decoder.inputs, _ROWS, 0).items()}
    with evaluating(decoder), evaluating(plain), torch.no_grad():
        difference = float((decoder(**drawn) - plain(*rows)).abs().max())
    if not difference <= _TOLERANCE:
        raise ProofError(f"{when}, torch-pruning's network draws other pictures than ours: {difference:.2g} apart")
