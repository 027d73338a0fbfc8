"""Moving images along flow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dream_core.errors import ImageError
from dream_core.motion.warp import points_inside, require_flow, resize_flow, warp

MODES = ["bilinear", "bicubic"]


def constant_flow(x: float, y: float, height: int, width: int, *, batch: int = 1) -> Tensor:
    return (
        torch.tensor([x, y], dtype=torch.float32)
        .view(1, 2, 1, 1)
        .expand(batch, 2, height, width)
        .contiguous()
    )


@pytest.mark.parametrize("mode", MODES)
def test_whole_pixel_translation_reads_where_the_flow_points(mode: str) -> None:
    image = torch.rand(1, 3, 9, 11)
    moved = warp(image, constant_flow(3, -2, 9, 11), mode=mode)
    torch.testing.assert_close(moved[..., 2:, :-3], image[..., :-2, 3:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_outside_the_border_is_repeated_and_never_black(mode: str) -> None:
    image = torch.full((1, 1, 5, 6), 0.5)
    image[..., -1] = 0.9
    moved = warp(image, constant_flow(100, 0, 5, 6), mode=mode)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.9))


@pytest.mark.parametrize("mode", MODES)
def test_outside_the_tensor_may_be_mirrored(mode: str) -> None:
    row = torch.tensor([0.1, 0.2, 0.4, 0.8]).view(1, 1, 1, 4)
    moved = warp(row, constant_flow(2, 0, 1, 4), mode=mode, edges="mirror")
    torch.testing.assert_close(moved.flatten(), torch.tensor([0.4, 0.8, 0.4, 0.2]))
    far = warp(row, constant_flow(-6, 0, 1, 4), mode=mode, edges="mirror")  # mirrored again
    torch.testing.assert_close(far, row)


def test_unknown_edges_are_refused() -> None:
    with pytest.raises(ImageError, match="expected warp edges border or mirror, got 'wrap'"):
        warp(torch.rand(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), edges="wrap")  # type: ignore[arg-type]


def test_bilinear_halfway_by_hand() -> None:
    row = torch.tensor([0.0, 1.0, 4.0]).view(1, 1, 1, 3)
    moved = warp(row, constant_flow(0.5, 0, 1, 3), mode="bilinear")
    torch.testing.assert_close(moved.flatten(), torch.tensor([0.5, 2.5, 4.0]))


def test_bicubic_halfway_by_hand() -> None:
    # The kernel with a = -0.75 weighs -3/32, 19/32, 19/32, -3/32 halfway between two pixels.
    row = torch.tensor([0.0, 1.0, 4.0, 9.0]).view(1, 1, 1, 4)
    moved = warp(row, constant_flow(0.5, 0, 1, 4), mode="bicubic")
    assert moved[0, 0, 0, 1].item() == pytest.approx((19 * (1 + 4) - 3 * (0 + 9)) / 32, abs=1e-5)


def test_bicubic_keeps_negative_values_and_overshoot() -> None:
    step = torch.tensor([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 6)
    moved = warp(step, constant_flow(0.5, 0, 1, 6))
    assert moved.min() < -1
    assert moved.max() > 1


def test_bicubic_is_sharper_than_bilinear() -> None:
    image = torch.rand(1, 3, 64, 64)
    flow = constant_flow(0.5, 0.5, 64, 64)
    assert warp(image, flow, mode="bicubic").var() > 1.2 * warp(image, flow, mode="bilinear").var()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (97, 131)])
def test_still_flow_is_the_identity_at_any_size(mode: str, size: tuple[int, int]) -> None:
    image = torch.randn(2, 5, *size)
    torch.testing.assert_close(warp(image, torch.zeros(2, 2, *size), mode=mode), image, rtol=0, atol=2e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_pixels_without_motion_stay_bit_for_bit(mode: str, dtype: torch.dtype) -> None:
    tensor = torch.randn(2, 3, 37, 53).to(dtype)
    flow = constant_flow(0.25, 0, 37, 53, batch=2)
    flow[0, :, 5:] = 0
    flow[1, 0] = -0.0
    moved = warp(tensor, flow, mode=mode)
    assert torch.equal(moved[0, :, 5:], tensor[0, :, 5:])
    assert torch.equal(moved[1], tensor[1])
    assert not torch.equal(moved[0, :, :5], tensor[0, :, :5])


@pytest.mark.parametrize("mode", MODES)
def test_one_pixel_stays_whatever_the_flow(mode: str) -> None:
    image = torch.rand(1, 3, 1, 1)
    torch.testing.assert_close(warp(image, constant_flow(5.3, -7.1, 1, 1), mode=mode), image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_warping_keeps_the_type_and_computes_in_float32_or_better(dtype: torch.dtype) -> None:
    image = torch.rand(1, 2, 6, 300).to(dtype)
    flow = constant_flow(3, 1, 6, 300)
    moved = warp(image, flow, mode="bilinear")
    assert moved.dtype == dtype
    # float16 coordinates could not tell column 290 from 290.1; whole pixels come out unchanged.
    torch.testing.assert_close(moved[..., :-1, :-3], image[..., 1:, 3:], rtol=0, atol=1e-3)


def test_each_image_of_a_batch_has_its_own_flow() -> None:
    images = torch.rand(2, 1, 5, 5)
    flow = torch.cat([constant_flow(1, 0, 5, 5), constant_flow(0, 1, 5, 5)])
    moved = warp(images, flow, mode="bilinear")
    torch.testing.assert_close(moved[0, :, :, :-1], images[0, :, :, 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[1, :, :-1], images[1, :, 1:], rtol=0, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    x=st.floats(-40, 40),
    y=st.floats(-40, 40),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_bilinear_never_leaves_the_range(x: float, y: float, height: int, width: int) -> None:
    image = torch.rand(1, 1, height, width)
    moved = warp(image, constant_flow(x, y, height, width), mode="bilinear")
    assert moved.min() >= image.min() - 1e-5
    assert moved.max() <= image.max() + 1e-5


def test_inside_reaches_half_a_pixel_beyond_the_centers() -> None:
    inside = points_inside(constant_flow(0.4, 0, 3, 4))
    assert torch.equal(inside, torch.ones(1, 1, 3, 4))
    inside = points_inside(constant_flow(0.6, 0, 3, 4))
    assert inside[0, 0, 0].tolist() == [1, 1, 1, 0]


def test_inside_of_a_known_translation() -> None:
    inside = points_inside(constant_flow(3, -2, 6, 8))
    expected = torch.ones(6, 8)
    expected[:, -3:] = 0
    expected[:2] = 0
    assert torch.equal(inside[0, 0], expected)


def test_nan_is_outside() -> None:
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, 1, 0, 1] = torch.nan
    assert points_inside(flow).flatten().tolist() == [1, 0, 1, 1]


def test_inside_of_a_frame_of_one_pixel() -> None:
    assert points_inside(constant_flow(0, 0, 1, 1)).item() == 1
    assert points_inside(constant_flow(1, 0, 1, 1)).item() == 0


def test_resized_flow_scales_its_vectors() -> None:
    resized = resize_flow(constant_flow(3, -2, 10, 20), (30, 40))
    assert resized.shape == (1, 2, 30, 40)
    torch.testing.assert_close(resized, constant_flow(6, -6, 30, 40))


@settings(max_examples=20, deadline=None)
@given(sides=st.tuples(*[st.integers(1, 24)] * 4), x=st.floats(-9, 9), y=st.floats(-9, 9))
def test_resized_flow_stays_the_same_share_of_the_frame(
    sides: tuple[int, int, int, int], x: float, y: float
) -> None:
    height, width, new_height, new_width = sides
    resized = resize_flow(constant_flow(x, y, height, width), (new_height, new_width))
    expected = constant_flow(x * new_width / width, y * new_height / height, new_height, new_width)
    torch.testing.assert_close(resized, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("tensor", "flow", "message"),
    [
        (
            torch.rand(1, 3, 4, 5),
            torch.zeros(1, 4, 5, 2),
            r"flow \(B,2,H,W\) in floating point, got \(1, 4",
        ),
        (torch.rand(1, 3, 4, 5), torch.zeros(2, 4, 5), r"\(B,2,H,W\) in floating point, got \(2, 4, 5\)"),
        (torch.rand(1, 3, 4, 5), torch.zeros(1, 2, 4, 5, dtype=torch.long), r"got \(1, 2, 4, 5\) int64"),
        (
            torch.rand(1, 3, 4, 5),
            torch.zeros(1, 2, 5, 4),
            r"flow of shape \(1, 2, 4, 5\) to fit .*, got \(1, 2, 5, 4\)",
        ),
        (
            torch.rand(2, 3, 4, 5),
            torch.zeros(1, 2, 4, 5),
            r"flow of shape \(2, 2, 4, 5\) to fit .*, got \(1, 2, 4, 5\)",
        ),
        (
            torch.rand(3, 4, 5),
            torch.zeros(1, 2, 4, 5),
            r"\(B,C,H,W\) in floating point for flow, got \(3, 4, 5\) float32",
        ),
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), torch.zeros(1, 2, 4, 5), r"for flow, got .* uint8"),
    ],
)
def test_wrong_shapes_and_types_are_refused(tensor: Tensor, flow: Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        warp(tensor, flow)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ImageError, match="expected warp mode nearest or bilinear or bicubic, got 'cubic'"):
        warp(torch.rand(1, 3, 4, 5), torch.zeros(1, 2, 4, 5), mode="cubic")  # type: ignore[arg-type]


def test_wrong_sizes_and_flows_are_refused() -> None:
    with pytest.raises(ImageError, match=r"height and a width of at least 1, got \(0, 4\)"):
        resize_flow(torch.zeros(1, 2, 4, 5), (0, 4))
    with pytest.raises(ImageError, match=r"expected flow .* got \(1, 3, 4, 5\)"):
        points_inside(torch.zeros(1, 3, 4, 5))
    with pytest.raises(ImageError, match="expected forward flow of shape"):
        require_flow(torch.zeros(1, 2, 4, 5), like=torch.zeros(1, 3, 4, 6), name="forward flow")
