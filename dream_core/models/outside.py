"""Networks that this package has no code for: those of timm and of torchvision, by name.

Their weights come by those libraries' own downloads, or from a file of one's own, of tensors alone. A file that may
hold code is never loaded: a pickled module, a TorchScript or a torch.export archive, which PyTorch unpickles.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torchvision
from torch import nn
from torchvision.models import WeightsEnum

from ..errors import SettingsError, WeightsError
from ..settings import OUTSIDE, ModelSettings
from .hooked import look_at
from .preprocessing import IMAGENET, Preprocessing
from .registry import ModelSpec
from .weights import (
    Progress,
    State,
    WeightSource,
    find,
    install_command,
    load_strictly,
    locate,
    quiet_hub,
    read_state_dict,
    torchvision_source,
)

FLEXIBLE: Sequence[Mapping[str, Any]] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""What timm's networks are asked for, in turn: to resize their embeddings of positions; to take other sizes."""


class Outside(NamedTuple):
    """A network with its description.

    Args:
        network: in evaluation mode, on the CPU.
        spec: its description.
    """

    network: nn.Module
    spec: ModelSpec


def is_outside(name: str) -> bool:
    """Return whether a name is that of a network from elsewhere: timm:NAME or torchvision:NAME."""
    return name.startswith(OUTSIDE)


def load_outside(
    settings: ModelSettings, *, with_weights: bool = True, progress: Progress | None = None
) -> Outside:
    """Build a network of timm or torchvision, and find or download its weights.

    Args:
        settings: the network, its weight file and the folders to search for one.
        with_weights: False leaves it with random weights, to list its layers.
        progress: called during a download of torchvision's.

    Raises:
        SettingsError: there is no such network, its library is missing, or it has no layer to dream on.
        WeightsError: the weights are missing or wrong.
    """
    library, _, name = settings.model.partition(":")
    build = _timm if library == "timm" else _torchvision
    network, spec = build(name, settings, with_weights, progress)
    network.eval().requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about shapes that are traced
        look = look_at(
            copy.deepcopy(network).to("meta"), spec.size, prefix=getattr(network, "num_prefix_tokens", None)
        )
    # A dataclass that is frozen: the layer is known only now.
    return Outside(network, ModelSpec(**{**vars(spec), "look": look, "layer": look.layer}))


def outside_source(name: str) -> WeightSource | None:
    """Return where the weights of a network from elsewhere are; None where timm itself finds them.

    Raises:
        SettingsError: torchvision has no such network.
    """
    library, _, own = name.partition(":")
    return torchvision_source(_torchvision_weights(own)) if library == "torchvision" else None


def _torchvision_weights(name: str) -> WeightsEnum:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise SettingsError(_unknown("torchvision", name, known))
    weights: WeightsEnum = torchvision.models.get_model_weights(name).DEFAULT
    return weights


def _own_file(settings: ModelSettings, name: str) -> Path | None:
    """Return the weight file that is given, or one named like the network in a model folder."""
    if settings.model_file is not None:
        return locate(WeightSource(f"{name}.safetensors"), name=name, file=settings.model_file)
    return find(WeightSource(f"{name}.safetensors"), name=name, folders=settings.model_dirs)


def _load(build: Callable[..., nn.Module], file: Path, classifier: str, shown: str) -> nn.Module:
    """Build a network with as many classes as a weight file has, and load it."""
    advice = f"it was read as the weights of `model` {shown}"
    state: State = read_state_dict(file, advice=advice)
    scores = state.get(f"{classifier}.weight")
    network = build(**({} if scores is None else {"num_classes": len(scores)}))
    load_strictly(network, state, path=file, advice=advice)
    return network


def _timm(
    name: str, settings: ModelSettings, with_weights: bool, progress: Progress | None
) -> tuple[nn.Module, ModelSpec]:
    timm = _import_timm()
    if not timm.is_model(name):
        raise SettingsError(_unknown("timm", name, timm.list_models()))

    def build(**options: Any) -> nn.Module:
        for flexible in FLEXIBLE:
            with suppress(TypeError):
                network: nn.Module = timm.create_model(name, **options, **flexible)
                return network
        raise SettingsError(f"timm cannot build {name}")

    shown = f"timm:{name}"
    file = _own_file(settings, name) if with_weights else None
    bare = build(pretrained=False) if file or not with_weights else None
    if file and bare is not None:
        network = _load(build, file, _classifier(bare), shown)
    elif bare is not None:
        network = bare
    else:
        try:
            with quiet_hub():
                network = build(pretrained=True)
        except Exception as error:  # whatever the download raises: of the network, of the hub, of files
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise WeightsError(
                f"timm could not get the weights of {name} ({reason}): connect to the internet for the first run, "
                "choose a network that has weights, or give a file (`model_file`)"
            ) from error
    config: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    spec = _spec(
        shown,
        Preprocessing(
            mean=tuple(config.get("mean", IMAGENET.mean)), std=tuple(config.get("std", IMAGENET.std))
        ),
        classes=_classes(network),
        classifier=_classifier(network),
        size=int((config.get("input_size") or (3, 224, 224))[1]),
    )
    return network, spec


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise SettingsError(
            f"expected the package timm for a `model` timm:NAME, got none; install it: {install_command('timm')}"
        ) from error
    return timm


def _torchvision(
    name: str, settings: ModelSettings, with_weights: bool, progress: Progress | None
) -> tuple[nn.Module, ModelSpec]:
    weights = _torchvision_weights(name)

    def build(**options: Any) -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of how googlenet will begin
            network: nn.Module = torchvision.models.get_model(name, weights=None, **options)
        return network

    shown, transforms = f"torchvision:{name}", weights.transforms()
    network = build()
    if with_weights:
        file = _own_file(settings, name) or locate(
            torchvision_source(weights), name=name, folders=settings.model_dirs, progress=progress
        )
        network = _load(build, file, _classifier(network), shown)
    return network, _spec(
        shown,
        Preprocessing(mean=tuple(transforms.mean), std=tuple(transforms.std)),
        classes=_classes(network),
        classifier=_classifier(network),
        size=int(transforms.crop_size[0]),
    )


def _spec(name: str, preprocessing: Preprocessing, *, classes: int, classifier: str, size: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=nn.Identity,
        preprocessing=preprocessing,
        layer="",
        source=WeightSource(name),
        classes=classes,
        classifier=classifier,
        size=size,
        bfloat16_on_cpu=False,
    )


def _classifier(network: nn.Module) -> str:
    """Name of the layer of class scores: what timm says, else the last linear one."""
    named = (getattr(network, "pretrained_cfg", None) or {}).get("classifier")
    if named:
        return named if isinstance(named, str) else str(named[0])
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else ""


def _classes(network: nn.Module) -> int:
    """Number of class scores; 0 if unknown."""
    layer = dict(network.named_modules()).get(_classifier(network))
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else 0


def _unknown(library: str, name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=3)
    hint = f"; close: {', '.join(close)}" if close else ""
    return f"expected a network of {library} that sorts images into classes, got '{name}'{hint}"
