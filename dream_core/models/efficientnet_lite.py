"""EfficientNet-Lite (Tan & Le 2019, "EfficientNet: Rethinking Model Scaling"), Google's variant of 2020.

It has no squeeze-and-excitation, and ReLU6 for Swish. The weights are Google's, as ML Illustrated's packages on the
Python package index hold them; BatchNorm is folded into the convolutions when they are read.

Layers, from fine to coarse: `stem`; the blocks `block0`, `block1`, ..., each with `expand`, `depthwise` and
`project` inside it; `head`; `classes`.
"""

from __future__ import annotations

import math
import re
from itertools import chain, repeat

import torch.nn.functional as F
from torch import Tensor, nn

from .weights import State

# One row per stage of Lite0: kernel, stride of its first block, expansion, channels, blocks (the paper's table 1).
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, HEAD = 32, 1280
EPSILON = 1e-3
"""What BatchNorm adds to the variance."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding SAME of one side, of at least 1 pixel: (before, after).

    An even size at stride 2 gets one more pixel after than before.
    """
    total = max(kernel - stride if size % stride == 0 else kernel - size % stride, 0)
    return total // 2, total - total // 2


class Convolution(nn.Conv2d):
    """A convolution with padding SAME, and ReLU6 unless it is linear.

    Args:
        inputs, outputs: numbers of channels.
        kernel: side of the kernel, in pixels.
        stride: 1 or 2.
        depthwise: one kernel for each channel.
        linear: no ReLU6.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=inputs if depthwise else 1)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,ceil(H/stride),ceil(W/stride))."""
        above, below = same_padding(x.shape[2], self.kernel_size[0], self.stride[0])
        left, right = same_padding(x.shape[3], self.kernel_size[1], self.stride[1])
        padding = above, left
        if padding != (below, right):
            x, padding = F.pad(x, (left, right, above, below)), (0, 0)
        result = F.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)
        return result if self.linear else F.relu6(result)


class Block(nn.Module):
    """An inverted residual (Sandler et al. 2018): expand, convolve each channel, project, add the input.

    The input is added where the shapes agree. At expansion 1 there is no `expand`.

    Args:
        inputs, outputs: numbers of channels.
        kernel: side of the depthwise kernel, in pixels.
        stride: 1 or 2.
        expansion: how many times as many channels there are in between.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        between = inputs * expansion
        self.expand = Convolution(inputs, between, 1) if expansion != 1 else None
        self.depthwise = Convolution(between, between, kernel, stride=stride, depthwise=True)
        self.project = Convolution(between, outputs, 1, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,H,W) -> (B,outputs,ceil(H/stride),ceil(W/stride))."""
        expanded = self.expand(x) if self.expand is not None else x
        result: Tensor = self.project(self.depthwise(expanded))
        return result + x if self.residual else result


class EfficientNetLite(nn.Module):
    """The network from the preprocessed image (RGB, about -1..1) to the logits of ImageNet's 1000 classes.

    Args:
        width, depth: factors of the channels and of the blocks: 1.0 and 1.0 for Lite0, 1.0 and 1.1 for Lite1,
            1.1 and 1.2 for Lite2. They leave the stem and the head as they are, and the number of blocks of the
            first and the last stage.
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, stride=2)
        inputs = STEM
        self.blocks: list[str] = []
        for stage, (kernel, stride, expansion, channels, blocks) in enumerate(STAGES):
            outputs = scaled_width(channels, width)
            repeats = blocks if stage in (0, len(STAGES) - 1) else math.ceil(blocks * depth)
            for first in chain([stride], repeat(1, repeats - 1)):
                self.blocks.append(f"block{len(self.blocks)}")
                block = Block(inputs, outputs, kernel=kernel, stride=first, expansion=expansion)
                self.add_module(self.blocks[-1], block)
                inputs = outputs
        self.head = Convolution(inputs, HEAD, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classes = nn.Linear(HEAD, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) -> logits (B,1000)."""
        x = self.stem(x)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.classes(self.pool(self.head(x)).flatten(1))
        return logits


def scaled_width(channels: int, factor: float) -> int:
    """Scale a number of channels to a multiple of 8, of at least nine tenths of the exact product."""
    exact = channels * factor
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


# Each convolution's name in the packages' files, its BatchNorm's, and its name here.
CONVOLUTIONS = (
    (r"_conv_stem", r"_bn0", r"stem"),
    (r"_blocks\.(\d+)\._expand_conv", r"_blocks.\1._bn0", r"block\1.expand"),
    (r"_blocks\.(\d+)\._depthwise_conv", r"_blocks.\1._bn1", r"block\1.depthwise"),
    (r"_blocks\.(\d+)\._project_conv", r"_blocks.\1._bn2", r"block\1.project"),
    (r"_conv_head", r"_bn1", r"head"),
)


def efficientnet_lite_keys(state: State) -> State:
    """Rename the tensors of the packages' files to this module's, and fold BatchNorm into the convolutions."""
    found = dict(state)
    for name in state:
        for conv, norm, own in CONVOLUTIONS:
            match = re.fullmatch(conv + r"\.weight", name)
            if match is not None:
                _fold(found, name, match.expand(norm), match.expand(own))
    for kind in ("weight", "bias"):
        if f"_fc.{kind}" in state:
            found[f"classes.{kind}"] = found.pop(f"_fc.{kind}")
    return found


def _fold(state: State, kernels: str, norm: str, own: str) -> None:
    parts = [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    if not all(part in state for part in parts):
        return  # another network's file, which `load_strictly` describes
    weight, bias, mean, variance = (state.pop(part) for part in parts)
    state.pop(f"{norm}.num_batches_tracked", None)
    scale = weight * (variance + EPSILON).rsqrt()
    state[f"{own}.weight"] = state.pop(kernels) * scale[:, None, None, None]
    state[f"{own}.bias"] = bias - mean * scale
