"""Convolutions of a truncated network on the CPU, faster: with weights in the order of oneDNN, and with their ReLU.

The weights of a dream never change, but `F.conv2d` brings them into oneDNN's order in every call. Here that happens
once, the ReLU is computed in the same pass, and its gradient needs only the activation. The results are the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

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


class _Packed:
    """A convolution by oneDNN whose weights do not change.

    oneDNN chooses the order of the weights by the size of the input. Each order is kept once.
    """

    def __init__(
        self,
        padding: Sequence[int],
        *,
        stride: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        relu: bool = False,
    ) -> None:
        self._geometry = padding, stride, dilation, groups
        self._activation = "relu" if relu else "none"
        self._by_shape: dict[torch.Size, Tensor] = {}
        self._by_order: dict[bytes, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Packed weights cannot be copied.
        return {**self.__dict__, "_by_shape": {}, "_by_order": {}}

    def __call__(self, x: Tensor, weight: Callable[[], Tensor], bias: Tensor | None) -> Tensor:
        if x.shape not in self._by_shape:
            packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(
                weight().to_mkldnn(), *self._geometry, x.shape
            )
            order = bytes(torch.ops.mkldnn._get_mkldnn_serialized_md(packed).tolist())
            self._by_shape[x.shape] = self._by_order.setdefault(order, packed)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x.contiguous(memory_format=torch.channels_last),
            self._by_shape[x.shape],
            bias,
            *self._geometry,
            self._activation,
            [],
            "",
        )
        return result


class PackedConvolution(nn.Module):
    """A convolution whose weights do not change, and the ReLU after it.

    Args:
        convolution: padded with zeros, by numbers of pixels.
        relu: whether a ReLU follows.
    """

    def __init__(self, convolution: nn.Conv2d, *, relu: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.relu = relu
        padding = cast(tuple[int, ...], convolution.padding)
        sides = zip(convolution.kernel_size, convolution.dilation, padding, strict=True)
        # The gradient of a convolution with stride 1 is one with the transposed kernel, padded to the same size.
        transposed = [(size - 1) * dilation - pad for size, dilation, pad in sides]
        geometry: dict[str, Any] = {
            "stride": convolution.stride,
            "dilation": convolution.dilation,
            "groups": convolution.groups,
        }
        self._forward = _Packed(padding, **geometry, relu=relu)
        simple = set(convolution.stride) == {1} and min(transposed) >= 0
        self._backward = _Packed(transposed, **geometry) if simple else None

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,D,h,w)."""
        if can_pack(x):
            return cast(Tensor, _PackedConvolution.apply(x, self))
        result: Tensor = self.convolution(x)
        return F.relu(result) if self.relu else result

    def convolve(self, x: Tensor) -> Tensor:
        """Compute the result without autograd."""
        return self._forward(x, lambda: self.convolution.weight, self.convolution.bias)

    @property
    def needs_input(self) -> bool:
        """True if the gradient needs the input."""
        return self._backward is None

    def gradient(self, gradient: Tensor, x: Tensor | None) -> Tensor:
        """Gradient of the input `x` from the one before the ReLU."""
        if self._backward is not None:
            return self._backward(gradient, self._transposed, None)
        own = self.convolution
        geometry = own.stride, own.padding, own.dilation, False, [0, 0], own.groups
        # The gradient of the input, without those of the weight and the bias.
        wanted = [True, False, False]
        results = torch.ops.aten.convolution_backward(gradient, x, own.weight, None, *geometry, wanted)
        return cast(Tensor, results[0])

    def _transposed(self) -> Tensor:
        # Within each group (G*d,c,k,k) -> (G*c,d,k,k), with every kernel turned around.
        weight: Tensor = self.convolution.weight
        groups: Tensor = weight.unflatten(0, (self.convolution.groups, -1))
        return groups.transpose(1, 2).flatten(0, 1).flip(2, 3)


class _PackedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: PackedConvolution) -> Tensor:
        result = packed.convolve(x)
        ctx.packed = packed
        ctx.save_for_backward(x if packed.needs_input else None, result if packed.relu else None)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, activation = ctx.saved_tensors
        gradient = gradients[0]
        if activation is not None:
            gradient = torch.ops.aten.threshold_backward(gradient, activation, 0)
        return ctx.packed.gradient(gradient, x), None


def pack(module: fx.GraphModule) -> None:
    """Replace the convolutions of a truncated network on the CPU.

    A ReLU that alone reads a convolution joins it. 1x1 convolutions of one input become one convolution.
    """
    alike: dict[tuple[fx.Node, bool], list[fx.Node]] = {}
    for node in module.graph.nodes:
        convolution = _convolution(module, node)
        if convolution is None:
            continue
        relu = _take_in_relu(module, node)
        if convolution.kernel_size == (1, 1) and _is_plain(convolution):
            alike.setdefault((node.args[0], relu), []).append(node)
        else:
            _call(module, node, PackedConvolution(convolution, relu=relu))
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
        _call(module, nodes[0], PackedConvolution(parts[0], relu=relu))
        return
    with module.graph.inserting_before(nodes[0]):
        whole = module.graph.node_copy(nodes[0], lambda node: node)
        _call(module, whole, PackedConvolution(_side_by_side(parts), relu=relu))
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
