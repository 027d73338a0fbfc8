from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dream_core.models.bvlc_googlenet import (
    INCEPTIONS,
    BVLCGoogLeNet,
    Concat,
    LocalResponseNorm,
    StridedStem,
    local_response_norm,
    strided_stem,
)


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (16, 19), (9, 7), (1, 1)])
def test_the_strided_stem_is_the_convolution_it_replaces(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 7, 7, dtype=torch.float64)
    bias = torch.randn(4, dtype=torch.float64)
    fast, plain = strided_stem(image, weight, bias), F.conv2d(image, weight, bias, stride=2, padding=3)
    torch.testing.assert_close(fast, plain)
    upstream = torch.randn_like(plain)
    gradients = [torch.autograd.grad(result, image, upstream)[0] for result in (fast, plain)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("channels", [3, 5, 16])
def test_the_norm_is_torchs(channels: int) -> None:
    x = 20 * torch.randn(2, channels, 5, 4, dtype=torch.float64, requires_grad=True)
    norm = LocalResponseNorm(channels, size=5, alpha=0.3, k=1.5).double()
    plain = F.local_response_norm(x, 5, alpha=0.3, beta=0.75, k=1.5)
    torch.testing.assert_close(norm(x), plain, rtol=1e-6, atol=0)  # the band was rounded to float32
    upstream = torch.randn_like(plain)
    gradients = [torch.autograd.grad(result, x, upstream)[0] for result in (norm(x), plain)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_the_norms_gradient_is_that_of_its_formula() -> None:
    band = LocalResponseNorm(6, size=5, alpha=2.0).double().band
    x = torch.randn(1, 6, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_response_norm(x, band, 1.0), x)


def test_the_norm_by_hand() -> None:
    x = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    normalized = LocalResponseNorm(2, size=5, alpha=5.0)(x)  # 1 + 3^2 + 4^2 = 26 for both
    torch.testing.assert_close(normalized.flatten(), torch.tensor([3.0, 4.0]) * 26**-0.75)


def test_parts_are_joined_along_the_channels() -> None:
    parts = [torch.full((1, channels, 2, 2), float(channels)) for channels in (1, 2)]
    assert Concat()(*parts)[0, :, 0, 0].tolist() == [1, 2, 2]


@pytest.mark.parametrize("classes", [205, 1000])
def test_the_network_gives_one_score_per_class(classes: int) -> None:
    with torch.device("meta"):
        network = BVLCGoogLeNet(classes)
        assert network(torch.empty(2, 3, 224, 200)).shape == (2, classes)


def test_an_inception_module_has_the_papers_widths() -> None:
    shapes: dict[str, int] = {}
    with torch.device("meta"):
        network = BVLCGoogLeNet()
        for name in INCEPTIONS:
            output = network.get_submodule(f"inception_{name}_output")
            output.register_forward_hook(
                lambda _module, _inputs, result, name=name: shapes.update({name: result.shape[1]})
            )
        network(torch.empty(1, 3, 224, 224))
    widths = [256, 480, 512, 512, 512, 528, 832, 832, 1024]  # table 1 of the paper
    assert shapes == dict(zip(INCEPTIONS, widths, strict=True))


def test_the_stem_halves_the_size() -> None:
    assert StridedStem(8)(torch.zeros(1, 3, 15, 20)).shape == (1, 8, 8, 10)


def test_the_stem_takes_bfloat16() -> None:
    stem = StridedStem(4).bfloat16()
    result: Tensor = stem(torch.rand(1, 3, 8, 8).bfloat16())
    assert result.dtype == torch.bfloat16
