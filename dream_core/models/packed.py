"""Faster convolutions of a truncated network on the CPU: with weights in oneDNN's order, and with their activation.

The weights of a dream never change, but `F.conv2d` brings them into oneDNN's order in every call. Here that happens
once, ReLU and ReLU6 are computed in the same pass, and their gradient needs only the activation. The results are
the same.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from .efficientnet_lite import Convolution, same_padding

# oneDNN keeps 1024 compiled operations by default, but a dream has a hundred of them at each size of an octave or a
# crop, and compiling one takes longer than running it. It reads this before its first operation.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")

# What torch.compile calls on CPUs; PyTorch documents no way to keep weights in oneDNN's order.
HAS_PACKING = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name)
    for name in ("_convolution_pointwise", "_get_mkldnn_serialized_md", "_is_mkldnn_bf16_supported")
)
HAS_BFLOAT16 = HAS_PACKING and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def can_pack(x: Tensor) -> bool:
    """Return whether oneDNN convolves a tensor: the machine may lack it for the dtype, the settings forbid it."""
    enabled = bool(torch.backends.mkldnn.enabled)
    has_dtype = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and HAS_BFLOAT16)
    return HAS_PACKING and has_dtype and enabled and x.device.type == "cpu" and x.numel() > 0


Activation = Literal["none", "relu", "relu6"]

# oneDNN's names and parameters.
ONEDNN_NAMES: dict[Activation, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0, 6]),
}


class _Packed:
    """A convolution by oneDNN whose weights do not change.

    oneDNN chooses the order of the weights by the size of the input. Weights are kept once in each order, which
    includes the size of the kernel.
    """

    def __init__(
        self, *, stride: Sequence[int], dilation: Sequence[int], groups: int, activation: Activation = "none"
    ) -> None:
        self._geometry = stride, dilation, groups
        self._activation = ONEDNN_NAMES[activation]
        self._by_shape: dict[torch.Size, tuple[Tensor, Sequence[int]]] = {}
        self._by_order: dict[bytes, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Packed weights cannot be copied.
        return {**self.__dict__, "_by_shape": {}, "_by_order": {}}

    def __call__(
        self, x: Tensor, bias: Tensor | None, kernel_of: Callable[[Tensor], tuple[Tensor, Sequence[int]]]
    ) -> Tensor:
        """Convolve with a kernel and a padding that depend on the size of the input alone."""
        if x.shape not in self._by_shape:
            weight, padding = kernel_of(x)
            packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(
                weight.to_mkldnn(), padding, *self._geometry, x.shape
            )
            order = bytes(torch.ops.mkldnn._get_mkldnn_serialized_md(packed).tolist())
            self._by_shape[x.shape] = self._by_order.setdefault(order, packed), padding
        packed, padding = self._by_shape[x.shape]
        x = x.contiguous(memory_format=torch.channels_last)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, packed, bias, padding, *self._geometry, *self._activation, ""
        )
        return result


class PackedConvolution(nn.Module):
    """A convolution whose weights do not change, and the activation after it.

    Args:
        convolution: padded with zeros, by numbers of pixels, or EfficientNet's.
        activation: what follows.
    """

    def __init__(self, convolution: nn.Conv2d, *, activation: Activation) -> None:
        super().__init__()
        self.convolution = convolution
        self.activation = activation
        geometry: dict[str, Any] = {
            "stride": convolution.stride,
            "dilation": convolution.dilation,
            "groups": convolution.groups,
        }
        self._forward = _Packed(**geometry, activation=activation)
        # The gradient of a convolution with stride 1 is one with the transposed kernel, padded to the same size.
        simple = set(convolution.stride) == {1} and min(self._transposed_padding()) >= 0
        self._backward = _Packed(**geometry) if simple else None

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,D,h,w)."""
        if can_pack(x):
            return cast(Tensor, _PackedConvolution.apply(x, self))
        result: Tensor = self.convolution(x)
        if isinstance(self.convolution, Convolution):
            return result
        return F.relu(result) if self.activation == "relu" else result

    def convolve(self, x: Tensor) -> Tensor:
        """Compute the result without autograd."""
        return self._forward(x, self.convolution.bias, self._kernel)

    def gradient(self, gradient: Tensor, shape: torch.Size) -> Tensor:
        """Gradient of an input of some shape from the one before the activation."""
        if self._backward is not None:
            return self._backward(gradient, None, self._transposed)
        own, dtype = self.convolution, gradient.dtype
        if own.groups > 1:  # which oneDNN computes more than ten times slower in bfloat16
            gradient = gradient.float()
        height, width = shape[2:]
        above, below, left, right = self._padding(shape)
        # The values of the input do not matter.
        size = *shape[:2], above + height + below, left + width + right
        x = torch.empty(size, dtype=gradient.dtype, memory_format=torch.channels_last)
        geometry = own.stride, [0, 0], own.dilation, False, [0, 0], own.groups
        # The gradient of the input, without those of the weight and the bias.
        wanted = [True, False, False]
        weight = own.weight.to(x.dtype)
        padded = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, wanted)[0]
        return cast(Tensor, padded[:, :, above : above + height, left : left + width]).to(dtype)

    def _padding(self, shape: torch.Size) -> tuple[int, int, int, int]:
        """Pixels above, below, left and right."""
        own = self.convolution
        if isinstance(own, Convolution):
            sizes = zip(shape[2:], own.kernel_size, own.stride, strict=True)
            (above, below), (left, right) = (same_padding(*size) for size in sizes)
            return above, below, left, right
        vertical, horizontal = cast(tuple[int, int], own.padding)
        return vertical, vertical, horizontal, horizontal

    def _kernel(self, x: Tensor) -> tuple[Tensor, Sequence[int]]:
        above, below, left, right = self._padding(x.shape)
        # oneDNN pads both sides alike. Zeros in front of the kernel make up for one pixel more before the image.
        return F.pad(self.convolution.weight, (right - left, 0, below - above, 0)), (below, right)

    def _transposed_padding(self) -> tuple[int, ...]:
        own = self.convolution
        reach = [(size - 1) * dilation for size, dilation in zip(own.kernel_size, own.dilation, strict=True)]
        if isinstance(own, Convolution):
            return tuple(side // 2 for side in reach)
        return tuple(side - pad for side, pad in zip(reach, cast(tuple[int, ...], own.padding), strict=True))

    def _transposed(self, _: Tensor) -> tuple[Tensor, Sequence[int]]:
        # Within each group (G*d,c,k,k) -> (G*c,d,k,k), with every kernel turned around.
        weight: Tensor = self.convolution.weight
        groups: Tensor = weight.unflatten(0, (self.convolution.groups, -1))
        return groups.transpose(1, 2).flatten(0, 1).flip(2, 3), self._transposed_padding()


class _PackedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: PackedConvolution) -> Tensor:
        result = packed.convolve(x)
        ctx.packed, ctx.shape = packed, x.shape
        ctx.save_for_backward(result if packed.activation != "none" else None)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (activation,) = ctx.saved_tensors
        gradient = gradients[0]
        if ctx.packed.activation == "relu":
            gradient = torch.ops.aten.threshold_backward(gradient, activation, 0)
        elif ctx.packed.activation == "relu6":
            gradient = torch.ops.aten.hardtanh_backward(gradient, activation, 0, 6)
        return ctx.packed.gradient(gradient, ctx.shape), None


def pack(module: fx.GraphModule) -> None:
    """Replace the convolutions of a truncated network on the CPU.

    A ReLU that alone reads a convolution joins it. 1x1 convolutions of one input become one convolution.
    """
    alike: dict[tuple[fx.Node, bool], list[fx.Node]] = {}
    for node in module.graph.nodes:
        called = _called(module, node)
        if isinstance(called, Convolution):
            _call(module, node, PackedConvolution(called, activation="none" if called.linear else "relu6"))
        convolution = _convolution(module, node)
        if convolution is None:
            continue
        relu = _take_in_relu(module, node)
        if convolution.kernel_size == (1, 1) and _is_plain(convolution):
            alike.setdefault((node.args[0], relu), []).append(node)
        else:
            _call(module, node, PackedConvolution(convolution, activation="relu" if relu else "none"))
    for (_, relu), nodes in alike.items():
        _merge(module, nodes, relu=relu)
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()


def _convolution(module: fx.GraphModule, node: fx.Node) -> nn.Conv2d | None:
    called = _called(module, node)
    # Subclasses compute something else.
    if type(called) is not nn.Conv2d or called.padding_mode != "zeros" or isinstance(called.padding, str):
        return None
    return called


def _is_plain(convolution: nn.Conv2d) -> bool:
    return convolution.stride == (1, 1) and convolution.padding == (0, 0) and convolution.groups == 1


def _take_in_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    readers = list(node.users)
    relu = len(readers) == 1 and _is_relu(module, readers[0])
    if relu:
        readers[0].replace_all_uses_with(node)
        module.graph.erase_node(readers[0])
    return relu


def _merge(module: fx.GraphModule, nodes: list[fx.Node], *, relu: bool) -> None:
    parts = [cast(nn.Conv2d, _called(module, node)) for node in nodes]
    if len(parts) == 1:
        _call(module, nodes[0], PackedConvolution(parts[0], activation="relu" if relu else "none"))
        return
    with module.graph.inserting_before(nodes[0]):
        whole = module.graph.node_copy(nodes[0], lambda node: node)
        _call(module, whole, PackedConvolution(_side_by_side(parts), activation="relu" if relu else "none"))
        split = module.graph.call_function(torch.split, (whole, [part.out_channels for part in parts], 1))
        for index, node in enumerate(nodes):
            node.replace_all_uses_with(module.graph.call_function(operator.getitem, (split, index)))
    for node in nodes:
        module.graph.erase_node(node)


def _side_by_side(parts: list[nn.Conv2d]) -> nn.Conv2d:
    """Join 1x1 convolutions of one input along their outputs."""
    weight = torch.cat([part.weight for part in parts])
    biases = [part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts]
    with torch.device("meta"):
        whole = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    whole.weight = nn.Parameter(weight, requires_grad=False)
    whole.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    return whole


def _call(module: fx.GraphModule, node: fx.Node, called: nn.Module) -> None:
    node.target = f"packed_{node.name}"
    module.add_submodule(node.target, called)


def _is_relu(module: fx.GraphModule, node: fx.Node) -> bool:
    return node.target in (F.relu, torch.relu) or isinstance(_called(module, node), nn.ReLU)


def _called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None
