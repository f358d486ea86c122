import pytest
import torch
from torch import nn

from search_spaces.channels import ChannelGroup, Slice, keep_channels, zero_channels
from search_spaces.space import SearchSpaceError


def chain() -> tuple[nn.Sequential, ChannelGroup]:
    """Linear(1 -> 3 maps of 2 x 2) -> BatchNorm2d -> Conv 1x1 to one channel, with weights that name their index."""
    module = nn.Sequential(nn.Linear(1, 12), nn.Unflatten(1, (3, 2, 2)), nn.BatchNorm2d(3), nn.Conv2d(3, 1, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.arange(12.0)[:, None])
        module[0].bias.copy_(torch.arange(12.0) + 100)
        module[2].running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
        module[2].weight.copy_(torch.tensor([4.0, 5.0, 6.0]))
        module[3].weight.copy_(torch.tensor([7.0, 8.0, 9.0])[None, :, None, None])
    return module, ChannelGroup("maps", 3, (Slice("0", "out", 4), Slice("2", "out"), Slice("3", "in")))


def test_keep_channels_by_hand():
    """Channel 1 of 3 owns rows 4..7 of the linear layer."""
    module, group = chain()
    keep_channels(module, {"maps": [0, 2]}, [group])
    assert module[0].weight.flatten().tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert module[0].bias.tolist() == [100, 101, 102, 103, 108, 109, 110, 111]
    assert module[2].running_mean.tolist() == [1, 3]
    assert module[2].running_var.shape == (2,)
    assert module[2].weight.tolist() == [4, 6]
    assert module[3].weight.flatten().tolist() == [7, 9]
    assert (module[0].out_features, module[2].num_features, module[3].in_channels) == (8, 2, 2)
    assert (module[0].in_features, module[3].out_channels) == (1, 1)
    assert isinstance(module[0].weight, nn.Parameter)
    assert not isinstance(module[2].running_mean, nn.Parameter)


def test_zero_channels_by_hand():
    module, group = chain()
    zero_channels(module, {"maps": [0, 2]}, [group])
    assert module[0].weight.flatten().tolist() == [0, 1, 2, 3, 0, 0, 0, 0, 8, 9, 10, 11]
    assert module[0].bias.tolist()[4:8] == [0, 0, 0, 0]
    assert module[2].weight.tolist() == [4, 0, 6]
    assert module[2].running_mean.tolist() == [1, 2, 3]
    assert module[3].weight.flatten().tolist() == [7, 8, 9]  # readers of zeros stay as they are


def test_transposed_convolutions_have_their_axes_swapped():
    """Weights are (in, out, k, k) there: outputs lie along dimension 1."""
    module = nn.Sequential(nn.ConvTranspose2d(2, 3, 4), nn.ConvTranspose2d(3, 1, 4))
    first, second = (layer.weight.detach().clone() for layer in module)
    keep_channels(module, {"g": [1]}, [ChannelGroup("g", 3, (Slice("0", "out"), Slice("1", "in")))])
    assert torch.equal(module[0].weight, first[:, 1:2])
    assert torch.equal(module[1].weight, second[1:2])
    assert (module[0].out_channels, module[0].bias.shape, module[1].in_channels) == (1, (1,), 1)


def test_frozen_parameters_stay_frozen():
    module, group = chain()
    module[0].weight.requires_grad_(False)
    keep_channels(module, {"maps": [0]}, [group])
    assert not module[0].weight.requires_grad
    assert module[0].bias.requires_grad


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"map": [0]}, "found 'map'; correct the name; did you mean 'maps'?"),
        ({"maps": []}, "at least one channel"),
        ({"maps": [1, 0]}, "increasing"),
        ({"maps": [0, 0]}, "increasing"),
        ({"maps": [3]}, "from 0 to 2"),
        ({"maps": [-1]}, "from 0 to 2"),
        ({"maps": [True]}, "from 0 to 2"),
        ({"maps": [0.0]}, "from 0 to 2"),
    ],
)
def test_wrong_selections_are_refused_and_change_nothing(kept, message):
    module, group = chain()
    with pytest.raises(SearchSpaceError, match=message):
        keep_channels(module, kept, [group])
    assert module[0].out_features == 12


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (Slice("9", "out"), "which is not there"),
        (Slice("0", "out", 3), "must have 3 x 3 indices, found 12"),
        (Slice("2", "in"), "no axis 'in'"),
        (Slice("1", "out"), "found Unflatten"),
    ],
)
def test_groups_that_do_not_fit_are_refused_before_anything_changes(part, message):
    module, group = chain()
    wrong = ChannelGroup("maps", 3, (*group.slices, part))
    with pytest.raises(SearchSpaceError, match=message):
        keep_channels(module, {"maps": [0]}, [wrong])
    assert module[0].out_features == 12


def test_depthwise_convolutions_carry_channels_through():
    """Channel 1 of 3 goes: its filter goes too, and the layer stays depthwise."""
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 2, 1))
    filters = module[1].weight.detach().clone()
    group = ChannelGroup("g", 3, (Slice("0", "out"), Slice("1", "out"), Slice("2", "in")))
    keep_channels(module, {"g": [0, 2]}, [group])
    assert torch.equal(module[1].weight, filters[[0, 2]])
    assert (module[1].in_channels, module[1].out_channels, module[1].groups) == (2, 2, 2)
    assert module(torch.ones(1, 1, 5, 5)).shape == (1, 2, 3, 3)


def test_a_depthwise_convolution_can_shrink_to_one_channel_and_be_cut_again():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1, groups=2))
    for size in (2, 1):
        keep_channels(module, {"g": [0]}, [ChannelGroup("g", size, (Slice("0", "out"), Slice("1", "out")))])
    assert module(torch.ones(1, 1, 1, 1)).shape == (1, 1, 1, 1)


def test_tables_are_cut_along_their_columns():
    """Two classes, three channels of two numbers each: channel 1 owns columns 2 and 3."""
    module = nn.Sequential(nn.Embedding(2, 6))
    with torch.no_grad():
        module[0].weight.copy_(torch.arange(12.0).reshape(2, 6))
    group = ChannelGroup("g", 3, (Slice("0", "out", 2),))
    zero_channels(module, {"g": [0, 2]}, [group])
    assert module[0].weight.tolist() == [[0, 1, 0, 0, 4, 5], [6, 7, 0, 0, 10, 11]]
    keep_channels(module, {"g": [0, 2]}, [group])
    assert module[0].weight.tolist() == [[0, 1, 4, 5], [6, 7, 10, 11]]
    assert (module[0].num_embeddings, module[0].embedding_dim) == (2, 4)


def test_grouped_convolutions_are_refused():
    module = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2))
    with pytest.raises(SearchSpaceError, match="groups=2"):
        keep_channels(module, {"g": [0]}, [ChannelGroup("g", 4, (Slice("0", "out"),))])


def test_a_module_without_groups_needs_them_as_an_argument():
    with pytest.raises(SearchSpaceError, match="Linear lacks; pass `groups`"):
        keep_channels(nn.Linear(1, 1), {"g": [0]})


def joined() -> tuple[nn.Sequential, list[ChannelGroup]]:
    """Two producers of 2 channels each, which a third layer reads behind one index that is nobody's."""
    module = nn.Sequential(nn.Linear(1, 2), nn.Linear(1, 4), nn.Linear(7, 1))
    with torch.no_grad():
        module[2].weight.copy_(torch.arange(7.0)[None])
    one = ChannelGroup("one", 2, (Slice("0", "out"), Slice("2", "in", 1, 1)))
    two = ChannelGroup("two", 2, (Slice("1", "out", 2), Slice("2", "in", 2, 3)))
    return module, [one, two]


def test_groups_that_share_an_axis_are_cut_together():
    """Of 0 | 1 2 | 3 4, 5 6 go the first channel of one and the second of two: 1, and 5 and 6."""
    module, groups = joined()
    keep_channels(module, {"one": [1], "two": [0]}, groups)
    assert module[2].weight.flatten().tolist() == [0, 2, 3, 4]
    assert (module[0].out_features, module[1].out_features, module[2].in_features) == (1, 2, 4)


def test_part_of_an_axis_is_silenced():
    module = nn.Sequential(nn.BatchNorm2d(5))
    zero_channels(module, {"g": [0]}, [ChannelGroup("g", 2, (Slice("0", "out", 1, 2),))])
    assert module[0].weight.tolist() == [1, 1, 1, 0, 1]


@pytest.mark.parametrize("part", [Slice("2", "in", 2, 4), Slice("2", "in", 2, -1), Slice("2", "in", 10**12, 0)])
def test_an_offset_stays_on_its_axis(part):
    module, _ = joined()
    with pytest.raises(SearchSpaceError, match="found 7 in all"):
        keep_channels(module, {"g": [0]}, [ChannelGroup("g", 2, (part,))])


def test_no_index_belongs_to_two_channels():
    module, groups = joined()
    clash = ChannelGroup("clash", 2, (Slice("2", "in", 1, 2),))
    with pytest.raises(SearchSpaceError, match=r"indices 2 to 3 of 2\.in are owned by another slice"):
        keep_channels(module, {"one": [0], "clash": [0]}, [*groups, clash])
    assert module[0].out_features == 2


@pytest.mark.parametrize(
    ("layer", "size"), [(nn.InstanceNorm2d(3, affine=True), "num_features"), (nn.PReLU(3), "num_parameters")]
)
def test_what_scales_channels_is_cut_with_them(layer, size):
    keep_channels(nn.Sequential(layer), {"g": [0, 2]}, [ChannelGroup("g", 3, (Slice("0", "out"),))])
    assert (getattr(layer, size), layer.weight.shape) == (2, (2,))
