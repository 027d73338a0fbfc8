import warnings
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from dream_core.errors import Notice
from dream_core.models.registry import (
    MODELS,
    caffe_googlenet_keys,
    caffe_squeezenet_keys,
    caffe_vgg_keys,
    resolve_model,
    without_auxiliary,
)
from dream_core.models.truncate import layer_nodes
from dream_core.settings import ModelName, ModelSettings


def named(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(float(i)) for i, name in enumerate(names)}


def test_every_name_in_the_settings_has_a_network() -> None:
    assert list(MODELS) == list(get_args(ModelName))
    assert all(spec.name == name for name, spec in MODELS.items())


@pytest.mark.parametrize("name", MODELS)
def test_default_layer_classifier_and_aliases_exist(name: str) -> None:
    spec = MODELS[name]
    with torch.device("meta"):
        network = spec.build()
    nodes = layer_nodes(network)
    own = [spec.aliases.get(layer, layer) for layer in (spec.layer, spec.classifier)]
    assert not {*own, *spec.aliases.values()} - set(nodes)
    assert all("." not in alias for alias in spec.aliases)


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "squeezenet1_1", "googlenet"])
def test_aliases_say_what_kind_of_layer_they_mean(name: str) -> None:
    spec = MODELS[name]
    with torch.device("meta"):
        network = spec.build()
    kinds = {
        "conv": nn.Conv2d,
        "pool": (nn.MaxPool2d, nn.AdaptiveAvgPool2d),
        "relu": nn.ReLU,
        "fc": nn.Linear,
    }
    if name == "googlenet":  # there, a name means the convolution with its BatchNorm and ReLU
        assert network.get_submodule(spec.aliases["inception_4d_3x3_reduce"]).conv.weight.shape[:2] == (
            144,
            512,
        )
        assert network.get_submodule(spec.aliases["inception_5b_5x5"]).conv.weight.shape[:2] == (128, 48)
        return
    for alias, own in spec.aliases.items():
        for kind, cls in kinds.items():
            if alias.startswith(kind):
                assert isinstance(network.get_submodule(own), cls), alias


@pytest.mark.parametrize(
    ("name", "alias", "own"),
    [
        ("vgg16", "conv1_2", "features.2"),
        ("vgg16", "relu3_3", "features.15"),
        ("vgg16", "relu4_3", "features.22"),
        ("vgg16", "pool5", "features.30"),
        ("vgg19", "conv4_2", "features.21"),
        ("vgg19", "relu5_1", "features.29"),
        ("vgg19", "pool4", "features.27"),
        ("vgg19", "fc7", "classifier.3"),
        ("squeezenet1_1", "fire9", "features.12"),
    ],
)
def test_aliases_known_from_elsewhere(name: str, alias: str, own: str) -> None:
    assert MODELS[name].aliases[alias] == own


def test_torchvisions_sources_carry_size_and_digest() -> None:
    source = MODELS["vgg16"].source
    assert source.filename == "vgg16-397923af.pth"
    assert source.url == "https://download.pytorch.org/models/vgg16-397923af.pth"
    assert source.digest == "sha256:397923af"
    assert source.mebibytes == pytest.approx(527.796)


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.source.url])
def test_every_download_can_be_checked(name: str) -> None:
    source = MODELS[name].source
    kind, digits = source.digest.split(":")
    assert len(digits) == {"sha256": 8, "git": 40}[kind]
    assert int(digits, 16)
    assert source.url.startswith("https://")
    assert source.url.endswith(source.filename)


def test_googlenet_keys() -> None:
    state = named("conv1_7x7_s2.weight", "loss1_conv.bias", "loss2_fc_1.weight", "loss3_classifier_1.bias")
    assert caffe_googlenet_keys(state) == {
        "conv1_7x7_s2.weight": state["conv1_7x7_s2.weight"],
        "loss3_classifier.bias": state["loss3_classifier_1.bias"],
    }


def test_torchvision_keys_lose_their_auxiliary_classifiers() -> None:
    state = named("fc.bias", "aux1.conv.conv.weight", "aux2.fc2.bias", "AuxLogits.fc.weight")
    assert without_auxiliary(state) == {"fc.bias": state["fc.bias"]}


def test_vgg_keys_of_both_numberings() -> None:
    names = ("features.0.weight", "classifier.1.weight", "classifier.4.bias", "classifier.6.bias")
    renamed = ["features.0.weight", "classifier.0.weight", "classifier.3.bias", "classifier.6.bias"]
    assert list(caffe_vgg_keys(named(*names))) == renamed
    assert list(caffe_vgg_keys(named(*renamed))) == renamed


def test_squeezenet_keys_of_both_kinds() -> None:
    names = ("conv1.weight", "fire2.squeeze1x1.bias", "fire9/expand3x3.weight", "conv10.bias")
    renamed = [
        "features.0.weight",
        "features.3.squeeze.bias",
        "features.12.expand3x3.weight",
        "classifier.1.bias",
    ]
    assert list(caffe_squeezenet_keys(named(*names))) == renamed
    assert list(caffe_squeezenet_keys(named(*renamed))) == renamed


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPDREAM_MODELS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.usefixtures("no_weights")
def test_auto_is_the_installed_network_where_no_others_are_found() -> None:
    with pytest.warns(Notice, match="^dreaming with efficientnet_lite0; `model` bvlc_googlenet downloads "):
        assert resolve_model(ModelSettings()) == "efficientnet_lite0"


@pytest.mark.usefixtures("no_weights")
def test_auto_is_googlenet_where_its_weights_are_found(tmp_path: Path) -> None:
    (tmp_path / "bvlc_googlenet.pth").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_model(ModelSettings()) == "bvlc_googlenet"
        assert resolve_model(ModelSettings(model_file=tmp_path / "other.pth")) == "bvlc_googlenet"


@pytest.mark.usefixtures("no_weights")
def test_a_named_network_is_not_replaced() -> None:
    assert resolve_model(ModelSettings(model="vgg16")) == "vgg16"
