"""Precision and layout follow the device, and are never assumed."""

import pytest
import torch
from torch import nn

from compress.devices import autocast, place

CPU = torch.device("cpu")


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_only_where_the_cpu_has_instructions_for_it(monkeypatch, fast, dtype):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    with autocast(CPU):
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype
    assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.float32


def test_weights_stay_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    layer = nn.Linear(2, 1)
    with autocast(CPU):
        loss = layer(torch.ones(1, 2)).float().sum()
    loss.backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32


def test_place_changes_layout_and_nothing_else():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    images = torch.randn(2, 3, 4, 4)
    before = module(images)
    assert place(module, CPU) is module
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module(images), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu():
    device = torch.device("cuda")
    module = place(nn.Conv2d(3, 4, 3), device)
    assert module.weight.device.type == "cuda"
    with autocast(device):
        assert module(torch.zeros(1, 3, 4, 4, device=device)).dtype in (torch.bfloat16, torch.float32)
