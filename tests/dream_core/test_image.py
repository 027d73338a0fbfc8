import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from kornia.color import rgb_to_ycbcr
from pretended import Pretended
from torch import Tensor

from dream_core.checks import validate
from dream_core.device import backends
from dream_core.errors import ImageError, SettingsError
from dream_core.image import (
    antialias,
    box_max,
    box_mean,
    describe,
    finish,
    keep_colors,
    kept_by_zoom,
    noise,
    percentile,
    require_image,
    resize,
    sample,
    scaled_size,
    size_of,
    stretch_contrast,
    vector_like,
    zoom,
)
from dream_core.settings import DeviceSettings, ImageSettings


def ramp(height: int, width: int) -> Tensor:
    """(1,3,H,W): red is the column's middle over the width, green the row's over the height."""
    x = (torch.arange(width) + 0.5) / width
    y = (torch.arange(height) + 0.5) / height
    red, green = x.expand(height, width), y[:, None].expand(height, width)
    return torch.stack([red, green, torch.full((height, width), 0.5)])[None]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_image_passes(dtype: torch.dtype) -> None:
    require_image(torch.zeros(1, 3, 1, 1, dtype=dtype), batch=1)
    require_image(torch.zeros(2, 3, 4, 5, dtype=dtype))
    require_image(torch.zeros(2, 1, 4, 5, dtype=dtype), channels=1, like=torch.zeros(2, 3, 4, 5))
    require_image(torch.zeros(2, 7, 4, 5, dtype=dtype), channels=None)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(3, 4, 5), r"^expected image \(1,3,H,W\) in floating point, got \(3, 4, 5\) float32$"),
        (torch.zeros(2, 3, 4, 5), r"^expected image \(1,3,H,W\) in .*, got \(2, 3, 4, 5\) float32$"),
        (torch.zeros(1, 1, 4, 5), r"got \(1, 1, 4, 5\) float32$"),
        (torch.zeros(1, 4, 4, 5), r"got \(1, 4, 4, 5\) float32$"),
        (torch.zeros(1, 3, 0, 5), r"got \(1, 3, 0, 5\) float32$"),
        (
            torch.zeros(1, 3, 4, 5, dtype=torch.uint8),
            r"^expected image .*, got \(1, 3, 4, 5\) uint8; convert it to floating point in 0..1$",
        ),
        (
            torch.full((1, 3, 4, 5), torch.nan),
            r"^expected finite image in 0..1, got NaN or infinite values; check its source$",
        ),
        (torch.tensor([0.5, torch.nan, 1.0]).view(1, 3, 1, 1), r"got NaN or infinite values"),
        (torch.full((1, 3, 4, 5), -torch.inf), r"got NaN or infinite values"),
        (
            torch.full((1, 3, 4, 5), 255.0),
            r"^expected image in 0..1, got values up to 255; divide it by 255$",
        ),
    ],
)
def test_wrong_images(image: Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        require_image(image, batch=1)


def test_an_image_must_fit_another() -> None:
    frames = torch.zeros(2, 3, 4, 5)
    message = r"^expected mask \(2,1,4,5\) in floating point, got \(2, 1, 4, 6\) float32; resize it$"
    with pytest.raises(ImageError, match=message):
        require_image(torch.zeros(2, 1, 4, 6), name="mask", channels=1, like=frames)
    for other in (torch.zeros(1, 1, 4, 5), torch.zeros(2, 3, 4, 5), torch.zeros(5)):
        with pytest.raises(ImageError, match=r"^expected mask \(2,1,4,5\) .* float32$"):
            require_image(other, name="mask", channels=1, like=frames)


def test_values_are_only_checked_on_request() -> None:
    for value in (torch.nan, 255.0):
        require_image(torch.full((1, 3, 4, 5), value), values=False)
    with pytest.raises(ImageError, match=r"^expected frames \(B,3,H,W\)"):
        require_image(torch.zeros(1, 4, 4, 5), name="frames", values=False)


def test_tensors_are_described_by_shape_and_type() -> None:
    assert describe(torch.zeros(2, 3, dtype=torch.bfloat16)) == "(2, 3) bfloat16"


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [((100, 50), 0.5, (50, 25)), ((3, 1000), 0.1, (1, 100)), ((5, 7), 1.0, (5, 7)), ((4, 5), 1.3, (5, 6))],
)
def test_sizes_are_scaled_to_whole_pixels_and_at_least_one(
    size: tuple[int, int], factor: float, expected: tuple[int, int]
) -> None:
    assert scaled_size(size, factor) == expected


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 10), (25, 20), (50, 30), (75, 40), (99, 50), (100, 50), (12.6, 20)]
)
def test_percentiles_by_hand(percent: float, expected: float) -> None:
    assert percentile(torch.tensor([30.0, 10.0, 50.0, 20.0, 40.0]), percent).item() == expected


def test_samples_by_hand() -> None:
    row = torch.tensor([[[[1.0, 2.0, 4.0]]]])
    grid = torch.tensor([[[[-1.0, 0.0], [0.5, 0.0], [9.0, 0.0]]]])
    sampled = sample(row, grid, mode="bilinear", padding_mode="border", align_corners=True)
    assert sampled.flatten().tolist() == [1, 3, 4]


def test_the_same_size_is_the_same_image() -> None:
    image = torch.rand(1, 3, 4, 5)
    assert resize(image, (4, 5)) is image
    assert size_of(resize(image, (9, 2))) == (9, 2)


@settings(max_examples=20, deadline=None)
@given(
    value=st.floats(0, 1, width=32),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    to=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    amount=st.floats(-80, 80),
)
def test_constants_stay_constant(
    value: float, size: tuple[int, int], to: tuple[int, int], amount: float
) -> None:
    flat = torch.full((1, 3, *size), value)
    torch.testing.assert_close(resize(flat, to), torch.full((1, 3, *to), value))
    torch.testing.assert_close(zoom(flat, amount, "percent"), flat)


def test_shrinking_does_not_alias() -> None:
    stripes = torch.arange(64).remainder(2).float().expand(1, 3, 64, 64)
    middle = resize(stripes, (16, 16))[..., 4:-4, 4:-4]
    torch.testing.assert_close(middle, torch.full_like(middle, 0.5), atol=0.02, rtol=0)


@given(height=st.integers(1, 30), width=st.integers(1, 30), radius=st.integers(0, 20))
@settings(max_examples=30, deadline=None)
def test_windows_are_those_of_pooling(height: int, width: int, radius: int) -> None:
    image, side = torch.randn(2, 3, height, width), 2 * radius + 1
    padded = F.pad(image, (radius,) * 4, value=float("nan"))
    windows = padded.unfold(2, side, 1).unfold(3, side, 1).flatten(4)
    torch.testing.assert_close(box_mean(image, side), windows.nanmean(4))
    assert torch.equal(box_max(image, side), windows.nan_to_num(-99).amax(4))


def test_no_zoom_is_the_same_image() -> None:
    image = torch.rand(1, 3, 4, 5)
    assert zoom(image, 0, "percent") is image


@pytest.mark.parametrize(
    ("amount", "mode", "kept"),
    [
        (50, "percent", (0.5, 0.5)),
        (10, "percent", (0.9, 0.9)),
        (8, "pixel", (24 / 32, 40 / 48)),
        (-20, "percent", (1.2, 1.2)),
        (-8, "pixel", (40 / 32, 56 / 48)),
    ],
)
def test_zoom_scales_about_the_middle(amount: float, mode: str, kept: tuple[float, float]) -> None:
    image = ramp(32, 48)
    expected = image.clone()
    for channel, part in ((0, kept[1]), (1, kept[0])):
        expected[:, channel] = 0.5 + part * (image[:, channel] - 0.5)
    # Away from the edges, where nothing is reflected. torch's bicubic bends a ramp by 0.07 pixels.
    zoomed = zoom(image, amount, mode)[..., 6:-6, 6:-6]
    torch.testing.assert_close(zoomed, expected[..., 6:-6, 6:-6], atol=2e-3, rtol=0)


def test_moving_out_reflects_the_image() -> None:
    out = zoom(ramp(20, 20), -100, "percent")
    assert size_of(out) == (20, 20)
    torch.testing.assert_close(out[0, 0, 10, :5], out[0, 0, 10, 5:10].flip(0))
    assert out.min() > -0.05


@pytest.mark.parametrize(
    ("amount", "mode", "message"),
    [
        (100, "percent", r"^expected `zoom` below 100 percent for an image of 4x6 pixels, got 100$"),
        (4, "pixel", r"^expected `zoom` below 4 pixel for an image of 4x6 pixels, got 4$"),
        (5.5, "pixel", r"^expected `zoom` below 4 pixel for .* got 5.5$"),
    ],
)
def test_too_much_zoom(amount: float, mode: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        zoom(torch.rand(1, 3, 4, 6), amount, mode)


def test_noise_is_gray_on_average_and_seeded() -> None:
    first = noise((64, 80), torch.Generator().manual_seed(3))
    assert first.shape == (1, 3, 64, 80)
    assert first.mean().item() == pytest.approx(0.5, abs=0.01)
    assert first.std().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(first, noise((64, 80), torch.Generator().manual_seed(3)))
    assert not torch.equal(first, noise((64, 80), torch.Generator().manual_seed(4)))


def test_colors_of_one_and_brightness_of_the_other() -> None:
    dreamed, frame = 0.4 + 0.2 * torch.rand(1, 3, 8, 8), 0.4 + 0.2 * torch.rand(1, 3, 8, 8)
    merged = rgb_to_ycbcr(keep_colors(dreamed, frame))
    # kornia's two matrices are rounded to three digits.
    torch.testing.assert_close(merged[:, :1], rgb_to_ycbcr(dreamed)[:, :1], atol=1e-3, rtol=0)
    torch.testing.assert_close(merged[:, 1:], rgb_to_ycbcr(frame)[:, 1:], atol=1e-3, rtol=0)


def test_gray_frames_stay_gray() -> None:
    merged = keep_colors(torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8))
    assert (merged.amax(1) - merged.amin(1)).max() < 1e-5


def test_contrast_brings_the_percentile_to_white() -> None:
    image = (torch.arange(1, 301) / 600).reshape(1, 3, 10, 10)
    torch.testing.assert_close(stretch_contrast(image, 100), image * 2)
    torch.testing.assert_close(stretch_contrast(image, 50), image * 4, rtol=0.01, atol=0)
    assert stretch_contrast(torch.zeros(1, 3, 2, 2), 99).abs().max() == 0


def test_finish_by_default_only_keeps_the_range() -> None:
    dreamed = torch.tensor([-0.5, 0.25, 1.5]).reshape(1, 3, 1, 1)
    finished = finish(dreamed, torch.rand(1, 3, 1, 1), ImageSettings())
    assert finished.flatten().tolist() == [0, 0.25, 1]


def test_finish_stretches_before_it_takes_the_colors() -> None:
    dreamed, frame = 0.3 + 0.2 * torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    finished = finish(dreamed, frame, ImageSettings(original_colors=True, contrast=99))
    expected = keep_colors(stretch_contrast(dreamed, 99), frame).clamp(0, 1)
    assert torch.equal(finished, expected)


def test_a_zoom_of_100_pixels_suits_large_images() -> None:
    validate(ImageSettings(zoom=100, zoom_mode="pixel"))
    assert kept_by_zoom((200, 400), 100, "pixel") == (0.75, 0.5)


def test_a_vector_has_the_type_of_another_tensor() -> None:
    vector = vector_like(torch.zeros(3, dtype=torch.float64), [1, 0.5])
    assert torch.equal(vector, torch.tensor([1, 0.5], dtype=torch.float64))


def test_gradients_of_samples_are_computed_on_the_cpu_where_all_must_be_deterministic() -> None:
    image = torch.rand(1, 3, 8, 8)
    with Pretended("cuda") as gpu, backends(DeviceSettings(deterministic=True)):
        there = image.to(gpu.device)
        zoom(there, 10, "percent")
        assert gpu.waits == []  # forwards there is one order
        leaf = there.requires_grad_()
        zoomed = zoom(leaf, 10, "percent")
        assert zoomed.device == torch.autograd.grad(zoomed.sum(), leaf)[0].device == gpu.device
        assert gpu.waits == ["cpu", "to"]  # the image and the grid


@pytest.mark.parametrize("version", [(2, 6), (2, 7), (2, 8), (2, 13)])
def test_what_apples_gpus_lack_is_computed_on_the_cpu(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(1, 3, 9, 12)
    monkeypatch.setattr("dream_core.image.TORCH", version)
    with Pretended("mps", version=version) as gpu:
        there = image.to(gpu.device)
        found = [
            antialias(there, (4, 5), mode="bicubic"),
            antialias(there, (4, 5), mode="bilinear"),
            zoom(there, 10, "percent"),
            percentile(there, 40),
        ]
        assert {one.device for one in found} == {gpu.device}
        # Both resizings, and the image and the grid of the zoom.
        assert len(gpu.waits) == (version < (2, 8)) + (version < (2, 7)) + 2 * (version < (2, 13))
    expected = [
        resize(image, (4, 5)),
        antialias(image, (4, 5), mode="bilinear"),
        zoom(image, 10, "percent"),
        percentile(image, 40),
    ]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
