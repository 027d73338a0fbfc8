from __future__ import annotations

import gc
import math
import re
import warnings
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.optical_flow import raft_small

from dream_core.errors import ImageError, Notice, SettingsError, WeightsError
from dream_core.motion import flow as flow_module
from dream_core.motion.flow import FlowEstimator, dis_flow, estimator_of, load_flow, resolve_flow
from dream_core.motion.raft import FastRaft
from dream_core.settings import FlowSettings
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip

CPU = torch.device("cpu")
SIZES = [(97, 131), (130, 129), (127, 64), (15, 40), (12, 200), (1, 200), (200, 1), (1, 1)]


def load(settings: FlowSettings) -> FlowEstimator:
    return load_flow(settings, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def raft(test_data: Path) -> FlowEstimator:
    return load(FlowSettings(flow_file=test_data / "weights" / "raft_small.safetensors", flow_updates=12))


@pytest.fixture(scope="module")
def quick_raft(test_data: Path) -> FlowEstimator:
    return load(FlowSettings(flow_file=test_data / "weights" / "raft_small.safetensors", flow_updates=2))


@pytest.fixture(scope="module")
def dis() -> FlowEstimator:
    return load(FlowSettings(flow="dis"))


@pytest.fixture(params=["dis", "quick_raft"])
def either(request: pytest.FixtureRequest) -> FlowEstimator:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return synthetic_clip(frames=3, height=144, width=176, seed=1)


@pytest.fixture(scope="module")
def drift() -> SyntheticClip:
    """A background alone, which moves by (3, -2) pixels per frame."""
    scene = Scene(shapes=0, background=(3, -2), whole_pixels=True)
    return synthetic_clip(frames=2, height=131, width=160, seed=2, scene=scene)


def error(flow: Tensor, exact: Tensor, visible: Tensor) -> float:
    """Mean end-point error over the pixels that are visible in both frames."""
    distance = (flow - exact).norm(dim=1, keepdim=True)
    return float((distance * visible).sum() / visible.sum())


def fake(
    estimate: Callable[[Tensor, Tensor, bool], Tensor] | None = None, *, smallest: int = 1, multiple: int = 1
) -> FlowEstimator:
    """Make an estimator that by default returns the first two channels of the frames as flow."""

    def channels(first: Tensor, second: Tensor, both: bool) -> Tensor:
        return torch.cat([first, second] if both else [first])[:, :2]

    return FlowEstimator(estimate or channels, CPU, smallest, multiple)


# Known motion


def test_a_shifted_texture_has_the_shift_as_its_flow(dis: FlowEstimator, drift: SyntheticClip) -> None:
    previous, current = drift.frames.split(1)
    backward, forward = dis.both_ways(current, previous)
    # A point that moves by (3, -2) was at (-3, 2) from its current position.
    assert error(backward, torch.tensor([-3.0, 2.0]).view(1, 2, 1, 1), drift.visible) < 0.05
    assert error(forward, torch.tensor([3.0, -2.0]).view(1, 2, 1, 1), drift.visible_next) < 0.05


# Mean motion of this clip is 2 pixels a frame.
@pytest.mark.parametrize(("name", "limit"), [("dis", 0.35), ("raft", 0.5)])
def test_end_point_error_on_a_clip_of_known_flow(
    name: str, limit: float, clip: SyntheticClip, request: pytest.FixtureRequest
) -> None:
    estimator: FlowEstimator = request.getfixturevalue(name)
    backward, forward = estimator.both_ways(clip.frames[1:], clip.frames[:-1])
    assert error(backward, clip.backward, clip.visible) < limit
    assert error(forward, clip.forward, clip.visible_next) < limit


@pytest.mark.parametrize("scale", [0.5, 0.75])
def test_vectors_estimated_at_a_reduced_size_are_scaled_back_up(
    dis: FlowEstimator, drift: SyntheticClip, scale: float
) -> None:
    previous, current = drift.frames.split(1)
    backward = replace(dis, scale=scale).flow(current, previous)
    assert backward.shape == (1, 2, 131, 160)
    assert error(backward, torch.tensor([-3.0, 2.0]).view(1, 2, 1, 1), drift.visible) < 0.2


def test_raft_estimates_at_a_reduced_size(raft: FlowEstimator) -> None:
    scene = Scene(shapes=0, background=(6, -4), whole_pixels=True)
    clip = synthetic_clip(frames=2, height=260, width=300, seed=3, scene=scene)
    backward = replace(raft, scale=0.5).flow(clip.frames[1:], clip.frames[:1])
    assert backward.shape == (1, 2, 260, 300)
    # Estimated as (-3, 2), which RAFT small finds a little too short.
    assert backward.flatten(2).median(dim=2).values[0].tolist() == pytest.approx([-6, 4], abs=1)


# Sizes


@pytest.mark.parametrize("size", SIZES)
def test_any_size_gives_a_finite_flow_of_that_size(either: FlowEstimator, size: tuple[int, int]) -> None:
    first, second = torch.rand(2, 1, 3, *size)
    there, back = either.both_ways(first, second)
    for flow in (there, back, either.flow(first, second)):
        assert flow.shape == (1, 2, *size)
        assert flow.dtype == torch.float32
        assert torch.isfinite(flow).all()


@pytest.mark.parametrize("size", [(97, 131), (130, 129), (64, 90)])
def test_raft_finds_the_motion_at_sizes_it_does_not_take_itself(
    raft: FlowEstimator, size: tuple[int, int]
) -> None:
    scene = Scene(shapes=0, background=(3, -2), whole_pixels=True)
    clip = synthetic_clip(frames=2, height=size[0], width=size[1], seed=4, scene=scene)
    backward = raft.flow(clip.frames[1:], clip.frames[:1])
    assert backward.flatten(2).median(dim=2).values[0].tolist() == pytest.approx([-3, 2], abs=0.3)


@pytest.mark.parametrize("size", [(97, 131), (16, 16)])
def test_dis_itself_finds_no_motion_in_a_still_image(size: tuple[int, int]) -> None:
    frame = torch.rand(1, 3, *size)
    assert dis_flow(frame, frame, False).abs().max() < 1e-3


def test_identical_frames_have_zero_flow_without_an_estimate() -> None:
    seen = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(len(first))
        return torch.cat([first, second] if both else [first])[:, :2]

    first = torch.rand(4, 3, 6, 7)
    second = first.clone()
    second[1, 0, 5, 6] += 0.1
    second[3] = 0
    there, back = fake(estimate).both_ways(first, second)
    assert seen == [2]
    for flow, frames in ((there, first), (back, second)):
        assert not flow[[0, 2]].any()
        torch.testing.assert_close(flow[[1, 3]], frames[[1, 3], :2])
    seen.clear()
    assert torch.equal(fake(estimate).flow(first, first), torch.zeros(4, 2, 6, 7))
    assert seen == []


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    multiple=st.integers(1, 9),
    smallest=st.integers(1, 12),
)
@settings(max_examples=30, deadline=None)
def test_padding_is_cropped_on_the_side_where_it_was_added(
    height: int, width: int, multiple: int, smallest: int
) -> None:
    smallest = min(smallest, height, width)  # so that nothing is resampled
    first, second = torch.rand(2, 2, 3, height, width)
    there, back = fake(smallest=smallest, multiple=multiple).both_ways(first, second)
    torch.testing.assert_close(there, first[:, :2])
    torch.testing.assert_close(back, second[:, :2])


@given(height=st.integers(1, 60), width=st.integers(1, 60), scale=st.floats(0.05, 1))
@settings(max_examples=30, deadline=None)
def test_an_estimator_receives_only_sides_that_it_supports(height: int, width: int, scale: float) -> None:
    seen = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(first.shape[-2:])
        return torch.ones_like(first[:, :2])

    estimator = replace(fake(estimate, smallest=20, multiple=8), scale=scale)
    flow = estimator.flow(*torch.rand(2, 1, 3, height, width))
    (sides,) = seen
    assert all(side >= 20 and side % 8 == 0 for side in sides)
    # One pixel at the estimate's size, before padding, in pixels of the frame: each axis has its own factor.
    inner = [max(20, round(side * scale)) for side in (width, height)]
    for axis, (side, estimated) in enumerate(zip((width, height), inner, strict=True)):
        torch.testing.assert_close(flow[:, axis], torch.full_like(flow[:, axis], side / estimated))


# Batches


@pytest.mark.parametrize(("batch", "sizes"), [(0, [5]), (1, [1] * 5), (2, [2, 2, 1]), (7, [5])])
def test_frames_are_estimated_in_batches_and_stay_in_order(batch: int, sizes: list[int]) -> None:
    seen = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(len(first))
        return torch.cat([first, second])[:, :2]

    first, second = torch.rand(2, 5, 3, 6, 7)
    there, back = replace(fake(estimate), batch=batch).both_ways(first, second)
    assert seen == sizes
    torch.testing.assert_close(there, first[:, :2])
    torch.testing.assert_close(back, second[:, :2])


TWO_AND_A_HALF = (672, 848)
"""A pair of this size takes 1 GiB / 2.5: (84 * 106)^2 float32 and a third of that for the other levels."""


def test_batches_shrink_with_the_size() -> None:
    seen: list[int] = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(len(first))
        return torch.cat([first, second] if both else [first])[:, :2]

    estimator = fake(estimate)
    estimator.flow(*torch.rand(2, 3, 3, *TWO_AND_A_HALF))
    assert seen == [2, 1]
    seen.clear()
    estimator.both_ways(*torch.rand(2, 3, 3, *TWO_AND_A_HALF))
    assert seen == [1, 1, 1]
    seen.clear()
    estimator.flow(*torch.rand(2, 2, 3, 1072, 1080))  # too large for one, and done one by one all the same
    assert seen == [1, 1]


def test_pairs_at_once_are_what_one_estimate_takes() -> None:
    volumes = replace(fake(), pair_memory=1e9)
    assert volumes.pairs_at_once(TWO_AND_A_HALF, both=False) == 2
    assert volumes.pairs_at_once(TWO_AND_A_HALF, both=True) == 1
    assert replace(volumes, scale=0.5).pairs_at_once(TWO_AND_A_HALF, both=False) == 40
    assert replace(volumes, batch=7).pairs_at_once(TWO_AND_A_HALF, both=True) == 7
    assert fake().pairs_at_once(TWO_AND_A_HALF, both=False) == 1  # nothing to gain
    assert replace(fake(), batch=7).pairs_at_once(TWO_AND_A_HALF, both=False) == 7


def test_a_pair_too_large_for_the_memory_is_estimated_smaller_with_one_warning_a_call() -> None:
    seen = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(tuple(first.shape[-2:]))
        return torch.ones_like(torch.cat([first, second] if both else [first])[:, :2])

    # 96x160 features of 8 pixels would be 12 x 20; one way takes (12 * 20)^2 float32 and a third of that.
    estimator = replace(fake(estimate, smallest=16, multiple=8), pair_memory=(12 * 20) ** 2 * 4 * 4 / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.flow(*torch.rand(2, 1, 3, 96, 160))  # as much as it may take
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            there, _ = estimator.both_ways(*torch.rand(2, 1, 3, 192, 320))
    assert [str(warning.message) for warning in told] == [
        "flow is estimated at 134 x 80, to bound its time and memory; `flow_scale` sets the scale"
    ] * 3
    # Twice the sides and both ways: 32 times the volume, 2.378 times the sides; padded to multiples of 8.
    assert seen == [(96, 160), *[(80, 136)] * 3]
    torch.testing.assert_close(there[:, 0], torch.full_like(there[:, 0], 320 / 134))
    torch.testing.assert_close(there[:, 1], torch.full_like(there[:, 1], 192 / 80))


def test_only_raft_is_limited_by_the_memory_of_its_volumes(
    dis: FlowEstimator, quick_raft: FlowEstimator
) -> None:
    assert dis.pair_memory == float("inf")
    assert quick_raft.pair_memory == flow_module.PAIR_MEMORY
    # A side of the full high definition both ways is too large, 1280 x 720 is not.
    assert flow_module._volume_bytes((1080, 1920), both=True) > flow_module.PAIR_MEMORY
    assert flow_module._volume_bytes((720, 1280), both=True) < flow_module.PAIR_MEMORY


def test_a_gpus_flow_takes_a_third_of_the_memory() -> None:
    raft = FastRaft(raft_small(weights=None), dtype=torch.float32)
    settings, gpu = FlowSettings(), torch.device("cuda")
    assert estimator_of(raft, settings, device=gpu, memory=3e9).pair_memory == 1e9
    assert estimator_of(raft, settings, device=gpu, memory=math.inf).pair_memory == flow_module.PAIR_MEMORY
    # A CPU computes the same in blocks.
    assert estimator_of(raft, settings, device=CPU, memory=3e9).pair_memory == flow_module.PAIR_MEMORY
    assert raft.volumes == 1e9


def test_the_memory_of_flow_is_that_of_its_volumes_where_they_are_kept() -> None:
    raft = replace(fake(), pair_memory=flow_module.PAIR_MEMORY)
    volumes = 1024**2 * 4 * 4 / 3  # of 32 x 32 places
    assert raft.memory((256, 256), both=False) == 256 * 256 * 240 + volumes
    assert raft.memory((256, 256), both=True) == 256 * 256 * 240 + 2 * volumes
    assert fake().memory((256, 256), both=True) == 256 * 256 * 240  # without volumes
    assert raft.memory((840, 1500), both=True) == 840 * 1500 * 240  # in blocks
    assert replace(raft, device=torch.device("cuda")).memory((840, 1500), both=True) > 3e9


# At 40 to 45 pixels DIS changes its own settings with every estimate.
@pytest.mark.parametrize("size", [(97, 131), (43, 43)])
def test_a_batch_gives_the_same_flow_as_its_pairs(either: FlowEstimator, size: tuple[int, int]) -> None:
    frames = synthetic_clip(frames=4, height=size[0], width=size[1], seed=5).frames
    first, second = frames[1:], frames[:-1]
    together = either.both_ways(first, second)
    alone = [either.both_ways(a, b) for a, b in zip(first.split(1), second.split(1), strict=True)]
    for flow, parts in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(flow, torch.cat(parts), atol=1e-3, rtol=0)


def test_both_ways_equals_one_way_twice(either: FlowEstimator, clip: SyntheticClip) -> None:
    first, second = clip.frames[:1], clip.frames[1:2]
    there, back = either.both_ways(first, second)
    torch.testing.assert_close(there, either.flow(first, second), atol=1e-3, rtol=0)
    torch.testing.assert_close(back, either.flow(second, first), atol=1e-3, rtol=0)


def test_flow_batch_reaches_the_estimator(test_data: Path) -> None:
    weights = test_data / "weights" / "raft_small.safetensors"
    for settings_ in (FlowSettings(flow="dis"), FlowSettings(flow_file=weights)):
        estimator = load(replace(settings_, flow_batch=3, flow_scale=0.25))
        assert (estimator.batch, estimator.scale, estimator.device) == (3, 0.25, CPU)


def test_more_updates_come_closer(test_data: Path, clip: SyntheticClip) -> None:
    weights = test_data / "weights" / "raft_small.safetensors"
    errors = [
        error(
            load(FlowSettings(flow_file=weights, flow_updates=updates)).flow(
                clip.frames[1:2], clip.frames[:1]
            ),
            clip.backward[:1],
            clip.visible[:1],
        )
        for updates in (1, 6)
    ]
    assert errors[1] < errors[0]


# Properties of the tensors


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_flow_needs_no_gradients(either: FlowEstimator, context: Callable[[], object]) -> None:
    frames = torch.rand(2, 1, 3, 128, 130)
    expected = either.flow(*frames)
    with context():  # type: ignore[attr-defined]
        found = either.flow(*(frame.clone().requires_grad_() for frame in frames))
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_floating_point_type_becomes_float32(dis: FlowEstimator, dtype: torch.dtype) -> None:
    frames = torch.randint(0, 2, (2, 1, 3, 20, 24)).to(dtype)
    flow = dis.flow(*frames)
    assert flow.dtype == torch.float32
    torch.testing.assert_close(flow, dis.flow(*frames.float()))


def test_frames_are_not_modified(either: FlowEstimator) -> None:
    frames = torch.rand(2, 1, 3, 128, 128)
    before = frames.clone()
    either.both_ways(*frames)
    assert torch.equal(frames, before)


def test_an_estimator_does_not_keep_the_frames(either: FlowEstimator) -> None:
    clip = torch.rand(3, 3, 128, 128)
    flow = either.flow(clip[1:], clip[:-1])
    kept = weakref.ref(clip), weakref.ref(flow)
    del clip, flow
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_only_one_chunk_is_in_memory_at_a_time() -> None:
    chunks: list[weakref.ref[Tensor]] = []
    alive = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        gc.collect()
        alive.append(sum(chunk() is not None for chunk in chunks))
        chunks.extend([weakref.ref(first), weakref.ref(second)])
        return torch.zeros_like(first[:, :2])

    replace(fake(estimate, multiple=8), batch=1).flow(*torch.rand(2, 4, 3, 13, 13))
    assert max(alive) <= 2  # those of the chunk before, whose names are reused only now


# Errors


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (torch.rand(3, 8, 8), "(3, 8, 8) float32"),
        (torch.rand(1, 1, 8, 8), "(1, 1, 8, 8) float32"),
        (torch.rand(0, 3, 8, 8), "(0, 3, 8, 8) float32"),
        (torch.rand(1, 3, 0, 8), "(1, 3, 0, 8) float32"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "(1, 3, 8, 8) uint8"),
    ],
)
def test_tensors_that_are_not_frames_are_refused(frames: Tensor, found: str) -> None:
    for pair, expected in (
        ((frames, frames), "first frames (B,3,H,W)"),
        ((torch.rand(2, 3, 8, 9), frames), "second frames (2,3,8,9)"),
    ):
        message = re.escape(f"expected {expected} in floating point, got {found}")
        with pytest.raises(ImageError, match=f"^{message}(;|$)"):
            fake().flow(*pair)


@pytest.mark.parametrize("other", [(1, 3, 8, 9), (2, 3, 8, 8)])
def test_frames_of_different_shapes_are_refused(other: tuple[int, ...]) -> None:
    message = f"expected second frames (1,3,8,8) in floating point, got {other} float32"
    with pytest.raises(ImageError, match=f"^{re.escape(message)}(; resize it)?$"):
        fake().both_ways(torch.rand(1, 3, 8, 8), torch.rand(other))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["first", "second"])
def test_frames_that_are_not_finite_are_refused(value: float, which: str) -> None:
    frames = torch.rand(2, 1, 3, 8, 8)
    frames[("first", "second").index(which), 0, 1, 2, 3] = value
    with pytest.raises(
        ImageError, match=rf"^expected finite {which} frames in 0\.\.1, got NaN or infinite values; "
    ):
        fake().flow(*frames)


@pytest.mark.parametrize("name", ["dis", "raft_small"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"^expected `flow_scale` from 0\.01 to 1, got 1\.5$"):
        load(FlowSettings(flow=name, flow_scale=1.5))


def test_a_file_for_dis_gives_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"^`flow` dis has no weights: raft\.pth is not used$"):
        load(FlowSettings(flow="dis", flow_file=Path("raft.pth")))


def test_raft_is_found_in_a_model_folder_by_its_plain_name(test_data: Path) -> None:
    found = load_flow(FlowSettings(), device=CPU, dtype=torch.float32, folders=[test_data / "weights"])
    assert found.smallest == 128


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(
        SettingsError,
        match=r"^expected `flow` to be one of auto, raft_large, raft_small, dis, got 'farneback'$",
    ):
        load(FlowSettings(flow="farneback"))


def test_a_missing_file_names_itself_and_the_original(tmp_path: Path) -> None:
    file = tmp_path / "none.pth"
    with pytest.raises(
        WeightsError, match=rf"{file} does not exist; the original is at https://.*raft_large"
    ):
        load(FlowSettings(flow="raft_large", flow_file=file))


@pytest.fixture
def _no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPDREAM_MODELS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.usefixtures("_no_weights")
def test_auto_is_dis_if_no_weights_are_found() -> None:
    with pytest.warns(Notice, match=r"^estimating flow with DIS; `flow` raft_small downloads a finer "):
        assert resolve_flow(FlowSettings()) == "dis"


@pytest.mark.usefixtures("_no_weights")
def test_auto_is_raft_small_if_its_weights_are_found(tmp_path: Path) -> None:
    assert resolve_flow(FlowSettings(flow_file=tmp_path / "mine.pth")) == "raft_small"
    (tmp_path / "raft_small.safetensors").touch()
    assert resolve_flow(FlowSettings()) == "raft_small"
    assert resolve_flow(FlowSettings(flow="raft_large")) == "raft_large"
