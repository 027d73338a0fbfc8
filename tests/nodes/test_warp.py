"""Flow Warp: images, masks and latents, moved as the core moves them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

SIZE = (48, 64)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_an_image_is_warped_as_in_the_pipeline(pack: Any, planes: Any, moved: Any, mode: str) -> None:
    image = torch.rand(2, *SIZE, 3)
    flow = torch.randn(2, 2, *SIZE) * 3
    expected = pack("dream_core.motion.warp").warp(planes(image), flow, mode=mode)
    assert torch.equal(planes(moved(image, flow, warp=mode)), expected.clamp(0, 1))
    if mode == "bicubic":
        assert expected.max() > 1  # so that clamping is seen


def test_edges_may_be_mirrored(constant_flow: Any, moved: Any) -> None:
    image = torch.rand(1, *SIZE, 4)
    flow = constant_flow(-5, 0)
    for channels in (image, image[..., :3]):
        mirrored = moved(channels, flow, edges="mirror")
        torch.testing.assert_close(mirrored[:, :, :5], channels[:, :, 1:6].flip(2), rtol=0, atol=1e-5)
        border = moved(channels, flow)
        torch.testing.assert_close(border[:, :, :5], channels[:, :, :1].expand_as(border[:, :, :5]))


def test_transparency_moves_along(constant_flow: Any, moved: Any) -> None:
    image = torch.rand(1, *SIZE, 4)
    image[..., 3] = image[..., 0]
    warped = moved(image, constant_flow(2.5, -1))
    assert warped.shape == image.shape
    assert torch.equal(warped[..., 3], warped[..., 0])
    assert not torch.equal(warped, image)


def test_masks_are_warped_bilinearly(pack: Any, moved: Any) -> None:
    mask = (torch.rand(2, *SIZE) > 0.5).float()
    flow = torch.randn(2, 2, *SIZE)
    warped = moved(mask, flow)
    assert torch.equal(
        warped, pack("dream_core.motion.warp").warp(mask[:, None], flow, mode="bilinear")[:, 0]
    )


def test_a_clip_with_its_own_flow_is_moved_from_the_entry_before(constant_flow: Any, moved: Any) -> None:
    images = torch.rand(3, *SIZE, 3)
    flow = constant_flow(4, 2, count=3)
    result = moved(images, flow, from_previous=True)
    assert torch.equal(result[0], images[0])
    torch.testing.assert_close(result[1, :-2, :-4], images[0, 2:, 4:], rtol=0, atol=1e-4)
    torch.testing.assert_close(result[2, :-2, :-4], images[1, 2:, 4:], rtol=0, atol=1e-4)


def test_one_flow_serves_a_batch_and_one_image_several_flows(errors: Any, moved: Any) -> None:
    images, flow = torch.rand(3, *SIZE, 3), torch.randn(3, 2, *SIZE)
    by_one = moved(images, flow[:1])
    assert torch.equal(by_one[2], moved(images[2:], flow[:1])[0])
    of_one = moved(images[:1], flow)
    assert torch.equal(of_one[2], moved(images[:1], flow[2:])[0])
    with pytest.raises(errors.ImageError, match=r"equal length.*got 3 in input, 2 in flow"):
        moved(images, flow[:2])


def test_a_latent_is_moved_by_the_flow_of_its_grid_and_keeps_what_else_it_holds(
    constant_flow: Any, moved: Any
) -> None:
    samples = torch.randn(2, 4, 6, 8) * 3
    latent = {"samples": samples, "noise_mask": torch.rand(1, 1, *SIZE), "batch_index": [4, 5], "type": "x"}
    result = moved(latent, constant_flow(16, 8, count=2))
    torch.testing.assert_close(result["samples"][..., :-1, :-2], samples[..., 1:, 2:], rtol=0, atol=1e-4)
    torch.testing.assert_close(
        result["noise_mask"][..., :-8, :-16],
        latent["noise_mask"].expand(2, -1, -1, -1)[..., 8:, 16:],
        rtol=0,
        atol=1e-4,
    )
    assert (result["batch_index"], result["type"]) == ([4, 5], "x")
    assert torch.equal(latent["samples"], samples)


def test_a_latents_mask_keeps_its_range(constant_flow: Any, moved: Any) -> None:
    latent = {"samples": torch.randn(1, 4, 6, 8), "noise_mask": (torch.rand(1, *SIZE) > 0.5).float()}
    mask = moved(latent, constant_flow(0.5, 0.5))["noise_mask"]
    assert 0 <= mask.min() < mask.max() <= 1


def test_the_frames_of_a_video_latent_are_its_entries(constant_flow: Any, moved: Any) -> None:
    samples = torch.randn(1, 4, 3, 6, 8)
    flow = torch.cat([constant_flow(8 * x, 0) for x in (0, 1, 2)])
    result = moved({"samples": samples}, flow)["samples"]
    assert result.shape == samples.shape
    assert torch.equal(result[:, :, 0], samples[:, :, 0])
    for frame in (1, 2):
        torch.testing.assert_close(
            result[:, :, frame, :, :-frame], samples[:, :, frame, :, frame:], rtol=0, atol=1e-4
        )


def test_one_latent_of_several_flows_stays_consistent(moved: Any) -> None:
    latent = {
        "samples": torch.randn(1, 4, 6, 8, dtype=torch.float16),
        "noise_mask": torch.rand(1, *SIZE),
        "batch_index": [7],
    }
    result = moved(latent, torch.randn(3, 2, *SIZE))
    assert result["samples"].shape == (3, 4, 6, 8)
    assert result["samples"].dtype == torch.float16
    assert result["noise_mask"].shape == (3, *SIZE)
    assert result["batch_index"] == [7, 7, 7]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.rand(0, 8, 8, 3), "input is empty"),
        (torch.full((1, 8, 8), torch.nan), "expected finite input"),
        ({"samples": torch.full((1, 4, 8, 8), torch.inf)}, "samples of the latent hold NaN or infinite"),
        ({"samples": torch.rand(0, 4, 8, 8)}, r"samples of the latent are empty, \(0, 4, 8, 8\)"),
        ({"samples": torch.rand(2, 4, 3, 8, 8)}, r"expected samples .*one video.*, got \(2, 4, 3, 8, 8\)"),
        ({"samples": torch.rand(1, 64, 80)}, r"expected samples of the latent .*, got \(1, 64, 80\)"),
    ],
)
def test_what_cannot_be_warped_is_named(
    errors: Any, constant_flow: Any, moved: Any, tensor: Any, message: str
) -> None:
    with pytest.raises(errors.ImageError, match=message):
        moved(tensor, constant_flow(1, 1))


def test_what_comes_out_lies_on_the_cpu_in_one_piece(constant_flow: Any, moved: Any) -> None:
    image = moved(torch.rand(2, *SIZE, 4), constant_flow(1, 1))
    mask = moved(torch.rand(2, *SIZE), constant_flow(1, 1))
    latent = moved({"samples": torch.rand(1, 4, 3, 6, 8)}, constant_flow(1, 1))["samples"]
    for tensor in (image, mask, latent):
        assert tensor.is_contiguous()
        assert tensor.dtype == torch.float32
        assert not tensor.is_inference()


@pytest.mark.parametrize("came", ["text", None, {"other": 1}])
def test_what_is_no_image_at_all_is_refused(nodes: Any, run: Any, errors: Any, came: Any) -> None:
    flow = nodes.Flow(torch.zeros(1, 2, *SIZE))
    with pytest.raises(errors.ImageError, match=r"got (str|NoneType)"):
        run(nodes.FlowWarp, input=came, flow=flow, from_previous=False, warp="bilinear")


def test_another_packs_flow_is_refused_by_name(nodes: Any, run: Any, pack: Any, clip: Any) -> None:
    error = pack("nodes.adapters.require").WireError
    with pytest.raises(error, match="flow from Optical Flow, Camera Flow or DeepDream Video, got Tensor"):
        run(
            nodes.FlowWarp, flow=torch.zeros(2, 2, *SIZE), input=clip(2), from_previous=False, warp="bilinear"
        )
