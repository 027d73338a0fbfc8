import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision

from dream_core.errors import SettingsError, WeightsError
from dream_core.models.dream_model import load_model, outline
from dream_core.models.outside import outside_source
from dream_core.settings import ModelSettings

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


def test_a_network_of_torchvision_takes_weights_of_ones_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    resnet = torchvision.models.get_model("resnet18", weights=None, num_classes=7).eval()
    file = tmp_path / "resnet18.safetensors"
    safetensors.torch.save_file(resnet.state_dict(), file)
    model = load_model(ModelSettings(model="torchvision:resnet18", model_dirs=(tmp_path,)), **CPU)
    assert (model.default_layer, model.labels, model.spec.classes) == ("layer3", None, 7)
    image = torch.rand(1, 3, 64, 96)
    found = model.activations(image, ["layer3.1", "fc"])
    torch.testing.assert_close(found["fc"].flatten(1), resnet(model.preprocessing(image)))
    assert found["layer3.1"].shape == (1, 256, 4, 6)
    assert model.is_classifier("fc")

    safetensors.torch.save_file({"x": torch.ones(1)}, file)
    with pytest.raises(
        WeightsError, match=r"does not fit ResNet: .* weights of `model` torchvision:resnet18$"
    ):
        load_model(ModelSettings(model="torchvision:resnet18", model_file=file), **CPU)


def test_code_is_never_loaded(tmp_path: Path) -> None:
    file = tmp_path / "code.pth"
    torch.save(torch.nn.Linear(1, 1), file)
    with pytest.raises(WeightsError, match=r"it holds pickled objects, which could run code; save"):
        load_model(ModelSettings(model="torchvision:resnet18", model_file=file), **CPU)


def test_layers_are_listed_without_weights() -> None:
    model = outline("torchvision:squeezenet1_1")
    assert model.default_layer in model.layers()
    assert model.layers()["features.0"] == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "torchvision:resnet81",
            r"^expected a network of torchvision that sorts .*, got 'resnet81'; close: resnet",
        ),
        ("torchvision:raft_large", r"^expected a network of torchvision that sorts images into classes"),
        ("torchvision:", r"^expected a network of torchvision that sorts images into classes, got ''$"),
        ("keras:resnet50", r"^expected `model` to be one of auto, .*, timm:NAME, torchvision:NAME, got"),
    ],
)
def test_unknown_networks_are_refused(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        outline(name)


def test_torchvisions_weights_have_an_address_and_timms_have_none() -> None:
    source = outside_source("torchvision:resnet18")
    assert source is not None
    assert source.filename == "resnet18-f37072fd.pth"
    assert outside_source("timm:resnet18") is None


def test_timm_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        SettingsError, match=r"^expected the package timm for a `model` timm:NAME, got none; .* timm$"
    ):
        outline("timm:resnet18")


def test_transformers_of_timm_dream(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_vit", pretrained=False, dynamic_img_size=True)
    file = tmp_path / "test_vit.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    model = load_model(ModelSettings(model="timm:test_vit", model_dirs=(tmp_path,)), **CPU)
    image = torch.rand(1, 3, 100, 180, requires_grad=True)
    activation = model.activations(image, [model.default_layer])[model.default_layer]
    assert activation.shape == (1, 64, 7, 12)
    activation.square().mean().backward()
    assert torch.isfinite(image.grad).all()
    assert (image.grad != 0).any(1).float().mean() > 0.99


def test_a_download_of_timm_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no network\nat all")

    monkeypatch.setattr(timm, "create_model", fail)
    message = r"^timm could not get the weights of test_vit \(no network\): connect .* \(`model_file`\)$"
    with pytest.raises(WeightsError, match=message):
        load_model(ModelSettings(model="timm:test_vit"), **CPU)
