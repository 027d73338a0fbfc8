"""Networks for nodes that have none wired: kept between runs, a few at a time. Test_loaders has the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Pack = Callable[[str], ModuleType]


@pytest.fixture
def networks_of(pack: Pack, looks: dict[str, Any]) -> ModuleType:
    """The module, with squeezenet1_1 in ComfyUI's folder."""
    return pack("nodes.adapters.networks")


@pytest.fixture
def settings(pack: Pack) -> Callable[..., Any]:
    cls = pack("dream_core.settings").ModelSettings
    return lambda **changed: cls(model="squeezenet1_1", **changed)


def test_a_network_is_loaded_once_and_sits_on_comfyuis_socket(
    pack: Pack, networks_of: ModuleType, settings: Callable[..., Any]
) -> None:
    patcher = networks_of.default_dream_model(settings())
    assert networks_of.default_dream_model(settings()) is patcher
    model = pack("nodes.adapters.models").model_on_device(patcher)
    assert model.spec.name == "squeezenet1_1"
    other = networks_of.default_dream_model(settings(pooling="avg"))
    assert other is not patcher
    assert other.model.network.pooling == "avg"


def test_auto_is_named_without_a_word(
    pack: Pack, networks_of: ModuleType, host: Any, recwarn: pytest.WarningsRecorder
) -> None:
    (model,) = (
        one for one in pack("nodes.loaders").LoadDreamModel.define_schema().inputs if one.id == "model"
    )
    assert model.extra_dict == {"auto": "efficientnet_lite0"}
    (host.folder / "models" / "deepdream" / "bvlc_googlenet.safetensors").touch()
    assert networks_of.auto_model() == "bvlc_googlenet"
    assert list(recwarn) == []


def test_changed_weights_are_loaded_again(
    networks_of: ModuleType, settings: Callable[..., Any], host: Any
) -> None:
    before = networks_of.default_dream_model(settings())
    path = host.folder / "models" / "deepdream" / "squeezenet1_1.safetensors"
    os.utime(path, (1, 1))
    assert networks_of.default_dream_model(settings()) is not before


def test_few_networks_are_kept(networks_of: ModuleType) -> None:
    made: list[int] = []

    def take(key: int) -> None:
        networks_of._keep(key, lambda: made.append(key))

    for key in (*range(networks_of.KEPT), 0, networks_of.KEPT, 0, 1):
        take(key)
    assert made == [*range(networks_of.KEPT), networks_of.KEPT, 1]  # 1 was the one that rested longest
    assert len(networks_of._kept) == networks_of.KEPT
    networks_of._kept.clear()


def test_flow_is_that_of_auto_and_kept(pack: Pack, networks_of: ModuleType, host: Any) -> None:
    patcher = networks_of.default_flow_model()
    assert isinstance(patcher.model, pack("dream_core.motion.flow").DisNetwork)
    assert networks_of.default_flow_model() is patcher


def test_missing_weights_are_told_with_the_remedy(pack: Pack, networks_of: ModuleType) -> None:
    settings = pack("dream_core.settings").ModelSettings(model="squeezenet1_1_caffe")
    with pytest.raises(pack("dream_core.errors").WeightsError, match=r"squeezenet1_1_caffe\.safetensors"):
        networks_of.default_dream_model(settings)
