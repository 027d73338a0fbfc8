"""The device that pretends fails where a real one does; otherwise no test on it could fail."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from pretended import Pretended, on
from torch import nn


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_weights_move_and_results_stay_where_they_were_computed(kind: str) -> None:
    network, image = nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    expected = network(image).square().sum().item()
    with Pretended(kind) as gpu:
        there = copy.deepcopy(network).to(gpu.device)
        assert there.weight.device == torch.device(kind, 0)
        assert network.weight.device.type == "cpu"
        leaf = image.to(gpu.device).requires_grad_()
        value = there(leaf).square().sum()
        assert torch.autograd.grad(value, leaf)[0].device == gpu.device
        assert value.item() == pytest.approx(expected)
        assert copy.deepcopy(there).bias.device == gpu.device
        assert there.to("cpu").weight.device.type == "cpu"
    assert on(leaf) == gpu.device
    assert leaf.device.type == "cpu"  # after the pretence


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_two_devices_do_not_mix(kind: str) -> None:
    with Pretended(kind) as gpu:
        there = torch.rand(3, device=gpu.device)
        with pytest.raises(
            RuntimeError, match=f"same device, but found at least two devices, cpu and {kind}:0"
        ):
            torch.rand(3) + there
        with pytest.raises(TypeError, match="can't convert"):
            there.numpy()
        assert (there + 1).device == gpu.device


def test_copies_and_waits_are_recorded() -> None:
    with Pretended("cuda") as gpu:
        there = torch.zeros(2, device=gpu.device) + torch.rand(2).to(gpu.device)
        assert (gpu.copies, gpu.waits) == (["to"], [])
        there.new_tensor([1.0])
        torch.tensor([1.0], device=gpu.device)
        there[0] = torch.ones(1)
        assert gpu.copies == ["to", "new_tensor", "tensor", "__setitem__"]
        assert there.cpu().device.type == "cpu"
        assert there.sum().item() > 0
        assert bool((there > 0).all())
        assert gpu.waits == ["cpu", "item", "__bool__"]


def test_cudnn_refuses_large_batches_of_samples() -> None:
    with Pretended("cuda") as gpu:
        values = torch.rand(65536, 1, 2, 2, device=gpu.device)
        grid = torch.zeros(65536, 1, 1, 2, device=gpu.device)
        F.grid_sample(values, grid, align_corners=False)
        F.grid_sample(values[1:], grid[1:], align_corners=True)
        with pytest.raises(RuntimeError, match="CUDNN_STATUS_NOT_SUPPORTED"):
            F.grid_sample(values, grid, align_corners=True)


def test_apples_back_end_lacks_what_it_lacks() -> None:
    image = torch.rand(1, 3, 8, 8)
    with Pretended("mps", version=(2, 6)) as gpu:
        there = image.to(gpu.device)
        with pytest.raises(TypeError, match="float64"):
            there.double()
        with pytest.raises(NotImplementedError, match="_upsample_bicubic2d_aa"):
            F.interpolate(there, (4, 4), mode="bicubic", antialias=True)
        with pytest.raises(NotImplementedError, match="kthvalue"):
            there.flatten().kthvalue(3)
        leaf = there.to(memory_format=torch.channels_last).requires_grad_()
        with pytest.raises(RuntimeError, match="SIGABRT"):
            F.max_pool2d(leaf, 2)
        F.max_pool2d(leaf.contiguous(), 2)
        F.interpolate(there, (4, 4), mode="bilinear")
