"""Load Dream Model, Load Flow Model, and the estimators made from what they load."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.optical_flow import raft_large, raft_small

Pack = Callable[[str], ModuleType]
Run = Callable[..., Any]

WIDGETS = {
    "model": "squeezenet1_1",
    "weights": "auto",
    "model_mean": "",
    "pooling": "max",
    "precision": "float32",
}


def squeezenet(pack: Pack, path: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    save_file(pack("dream_core.models.registry").MODELS["squeezenet1_1"].build().state_dict(), path)


@pytest.fixture(autouse=True)
def _only_comfyui_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DEEPDREAM_MODELS", raising=False)


@pytest.fixture
def folder(host: Any) -> Path:
    return host.folder / "models" / "deepdream"


@pytest.fixture
def flow_folder(host: Any) -> Path:
    return host.folder / "models" / "optical_flow"


@pytest.fixture
def load(pack: Pack, run: Run) -> Run:
    """`load(weights="a.pth")`: the outputs of Load Dream Model."""
    return lambda **changed: run(pack("nodes.loaders").LoadDreamModel, **(WIDGETS | changed))


@pytest.fixture
def load_flow(pack: Pack, run: Run) -> Run:
    """`load_flow("dis")`: the output of Load Flow Model."""
    return lambda name: run(pack("nodes.loaders").LoadFlowModel, model=name)[0]


def test_a_model_is_found_in_comfyuis_folder(pack: Pack, load: Run, folder: Path) -> None:
    squeezenet(pack, folder / "squeezenet1_1.safetensors")
    patcher, layers = load()
    model = pack("nodes.adapters.models").model_on_device(patcher)
    assert model.spec.name == "squeezenet1_1"
    assert model.dtype == torch.float32
    assert model.exact  # float32 is named
    assert model.device.type == "cpu"
    assert not any(weight.is_inference() for weight in model.parameters())
    lines = layers.splitlines()
    assert lines[0] == "conv1: 64 channels"
    assert sum(line.endswith("(default)") for line in lines) == 1
    assert len(lines) == len(model.layers())


def test_the_settings_arrive(pack: Pack, load: Run, folder: Path) -> None:
    squeezenet(pack, folder / "mine.safetensors")
    patcher, _ = load(weights="mine.safetensors", pooling="avg", precision="bfloat16", model_mean="1 2 3")
    model = pack("nodes.adapters.models").model_on_device(patcher)
    assert (model.pooling, model.dtype, model.exact) == ("avg", torch.bfloat16, False)
    assert tuple(model.preprocessing.mean) == (1.0, 2.0, 3.0)


def test_another_network_takes_a_file_of_the_folder(pack: Pack, load: Run, folder: Path) -> None:
    network = torchvision.models.get_model("squeezenet1_0", weights=None)
    save_file(network.state_dict(), folder / "squeezenet1_0.safetensors")
    patcher, layers = load(other_network=" torchvision:squeezenet1_0 ")
    model = pack("nodes.adapters.models").model_on_device(patcher)
    assert model.spec.name == "torchvision:squeezenet1_0"
    assert model.layers()["features.0"] == 96
    assert "(default)" in layers
    for name in ("../secret.safetensors", "/secret", "resnet18"):
        with pytest.raises(pack("dream_core.errors").SettingsError, match="timm:NAME, torchvision:NAME, got"):
            load(other_network=name)


def test_files_of_the_folder_can_be_chosen(pack: Pack, folder: Path, flow_folder: Path) -> None:
    (folder / "mine.pth").touch()
    (flow_folder / "my_raft.pth").touch()
    loaders = pack("nodes.loaders")
    combos = {one.id: one for one in loaders.LoadDreamModel.define_schema().inputs}
    assert combos["weights"].options == ["auto", "mine.pth"]
    assert combos["model"].options[:2] == ["auto", "efficientnet_lite0"]
    assert combos["model"].default == "auto"
    (flow,) = loaders.LoadFlowModel.define_schema().inputs
    assert flow.options == ["auto", "raft_large", "raft_small", "dis", "my_raft.pth"]
    assert flow.default == "auto"


def test_a_file_of_another_network_is_told_without_flags(pack: Pack, load: Run, folder: Path) -> None:
    squeezenet(pack, folder / "mine.safetensors")
    with pytest.raises(pack("dream_core.errors").WeightsError, match="weights of model vgg16") as told:
        load(model="vgg16", weights="mine.safetensors")
    assert "--" not in str(told.value)


@pytest.fixture
def downloads(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of the downloads; each writes random weights."""
    targets: list[Path] = []

    def download(source: Any, target: Path, *, progress: Callable[[int, int], None] | None = None) -> Path:
        assert progress
        for done in (5, 10):
            progress(done, 0 if "raft" in source.filename else 10)
        builders = {"raft_small": raft_small, "raft_large": raft_large}
        kind = next((name for name in builders if source.filename.startswith(name)), None)
        spec = pack("dream_core.models.registry").MODELS["squeezenet1_1"]
        network = builders[kind](weights=None) if kind else spec.build()
        torch.save(network.state_dict(), target)
        targets.append(target)
        return target

    monkeypatch.setattr(pack("dream_core.models.weights"), "download", download)
    return targets


def test_a_download_goes_into_comfyuis_folder_with_a_bar(
    load: Run, load_flow: Run, folder: Path, flow_folder: Path, host: Any, downloads: list[Path]
) -> None:
    load()
    assert [(done, total) for done, total, _ in host.progress] == [(5, 10), (10, 10)]
    host.progress.clear()
    load_flow("raft_small")
    assert [(done, total) for done, total, _ in host.progress] == [(5, 5), (10, 10)]  # of unknown length
    assert [target.parent for target in downloads] == [folder, flow_folder]
    load()
    assert len(downloads) == 2


def test_a_cancelled_download_stops(pack: Pack, load: Run, host: Any, downloads: list[Path]) -> None:
    host.interrupted = True
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        load()
    assert downloads == []


def test_only_a_replaced_file_is_loaded_again(
    pack: Pack, load: Run, folder: Path, downloads: list[Path]
) -> None:
    fingerprint = pack("nodes.loaders").LoadDreamModel.fingerprint_inputs
    before = fingerprint(**WIDGETS)
    load()
    assert fingerprint(**WIDGETS) == before  # the download does not count as a change
    (path,) = downloads
    os.utime(path, (1, 1))
    assert fingerprint(**WIDGETS) != before
    squeezenet(pack, folder / "mine.safetensors")
    mine = WIDGETS | {"weights": "mine.safetensors"}
    first = fingerprint(**mine)
    assert fingerprint(**mine) == first
    os.utime(folder / "mine.safetensors", (2, 2))
    assert fingerprint(**mine) != first


def test_only_replaced_flow_weights_are_loaded_again(
    pack: Pack, load_flow: Run, flow_folder: Path, downloads: list[Path]
) -> None:
    fingerprint = pack("nodes.loaders").LoadFlowModel.fingerprint_inputs
    before = fingerprint(model="raft_small")
    load_flow("raft_small")
    assert fingerprint(model="raft_small") == before
    os.utime(downloads[0], (1, 1))
    assert fingerprint(model="raft_small") != before
    assert fingerprint(model="dis") == fingerprint(model="dis")
    torch.save({}, flow_folder / "mine.pth")
    first = fingerprint(model="mine.pth")
    os.utime(flow_folder / "mine.pth", (2, 2))
    assert fingerprint(model="mine.pth") != first


def test_a_wired_name_is_no_reason_to_load_again(pack: Pack) -> None:
    """ComfyUI hands None over for it, and runs a node again at every Run if its fingerprint fails."""
    loaders = pack("nodes.loaders")
    for name in ("model", "weights", "other_network"):
        assert loaders.LoadDreamModel.fingerprint_inputs(**{**WIDGETS, name: None}) is None
    assert loaders.LoadFlowModel.fingerprint_inputs(model=None) is None
    assert pack("nodes.dream").Dream.fingerprint_inputs(look=None) is None
    assert pack("nodes.video").DeepDreamVideo.fingerprint_inputs(look=(None,)) is None


def frames() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(1, 3, 18, 22, generator=generator)
    frame = torch.nn.functional.interpolate(coarse, (144, 176), mode="bicubic").clamp(0, 1)
    return frame, frame.roll((2, 3), (2, 3))


@pytest.mark.parametrize("build", [raft_large, raft_small])
def test_a_file_is_recognized_and_estimates_as_torchvision_does(
    pack: Pack, load_flow: Run, flow_folder: Path, build: Any
) -> None:
    torch.manual_seed(4)
    network = build(weights=None).eval()
    torch.save(network.state_dict(), flow_folder / "mine.pth")
    patcher = load_flow("mine.pth")
    assert type(patcher.model).__name__ == "RAFT"  # as ComfyUI's own loader gives it
    first, second = frames()
    with torch.no_grad():
        expected = network(first * 2 - 1, second * 2 - 1, num_flow_updates=3)[-1]
        again = patcher.model(first * 2 - 1, second * 2 - 1, num_flow_updates=3)[-1]
    assert torch.equal(again, expected)
    core = pack("dream_core.settings")
    settings = core.FlowSettings(flow_updates=3)
    estimator = pack("nodes.adapters.estimators").estimator_for(patcher, settings)
    found = estimator.flow(first, second)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max() + 0.01


def test_a_file_that_is_no_raft_is_told(pack: Pack, load_flow: Run, flow_folder: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, flow_folder / "mine.pth")
    with pytest.raises(
        pack("dream_core.errors").WeightsError,
        match=r"expected weights of RAFT.*mine\.pth, got conv\.weight",
    ):
        load_flow("mine.pth")


def test_dis_estimates_here_and_where_a_raft_is_expected(pack: Pack, load_flow: Run) -> None:
    patcher = load_flow("dis")
    first, second = frames()
    settings = pack("dream_core.settings").FlowSettings()
    found = pack("nodes.adapters.estimators").estimator_for(patcher, settings).flow(first, second)
    inside = found[..., 16:-16, 16:-16].mean((0, 2, 3))
    assert torch.allclose(inside, torch.tensor([3.0, 2.0]), atol=0.3)
    (flow,) = patcher.model(first * 2 - 1, second * 2 - 1)
    assert torch.equal(flow, found)
