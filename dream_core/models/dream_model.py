"""The network to dream with: from an image to the activations of its layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torchvision.transforms.v2 import functional as transforms

from ..checks import require_valid
from ..device import layout
from ..errors import SettingsError, WeightsError
from ..image import Size, require_image
from ..settings import ModelSettings
from .hooked import HookedExtractor, count_values
from .labels import imagenet_labels, read_labels
from .outside import is_outside, load_outside
from .packed import pack
from .preprocessing import Preprocessing
from .registry import MODELS, ModelSpec, resolve_model
from .truncate import Pooling, layer_nodes, truncate
from .weights import Progress, State, advice_for, load_strictly, locate, read_state_dict


class DreamModel(nn.Module):
    """A network with its preprocessing, truncated after the deepest of the layers asked for.

    The whole network stays in float32; each truncated network is made from it once and computes in `dtype`.

    Args:
        network: the whole network with its weights.
        spec: its description.
        preprocessing: replaces the preprocessing of `spec`.
        pooling: "avg" replaces each maximum by an average over the same window.
        dtype: type of the arithmetic and of the activations.
        exact: whether float32 is float32 on NVIDIA's GPUs too, not TF32; dreams switch it.
        labels: one name per class, or None if unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        *,
        preprocessing: Preprocessing | None = None,
        pooling: Pooling = "max",
        dtype: torch.dtype = torch.float32,
        exact: bool = False,
        labels: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.spec = spec
        self.preprocessing = preprocessing or spec.preprocessing
        self.pooling: Pooling = pooling
        self.dtype = dtype
        self.exact = exact
        self.labels = tuple(labels) if labels is not None else None
        self._look = spec.look
        self._nodes = layer_nodes(network) if spec.look is None else {name: name for name in spec.look.forms}
        self._extractors: dict[tuple[str, ...], nn.Module] = {}
        self._seen: list[tuple[dict[str, Any], str, Tensor, torch.device]] = []
        self._smallest_sides: dict[tuple[str, ...], int] = {}
        self._truncated_skeletons: dict[tuple[str, ...], nn.Module] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DreamModel:
        # `.to(device)` calls this; extractors in another dtype hold their own weights on the old device.
        self._extractors.clear()
        self._seen.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    @property
    def default_layer(self) -> str:
        """Layer to dream on unless another is named."""
        return self.spec.layer

    def is_classifier(self, layer: str) -> bool:
        """Return whether a layer is that of the class scores.

        Raises:
            SettingsError: the layer does not exist.
        """
        classifier = self.spec.classifier
        return self._node(layer) == self._nodes.get(self.spec.aliases.get(classifier, classifier))

    def layers(self) -> dict[str, int]:
        """Number of channels of each layer, in order of depth.

        A layer is listed under its well-known name if it has one, such as VGG's conv4_3 for "features.21"; every
        method also accepts the network's own name.
        """
        names: dict[str, list[str]] = {}
        for alias, own in self.spec.aliases.items():
            if own in self._nodes:
                names.setdefault(self._nodes[own], []).append(alias)
        modules = dict(self.network.named_modules())
        for name, node in self._nodes.items():
            if name in modules and not any(known in self.spec.aliases for known in names.get(node, [])):
                names.setdefault(node, []).append(name)
        channels = self._channels
        return {
            name: channels[node]
            for node in dict.fromkeys(self._nodes.values())
            if node in channels
            for name in names.get(node, [])
        }

    def channels(self, layer: str) -> int:
        """Number of channels of one layer.

        Raises:
            SettingsError: the layer does not exist.
        """
        return self._channels[self._node(layer)]

    @cached_property
    def _channels(self) -> dict[str, int]:
        if self._look is not None:
            return {name: form.channels for name, form in self._look.forms.items()}
        nodes = dict.fromkeys(self._nodes.values())
        size = self.spec.size
        activations = truncate(self._skeleton, nodes)(torch.empty(1, 3, size, size, device="meta"))
        return {node: activations[node].shape[1] for node in nodes if _is_activation(activations[node])}

    @cached_property
    def _skeleton(self) -> nn.Module:
        """Copy of the network on the meta device, which computes shapes without values."""
        empty: dict[int, Tensor] = {id(buffer): buffer.to("meta") for buffer in self.network.buffers()}
        empty |= {
            id(parameter): nn.Parameter(parameter.to("meta"), requires_grad=False)
            for parameter in self.network.parameters()
        }
        return copy.deepcopy(self.network, empty)  # deepcopy takes replacements from its memo

    def _truncated_skeleton(self, nodes: tuple[str, ...]) -> nn.Module:
        if nodes not in self._truncated_skeletons:
            self._truncated_skeletons[nodes] = self._truncate(self._skeleton, nodes)
        return self._truncated_skeletons[nodes]

    def _truncate(self, network: nn.Module, nodes: tuple[str, ...], pooling: Pooling = "max") -> nn.Module:
        if self._look is None:
            return truncate(network, nodes, pooling=pooling)
        return HookedExtractor(network, self._look, nodes, pooling=pooling)

    def trace(self, layers: Sequence[str]) -> None:
        """Trace the network for these layers, once. Meanwhile no other thread may call a module of any network.

        Raises:
            SettingsError: a layer does not exist.
        """
        if layers:
            self._truncated_skeleton(self._sorted_nodes(layers))
            self.extractor(layers)

    def _node(self, layer: str) -> str:
        own = self.spec.aliases.get(layer, layer)
        own = own if own in self._nodes else self._spellings.get(_spelling(layer), layer)
        if own not in self._nodes:
            raise SettingsError(self._unknown(layer))
        return self._nodes[own]

    @cached_property
    def _spellings(self) -> dict[str, str]:
        own = {_spelling(name): name for name in reversed(self._nodes)}
        return own | {_spelling(alias): name for alias, name in self.spec.aliases.items()}

    def _unknown(self, layer: str) -> str:
        if self._look is None and layer in dict(self.network.named_modules()):
            return (
                f"the loaded weights of {self.spec.name} lack layer {layer}; `print_layers` lists the others"
            )
        close = get_close_matches(layer, [*self.spec.aliases, *self._nodes], n=4)
        hint = f"; close: {', '.join(close)}" if close else ""
        return f"{self.spec.name} has no layer {layer!r}{hint}; `print_layers` lists them"

    def extractor(self, layers: Sequence[str]) -> nn.Module:
        """Return the part of the network up to the deepest of some layers, kept until the weights change.

        Returns:
            A module from the preprocessed image, in `dtype`, to a dict of activations. Its keys are the names of
            nodes, which are the values of `layer_nodes`, not the names of the layers.

        Raises:
            SettingsError: a layer does not exist, or none is given.
        """
        nodes = self._sorted_nodes(layers)
        self._drop_stale_extractors()
        if nodes not in self._extractors:
            extractor = self._truncate(self.network, nodes, self.pooling)
            if self.dtype != torch.float32:
                extractor = copy.deepcopy(extractor).to(self.dtype)
            if self.device.type == "cpu" and isinstance(extractor, fx.GraphModule):
                pack(extractor)
            self._extractors[nodes] = extractor
        return self._extractors[nodes]

    def _drop_stale_extractors(self) -> None:
        """Drop the extractors if weights were moved or replaced, also module by module, without `_apply`.

        New weights are laid out for their device.
        """
        if self._seen and all(
            store[name] is weight and weight.device == device for store, name, weight, device in self._seen
        ):
            return
        self._extractors.clear()
        self.network.to(memory_format=layout(self.device))
        self._seen = [
            (store, name, weight, weight.device)
            for module in self.network.modules()
            for store in (module._parameters, module._buffers)
            for name, weight in store.items()
            if weight is not None
        ]

    def _sorted_nodes(self, layers: Sequence[str]) -> tuple[str, ...]:
        if not layers:
            raise SettingsError("expected at least one layer, got none")
        return tuple(sorted({self._node(layer) for layer in layers}))

    def activations(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Activations of some layers, each under the given name.

        The border of an image too small for the network is repeated until it is large enough.

        Args:
            image: (B,3,H,W), RGB in 0..1.
            layers: names of layers; `/`, `.` and `_` are the same in them.

        Returns:
            (B,C,h,w) each, in `dtype`; layers without a map, such as classifiers, have h = w = 1.

        Raises:
            SettingsError: a layer does not exist.
            ImageError: the image has another shape or is not floating-point.
        """
        require_image(image, values=False)
        x = self.preprocessing(_at_least(image, self.smallest_side(layers)))
        x = x.to(self.dtype, memory_format=layout(x.device))
        found = self.extractor(layers)(x)
        return {layer: _as_map(found[self._node(layer)]) for layer in layers}

    def smallest_side(self, layers: Sequence[str]) -> int:
        """Shortest side, in pixels, of an image from which all these layers can be computed; 1 without any.

        Raises:
            SettingsError: a layer does not exist.
        """
        if not layers:
            return 1
        nodes = self._sorted_nodes(layers)
        if self._look is not None and self._look.multiple == 0:
            return self._look.size
        if nodes not in self._smallest_sides:
            self._smallest_sides[nodes] = _smallest_side(self._truncated_skeleton(nodes), self.spec.size)
        return self._smallest_sides[nodes]

    def gradient_memory(self, size: Size, layers: Sequence[str]) -> int:
        """Estimate the bytes that a gradient takes besides weights, from the shapes of all activations.

        Twice the activations, an upper bound: measured peaks are 0.5 to 2 times the activations in float32.

        Args:
            size: of the image, height and width.
            layers: names of layers.

        Raises:
            SettingsError: a layer does not exist.
        """
        if not layers:
            return 0
        least = self.smallest_side(layers)
        height, width = (max(side, least) for side in size)
        skeleton, image = (
            self._truncated_skeleton(self._sorted_nodes(layers)),
            torch.empty(1, 3, height, width, device="meta"),
        )
        if isinstance(skeleton, fx.GraphModule):
            counter = _Counter(skeleton)
            counter.run(image)
            return 2 * counter.values * self.dtype.itemsize
        return 2 * count_values(skeleton, image) * self.dtype.itemsize

    def classify(self, image: Tensor, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes of an image, best first.

        The image's shortest side is scaled to the size the network was trained on, and the other cropped to it.

        Args:
            image: (1,3,H,W), RGB in 0..1.
            count: number of classes.

        Returns:
            (label, probability), or (index, probability) if the classes have no known names.

        Raises:
            WeightsError: the weight file has no classifier.
            ImageError: the image has another shape or is not floating-point.
        """
        require_image(image, batch=1, values=False)
        classifier = self.spec.classifier
        try:
            self._node(classifier)
        except SettingsError as error:
            raise WeightsError(
                f"{self.spec.name} cannot classify: its weight file has no {classifier}; "
                "take a file that has, or another `model`"
            ) from error
        with torch.no_grad():
            # On the CPU, because Apple's GPUs cannot resize so with an older PyTorch.
            middle = transforms.center_crop(
                transforms.resize(image.cpu(), [self.spec.size], antialias=True), [self.spec.size]
            )
            scores = self.activations(middle.to(image.device), [classifier])[classifier].flatten().float()
        best = scores.softmax(0).topk(min(count, scores.numel()))
        return [(self._label(int(i)), float(p)) for p, i in zip(best.values, best.indices, strict=True)]

    def _label(self, index: int) -> str:
        return self.labels[index] if self.labels and index < len(self.labels) else str(index)


class _Counter(fx.Interpreter):
    """Counts the values that the nodes of a graph compute."""

    values = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.values += result.numel()
        return result


def _spelling(name: str) -> str:
    return name.replace("/", "_").replace(".", "_").lower()


def _is_activation(value: Any) -> bool:
    """Return True for activations, tensors (B,C,h,w) or (B,C); False for sizes and other results."""
    return isinstance(value, Tensor) and value.ndim in (2, 4)


def _as_map(activation: Tensor) -> Tensor:
    return activation if activation.ndim == 4 else activation.flatten(1)[:, :, None, None]


def _at_least(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[-2:]
    down, right = max(side - height, 0), max(side - width, 0)
    if not (down or right):
        return image
    # (left, right, top, bottom)
    return F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")


def _smallest_side(skeleton: nn.Module, upper: int) -> int:
    """Find the smallest side by bisection; every larger side works too."""
    low, high = 1, upper
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _runs(skeleton, middle) else (middle + 1, high)
    return low


def _runs(skeleton: nn.Module, side: int) -> bool:
    try:
        activations: dict[str, Any] = skeleton(torch.empty(1, 3, side, side, device="meta"))
    except (RuntimeError, AssertionError, ValueError):  # a kernel or window is larger than its padded input
        return False
    return all(activation.numel() > 0 for activation in activations.values())


def load_model(
    settings: ModelSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    exact: bool = False,
    progress: Progress | None = None,
) -> DreamModel:
    """Build the settings' network (see `resolve_model`), find or download its weights, and load them.

    Args:
        settings: the network, its files and folders.
        device: where its weights go.
        dtype, exact: see `DreamModel`.
        progress: called during a download.

    Raises:
        SettingsError: the network or a model folder does not exist, or the label file cannot be read.
        WeightsError: the weights are missing or wrong.
    """
    name = resolve_model(settings)
    if is_outside(name):
        network, spec = load_outside(replace(settings, model=name), progress=progress)
        return _model(network, spec, settings, device=device, dtype=dtype, exact=exact)
    spec = MODELS[name]
    path = locate(
        spec.source,
        name=spec.name,
        file=settings.model_file,
        folders=settings.model_dirs,
        progress=progress,
    )
    advice = advice_for(spec.source, option="model", name=spec.name)
    with _Uninitialized():
        network = spec.build()
    state = spec.keys(read_state_dict(path, advice=advice))
    _drop_missing_classifier(network, state, spec)
    load_strictly(network, state, path=path, advice=advice)
    return _model(network, spec, settings, device=device, dtype=dtype, exact=exact)


def _model(
    network: nn.Module,
    spec: ModelSpec,
    settings: ModelSettings,
    *,
    device: torch.device,
    dtype: torch.dtype,
    exact: bool,
) -> DreamModel:
    model = DreamModel(
        network,
        spec,
        preprocessing=_preprocessing(settings, spec),
        pooling=settings.pooling,
        dtype=dtype,
        exact=exact,
        labels=_labels(settings, spec),
    )
    return model.to(device)


def outline(name: str) -> DreamModel:
    """Build a model without weights, which can list its layers and their channels but not compute.

    Raises:
        SettingsError: the network does not exist.
    """
    require_valid(ModelSettings, model=name)
    if is_outside(name):
        return DreamModel(*load_outside(ModelSettings(model=name), with_weights=False))
    with torch.device("meta"), _Uninitialized():
        return DreamModel(MODELS[name].build(), MODELS[name])


class _Uninitialized(TorchFunctionMode):
    """Skips the random initialization of new modules, which takes seconds for VGG and is overwritten by loading."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)


def _drop_missing_classifier(network: nn.Module, state: State, spec: ModelSpec) -> None:
    """Remove the classifier if the file has none, as some of ProGamerGov's GoogLeNets."""
    layer = spec.classifier
    if isinstance(getattr(network, layer, None), nn.Linear) and f"{layer}.weight" not in state:
        setattr(network, layer, nn.Identity())


def _preprocessing(settings: ModelSettings, spec: ModelSpec) -> Preprocessing:
    if settings.model_mean is None:
        return spec.preprocessing
    return replace(spec.preprocessing, mean=settings.model_mean)


def _labels(settings: ModelSettings, spec: ModelSpec) -> tuple[str, ...] | None:
    if settings.label_file is not None:
        return read_labels(settings.label_file)
    return imagenet_labels() if spec.imagenet else None
