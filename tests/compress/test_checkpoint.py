"""Checkpoints: what is loaded goes on exactly as if it had never stopped; what is not ours is refused."""

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim import Adam

from compress.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from compress.errors import CompressError


def network(width: int = 5, seed: int = 0, layout: torch.memory_format = torch.channels_last) -> nn.Module:
    """Convolutions of both kinds and a norm, in the layout that training uses."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ConvTranspose2d(width, 2, 3))
    return layers.to(memory_format=layout)


def train(module: nn.Module, optimizer: Adam, steps: range) -> None:
    for step in steps:
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (module(images) - images[:, :2]).square().mean().backward()
        optimizer.step()


def adam(module: nn.Module, fused: bool = True) -> Adam:
    return Adam(module.parameters(), 1e-2, fused=fused)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_going_on_equals_never_having_stopped(tmp_path, fused, layout):
    """Bit for bit, with the moments of Adam. A fused Adam works by address: layouts must survive the file."""
    whole = network(layout=layout)
    train(whole, adam(whole, fused), range(6))

    first = network(layout=layout)
    optimizer = adam(first, fused)
    train(first, optimizer, range(3))
    save_checkpoint(tmp_path / "c.safetensors", 3, {"net": first}, {"adam": optimizer})
    second = network(seed=9, layout=layout)
    optimizer = adam(second, fused)
    step = load_checkpoint(tmp_path / "c.safetensors", {"net": second}, {"adam": optimizer})
    train(second, optimizer, range(step, 6))

    assert step == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_saving_changes_nothing(tmp_path):
    module = network()
    optimizer = adam(module)
    train(module, optimizer, range(2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    strides = module[0].weight.stride()
    save_checkpoint(tmp_path / "c.safetensors", 2, {"net": module}, {"adam": optimizer})
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module[0].weight.stride() == strides


def test_two_modules_stay_apart(tmp_path):
    """ "net" and "net.a" share a prefix; their tensors do not mix."""
    modules = {"net": nn.Linear(2, 1), "other": nn.Linear(3, 1)}
    save_checkpoint(tmp_path / "c.safetensors", 1, modules)
    loaded = {"net": nn.Linear(2, 1), "other": nn.Linear(3, 1)}
    load_checkpoint(tmp_path / "c.safetensors", loaded)
    for name, module in modules.items():
        assert torch.equal(module.weight, loaded[name].weight)


def test_an_optimizer_that_made_no_step_is_loaded_as_such(tmp_path):
    module = network()
    save_checkpoint(tmp_path / "c.safetensors", 0, {"net": module}, {"adam": adam(module)})
    used = network()
    optimizer = adam(used)
    train(used, optimizer, range(1))
    assert load_checkpoint(tmp_path / "c.safetensors", {"net": used}, {"adam": optimizer}) == 0
    assert optimizer.state_dict()["state"] == {}


def test_a_part_of_a_checkpoint_can_be_read(tmp_path):
    """Students read the discriminator alone."""
    module = network()
    save_checkpoint(tmp_path / "c.safetensors", 4, {"net": module, "other": nn.Linear(2, 2)}, {"adam": adam(module)})
    assert load_checkpoint(tmp_path / "c.safetensors", {"net": network(seed=1)}) == 4


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 100, pickle.dumps({"step": 3})])
def test_a_damaged_file_says_what_to_do(tmp_path, content):
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(CompressError, match=r"c\.safetensors cannot be read .*; delete it and run again"):
        load_checkpoint(path, {"net": network()})


def test_half_a_file_is_damaged(tmp_path):
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, 1, {"net": network()})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CompressError, match="delete it and run again"):
        load_checkpoint(path, {"net": network()})


@pytest.mark.parametrize("place", [0.05, 0.5, 0.95])
def test_a_single_wrong_bit_is_damage_and_nothing_is_loaded(tmp_path, place):
    """Within the tensors, which safetensors itself does not check."""
    module, path = network(), tmp_path / "c.safetensors"
    optimizer = adam(module)
    train(module, optimizer, range(1))
    save_checkpoint(path, 1, {"net": module}, {"adam": optimizer})
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    data[begin + int(place * (len(data) - begin))] ^= 1
    path.write_bytes(data)
    other = network(seed=1)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"c\.safetensors is damaged .*; delete it and run again"):
        load_checkpoint(path, {"net": other}, {"adam": adam(other)})
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_a_tensor_under_another_name_is_damage(tmp_path):
    """A wrong bit in the header: a and b are alike in shape, so nothing else would notice that they were swapped."""
    path, module = tmp_path / "c.safetensors", nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    save_checkpoint(path, 1, {"net": module})
    data = path.read_bytes()
    swapped = data.replace(b"net.0.weight", b"net.9.weight").replace(b"net.1.weight", b"net.0.weight")
    path.write_bytes(swapped.replace(b"net.9.weight", b"net.1.weight"))
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path, {"net": module})


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(CompressError, match="cannot be read"):
        load_checkpoint(tmp_path / "none.safetensors", {})


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("/tmp/leangen-was-unpickled"),)


def test_nothing_is_unpickled(tmp_path):
    Path("/tmp/leangen-was-unpickled").unlink(missing_ok=True)
    torch.save({"step": Evil()}, tmp_path / "c.safetensors")
    with pytest.raises(CompressError):
        load_checkpoint(tmp_path / "c.safetensors", {})
    assert not Path("/tmp/leangen-was-unpickled").exists()


@pytest.mark.parametrize(
    "other", [network(width=6), nn.Linear(2, 2), nn.Sequential(*network(), nn.Tanh(), nn.Linear(2, 2))]
)
def test_another_network_is_refused_and_left_alone(tmp_path, other):
    module = network()
    save_checkpoint(tmp_path / "c.safetensors", 1, {"net": module})
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(CompressError, match=r"belongs to another network \(.* must be .*found .*; delete it and run"):
        load_checkpoint(tmp_path / "c.safetensors", {"net": other})
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_nothing_is_loaded_unless_everything_fits(tmp_path):
    """The first module would fit, the second does not: neither is touched."""
    save_checkpoint(tmp_path / "c.safetensors", 1, {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    a, b = nn.Linear(2, 2), nn.Linear(3, 2)
    before = a.weight.detach().clone()
    with pytest.raises(CompressError, match="another network"):
        load_checkpoint(tmp_path / "c.safetensors", {"a": a, "b": b})
    assert torch.equal(a.weight, before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.adam.0.exp_avg", torch.zeros(7)),
        ("optimizer.adam.99.exp_avg", torch.zeros(())),
        ("optimizer.adam.x.exp_avg", torch.zeros(())),
        ("optimizer.adam.-1.exp_avg", torch.zeros(())),
    ],
)
def test_another_optimizer_is_refused(tmp_path, key, value):
    module, path = network(), tmp_path / "c.safetensors"
    optimizer = adam(module)
    train(module, optimizer, range(1))
    save_checkpoint(path, 1, {"net": module}, {"adam": optimizer})
    path.write_bytes(safetensors.torch.save({**safetensors.torch.load_file(path), key: value}))
    with pytest.raises(CompressError, match=r"belongs to another network .*optimizer adam"):
        load_checkpoint(path, {"net": module}, {"adam": optimizer})


def test_a_file_without_step_is_refused(tmp_path):
    path, module = tmp_path / "c.safetensors", nn.Linear(2, 2)
    path.write_bytes(safetensors.torch.save({f"module.net.{k}": v for k, v in module.state_dict().items()}))
    with pytest.raises(CompressError, match="holds no step count; delete it and run again"):
        load_checkpoint(path, {"net": module})


def test_the_file_is_whole_or_absent(tmp_path):
    save_checkpoint(tmp_path / "deep" / "c.safetensors", 1, {"net": nn.Linear(2, 2)})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["c.safetensors"]
