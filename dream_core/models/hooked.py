"""Layers of any network, by hooks: for networks that tracing does not follow, such as transformers.

A network is looked at once, on the meta device: which of its modules return activations, in which layout, and which
sizes of images it takes. Its extractors return maps (B,C,h,w), whatever the layout: tokens (B,N,C) are put where
they come from, and channels that come last are moved. An image is padded to the multiple of pixels that a network
wants; one that takes a single size sees crops of it, whose maps are put beside each other.
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import SettingsError
from ..image import Size
from .truncate import Pooling, average_pool

Kind = Literal["map", "last", "tokens", "channel_tokens", "vector"]

BATCH = 2
"""Images in the look at a network: outputs with another first dimension are no activations."""

MULTIPLES = (1, 2, 4, 8, 14, 16, 28, 32, 64, 128)
"""Multiples of pixels that the sides of an image may have to be."""

PREFIXES = (0, 1, 2, 5, 4)
"""Numbers of tokens that stand for no place: those of classes, of distillation, registers."""


@dataclass(frozen=True)
class Form:
    """Layout of a layer's activations.

    Args:
        kind: map is (B,C,h,w), last (B,h,w,C), tokens (B,N,C), channel_tokens (B,C,N), vector (B,C).
        channels: number of channels.
        side: length of the sides of its map, in a square image of the network's own size; 1 for a vector.
        prefix: number of tokens before those of places.
        calls: number of times that the module is called; the last counts.
    """

    kind: Kind
    channels: int
    side: int
    prefix: int = 0
    calls: int = 1


@dataclass(frozen=True)
class Look:
    """What a look at a network found.

    Args:
        size: side of the images that it was made for.
        multiple: sides of images are multiples of it; 0 if they must be `size`.
        forms: of all layers, in order of depth.
        folds: pairs of a convolution and the BatchNorm that alone reads it.
        twins: names of modules with the same output as a convolution of `folds`.
    """

    size: int
    multiple: int
    forms: dict[str, Form]
    folds: tuple[tuple[str, str], ...] = ()
    twins: dict[str, frozenset[str]] | None = None

    @property
    def layer(self) -> str:
        """The layer to dream on by default: two thirds into the blocks whose places are 16 pixels apart."""
        maps = {name: form for name, form in self.forms.items() if form.side > 1}
        if not maps:
            raise SettingsError(
                "expected a network with a layer of maps, got none; a dream needs one that looks at places"
            )
        away = {name: abs(math.log2(self.size / form.side) - 4) for name, form in maps.items()}
        near = [name for name in maps if away[name] < min(away.values()) + 0.1]
        # Blocks are numbered and have parts. Single layers, such as a shortcut, may see few pixels.
        parents = {name.rpartition(".")[0] for name in self.forms}
        blocks = [name for name in near if name in parents and re.search(r"\d$", name)]
        fewest = min((name.count(".") for name in blocks), default=0)
        blocks = [name for name in blocks if name.count(".") == fewest]
        chosen = blocks or near
        return chosen[round(0.67 * (len(chosen) - 1))]


def look_at(network: nn.Module, size: int, *, prefix: int | None = None) -> Look:
    """Find the layers of a network in evaluation mode, and the sizes of images that it takes.

    Args:
        network: on the meta device, where it computes shapes alone, or on the CPU.
        size: side of the images that it was made for.
        prefix: number of tokens that stand for no place, if known.

    Raises:
        SettingsError: the network does not take images of this size.
    """
    watched = _Watched(network)
    try:
        watched.run(size)
    except Exception as error:  # whatever a network raises
        reason = str(error).partition("\n")[0]
        raise SettingsError(
            f"expected a network that takes images (B,3,{size},{size}), got {type(network).__name__}, which fails "
            f"({type(error).__name__}: {reason})"
        ) from error
    prefixes = PREFIXES if prefix is None else (prefix, *PREFIXES)
    forms = {
        name: form
        for name, output in watched.outputs.items()
        if (form := _form(output.shape, size, prefixes, watched.calls[name])) is not None
    }
    return Look(size, _multiple(network, size), _without_strangers(forms), *watched.folds())


def _without_strangers(forms: dict[str, Form]) -> dict[str, Form]:
    """Drop tokens whose number is that of no map, nor of one that was halved: they mix places."""
    sides = {form.side for form in forms.values() if form.kind in ("map", "last")}
    possible = {math.ceil(side / 2**halvings) for side in sides for halvings in range(8)}
    return {
        name: form
        for name, form in forms.items()
        if form.kind not in ("tokens", "channel_tokens") or form.side in possible or not sides
    }


def _form(shape: torch.Size, size: int, prefixes: Sequence[int], calls: int) -> Form | None:
    if not shape or shape[0] != BATCH or 0 in shape:
        return None
    if len(shape) == 2:
        return Form("vector", shape[1], 1, calls=calls)
    if len(shape) == 3:
        for kind, places, channels in (
            ("tokens", shape[1], shape[2]),
            ("channel_tokens", shape[2], shape[1]),
        ):
            for prefix in prefixes:
                side = math.isqrt(max(0, places - prefix))
                if side > 1 and side * side == places - prefix and side <= size:
                    return Form(kind, channels, side, prefix, calls)  # type: ignore[arg-type]
        return None
    if len(shape) != 4:
        return None
    if shape[1] == shape[2] != shape[3] and shape[1] <= size:
        return Form("last", shape[3], shape[1], calls=calls)
    if shape[2] == shape[3] <= size:
        return Form("map", shape[1], shape[2], calls=calls)
    return None


def _multiple(network: nn.Module, size: int) -> int:
    """Find the multiple of pixels that the sides of an image must be; 0 if they must be `size`."""
    for multiple in MULTIPLES:
        trials = ((size, size + 64), (size + 1, size + 3), (size + 100, size + 30), (size // 2 + 5, size))
        if all(
            _runs(network, *(math.ceil(side / multiple) * multiple for side in sides)) for sides in trials
        ):
            return multiple
    return 0


def _runs(network: nn.Module, height: int, width: int) -> bool:
    try:
        with torch.no_grad():
            network(torch.empty(1, 3, height, width, device=_device(network)))
    except Exception:  # whatever a network raises
        return False
    return True


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


class _Watched(TorchFunctionMode):
    """Runs a network once and notes what its modules return, and which functions read its convolutions."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.outputs: OrderedDict[str, Tensor] = OrderedDict()
        self.calls: Counter[str] = Counter()
        self._convolutions: dict[int, str] = {}
        self._normalized: dict[str, str] = {}
        self._reads: Counter[str] = Counter()

    def run(self, size: int) -> None:
        with ExitStack() as hooks:
            for name, module in self.network.named_modules():
                if name:
                    handle = module.register_forward_hook(self._after(name))
                    hooks.callback(handle.remove)
                if isinstance(module, nn.BatchNorm2d):
                    handle = module.register_forward_pre_hook(self._before(name))
                    hooks.callback(handle.remove)
            with torch.no_grad(), self:
                self.network(torch.empty(BATCH, 3, size, size, device=_device(self.network)))

    def _after(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.calls[name] += 1
                self.outputs[name] = output
                self.outputs.move_to_end(name)
                # Other classes may change their weights before they convolve.
                if type(module) is nn.Conv2d:
                    self._convolutions[id(output)] = name

        return note

    def _before(self, name: str) -> Callable[..., None]:
        def note(_: nn.Module, inputs: Any) -> None:
            if inputs and id(inputs[0]) in self._convolutions:
                self._normalized[self._convolutions[id(inputs[0])]] = name

        return note

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            for given in (*args, *(kwargs or {}).values()):
                if isinstance(given, Tensor) and id(given) in self._convolutions:
                    self._reads[self._convolutions[id(given)]] += 1
        return result

    def folds(self) -> tuple[tuple[tuple[str, str], ...], dict[str, frozenset[str]]]:
        """Pairs of a convolution and its BatchNorm, and the modules with the output of the convolution."""
        pairs = tuple(
            (convolution, norm)
            for convolution, norm in self._normalized.items()
            if self._reads[convolution] == self.calls[convolution] == self.calls[norm] == 1
        )
        twins = {
            convolution: frozenset(
                name for name, output in self.outputs.items() if output is self.outputs[convolution]
            )
            for convolution, _ in pairs
        }
        return pairs, twins


class _Finished(Exception):  # noqa: N818, it is no error
    """Raised in a network when all that was wanted is there."""


class HookedExtractor(nn.Module):
    """The part of a network up to the deepest of some layers; from an image to a dict of maps.

    BatchNorm is folded into the convolution before it, unless that convolution is wanted. What is wanted is not
    computed in place.

    Args:
        network: in evaluation mode; it is not changed, and shares its weights.
        look: what `look_at` found.
        names: of layers.
        pooling: "avg" replaces each maximum by an average over the same window.
    """

    def __init__(
        self, network: nn.Module, look: Look, names: Sequence[str], *, pooling: Pooling = "max"
    ) -> None:
        super().__init__()
        memo: dict[int, Any] = {id(one): one for one in (*network.parameters(), *network.buffers())}
        self.network = copy.deepcopy(network, memo)
        self.look = look
        self.names = tuple(names)
        for convolution, norm in look.folds:
            if not (look.twins or {})[convolution] & set(names):
                self._fold(convolution, norm)
        for name, module in list(self.network.named_modules()):
            if getattr(module, "inplace", False) is True:
                module.inplace = False
            if pooling == "avg" and isinstance(module, nn.MaxPool2d):
                self._replace(name, average_pool(module))

    def _replace(self, name: str, module: nn.Module) -> None:
        parent, _, own = name.rpartition(".")
        setattr(self.network.get_submodule(parent), own, module)

    def _fold(self, convolution: str, norm: str) -> None:
        first, second = self.network.get_submodule(convolution), self.network.get_submodule(norm)
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.BatchNorm2d)
        if second.running_var is None:
            return
        with torch.no_grad():
            self._replace(convolution, fuse_conv_bn_eval(first, second).requires_grad_(False))
        # timm's norms bring their activation.
        self._replace(norm, nn.Sequential(OrderedDict(second.named_children())))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Compute maps (B,C,h,w) by name of the layer; vectors stay (B,C)."""
        size, multiple = (int(image.shape[-2]), int(image.shape[-1])), self.look.multiple
        if multiple == 0:
            return self._of_crops(image)
        down, right = (-side % multiple for side in size)
        return self._maps(F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image)

    def _of_crops(self, image: Tensor) -> dict[str, Tensor]:
        side = self.look.size
        rows, columns = (_starts(int(length), side) for length in image.shape[-2:])
        crops = [image[..., row : row + side, column : column + side] for row in rows for column in columns]
        maps = self._maps(torch.cat(crops))
        joined = {}
        for name, found in maps.items():
            parts = found.unflatten(0, (len(rows), len(columns), len(image)))
            if found.ndim == 2:
                joined[name] = parts.mean((0, 1))
            else:  # (rows,columns,B,C,h,w)
                joined[name] = parts.permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)
        return joined

    def _maps(self, image: Tensor) -> dict[str, Tensor]:
        found = self._run(image)
        return {
            name: as_map(activation, self.look.forms[name], image, self.look.size)
            for name, activation in found.items()
        }

    def _run(self, image: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        left = {name: self.look.forms[name].calls for name in self.names}

        def hook(name: str) -> Callable[..., Tensor | None]:
            def note(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
                left[name] -= 1
                if left[name] == 0:
                    found[name] = output
                    if len(found) == len(left):
                        raise _Finished
                    return output.clone()  # the network may change it
                return None

            return note

        with ExitStack() as hooks:
            for name in self.names:
                handle = self.network.get_submodule(name).register_forward_hook(hook(name))
                hooks.callback(handle.remove)
            try:
                self.network(image)
            except _Finished:
                return found
        missing = ", ".join(name for name in self.names if name not in found)
        raise RuntimeError(f"the network did not compute {missing} for an image of {tuple(image.shape)}")


def as_map(activation: Tensor, form: Form, image: Tensor, size: int) -> Tensor:
    """Convert an activation of a network to (B,C,h,w); vectors stay (B,C).

    Args:
        activation: of any layout.
        form: its layout.
        image: what the network saw.
        size: side of the image for which `form.side` holds.
    """
    if form.kind == "last":
        return activation.permute(0, 3, 1, 2)
    if form.kind in ("map", "vector"):
        return activation
    tokens = activation.transpose(1, 2) if form.kind == "tokens" else activation
    places = tokens[..., form.prefix :]
    height, width = _grid(places.shape[-1], (int(image.shape[-2]), int(image.shape[-1])), form.side / size)
    return places.reshape(*places.shape[:2], height, width)


def _grid(places: int, size: Size, density: float) -> Size:
    """Height and width of a number of places: as dense as in the square image, else in the image's proportions."""
    height, width = (max(1, round(side * density)) for side in size)
    if height * width == places:
        return height, width
    wanted = math.sqrt(places * size[0] / size[1])
    heights = [one for one in range(1, places + 1) if places % one == 0]
    height = min(heights, key=lambda one: abs(math.log(one / wanted)))
    return height, places // height


def _starts(length: int, side: int) -> list[int]:
    """First pixels of crops that cover a length, evenly spread."""
    count = max(1, math.ceil(length / side))
    return [round(index * (length - side) / max(1, count - 1)) for index in range(count)]


def count_values(network: nn.Module, image: Tensor) -> int:
    """Count the values that a network computes for an image."""
    with _ValueCounter() as counter, torch.no_grad():
        network(image)
    values: int = counter.values
    return image.numel() + values


class _ValueCounter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not func.is_view:
            self.values += result.numel()
        return result
