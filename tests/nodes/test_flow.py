"""The nodes of flow: estimate, compute, mask, warp, image, blend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core.synthetic import synthetic_clip

FLOW = {"flow_scale": 1.0, "flow_updates": 8, "flow_batch": 0, "both_ways": True}
CHECKS = {
    "check_consistency": True,
    "check_boundaries": True,
    "check_brightness": True,
    "check_leaving": True,
    "brightness_threshold": 30.0,
    "mask_softness": 0.003,
}
SHOWN = {"saturation_length": 0.0, "arrow_spacing": 0}
SIZE = (48, 64)


@pytest.fixture
def nodes(pack: Any) -> SimpleNamespace:
    return SimpleNamespace(
        OpticalFlow=pack("nodes.flow").OpticalFlow,
        CameraFlow=pack("nodes.camera").CameraFlow,
        ReliabilityMask=pack("nodes.reliability").ReliabilityMask,
        FlowWarp=pack("nodes.warp").FlowWarp,
        FlowImage=pack("nodes.flow_image").FlowImage,
        TemporalBlend=pack("nodes.blend").TemporalBlend,
        Flow=pack("nodes.adapters.sockets").Flow,
    )


@pytest.fixture
def errors(pack: Any) -> Any:
    return pack("dream_core.errors")


@pytest.fixture
def dis(pack: Any) -> Any:
    return pack("nodes.adapters.host").wrap(pack("dream_core.motion.flow").DisNetwork())


def clip(frames: int) -> Tensor:
    """An IMAGE: (B,H,W,3)."""
    images = synthetic_clip(frames=frames, height=SIZE[0], width=SIZE[1], seed=3).frames
    return images.movedim(1, -1).contiguous()


def planes(image: Tensor) -> Tensor:
    """BHWC -> BCHW, in that order in memory."""
    return image.movedim(-1, 1).contiguous()


def constant_flow(x: float, y: float, *, count: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).repeat(count, 1, *size)


@pytest.fixture
def fake_estimator(pack: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Put an estimate of one's own behind the Optical Flow node."""

    def use(estimate: Callable[[Tensor, Tensor, bool], Tensor], **options: Any) -> list[Any]:
        made: list[Any] = []
        cpu = torch.device("cpu")

        def estimator_for(patcher: Any, settings: Any) -> Any:
            made.append(patcher)
            return pack("dream_core.motion.flow").FlowEstimator(
                estimate, cpu, 1, 1, settings.flow_scale, settings.flow_batch, **options
            )

        monkeypatch.setattr(pack("nodes.flow"), "estimator_for", estimator_for)
        return made

    return use


# Optical Flow


def test_a_clip_has_one_flow_for_each_frame_to_the_one_before(
    nodes: Any, run: Any, dis: Any, pack: Any
) -> None:
    frames = clip(4)
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, **FLOW)
    estimator = pack("nodes.adapters.estimators").estimator_for(
        dis, pack("dream_core.settings").FlowSettings()
    )
    backward, forward = estimator.both_ways(planes(frames)[1:], planes(frames)[:-1])
    assert torch.equal(flow.backward[1:], backward)
    assert torch.equal(flow.forward[1:], forward)
    assert not flow.backward[0].any()
    assert not flow.forward[0].any()
    assert backward.any()


def test_previous_frames_are_paired_one_by_one_or_one_serves_all(nodes: Any, run: Any, dis: Any) -> None:
    frames = clip(3)
    (alone,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, **FLOW)
    (pairs,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames[1:], previous=frames[:-1], **FLOW)
    assert torch.equal(pairs.backward, alone.backward[1:])
    (to_one,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, previous=frames[:1], **FLOW)
    assert not to_one.backward[0].any()
    assert torch.equal(to_one.backward[1], alone.backward[1])
    assert not torch.equal(to_one.backward[2], alone.backward[2])


def test_one_frame_of_a_clip_has_not_moved(nodes: Any, run: Any, dis: Any) -> None:
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=clip(2)[:1], **FLOW)
    assert torch.equal(flow.backward, torch.zeros(1, 2, *SIZE))


def test_the_forward_flow_is_left_out_where_it_is_not_wanted(
    nodes: Any, run: Any, fake_estimator: Any
) -> None:
    asked = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        asked.append(both)
        return first[:, :2]

    fake_estimator(estimate)
    (flow,) = run(nodes.OpticalFlow, flow_model=None, frames=clip(2), **{**FLOW, "both_ways": False})
    assert flow.forward is None
    assert asked == [False]


def test_a_long_batch_goes_through_in_parts_and_shows_how_far_it_is(
    nodes: Any, run: Any, fake_estimator: Any, host: Any
) -> None:
    seen = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(len(first))
        return torch.cat([first, second])[:, :2]

    fake_estimator(estimate)
    frames = torch.rand(7, 20, 600, 3)
    (flow,) = run(nodes.OpticalFlow, flow_model=None, frames=frames, **{**FLOW, "flow_batch": 3})
    assert seen == [2, 3, 1]  # the first frame of three has nothing to be estimated
    assert torch.equal(flow.backward[1:], planes(frames)[1:, :2])
    assert torch.equal(flow.forward[1:], planes(frames)[:-1, :2])
    assert [(done, total) for done, total, _ in host.progress] == [(3, 7), (6, 7), (7, 7)]
    assert host.progress[0][2].shape == (1, 3, 10, 300)  # a preview, within 512 pixels


def test_cancel_is_heard_between_parts(
    nodes: Any, run: Any, fake_estimator: Any, host: Any, pack: Any
) -> None:
    seen = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(len(first))
        host.interrupted = True
        return torch.cat([first, second])[:, :2]

    fake_estimator(estimate)
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        run(nodes.OpticalFlow, flow_model=None, frames=clip(4), **FLOW)
    assert seen == [1]


def test_where_memory_runs_out_it_goes_on_pair_by_pair(
    nodes: Any, run: Any, fake_estimator: Any, host: Any
) -> None:
    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        if len(first) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return torch.cat([first, second])[:, :2]

    made = fake_estimator(estimate)
    frames = torch.rand(6, 5, 6, 3)
    (flow,) = run(nodes.OpticalFlow, flow_model="patcher", frames=frames, **{**FLOW, "flow_batch": 4})
    assert torch.equal(flow.backward[1:], planes(frames)[1:, :2])
    assert host.freed == 1
    assert made == ["patcher", "patcher"]  # taken again
    assert host.told == ["memory ran out: going on with one pair of frames at a time"]


def test_a_smaller_scale_is_told_once_in_each_prompt(
    nodes: Any, run: Any, pack: Any, fake_estimator: Any, tmp_path: Path
) -> None:
    def still(first: Tensor, second: Tensor, both: bool) -> Tensor:
        return torch.zeros(len(first) * (1 + both), 2, *first.shape[-2:])

    fake_estimator(still, pair_memory=(6 * 8) ** 2 * 4 * 4 / 3 * 2 / 16)  # for half the sides
    host = pack("nodes.adapters.host")
    for _ in range(2):
        host.record = host.Record(folder=tmp_path)
        run(nodes.OpticalFlow, flow_model=None, frames=clip(4), **FLOW | {"flow_batch": 1})
        (told,) = host.record.told
        assert told.startswith("flow is estimated at 32 x 24 to stay within ")
        assert told.endswith(" GiB; flow_scale sets the scale")


def test_where_memory_lacks_for_one_pair_it_says_what_to_do(
    nodes: Any, run: Any, fake_estimator: Any, host: Any
) -> None:
    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    fake_estimator(estimate)
    with pytest.raises(torch.OutOfMemoryError, match="a single pair of frames: lower flow_scale"):
        run(nodes.OpticalFlow, flow_model=None, frames=torch.rand(3, 5, 6, 3), **{**FLOW, "flow_batch": 2})
    assert host.freed == 1


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    nodes: Any, run: Any, fake_estimator: Any, host: Any
) -> None:
    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        raise RuntimeError("something else")

    fake_estimator(estimate)
    with pytest.raises(RuntimeError, match="something else"):
        run(nodes.OpticalFlow, flow_model=None, frames=clip(2), **FLOW)
    assert host.freed == 0


@pytest.mark.parametrize(
    ("frames", "previous", "message"),
    [
        (torch.rand(2, 8, 9, 3), torch.rand(2, 8, 7, 3), "previous in the size of frames, 9 x 8, got 7 x 8"),
        (torch.rand(3, 8, 9, 3), torch.rand(2, 8, 9, 3), "equal length.*got 3 in frames, 2 in previous"),
        (torch.rand(0, 8, 9, 3), None, "frames is empty"),
        (torch.rand(2, 8, 9, 3), torch.rand(0, 8, 9, 3), "previous is empty"),
        (torch.full((1, 8, 9, 3), torch.nan), None, "frames holds NaN"),
    ],
)
def test_frames_that_do_not_fit_are_named(
    nodes: Any,
    run: Any,
    dis: Any,
    errors: Any,
    frames: Tensor,
    previous: Tensor | None,
    message: str,
) -> None:
    with pytest.raises(errors.ImageError, match=message):
        run(nodes.OpticalFlow, flow_model=dis, frames=frames, previous=previous, **FLOW)


# Camera Flow


CAMERA = {"zoom_factor": 1.1, "rotation": 3.0, "pan_x": 2.0, "pan_y": -1.0}


def test_a_camera_has_the_cores_flow_for_each_image(nodes: Any, run: Any, pack: Any) -> None:
    (flow,) = run(nodes.CameraFlow, image=clip(3), **CAMERA)
    camera = pack("dream_core.settings").CameraSettings(**CAMERA)
    backward, forward = pack("dream_core.motion.camera").camera_flow(SIZE, camera)
    assert torch.equal(flow.backward, backward.expand(3, 2, *SIZE))
    assert torch.equal(flow.forward, forward.expand(3, 2, *SIZE))


def test_a_cameras_flow_fits_the_other_nodes_of_flow(nodes: Any, run: Any) -> None:
    frames = clip(2)
    (flow,) = run(nodes.CameraFlow, image=frames, **{**CAMERA, "pan_x": 12.0})
    before = moved(nodes, run, frames, flow.backward)
    (masks,) = run(
        nodes.ReliabilityMask,
        flow=flow,
        frames=before,
        previous=frames,
        **{**CHECKS, "check_brightness": False},
    )
    assert not masks[..., :6].any()  # what the pan has laid open
    assert masks[..., 20:-8].mean() > 0.9
    (image,) = run(nodes.FlowImage, flow=flow, **SHOWN)
    assert image.shape == frames.shape


# Occlusion Mask


def test_masks_are_the_cores(nodes: Any, run: Any, dis: Any, pack: Any) -> None:
    frames = clip(3)
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, **FLOW)
    (masks,) = run(nodes.ReliabilityMask, flow=flow, frames=frames, **CHECKS)
    expected = pack("dream_core.motion.occlusion").reliability_mask(
        flow.backward[1:],
        flow.forward[1:],
        frame=planes(frames)[1:],
        previous=planes(frames)[:-1],
        settings=pack("dream_core.settings").ReliabilitySettings(),
    )
    assert torch.equal(masks[1:], expected[:, 0])
    assert 0 < expected.mean() < 1
    assert torch.equal(masks[0], torch.ones(SIZE))
    pairs = nodes.Flow(flow.backward[1:], flow.forward[1:])
    (again,) = run(nodes.ReliabilityMask, flow=pairs, frames=frames[1:], previous=frames[:-1], **CHECKS)
    assert torch.equal(again, masks[1:])


def test_masks_need_the_forward_flow_only_for_its_check(nodes: Any, run: Any, errors: Any) -> None:
    flow, frames = nodes.Flow(constant_flow(0, 0, count=2)), clip(2)
    with pytest.raises(errors.ImageError, match="turn check_consistency off"):
        run(nodes.ReliabilityMask, flow=flow, frames=frames, **CHECKS)
    (masks,) = run(nodes.ReliabilityMask, flow=flow, frames=frames, **{**CHECKS, "check_consistency": False})
    assert masks.shape == (2, *SIZE)


def test_masks_refuse_flow_of_other_frames(nodes: Any, run: Any, errors: Any) -> None:
    flow = nodes.Flow(constant_flow(0, 0, count=3))
    with pytest.raises(errors.ImageError, match="one flow for each of the 2 frames, got 3"):
        run(nodes.ReliabilityMask, flow=flow, frames=clip(2), **CHECKS)
    with pytest.raises(errors.ImageError, match="flow in the size of frames, 10 x 12, got 64 x 48"):
        run(nodes.ReliabilityMask, flow=flow, frames=torch.rand(3, 12, 10, 3), **CHECKS)


# Flow Warp


def moved(nodes: Any, run: Any, tensor: Any, flow: Tensor, **options: Any) -> Any:
    values = {"warp": "bicubic", "from_previous": False, **options}
    (output,) = run(nodes.FlowWarp, input=tensor, flow=nodes.Flow(flow), **values)
    return output


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_image_is_warped_as_in_the_pipeline(nodes: Any, run: Any, pack: Any, mode: str) -> None:
    image = torch.rand(2, *SIZE, 3)
    flow = torch.randn(2, 2, *SIZE) * 3
    expected = pack("dream_core.motion.warp").warp(planes(image), flow, mode=mode)
    assert torch.equal(planes(moved(nodes, run, image, flow, warp=mode)), expected.clamp(0, 1))
    if mode == "bicubic":
        assert expected.max() > 1  # so that clamping is seen


def test_edges_may_be_mirrored(nodes: Any, run: Any) -> None:
    image = torch.rand(1, *SIZE, 4)
    flow = constant_flow(-5, 0)
    for channels in (image, image[..., :3]):
        mirrored = moved(nodes, run, channels, flow, edges="mirror")
        torch.testing.assert_close(mirrored[:, :, :5], channels[:, :, 1:6].flip(2), rtol=0, atol=1e-5)
        border = moved(nodes, run, channels, flow)
        torch.testing.assert_close(border[:, :, :5], channels[:, :, :1].expand_as(border[:, :, :5]))


def test_transparency_moves_along(nodes: Any, run: Any) -> None:
    image = torch.rand(1, *SIZE, 4)
    image[..., 3] = image[..., 0]
    warped = moved(nodes, run, image, constant_flow(2.5, -1))
    assert warped.shape == image.shape
    assert torch.equal(warped[..., 3], warped[..., 0])
    assert not torch.equal(warped, image)


def test_masks_are_warped_bilinearly(nodes: Any, run: Any, pack: Any) -> None:
    mask = (torch.rand(2, *SIZE) > 0.5).float()
    flow = torch.randn(2, 2, *SIZE)
    warped = moved(nodes, run, mask, flow)
    assert torch.equal(
        warped, pack("dream_core.motion.warp").warp(mask[:, None], flow, mode="bilinear")[:, 0]
    )


def test_a_clip_with_its_own_flow_is_moved_from_the_entry_before(nodes: Any, run: Any) -> None:
    images = torch.rand(3, *SIZE, 3)
    flow = constant_flow(4, 2, count=3)
    result = moved(nodes, run, images, flow, from_previous=True)
    assert torch.equal(result[0], images[0])
    torch.testing.assert_close(result[1, :-2, :-4], images[0, 2:, 4:], rtol=0, atol=1e-4)
    torch.testing.assert_close(result[2, :-2, :-4], images[1, 2:, 4:], rtol=0, atol=1e-4)


def test_one_flow_serves_a_batch_and_one_image_several_flows(nodes: Any, run: Any, errors: Any) -> None:
    images, flow = torch.rand(3, *SIZE, 3), torch.randn(3, 2, *SIZE)
    by_one = moved(nodes, run, images, flow[:1])
    assert torch.equal(by_one[2], moved(nodes, run, images[2:], flow[:1])[0])
    of_one = moved(nodes, run, images[:1], flow)
    assert torch.equal(of_one[2], moved(nodes, run, images[:1], flow[2:])[0])
    with pytest.raises(errors.ImageError, match=r"equal length.*got 3 in input, 2 in flow"):
        moved(nodes, run, images, flow[:2])


def test_a_latent_is_moved_by_the_flow_of_its_grid_and_keeps_what_else_it_holds(nodes: Any, run: Any) -> None:
    samples = torch.randn(2, 4, 6, 8) * 3
    latent = {"samples": samples, "noise_mask": torch.rand(1, 1, *SIZE), "batch_index": [4, 5], "type": "x"}
    result = moved(nodes, run, latent, constant_flow(16, 8, count=2))
    torch.testing.assert_close(result["samples"][..., :-1, :-2], samples[..., 1:, 2:], rtol=0, atol=1e-4)
    torch.testing.assert_close(
        result["noise_mask"][..., :-8, :-16],
        latent["noise_mask"].expand(2, -1, -1, -1)[..., 8:, 16:],
        rtol=0,
        atol=1e-4,
    )
    assert (result["batch_index"], result["type"]) == ([4, 5], "x")
    assert torch.equal(latent["samples"], samples)


def test_a_latents_mask_keeps_its_range(nodes: Any, run: Any) -> None:
    latent = {"samples": torch.randn(1, 4, 6, 8), "noise_mask": (torch.rand(1, *SIZE) > 0.5).float()}
    mask = moved(nodes, run, latent, constant_flow(0.5, 0.5))["noise_mask"]
    assert 0 <= mask.min() < mask.max() <= 1


def test_the_frames_of_a_video_latent_are_its_entries(nodes: Any, run: Any) -> None:
    samples = torch.randn(1, 4, 3, 6, 8)
    flow = torch.cat([constant_flow(8 * x, 0) for x in (0, 1, 2)])
    result = moved(nodes, run, {"samples": samples}, flow)["samples"]
    assert result.shape == samples.shape
    assert torch.equal(result[:, :, 0], samples[:, :, 0])
    for frame in (1, 2):
        torch.testing.assert_close(
            result[:, :, frame, :, :-frame], samples[:, :, frame, :, frame:], rtol=0, atol=1e-4
        )


def test_one_latent_of_several_flows_stays_consistent(nodes: Any, run: Any) -> None:
    latent = {
        "samples": torch.randn(1, 4, 6, 8, dtype=torch.float16),
        "noise_mask": torch.rand(1, *SIZE),
        "batch_index": [7],
    }
    result = moved(nodes, run, latent, torch.randn(3, 2, *SIZE))
    assert result["samples"].shape == (3, 4, 6, 8)
    assert result["samples"].dtype == torch.float16
    assert result["noise_mask"].shape == (3, *SIZE)
    assert result["batch_index"] == [7, 7, 7]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.rand(0, 8, 8, 3), "input is empty"),
        (torch.full((1, 8, 8), torch.nan), "input holds NaN"),
        ({"samples": torch.full((1, 4, 8, 8), torch.inf)}, "samples of the latent hold NaN or infinite"),
        ({"samples": torch.rand(0, 4, 8, 8)}, r"samples of the latent are empty, \(0, 4, 8, 8\)"),
        ({"samples": torch.rand(2, 4, 3, 8, 8)}, r"expected samples .*one video.*, got \(2, 4, 3, 8, 8\)"),
        ({"samples": torch.rand(1, 64, 80)}, r"expected samples of the latent .*, got \(1, 64, 80\)"),
    ],
)
def test_what_cannot_be_warped_is_named(nodes: Any, run: Any, errors: Any, tensor: Any, message: str) -> None:
    with pytest.raises(errors.ImageError, match=message):
        moved(nodes, run, tensor, constant_flow(1, 1))


# Flow Image


def test_each_flow_is_a_image(nodes: Any, run: Any, pack: Any) -> None:
    flow = torch.randn(3, 2, *SIZE) * 4
    (image,) = run(nodes.FlowImage, flow=nodes.Flow(flow), **SHOWN)
    wheel = pack("dream_core.motion.flow_image").flow_image(flow)
    assert torch.equal(planes(image), wheel)
    settings = {"saturation_length": 20.0, "arrow_spacing": 16}
    (image,) = run(nodes.FlowImage, flow=nodes.Flow(flow), **settings)
    wheel = pack("dream_core.motion.flow_image").flow_image(flow, saturation_length=20)
    assert torch.equal(
        planes(image),
        pack("dream_core.motion.flow_image").draw_arrows(wheel, flow, spacing=16, saturation_length=20),
    )


def test_arrows_on_a_frame_of_another_size_are_scaled(nodes: Any, run: Any, pack: Any, errors: Any) -> None:
    frame = torch.full((1, 96, 128, 4), 0.5)
    flow = nodes.Flow(constant_flow(5, 0, count=2))
    settings = {"saturation_length": 20.0, "arrow_spacing": 64}
    (image,) = run(nodes.FlowImage, flow=flow, frames=frame, **settings)
    draw = pack("dream_core.motion.flow_image").draw_arrows
    expected = draw(
        torch.full((2, 3, 96, 128), 0.5),
        constant_flow(10, 0, count=2, size=(96, 128)),
        spacing=64,
        saturation_length=20,
    )
    assert torch.equal(planes(image), expected)
    with pytest.raises(errors.SettingsError, match="expected arrow_spacing of at least 1, got 0"):
        run(nodes.FlowImage, flow=flow, frames=frame, **SHOWN)


# Temporal Blend


def test_blending_is_the_cores(nodes: Any, run: Any, pack: Any) -> None:
    frame, warped = torch.rand(2, 2, *SIZE, 3)
    mask = torch.rand(2, *SIZE)
    (image,) = run(nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, blend=0.3)
    expected = pack("dream_core.temporal.blend").blend_frames(
        planes(frame), planes(warped), mask[:, None], blend=0.3
    )
    assert torch.equal(planes(image), expected.clamp(0, 1))


def test_adding_the_residual_is_the_cores(nodes: Any, run: Any, pack: Any) -> None:
    frame, warped, before = torch.rand(3, 2, *SIZE, 3)
    mask = torch.rand(2, *SIZE)
    (image,) = run(
        nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, warped_frame=before[:1], blend=0.3
    )
    expected = pack("dream_core.temporal.blend").add_residual(
        planes(frame), planes(warped), mask[:, None], planes(before[:1].expand(2, -1, -1, -1)), blend=0.3
    )
    assert torch.equal(planes(image), expected)


def test_blending_ends_in_range(nodes: Any, run: Any) -> None:
    frame, mask = torch.tensor([-0.5, 0.5, 1.5]).expand(1, *SIZE, 3), torch.ones(SIZE)
    (image,) = run(nodes.TemporalBlend, frame=frame, warped=frame, reliability=mask, blend=0.3)
    assert torch.equal(image, torch.tensor([0.0, 0.5, 1.0]).expand(1, *SIZE, 3))


def test_the_frames_transparency_is_kept(nodes: Any, run: Any) -> None:
    frame, warped = torch.rand(1, *SIZE, 4), torch.rand(2, *SIZE, 3)
    (image,) = run(nodes.TemporalBlend, frame=frame, warped=warped, reliability=torch.ones(*SIZE), blend=0.0)
    assert image.shape == (2, *SIZE, 4)
    assert torch.equal(image[..., :3], warped)
    assert torch.equal(image[1, ..., 3], frame[0, ..., 3])


def test_blending_refuses_other_sizes_and_masks(nodes: Any, run: Any, errors: Any) -> None:
    frame, mask = torch.rand(1, 8, 9, 3), torch.ones(1, 8, 9)
    with pytest.raises(errors.ImageError, match="warped in the size of frame, 9 x 8, got 9 x 7"):
        run(nodes.TemporalBlend, frame=frame, warped=frame[:, :7], reliability=mask, blend=0.3)
    with pytest.raises(errors.ImageError, match="mask in the size of frame, 9 x 8, got 8 x 8"):
        run(nodes.TemporalBlend, frame=frame, warped=frame, reliability=mask[..., :8], blend=0.3)
    with pytest.raises(errors.ImageError, match="mask values between 0 and 1"):
        run(nodes.TemporalBlend, frame=frame, warped=frame, reliability=mask * 2, blend=0.3)
    with pytest.raises(errors.ImageError, match="warped_frame in the size of frame, 9 x 8, got 9 x 7"):
        run(
            nodes.TemporalBlend,
            frame=frame,
            warped=frame,
            reliability=mask,
            warped_frame=frame[:, :7],
            blend=0.3,
        )


# Together


@pytest.mark.parametrize("carry", ["residual", "image"])
def test_the_nodes_carry_a_dream_bit_for_bit_as_the_pipeline(
    nodes: Any, run: Any, dis: Any, pack: Any, carry: str
) -> None:
    frames, dream = clip(2), torch.rand(1, *SIZE, 3)
    frame, previous = frames[1:], frames[:1]
    settings = pack("dream_core.settings")
    temporal = pack("dream_core.temporal.dreamer")
    dreamer = temporal.TemporalDreamer(
        [SimpleNamespace(device=torch.device("cpu"))],
        pack("nodes.adapters.estimators").estimator_for(dis, settings.FlowSettings()),
        settings=settings.DreamSettings(),
        temporal=settings.TemporalSettings(blend=0.3, carry=carry),
        occlusion=settings.ReliabilitySettings(),
    )
    before = temporal.DreamedFrame(
        planes(previous), planes(dream), None, age=torch.ones_like(planes(previous)[:, :1])
    )
    dreamer._past.append(before)
    carried = dreamer._carry(planes(frame))
    start = dreamer._start(planes(frame), carried)

    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frame, previous=previous, **FLOW)
    (mask,) = run(nodes.ReliabilityMask, flow=flow, frames=frame, previous=previous, **CHECKS)
    warped = moved(nodes, run, dream, flow.backward)
    also = {"warped_frame": moved(nodes, run, previous, flow.backward)} if carry == "residual" else {}
    (image,) = run(nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, blend=0.3, **also)
    assert torch.equal(flow.backward, carried.flow)
    assert torch.equal(mask[:, None], carried.reliability)
    assert torch.equal(planes(warped), carried.warped)
    assert torch.equal(planes(image), start.clamp(0, 1))
    assert 0 < mask.mean() < 1


def test_the_first_frame_of_a_loop_starts_from_itself_bit_for_bit(nodes: Any, run: Any, dis: Any) -> None:
    frame = clip(1)
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frame, previous=frame, **FLOW)
    (mask,) = run(nodes.ReliabilityMask, flow=flow, frames=frame, previous=frame, **CHECKS)
    warped = moved(nodes, run, frame, flow.backward)
    for also in ({}, {"warped_frame": warped}):
        (image,) = run(nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, blend=0.3, **also)
        assert torch.equal(image, frame)


def test_the_core_gets_images_in_its_own_layout(pack: Any) -> None:
    image = pack("nodes.adapters.images").from_image(torch.rand(1, *SIZE, 3))
    assert not image.is_contiguous()
    assert pack("nodes.adapters.batches").compute(image).is_contiguous()


def test_what_comes_out_lies_on_the_cpu_in_one_piece(nodes: Any, run: Any) -> None:
    image = moved(nodes, run, torch.rand(2, *SIZE, 4), constant_flow(1, 1))
    mask = moved(nodes, run, torch.rand(2, *SIZE), constant_flow(1, 1))
    latent = moved(nodes, run, {"samples": torch.rand(1, 4, 3, 6, 8)}, constant_flow(1, 1))["samples"]
    for tensor in (image, mask, latent):
        assert tensor.is_contiguous()
        assert tensor.dtype == torch.float32
        assert not tensor.is_inference()


def test_every_socket_and_widget_is_explained(nodes: Any) -> None:
    for node in vars(nodes).values():
        if not hasattr(node, "define_schema"):
            continue
        schema = node.define_schema()
        assert schema.node_id == "DeepDream" + schema.display_name.replace(" ", "")
        assert schema.category == "DeepDream"
        assert schema.search_aliases
        assert all(one.tooltip for one in (*schema.inputs, *schema.outputs))


def test_another_packs_flow_is_refused_by_name(
    pack: Any, nodes: SimpleNamespace, run: Callable[..., Any]
) -> None:
    wire_error = pack("nodes.adapters.require").WireError
    for node, given in (
        (nodes.ReliabilityMask, {"frames": clip(2), **CHECKS}),
        (nodes.FlowWarp, {"input": clip(2), "from_previous": False, "warp": "bilinear"}),
        (nodes.FlowImage, SHOWN),
    ):
        with pytest.raises(
            wire_error, match="flow from Optical Flow, Camera Flow or DeepDream Video, got Tensor"
        ):
            run(node, flow=torch.zeros(2, 2, *SIZE), **given)


def test_another_packs_flow_model_is_refused_by_name(
    pack: Any, nodes: SimpleNamespace, run: Callable[..., Any]
) -> None:
    with pytest.raises(
        pack("nodes.adapters.require").WireError, match=r"flow_model from Load Flow Model .*, got dict"
    ):
        run(nodes.OpticalFlow, flow_model={}, frames=clip(2), **FLOW)


@pytest.mark.parametrize("came", ["text", None, {"other": 1}])
def test_what_is_no_image_at_all_is_refused(
    nodes: SimpleNamespace, errors: Any, run: Callable[..., Any], came: Any
) -> None:
    flow = nodes.Flow(torch.zeros(1, 2, *SIZE))
    with pytest.raises(errors.ImageError, match=r"got (str|NoneType)"):
        run(nodes.FlowWarp, input=came, flow=flow, from_previous=False, warp="bilinear")
