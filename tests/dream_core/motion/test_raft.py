from __future__ import annotations

import copy
import weakref
from pathlib import Path

import pytest
import torch
from pretended import Pretended
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.optical_flow import raft_small
from torchvision.models.optical_flow.raft import RAFT

from dream_core.device import sums_in_float32
from dream_core.errors import WeightsError
from dream_core.motion.raft import (
    BUILDERS,
    SOURCES,
    BlockedCorrelation,
    Correlation,
    FastRaft,
    load_raft,
    torchvision_keys,
    volume_bytes,
)
from dream_core.settings import InputSettings
from dream_core.video import open_clip

State = dict[str, Tensor]
SHIFT = (7.0, -5.0)


def random_network(name: str) -> RAFT:
    """A network with random weights, and with statistics that a norm cannot be confused by."""
    torch.manual_seed(1)
    network = BUILDERS[name](weights=None, progress=False).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(7)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def small(test_data: Path) -> RAFT:
    network = raft_small(weights=None, progress=False).eval()
    network.load_state_dict(load_file(test_data / "weights" / "raft_small.safetensors"))
    return network


@pytest.fixture(scope="module")
def pairs(test_data: Path) -> tuple[Tensor, Tensor]:
    """Two pairs of real frames, (2,3,128,160) in -1..1: the first shifted by SHIFT, the second a real motion."""
    with open_clip(test_data / "clips" / "mallard.mp4", settings=InputSettings(size=320, frames=2)) as clip:
        frame, later = (frame.image[None] for frame in clip)
    here = frame[..., 20:148, 60:220]
    # moved(x + SHIFT) = here(x)
    moved = frame[..., 25:153, 53:213]
    return torch.cat([here, here]) * 2 - 1, torch.cat([moved, later[..., 20:148, 60:220]]) * 2 - 1


def median(flow: Tensor) -> list[float]:
    return flow.flatten(1).median(dim=1).values.tolist()


@torch.no_grad()
def test_small_equals_torchvision_both_ways(small: RAFT, pairs: tuple[Tensor, Tensor]) -> None:
    first, second = pairs
    there = small(first, second, num_flow_updates=5)[-1]
    back = small(second, first, num_flow_updates=5)[-1]
    fast = FastRaft(copy.deepcopy(small), dtype=torch.float32)
    torch.testing.assert_close(fast(first, second, updates=5, both=False), there, atol=1e-3, rtol=1e-4)
    both = fast(first, second, updates=5, both=True)
    torch.testing.assert_close(both, torch.cat([there, back]), atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_large_equals_torchvision_both_ways() -> None:
    network = random_network("raft_large")
    first, second = torch.rand(2, 1, 3, 128, 136) * 2 - 1
    there = network(first, second, num_flow_updates=2)[-1]
    back = network(second, first, num_flow_updates=2)[-1]
    assert there.abs().mean() > 0.1  # otherwise equality would prove little
    fast = FastRaft(network, dtype=torch.float32)
    torch.testing.assert_close(fast(first, second, updates=2, both=False), there, atol=1e-3, rtol=1e-4)
    both = fast(first, second, updates=2, both=True)
    torch.testing.assert_close(both, torch.cat([there, back]), atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_a_shifted_frame_gives_the_shift(small: RAFT, pairs: tuple[Tensor, Tensor]) -> None:
    first, second = (frames[:1] for frames in pairs)
    fast = FastRaft(copy.deepcopy(small), dtype=torch.float32)
    there, back = fast(first, second, updates=12, both=True)
    assert median(there) == pytest.approx(SHIFT, abs=0.25)
    assert median(back) == pytest.approx((-SHIFT[0], -SHIFT[1]), abs=0.25)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_are_close_to_float32(dtype: torch.dtype, small: RAFT, pairs: tuple[Tensor, Tensor]) -> None:
    exact = FastRaft(copy.deepcopy(small), dtype=torch.float32)(*pairs, updates=8, both=True)
    coarse = FastRaft(copy.deepcopy(small), dtype=dtype)(*pairs, updates=8, both=True)
    assert coarse.dtype == torch.float32
    distance = (coarse - exact).norm(dim=1)
    assert 0 < distance.mean() < 0.05  # pixels; 0 would mean that they were not used
    assert distance.max() < 0.5


@torch.no_grad()
@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_flow_on_a_gpu_is_that_of_the_cpu_and_copies_nothing_to_it(kind: str) -> None:
    network = random_network("raft_small")
    first, second = torch.rand(2, 1, 3, 128, 136) * 2 - 1
    expected = FastRaft(copy.deepcopy(network), dtype=torch.float32)(first, second, updates=2, both=True)
    with Pretended(kind) as gpu:
        fast = FastRaft(network, dtype=torch.float32)
        for module in network.children():  # as ComfyUI moves a network
            module.to(gpu.device)
        first, second = first.to(gpu.device), second.to(gpu.device)
        gpu.copies.clear()
        flow = fast(first, second, updates=2, both=True)
        fast(second, first, updates=2, both=True)
        assert (gpu.copies, gpu.waits) == ([], [])
        assert flow.device == gpu.device
        assert network.feature_encoder.conv.weight.is_contiguous() or kind == "cuda"
    torch.testing.assert_close(flow, expected, atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_so_many_correlations_that_cudnn_could_not_sample_them_are_looked_up() -> None:
    with Pretended("cuda") as gpu:
        features = torch.rand(256, 2, 16, 16, device=gpu.device)
        correlation = Correlation(features, features, levels=2, radius=1)
        found = correlation.look_up(torch.zeros(256, 2, 16, 16, device=gpu.device), dtype=torch.float32)
        assert found.shape == (256, 2 * 9, 16, 16)
        # The correlation of the first pixel with all pixels, at position 0 and the eight around it.
        middle = correlation.pyramid[0][:256, 0, 0, 0]
        torch.testing.assert_close(found[0, 4].flatten(), middle)


@torch.no_grad()
@pytest.mark.skipif(not sums_in_float32(), reason="PyTorch before 2.8 rounds them")
def test_cuda_does_not_round_the_correlations_of_16_bit_features() -> None:
    features = torch.rand(1, 64, 16, 16).bfloat16()
    queries = (features.flatten(2) / 8).float()
    exact = (queries.transpose(1, 2) @ features.flatten(2).float()).flatten()
    with Pretended("cuda") as gpu:
        there = features.to(gpu.device)
        volume = Correlation(there, there, levels=1, radius=1).pyramid[0]
        assert volume.dtype == torch.float32
        assert volume.device == gpu.device
    torch.testing.assert_close(volume.flatten(), exact)


def test_cached_features_of_a_frame_change_nothing() -> None:
    network = random_network("raft_small")
    along, a, b, c = FastRaft(network, dtype=torch.float32), *torch.rand(3, 1, 3, 128, 128).mul(2).sub(1)
    calls: list[int] = []
    network.feature_encoder.register_forward_hook(lambda *_: calls.append(1))
    found = [along(b, a, updates=2, both=True), along(c, b, updates=2, both=True)]
    assert len(calls) == 3  # each frame once
    uncached = [
        FastRaft(network, dtype=torch.float32)(x, y, updates=2, both=True) for x, y in ((b, a), (c, b))
    ]
    assert all(torch.equal(x, y) for x, y in zip(found, uncached, strict=True))
    along(c, a, updates=2, both=True)  # not the frame that came before
    assert len(calls) == 3 + 4 + 2


@torch.no_grad()
def test_batches_are_not_cached() -> None:
    network = FastRaft(random_network("raft_small"), dtype=torch.float32)
    for count in (1, 2):
        first, second = torch.rand(2, count, 3, 128, 128) * 2 - 1
        kept = weakref.ref(first)
        network(first, second, updates=1, both=False)
        del first, second
        assert (kept() is None) == (count > 1)


def princeton_modules(network: RAFT) -> dict[str, str]:
    """princeton-vl's name of each module to torchvision's, from core/extractor.py, core/update.py, core/raft.py.

    There `norm3` (of ResidualBlock) or `norm4` (of BottleneckBlock) is one module with `downsample.1`, so that a
    state dict holds its tensors twice. Norms without parameters have no tensors at all.
    """
    small = network.mask_predictor is None
    convolutions = (1, 2, 3) if small else (1, 2)
    names = {}
    for theirs, ours in (("fnet", "feature_encoder"), ("cnet", "context_encoder")):
        names[f"{theirs}.conv1"] = f"{ours}.convnormrelu.0"
        names[f"{theirs}.norm1"] = f"{ours}.convnormrelu.1"
        names[f"{theirs}.conv2"] = f"{ours}.conv"
        for block in (f"layer{layer}.{place}" for layer in (1, 2, 3) for place in (0, 1)):
            for i in convolutions:
                names[f"{theirs}.{block}.conv{i}"] = f"{ours}.{block}.convnormrelu{i}.0"
                names[f"{theirs}.{block}.norm{i}"] = f"{ours}.{block}.convnormrelu{i}.1"
            names[f"{theirs}.{block}.norm{len(convolutions) + 1}"] = f"{ours}.{block}.downsample.1"
            names[f"{theirs}.{block}.downsample.0"] = f"{ours}.{block}.downsample.0"
            names[f"{theirs}.{block}.downsample.1"] = f"{ours}.{block}.downsample.1"
    for theirs, ours in (
        ("convc1", "convcorr1"),
        ("convc2", "convcorr2"),
        ("convf1", "convflow1"),
        ("convf2", "convflow2"),
        ("conv", "conv"),
    ):
        names[f"update_block.encoder.{theirs}"] = f"update_block.motion_encoder.{ours}.0"
    # SepConvGRU numbers its gates, ConvGRU does not.
    for suffix, unit in [("", "convgru1")] if small else [("1", "convgru1"), ("2", "convgru2")]:
        for gate in ("convz", "convr", "convq"):
            names[f"update_block.gru.{gate}{suffix}"] = f"update_block.recurrent_block.{unit}.{gate}"
    for conv in ("conv1", "conv2"):
        names[f"update_block.flow_head.{conv}"] = f"update_block.flow_head.{conv}"
    names["update_block.mask.0"] = "mask_predictor.convrelu.0"
    names["update_block.mask.2"] = "mask_predictor.conv"
    return names


def princeton_state(network: RAFT) -> State:
    tensors: dict[str, State] = {}
    for name, tensor in network.state_dict().items():
        module, _, leaf = name.rpartition(".")
        tensors.setdefault(module, {})[leaf] = tensor
    return {
        f"{theirs}.{leaf}": tensor.clone()
        for theirs, ours in princeton_modules(network).items()
        for leaf, tensor in tensors.get(ours, {}).items()
    }


# The numbers of tensors in the state dicts of princeton-vl's own classes.
@pytest.mark.parametrize(("name", "tensors"), [("raft_small", 106), ("raft_large", 179)])
@pytest.mark.parametrize("file", ["raft.pth", "raft.safetensors"])
def test_princeton_names_load_as_the_same_network(name: str, tensors: int, file: str, tmp_path: Path) -> None:
    network = random_network(name)
    state = princeton_state(network)
    assert len(state) == tensors
    path = tmp_path / file
    if file.endswith(".pth"):  # as their training saves it, from DataParallel
        torch.save({f"module.{key}": tensor for key, tensor in state.items()}, path)
    else:
        save_file(state, path)
    loaded = load_raft(name, path).state_dict()
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded[key], tensor), key


def test_princeton_names_cover_every_tensor_of_torchvision() -> None:
    for name in ("raft_small", "raft_large"):
        network = random_network(name)
        assert torchvision_keys(princeton_state(network)).keys() == network.state_dict().keys()


def test_files_older_than_the_counters_of_batch_norm_load(tmp_path: Path) -> None:
    network = random_network("raft_large")
    state = {k: v for k, v in princeton_state(network).items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    loaded = load_raft("raft_large", tmp_path / "old.pth").state_dict()
    name = "context_encoder.layer2.0.downsample.1.running_var"
    assert torch.equal(loaded[name], network.state_dict()[name])


def test_torchvisions_own_names_are_not_changed() -> None:
    state = raft_small(weights=None, progress=False).state_dict()
    assert torchvision_keys(state) is state


@pytest.mark.parametrize("file", ["raft.pth", "raft.safetensors"])
def test_loaded_networks_are_ready_to_estimate(file: str, tmp_path: Path) -> None:
    network, path = random_network("raft_small"), tmp_path / file
    torch.save(network.state_dict(), path) if file.endswith(".pth") else save_file(network.state_dict(), path)
    loaded = load_raft("raft_small", path)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key


def test_weights_of_the_other_raft_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.pth"
    for state in (random_network("raft_small").state_dict(), princeton_state(random_network("raft_small"))):
        torch.save(state, path)
        with pytest.raises(
            WeightsError,
            match=(
                r"small\.pth does not fit RAFT: .* is missing; .* more; it was read as the weights of "
                r"`flow` raft_large: the right file is at https://.*raft_large.*; .* change `flow`$"
            ),
        ):
            load_raft("raft_large", path)


def test_incomplete_princeton_weights_are_refused(tmp_path: Path) -> None:
    state = princeton_state(random_network("raft_small"))
    del state["update_block.gru.convz.bias"]
    torch.save(state, tmp_path / "cut.pth")
    missing = (
        r"does not fit RAFT: update_block\.recurrent_block\.convgru1\.convz\.bias is missing; it was read as"
    )
    with pytest.raises(WeightsError, match=missing):
        load_raft("raft_small", tmp_path / "cut.pth")


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    for name in ("flow.pth", "flow.safetensors"):
        (tmp_path / name).write_bytes(b"<!doctype html><title>Sign in</title>")
        with pytest.raises(WeightsError, match=rf"cannot read weights from .*{name}: it is a web page"):
            load_raft("raft_small", tmp_path / name)


def test_weights_of_another_network_are_refused(test_data: Path) -> None:
    with pytest.raises(WeightsError, match=r"squeezenet1_1_caffe\.safetensors does not fit RAFT: "):
        load_raft("raft_small", test_data / "weights" / "squeezenet1_1_caffe.safetensors")


@pytest.mark.parametrize("name", ["raft_large", "raft_small"])
def test_downloads_are_torchvisions_default_weights(name: str) -> None:
    source = SOURCES[name]
    assert source.url == f"https://download.pytorch.org/models/{source.filename}"
    assert source.filename.startswith(f"{name}_C_T_")
    # torchvision names its files after the first 8 digits of their SHA-256.
    assert source.digest == f"sha256:{Path(source.filename).stem[-8:]}"
    parameters = sum(tensor.numel() for tensor in random_network(name).state_dict().values())
    assert source.mebibytes == pytest.approx(4 * parameters / 2**20, rel=0.02)


@pytest.mark.parametrize(("size", "spread"), [((40, 70), 3.0), ((33, 31), 60.0), ((5, 9), 0.0)])
def test_correlations_in_blocks_are_those_of_the_whole_volume(size: tuple[int, int], spread: float) -> None:
    generator = torch.Generator().manual_seed(4)
    first, second = torch.randn(2, 2, 16, *size, generator=generator)
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in size)
    start = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
    # Some look far outside the frame.
    positions = start + spread * torch.randn(2, 2, *size, generator=generator)
    whole = Correlation(first, second, levels=3, radius=3).look_up(positions, dtype=torch.float32)
    blocks = BlockedCorrelation(first, second, levels=3, radius=3).look_up(positions, dtype=torch.float32)
    assert whole.abs().max() > 1
    torch.testing.assert_close(blocks, whole, atol=1e-4, rtol=0)


@torch.no_grad()
def test_flow_in_blocks_is_that_of_the_volumes(small: RAFT, pairs: tuple[Tensor, Tensor]) -> None:
    first, second = (frames[:1] for frames in pairs)
    raft = FastRaft(copy.deepcopy(small), dtype=torch.float32)
    whole = raft(first, second, updates=2, both=True)
    raft.volumes = 2 * volume_bytes(128 / 8 * 160 / 8)  # both ways
    assert torch.equal(raft(first, second, updates=2, both=True), whole)
    raft.volumes -= 1
    blocks = raft(first, second, updates=2, both=True)
    assert 0 < (blocks - whole).abs().max() < 0.01  # pixels; 0 would mean that they were not used


def test_what_is_not_finite_stays_so_in_blocks() -> None:
    features, positions = torch.rand(1, 4, 16, 16), torch.full((1, 2, 16, 16), torch.nan)
    found = BlockedCorrelation(features, features, levels=2, radius=1).look_up(positions, dtype=torch.float32)
    assert found.shape == (1, 18, 16, 16)
