import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pretended import Pretended
from torch import Tensor

from dream_core.dreaming.gradients import (
    blur,
    drop_low_frequencies,
    drop_weakest,
    equalize_octaves,
    fast_length,
    mix_colors,
    shape_gradient,
    weigh_frequencies,
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


def test_only_the_blur_is_on_by_default_and_what_makes_a_dream_clean() -> None:
    gradient, defaults = torch.rand(1, 3, 8, 8), AscentSettings()
    blurred = blur(gradient, defaults.gradient_blur)
    clean = weigh_frequencies(mix_colors(blurred, defaults.natural_colors), defaults.spectrum)
    assert torch.equal(shape_gradient(gradient, defaults), clean)
    assert torch.equal(shape_gradient(gradient, AscentSettings(optimizer="classic")), blurred)
    untouched = AscentSettings(gradient_blur=0, natural_colors=0, spectrum=0)
    assert shape_gradient(gradient, untouched) is gradient


def test_natural_colors_by_hand() -> None:
    """With rows R, G, B of C, the weight of color j for color i is (C C^T)[i, j], over the mean of [i, i]."""
    rows = [(0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03)]
    products = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    own = sum(products[i][i] for i in range(3)) / 3
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    expected = [products[i][0] / own for i in range(3)]
    assert mix_colors(red, 1).flatten().tolist() == pytest.approx(expected, rel=1e-5)
    half = [0.5 * value + 0.5 * (i == 0) for i, value in enumerate(expected)]
    assert mix_colors(red, 0.5).flatten().tolist() == pytest.approx(half, rel=1e-5)
    assert torch.equal(mix_colors(red, 0), red)


def waves(cycles: int, *, side: int = 64) -> Tensor:
    """A cosine across that is smooth where it is mirrored at the edges."""
    phase = (torch.arange(side) + 0.5) * cycles * math.pi / side
    return phase.cos().expand(1, 3, side, side).contiguous()


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_coarse_waves_gain_by_the_exponent(exponent: float) -> None:
    # The margins, which a mirrored transform of finite width distorts, are left out.
    coarse, fine = (
        weigh_frequencies(waves(cycles), exponent)[..., 16:-16].norm() / waves(cycles)[..., 16:-16].norm()
        for cycles in (8, 32)
    )
    assert (coarse / fine).item() == pytest.approx(4**exponent, rel=0.06)


def test_a_weighed_gradient_moves_no_mean_and_does_not_wrap_around() -> None:
    spot = torch.zeros(1, 3, 64, 64)
    spot[..., 30:34, 0:4] = 1
    weighed = weigh_frequencies(spot, 0.7)
    assert weighed.mean((-2, -1)).abs().max() < 1e-6
    assert weighed[0, 0, 32, 6] > 4 * weighed[0, 0, 32, -6].abs()


def test_a_flat_gradient_stays_flat() -> None:
    assert weigh_frequencies(torch.full((1, 3, 30, 22), 7.3), 0.7).abs().max() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (97, 131)])
def test_gradients_of_any_size_can_be_weighed(size: tuple[int, int]) -> None:
    gradient = torch.rand(1, 3, *size)
    weighed = weigh_frequencies(gradient, 0.7)
    assert weighed.shape == gradient.shape
    assert torch.isfinite(weighed).all()


@pytest.mark.parametrize(("least", "length"), [(1, 2), (7, 8), (11, 12), (14, 16), (97, 100), (641, 648)])
def test_fast_lengths_have_small_factors(least: int, length: int) -> None:
    assert fast_length(least) == length


def test_filters_are_applied_in_order() -> None:
    gradient = torch.randn(1, 3, 32, 32)
    settings = AscentSettings(
        natural_colors=0.9,
        spectrum=0.5,
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
    assert 0.4 < (expected == 0).float().mean() < 0.9
    expected = weigh_frequencies(mix_colors(expected, 0.9), 0.5)
    assert torch.equal(shape_gradient(gradient, settings), expected)


def test_filters_do_not_modify_their_input() -> None:
    gradient = torch.randn(1, 3, 16, 16)
    before = gradient.clone()
    shape_gradient(gradient, AscentSettings(gradient_blur=1, laplacian_levels=2, fft_block=2, norm_percent=9))
    assert torch.equal(gradient, before)


@pytest.mark.parametrize(
    "filters",
    [
        {"gradient_blur": 1.5},
        {"laplacian_levels": 3},
        {"fft_block": 2},
        {"norm_percent": 20.0, "abs_percent": 10.0, "mean_percent": 10.0},
        {"optimizer": "clean", "natural_colors": 0.5, "spectrum": 1.0},
    ],
    ids=lambda filters: next(iter(filters)),
)
def test_filters_on_a_gpu_copy_nothing_and_wait_for_nothing(filters: dict[str, Any]) -> None:
    """Also for a size that is new, as parts of an image have."""
    chosen = AscentSettings(**{"gradient_blur": 0, "optimizer": "classic", **filters})
    gradients = [torch.randn(1, 3, 30, 40), torch.randn(1, 3, 21, 33)]
    expected = [shape_gradient(gradient, chosen) for gradient in gradients]
    with Pretended("cuda") as gpu:
        there = [gradient.to(gpu.device) for gradient in gradients]
        shape_gradient(there[0], chosen)
        gpu.copies.clear()
        found = [shape_gradient(gradient, chosen) for gradient in there]
        assert (gpu.copies, gpu.waits) == ([], [])
    torch.testing.assert_close(found, expected)
