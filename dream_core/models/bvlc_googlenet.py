"""BVLC GoogLeNet (Szegedy et al. 2014, "Going Deeper with Convolutions"), as Caffe's model zoo trained it.

The network of the first DeepDreams, and of Places205 and Places365. As in Caffe, pooling rounds its output size up,
local response normalization follows the first two stages, and layers have Caffe's names with `/` written as `_`.
The two auxiliary classifiers, which only training needs, are left out.

Two layers are computed faster than by their definition, with the same result: see `strided_stem` and
`local_response_norm`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..device import layout

# Widths of the nine modules: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (the paper's table 1).
INCEPTIONS: dict[str, tuple[int, int, int, int, int, int]] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def strided_stem(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve (B,3,H,W) with a 7x7 kernel, stride 2 and padding 3.

    Computed as a 4x4 convolution with stride 1 over 2x2 blocks of pixels. On the CPU this halves the time of the
    backward pass, because a convolution of three channels fills only a small part of each vector register.
    """
    height, width = x.shape[-2:]
    # Row o of the output reads rows 2o-3 .. 2o+3: with one empty row in front, four whole blocks.
    kernel = F.pixel_unshuffle(F.pad(weight, (1, 0, 1, 0)), 2)
    below, right = 3 + height % 2, 3 + width % 2
    blocks = F.pixel_unshuffle(F.pad(x, (4, right - 1, 4, below - 1)), 2)
    return F.conv2d(blocks.contiguous(memory_format=layout(x.device)), kernel, bias)


class _LocalResponseNorm(torch.autograd.Function):
    """y = x * s^-3/4 with s = k + alpha/n * (sum of x^2 over n neighboring channels)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, band: Tensor, k: float) -> Tensor:
        wide, band = _widened(x), _widened(band)
        inverse_root = F.conv2d(wide * wide, band, band.new_full((len(band),), k)).rsqrt_()  # s^-1/2
        scale = inverse_root.sqrt().mul_(inverse_root)  # s^-3/4
        ctx.save_for_backward(x, inverse_root, scale, band)
        return (wide * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, inverse_root, scale, band = ctx.saved_tensors
        wide, direct = _widened(x), gradients[0] * scale
        # The window is symmetric, so the sum over the neighbors is its own transpose.
        through_sum = F.conv2d((direct * wide).mul_(inverse_root).mul_(inverse_root), band)
        return torch.addcmul(direct, wide, through_sum, value=-1.5).to(x.dtype), None, None


def _widened(x: Tensor) -> Tensor:
    """Convert float16 to float32: squares of activations are too large for it."""
    return x.float() if x.dtype == torch.float16 else x


def local_response_norm(x: Tensor, band: Tensor, k: float) -> Tensor:
    """Normalize each channel by its neighbors (Krizhevsky et al. 2012, section 3.3), with beta = 3/4.

    Args:
        x: (B,C,H,W).
        band: (C,C,1,1), alpha / n where two channels are neighbors and 0 elsewhere: a 1x1 convolution sums
            the window much faster than `F.local_response_norm`, which also lacks bfloat16 on the CPU.
        k: the constant added to the sum.
    """
    result: Tensor = _LocalResponseNorm.apply(x, band, k)
    return result


class StridedStem(nn.Conv2d):
    """The first convolution, 7x7 with stride 2 and padding 3 on three channels."""

    def __init__(self, width: int) -> None:
        super().__init__(3, width, 7, stride=2, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,width,ceil(H/2),ceil(W/2))."""
        assert self.bias is not None
        result: Tensor = strided_stem(x, self.weight, self.bias)
        return result


class LocalResponseNorm(nn.Module):
    """Local response normalization over five channels with Caffe's constants."""

    def __init__(self, channels: int, *, size: int = 5, alpha: float = 1e-4, k: float = 1.0) -> None:
        super().__init__()
        index = torch.arange(channels)
        neighbors = (index[:, None] - index[None, :]).abs() <= size // 2
        self.k = k
        self.band: Tensor
        self.register_buffer("band", (neighbors * (alpha / size))[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> the same shape."""
        result: Tensor = local_response_norm(x, self.band, self.k)
        return result


class Concat(nn.Module):
    """Concatenation along the channels, as a module so that its output has a layer name."""

    def forward(self, *parts: Tensor) -> Tensor:
        """Join (B,C1,H,W), (B,C2,H,W), ... to (B,C1+C2+...,H,W)."""
        return torch.cat(parts, 1)


class BVLCGoogLeNet(nn.Module):
    """The network from the preprocessed image (BGR, 0..255, minus the mean) to the logits.

    Args:
        classes: number of classes: 1000 for ImageNet, 205 or 365 for Places.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1_7x7_s2 = StridedStem(64)
        self.conv1_relu_7x7 = nn.ReLU()
        self.pool1_3x3_s2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool1_norm1 = LocalResponseNorm(64)
        self._add_convolution("conv2_", "3x3_reduce", 64, 64, 1)
        self._add_convolution("conv2_", "3x3", 64, 192, 3)
        self.conv2_norm2 = LocalResponseNorm(192)
        self.pool2_3x3_s2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = 192
        for name, widths in INCEPTIONS.items():
            self._add_inception(f"inception_{name}_", channels, widths)
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self.pool3_3x3_s2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool4_3x3_s2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        # Caffe pools 7x7, the whole map of a 224 px image; a global average also works for other sizes.
        self.pool5_drop_7x7_s1 = nn.AdaptiveAvgPool2d(1)
        self.loss3_classifier = nn.Linear(channels, classes)

    def _add_convolution(self, prefix: str, name: str, inputs: int, outputs: int, size: int) -> None:
        self.add_module(prefix + name, nn.Conv2d(inputs, outputs, size, padding=size // 2))
        self.add_module(f"{prefix}relu_{name}", nn.ReLU())

    def _add_inception(self, prefix: str, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        one, three_reduce, three, five_reduce, five, projection = widths
        self._add_convolution(prefix, "1x1", inputs, one, 1)
        self._add_convolution(prefix, "3x3_reduce", inputs, three_reduce, 1)
        self._add_convolution(prefix, "3x3", three_reduce, three, 3)
        self._add_convolution(prefix, "5x5_reduce", inputs, five_reduce, 1)
        self._add_convolution(prefix, "5x5", five_reduce, five, 5)
        self.add_module(prefix + "pool", nn.MaxPool2d(3, 1, padding=1, ceil_mode=True))
        self._add_convolution(prefix, "pool_proj", inputs, projection, 1)
        self.add_module(prefix + "output", Concat())

    def _convolve(self, prefix: str, name: str, x: Tensor) -> Tensor:
        convolved = self.get_submodule(prefix + name)(x)
        result: Tensor = self.get_submodule(f"{prefix}relu_{name}")(convolved)
        return result

    def _inception(self, name: str, x: Tensor) -> Tensor:
        prefix = f"inception_{name}_"
        one = self._convolve(prefix, "1x1", x)
        three = self._convolve(prefix, "3x3", self._convolve(prefix, "3x3_reduce", x))
        five = self._convolve(prefix, "5x5", self._convolve(prefix, "5x5_reduce", x))
        pooled = self._convolve(prefix, "pool_proj", self.get_submodule(prefix + "pool")(x))
        result: Tensor = self.get_submodule(prefix + "output")(one, three, five, pooled)
        return result

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) -> logits (B,classes)."""
        x = self.pool1_norm1(self.pool1_3x3_s2(self.conv1_relu_7x7(self.conv1_7x7_s2(x))))
        x = self._convolve("conv2_", "3x3", self._convolve("conv2_", "3x3_reduce", x))
        x = self.pool2_3x3_s2(self.conv2_norm2(x))
        x = self.pool3_3x3_s2(self._inception("3b", self._inception("3a", x)))
        for name in ("4a", "4b", "4c", "4d", "4e"):
            x = self._inception(name, x)
        x = self._inception("5b", self._inception("5a", self.pool4_3x3_s2(x)))
        logits: Tensor = self.loss3_classifier(self.pool5_drop_7x7_s1(x).flatten(1))
        return logits
