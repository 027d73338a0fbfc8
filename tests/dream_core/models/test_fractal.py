"""The network inside the package."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from dream_core.dreaming.dream import dream
from dream_core.models.dream_model import DreamModel, load_model
from dream_core.models.fractal import Fractal
from dream_core.models.registry import MODELS, resolve_model
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
)
from dream_core.synthetic import synthetic_clip

LAYERS = ("grain", "weave", "lace", "scales", "petals", "eyes", "blooms", "worlds")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def fractal() -> DreamModel:
    return load_model(ModelSettings(model="fractal"), device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return synthetic_clip(frames=1, height=96, width=128).frames


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPDREAM_MODELS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_its_weights_come_with_the_package_and_tell_their_origin() -> None:
    path = MODELS["fractal"].source.packaged
    assert path is not None
    assert path.stat().st_size <= 4_000_000
    with safe_open(path, "pt") as weights:
        assert weights.metadata().keys() >= {"command", "data", "training", "accuracy", "date"}
        assert set(weights.keys()) == set(Fractal().state_dict())


def test_normalization_is_folded(fractal: DreamModel) -> None:
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fractal.modules())


def test_layers_from_fine_to_coarse(fractal: DreamModel) -> None:
    names = list(fractal.layers())
    assert [name for name in names if name in LAYERS] == list(LAYERS)
    assert fractal.default_layer in LAYERS


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_can_be_dreamed_on(fractal: DreamModel, image: Tensor, layer: str) -> None:
    settings = DreamSettings(
        objective=ObjectiveSettings(layers=(layer,)), octave=OctaveSettings(octaves=2, octave_steps=4)
    )
    dreamed = dream(image, [fractal], settings=settings)
    before, after = (fractal.activations(one, [layer])[layer].square().mean() for one in (image, dreamed))
    # The first layers see contrast as equal everywhere, and have little to gain.
    assert after > (1.05 if layer in LAYERS[:4] else 1.5) * before


def test_dreams_have_no_checkerboard(fractal: DreamModel, image: Tensor) -> None:
    settings = DreamSettings(
        octave=OctaveSettings(octaves=1, octave_steps=10), ascent=AscentSettings(jitter=0)
    )
    change = (dream(image, [fractal], settings=settings) - image).mean(1)
    # What every other pixel has more than its neighbors, against all that was changed.
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(48, 64)
    checkerboard = (change * signs).mean((1, 2)).square()
    assert checkerboard < 1e-3 * change.square().mean()


def test_auto_is_fractal_where_no_weights_are_found(no_weights: None) -> None:
    with pytest.warns(UserWarning, match="no weights of bvlc_googlenet found: dreaming with fractal"):
        assert resolve_model(ModelSettings()) == "fractal"


def test_auto_is_googlenet_where_its_weights_are_found(no_weights: None, tmp_path: Path) -> None:
    (tmp_path / "bvlc_googlenet.pth").touch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_model(ModelSettings()) == "bvlc_googlenet"
        assert resolve_model(ModelSettings(model_file=tmp_path / "other.pth")) == "bvlc_googlenet"


def test_a_named_network_is_not_replaced(no_weights: None) -> None:
    assert resolve_model(ModelSettings(model="vgg16")) == "vgg16"
