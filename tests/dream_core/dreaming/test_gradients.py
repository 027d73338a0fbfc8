import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dream_core.dreaming.gradients import (
    blur,
    drop_low_frequencies,
    drop_weakest,
    equalize_octaves,
    shape_gradient,
)
from dream_core.settings import AscentSettings


def wave(size: int, cycles: int, *, height: int = 6) -> Tensor:
    """(1,3,height,size), a cosine across."""
    across = torch.cos(2 * math.pi * cycles * torch.arange(size, dtype=torch.float64) / size)
    return across.float().expand(1, 3, height, size).clone()


@settings(max_examples=20, deadline=None)
@given(
    value=st.floats(-100, 100, width=32),
    sigma=st.floats(0.2, 6),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_blur_keeps_constants_of_any_size(value: float, sigma: float, height: int, width: int) -> None:
    flat = torch.full((1, 3, height, width), value)
    torch.testing.assert_close(blur(flat, sigma), flat)


@pytest.mark.parametrize("sigma", [9.0, 1e300])
def test_a_blur_wider_than_the_image_is_its_mean(sigma: float) -> None:
    noise = torch.rand(1, 3, 7, 9)
    expected = noise.mean((-2, -1), keepdim=True).expand(1, 3, 7, 9)
    torch.testing.assert_close(blur(noise, sigma), expected)


def test_bands_coarser_than_the_image_are_left_out() -> None:
    noise = torch.randn(1, 3, 16, 24)
    # 1, 2, 4, 8, 16, 32: the last leaves the mean.
    expected = equalize_octaves(noise, 6, 1.0)
    assert torch.equal(equalize_octaves(noise, 10_000, 1.0), expected)
    assert not torch.allclose(equalize_octaves(noise, 5, 1.0), expected)


def test_blur_is_the_gaussian() -> None:
    dot = torch.zeros(1, 1, 31, 31)
    dot[..., 15, 15] = 1
    blurred = blur(dot, 2.0)[0, 0]
    weights = torch.exp(-((torch.arange(31) - 15.0) ** 2) / (2 * 2.0**2))
    weights[(torch.arange(31) - 15).abs() > 6] = 0
    weights /= weights.sum()
    torch.testing.assert_close(blurred, weights[:, None] * weights[None, :])


def test_one_band_of_detail_by_hand() -> None:
    gradient = torch.rand(1, 3, 20, 24)
    low = blur(gradient, 1.5)
    detail = gradient - low
    expected = detail / detail.square().mean().sqrt() + low / low.square().mean().sqrt()
    torch.testing.assert_close(equalize_octaves(gradient, 1, 1.5), expected)


def test_bands_of_detail_become_equally_strong() -> None:
    fine, coarse = wave(128, 40), 0.1 * wave(128, 2)
    shaped = equalize_octaves(fine + coarse, 3, 1.0)
    spectrum = torch.fft.rfft(shaped[0, 0, 0]).abs()
    assert 0.4 < spectrum[2] / spectrum[40] < 2


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_bands_of_detail_do_not_depend_on_the_scale_of_the_gradient(factor: float) -> None:
    gradient = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(
        equalize_octaves(gradient * factor, 2, 1.0), equalize_octaves(gradient, 2, 1.0)
    )


def test_a_flat_gradient_keeps_its_strength() -> None:
    """Flat parts would become far too strong if they were divided by their deviation from the mean, 0 here."""
    shaped = equalize_octaves(torch.full((1, 3, 4, 5), -7.0), 2, 1.0)
    torch.testing.assert_close(shaped, torch.full((1, 3, 4, 5), -1.0), atol=0.1, rtol=0)
    assert equalize_octaves(torch.zeros(1, 3, 4, 5), 2, 1.0).abs().max() == 0


@pytest.mark.parametrize("size", [24, 25])
@pytest.mark.parametrize("height", [6, 7])
@pytest.mark.parametrize("turned", [False, True])
def test_low_frequencies_go_and_high_ones_stay(size: int, height: int, turned: bool) -> None:
    def seen(gradient: Tensor) -> Tensor:
        return gradient.transpose(-1, -2) if turned else gradient

    low, high = seen(wave(size, 3, height=height)), seen(wave(size, 4, height=height))
    torch.testing.assert_close(
        drop_low_frequencies(5 + low + high, 3), high, atol=1e-5, rtol=1e-5, msg="3 cycles go, 4 stay"
    )


def test_a_frequency_that_is_low_only_across_stays() -> None:
    both = wave(16, 1, height=16) * wave(16, 5, height=16).transpose(-1, -2)
    torch.testing.assert_close(drop_low_frequencies(both, 2), both, atol=1e-6, rtol=1e-5)


def test_a_single_pixel_has_only_low_frequencies() -> None:
    assert drop_low_frequencies(torch.full((1, 3, 1, 1), 3.0), 1).abs().max() == 0


# Pixels (R,G,B), and their strengths by norm, by sum of absolute values and by mean.
PIXELS = [(3, 0, 0), (-2, 2, 2), (1, 1, 1), (-4, 4, 0), (0, 0, 1)]
STRENGTHS = {"norm": [3, 12**0.5, 3**0.5, 32**0.5, 1], "abs": [3, 6, 3.5, 8, 1], "mean": [3, 2, 3.5, 0, 1]}


@pytest.mark.parametrize(
    ("measure", "percent", "left"),
    [
        ("norm", 25, [3, 1, 0, 2]),
        ("norm", 50, [0, 1, 3]),
        ("norm", 100, [3]),
        ("abs", 75, [1, 3]),
        ("mean", 25, [0, 1, 2, 4]),
        ("mean", 50, [0, 1, 2]),
    ],
)
def test_the_weakest_pixels_by_hand(measure: str, percent: float, left: list[int]) -> None:
    gradient = torch.tensor(PIXELS, dtype=torch.float32).T.reshape(1, 3, 1, 5)
    gradient[:, :, :, 2] *= 7 / 6  # no two alike
    dropped = drop_weakest(gradient, percent, measure)
    expected = torch.zeros_like(gradient)
    expected[..., left] = gradient[..., left]
    assert torch.equal(dropped, expected)


@settings(max_examples=20, deadline=None)
@given(percent=st.floats(0, 100), count=st.integers(1, 400), measure=st.sampled_from(["norm", "abs", "mean"]))
def test_the_percentage_of_pixels_is_dropped(percent: float, count: int, measure: str) -> None:
    gradient = (torch.randperm(count) + 1.0).expand(1, 3, 1, count)
    dropped = (drop_weakest(gradient, percent, measure)[0, 0, 0] == 0).sum().item()
    assert abs(dropped - percent / 100 * count) <= 1.5


def test_only_the_blur_is_on_by_default() -> None:
    gradient = torch.rand(1, 3, 8, 8)
    assert torch.equal(
        shape_gradient(gradient, AscentSettings()), blur(gradient, AscentSettings().gradient_blur)
    )
    assert shape_gradient(gradient, AscentSettings(gradient_blur=0)) is gradient


def test_filters_are_applied_in_order() -> None:
    gradient = torch.randn(1, 3, 32, 32)
    settings = AscentSettings(
        gradient_blur=0.7,
        laplacian_levels=2,
        laplacian_sigma=0.8,
        fft_block=1,
        norm_percent=10,
        abs_percent=30,
        mean_percent=50,
    )
    expected = drop_low_frequencies(equalize_octaves(blur(gradient, 0.7), 2, 0.8), 1)
    for measure, percent in (("norm", 10), ("abs", 30), ("mean", 50)):
        expected = drop_weakest(expected, percent, measure)
    assert torch.equal(shape_gradient(gradient, settings), expected)
    assert 0.4 < (expected == 0).float().mean() < 0.9


def test_filters_do_not_modify_their_input() -> None:
    gradient = torch.randn(1, 3, 16, 16)
    before = gradient.clone()
    shape_gradient(gradient, AscentSettings(gradient_blur=1, laplacian_levels=2, fft_block=2, norm_percent=9))
    assert torch.equal(gradient, before)
