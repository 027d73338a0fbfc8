"""Truncate a network after the deepest layer to dream on, and remove what a dream does not need."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Literal, cast

import torch.nn.functional as F
from torch import fx, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import NodePathTracer, create_feature_extractor

Pooling = Literal["max", "avg"]

# Arguments of F.max_pool2d by their places, and those that F.avg_pool2d has too.
MAXIMUM_ARGUMENTS = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
AVERAGE_ARGUMENTS = ("input", "kernel_size", "stride", "padding", "ceil_mode")


def layer_nodes(network: nn.Module) -> dict[str, str]:
    """Every name of a layer, in order of depth, and the node that computes it.

    The names are those of torchvision's feature extraction. The name of a module that contains others, such as
    "layer3", stands for its last operation; torchvision's extractor would return each operation under one name
    only. Layers that do nothing (`nn.Identity`) are left out. A module without parts is one layer, whatever it
    computes.
    """
    tracer = NodePathTracer(**_tracing(network))
    tracer.trace(network)
    modules = dict(network.named_modules())
    nodes: dict[str, str] = {}
    for node, name in tracer.node_to_qualname.items():
        if node.op in {"placeholder", "get_attr", "output"} or isinstance(modules.get(name), nn.Identity):
            continue
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            prefix = ".".join(parts[:depth])
            nodes.pop(prefix, None)  # so that a module takes the place of its last operation
            nodes[prefix] = name
    return nodes


def _tracing(network: nn.Module) -> dict[str, list[type[nn.Module]]]:
    whole = {type(module) for module in network.modules() if not any(module.children())}
    return {"leaf_modules": [one for one in whole if not one.__module__.startswith("torch.nn")]}


def truncate(network: nn.Module, nodes: Iterable[str], *, pooling: Pooling = "max") -> fx.GraphModule:
    """Extract the part of a network that computes some nodes.

    BatchNorm is folded into the convolution before it, unless that convolution is one of the nodes. Nothing is
    computed in place, so that no later layer changes an activation.

    Args:
        network: in evaluation mode; it is not changed, and shares its weights with the result.
        nodes: names of nodes, from the values of `layer_nodes`.
        pooling: "avg" replaces each maximum by an average over the same window.

    Returns:
        A module from the network's input to a dict from node to activation.
    """
    extractor = create_feature_extractor(
        network, list(nodes), tracer_kwargs=_tracing(network), suppress_diff_warning=True
    ).eval()
    folded = cast(fx.GraphModule, fuse(extractor, inplace=True, no_trace=True))
    _compute_out_of_place(folded)
    if pooling == "avg":
        _average_instead(folded)
    folded.graph.lint()
    folded.recompile()
    return folded.eval()


def _compute_out_of_place(module: fx.GraphModule) -> None:
    for node in module.graph.nodes:
        if node.target is operator.iadd:
            node.target = operator.add
        if node.kwargs.get("inplace"):
            node.update_kwarg("inplace", False)
        called = _called(module, node)
        if isinstance(called, nn.ReLU) and called.inplace:
            _replace(module, node, nn.ReLU())


def _called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _replace(module: fx.GraphModule, node: fx.Node, new: nn.Module) -> None:
    parent, _, name = str(node.target).rpartition(".")
    setattr(module.get_submodule(parent), name, new)


def _average_instead(module: fx.GraphModule) -> None:
    for node in module.graph.nodes:
        called = _called(module, node)
        if isinstance(called, nn.MaxPool2d):
            _replace(module, node, average_pool(called))
        elif node.op == "call_function" and node.target is F.max_pool2d:
            # torch.fx names them too, but PyTorch 2.5's leaves out `input` and `kernel_size` here.
            arguments = {**dict(zip(MAXIMUM_ARGUMENTS, node.args, strict=False)), **node.kwargs}
            kept = {name: arguments[name] for name in AVERAGE_ARGUMENTS if name in arguments}
            node.args, node.kwargs = (), {**kept, "count_include_pad": False}
            node.target = F.avg_pool2d


def average_pool(pool: nn.MaxPool2d) -> nn.AvgPool2d:
    """Make an average over the windows of a maximum."""
    # The average excludes the padding, which would let borders fade to black.
    return nn.AvgPool2d(
        pool.kernel_size, pool.stride, pool.padding, ceil_mode=pool.ceil_mode, count_include_pad=False
    )
