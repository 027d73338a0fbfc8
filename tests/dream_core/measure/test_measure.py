"""Measurement of dreams, frame by frame."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dream_core.errors import ImageError, SettingsError
from dream_core.measure.figures import ClipFigures, Figures, moving_and_still
from dream_core.measure.measure import INPUT, LayerEnergy, Link, flow_link, measure
from dream_core.models.dream_model import DreamModel
from dream_core.motion.flow import DisNetwork, estimator_of
from dream_core.motion.warp import warp
from dream_core.settings import FlowSettings
from dream_core.synthetic import SyntheticClip

SIZE = (6, 8)
REL = 1e-6
"""Tolerance for computing in another order: float32 has steps of 1.2e-7."""
STILL = torch.zeros(2, *SIZE), torch.ones(1, *SIZE)
"""Flow and reliability without motion."""


def linked(flows: Tensor, reliability: Tensor) -> Link:
    """Link the frames of a clip by its exact flow, pair by pair."""
    links = zip(flows, reliability, strict=True)
    return lambda frame, following: next(links)


def exact(clip: SyntheticClip) -> Link:
    return linked(clip.forward, clip.visible_next)


def overall(dreamed: Tensor, source: Tensor, link: Link = lambda frame, following: STILL) -> Figures:
    return measure(source, {"dream": dreamed}, link).dreams[0].overall


def gray(*levels: float) -> Tensor:
    """Uniformly gray frames."""
    return torch.tensor(levels, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, *SIZE).clone()


def luma(frames: Tensor) -> Tensor:
    """(B,1,H,W): the gray of frames in levels of 255, by the weights of ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)
    return 255 * (frames * weights).sum(1, keepdim=True)


def sharpness(frames: Tensor) -> float:
    """The mean over frames of the variance of the Laplacian."""
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)
    laplacian = F.conv2d(F.pad(luma(frames), (1, 1, 1, 1), mode="reflect"), kernel[None, None])
    return laplacian.var((1, 2, 3), correction=0).mean().item()


def drift(dreamed: Tensor, source: Tensor) -> float:
    """How much brighter the residual of the last frame is than that of the first."""
    levels = luma(dreamed - source).mean((1, 2, 3))
    return (levels[-1] - levels[0]).item()


def e_warp(dreamed: Tensor, clip: SyntheticClip) -> float:
    """The mean over pairs of the mean error along the clip's motion."""
    mask = clip.visible_next.double()
    error = (warp(dreamed[1:], clip.forward, mode="bilinear") - dreamed[:-1]).square().double()
    return ((mask * error).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)))).mean().item()


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def carried(clip: SyntheticClip) -> Tensor:
    """A dream that sticks to the scene: a function of its colors."""
    return clip.frames + 0.3 * (clip.frames.flip(1) - 0.5)


def independent(clip: SyntheticClip) -> Tensor:
    return clip.frames + noise(*clip.frames.shape)


def dreamed_by(clip: SyntheticClip, factors: Sequence[float], strength: Tensor | float = 1.0) -> Tensor:
    """A dream of +-0.1 at every pixel, times a factor on the shapes, one for each frame but the last."""
    background = torch.tensor([2.0, -1.0]).view(2, 1, 1)
    shapes = (clip.forward != background).any(1, keepdim=True)
    factor = torch.tensor(factors).view(-1, 1, 1, 1)
    uneven = torch.cat([torch.where(shapes, factor, 1.0), torch.ones_like(shapes[:1])])
    return clip.frames + strength * uneven * 0.1 * noise(*clip.frames.shape).sign()


def evenness(clip: SyntheticClip, factors: Sequence[float], strength: Tensor | float = 1.0) -> ClipFigures:
    return measure(clip.frames, {"d": dreamed_by(clip, factors, strength)}, exact(clip)).dreams[0]


def root_mean_square(clip: SyntheticClip, values: Sequence[float]) -> float:
    """The root mean square of a value of each frame, over all pixels that move by themselves."""
    counts = [int(moving_and_still(*pair)[0].sum()) for pair in zip(clip.frames, clip.forward, strict=False)]
    assert len({*counts}) > 1
    squares = sum(count * value**2 for count, value in zip(counts, values, strict=True))
    return (squares / sum(counts)) ** 0.5


# Known answers


def test_e_warp_is_the_mean_over_pairs_of_the_error_of_reliable_pixels() -> None:
    frames = gray(0, 0.1, 0.4)
    frames[1, ..., :4] = 0.9  # distrusted from frame 0 to 1, but trusted from frame 1 to 2
    first, second = (STILL[1].clone() for _ in range(2))
    first[..., :4] = 0
    link = linked(torch.zeros(2, 2, *SIZE), torch.stack([first, second]))
    # Pair 0: 0.1^2. Pair 1: half of the pixels 0.3^2, the other half 0.5^2.
    assert overall(frames, gray(0, 0, 0), link).e_warp == pytest.approx((0.01 + (0.09 + 0.25) / 2) / 2)


def test_pairs_without_a_reliable_pixel_are_left_out_of_e_warp() -> None:
    link = linked(torch.zeros(2, 2, *SIZE), torch.stack([0 * STILL[1], STILL[1]]))
    found = measure(gray(0, 0, 0), {"dream": gray(0, 0.5, 0.6)}, link).dreams[0]
    assert [figures.e_warp for figures in found.frames] == [None, None, pytest.approx(0.01)]
    assert found.overall.e_warp == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("residuals", "expected"),
    [
        ((0.1, 0.3), 0.04 / 0.10),
        ((0.3, 0.9), 0.04 / 0.10),  # the strength of the dream does not matter
        ((0.1, -0.1), 2),
        ((0.1, 0.1), 0),
        ((0.1, 0.3, 0.3), 0.04 / 0.28),  # the sum of the changes over that of the energies
    ],
)
def test_flicker_by_hand(residuals: tuple[float, ...], expected: float) -> None:
    source = torch.rand(len(residuals), 3, *SIZE, generator=torch.Generator().manual_seed(1))
    assert overall(source + gray(*residuals), source).flicker == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_flicker_of_a_pattern_that_sticks_to_the_screen_is_not_zero(clip: SyntheticClip) -> None:
    dreamed = clip.frames + noise(1, *clip.frames.shape[1:])
    moving, still = exact(clip), linked(torch.zeros_like(clip.forward), clip.visible_next)
    found = [overall(dreamed, clip.frames, link).flicker for link in (moving, still)]
    assert found == [pytest.approx(1, abs=0.1), pytest.approx(0, abs=1e-6)]


def test_a_carried_pattern_scores_zero_and_an_independent_one_high(clip: SyntheticClip) -> None:
    dreams = {"carried": carried(clip), "independent": independent(clip)}
    report = measure(clip.frames, dreams, exact(clip))
    steady, unsteady = (dream.overall for dream in report.dreams)
    assert steady.flicker == pytest.approx(0, abs=1e-6)
    assert steady.e_warp == pytest.approx(0, abs=1e-9)
    assert unsteady.flicker == pytest.approx(1, abs=0.03)
    assert unsteady.e_warp == pytest.approx(2 * 0.1**2, rel=0.05)
    for figures in report.dreams[1].frames[1:]:
        assert figures.flicker == pytest.approx(1, abs=0.06)
    assert [dream.name for dream in report.dreams] == ["carried", "independent"]


def test_drift_by_hand() -> None:
    source = gray(0, 0, 10 / 255)
    for change in (0, 3, -4):
        dreamed = source + gray(5 / 255, 5 / 255, (5 + change) / 255)
        assert overall(dreamed, source).drift == pytest.approx(change, abs=1e-4)


def test_sharpness_is_the_ratio_of_the_sums() -> None:
    spot = torch.zeros(3, *SIZE)
    spot[:, 3, 4] = 1
    source, dreamed = torch.stack([spot, spot]), torch.stack([2 * spot, 4 * spot])
    report = measure(source, {"dream": dreamed}, lambda frame, following: STILL).dreams[0]
    assert [figures.sharpness for figures in report.frames] == [pytest.approx(4), pytest.approx(16)]
    assert report.overall.sharpness == pytest.approx(10)


@pytest.mark.parametrize("factor", [0, 0.3, 2])
def test_evenness_is_the_dream_on_what_moves_over_that_on_what_is_still(
    clip: SyntheticClip, factor: float
) -> None:
    found = evenness(clip, [factor] * 4)
    assert [figures.evenness for figures in found.frames] == [*[pytest.approx(factor, rel=1e-4)] * 4, None]
    assert found.overall.evenness == pytest.approx(factor, rel=1e-4)


def test_a_dream_that_fades_on_what_moves_grows_uneven(clip: SyntheticClip) -> None:
    fading = [1.0, 0.7, 0.4, 0.1]
    found = evenness(clip, fading)
    assert [figures.evenness for figures in found.frames[:-1]] == pytest.approx(fading, rel=1e-4)
    assert found.overall.evenness == pytest.approx(root_mean_square(clip, fading), rel=1e-4)


def test_a_dream_that_only_grows_stronger_is_as_even_as_before(clip: SyntheticClip) -> None:
    growing = torch.linspace(0.1, 1, 5).view(-1, 1, 1, 1)
    assert evenness(clip, [0.5] * 4, growing).overall.evenness == pytest.approx(0.5, rel=1e-4)


def test_coverage_is_the_evenness_over_that_of_the_independent_dream(clip: SyntheticClip) -> None:
    dreams = {"carried": dreamed_by(clip, [1.0, 0.5, 0.25, 0.1]), "independent": dreamed_by(clip, [2.0] * 4)}
    report = measure(clip.frames, dreams, exact(clip), independent="independent")
    carried, even = report.dreams
    assert report.independent == "independent"
    expected = [0.5, 0.25, 0.125, 0.05]
    assert [figures.coverage for figures in carried.frames[:-1]] == pytest.approx(expected, rel=1e-4)
    assert carried.overall.coverage == pytest.approx(root_mean_square(clip, expected), rel=1e-4)
    assert [figures.coverage for figures in even.frames] == [1, 1, 1, 1, None]
    assert report.input.overall.coverage is None


def test_without_an_independent_dream_there_is_no_coverage(clip: SyntheticClip) -> None:
    found = evenness(clip, [1.0] * 4)
    assert {figures.coverage for figures in (found.overall, *found.frames)} == {None}


def test_frames_where_nothing_moves_by_itself_are_left_out_of_evenness(clip: SyntheticClip) -> None:
    forward = clip.forward.clone()
    forward[1:] = forward[1, :, :1, :1]  # the camera alone
    source, dreamed = clip.frames, dreamed_by(clip, [0.3, 5, 5, 5])
    report = measure(source, {"dream": dreamed}, linked(forward, clip.visible_next), independent="dream")
    (found,) = report.dreams
    expected = pytest.approx(0.3, rel=1e-4)
    assert [figures.evenness for figures in found.frames] == [expected, None, None, None, None]
    assert [figures.coverage for figures in found.frames] == [1, None, None, None, None]
    assert found.overall.evenness == expected


def test_the_independent_dream_must_be_one_of_the_dreams(clip: SyntheticClip) -> None:
    with pytest.raises(SettingsError, match=r"one of the dreams \(carried\), got other"):
        measure(clip.frames, {"carried": carried(clip)}, exact(clip), independent="other")


def test_strength_by_several_layers_is_the_mean_of_their_ratios(
    clip: SyntheticClip, tiny: DreamModel
) -> None:
    dreamed = independent(clip)
    twice = measure(clip.frames, {"d": dreamed}, exact(clip), energy=LayerEnergy(tiny, ("conv", "conv")))
    once = measure(clip.frames, {"d": dreamed}, exact(clip), energy=LayerEnergy(tiny, ("conv",)))
    assert twice.dreams[0].overall.strength == pytest.approx(once.dreams[0].overall.strength)


# Streaming


def test_streaming_gives_the_figures_of_the_whole_clip(clip: SyntheticClip, tiny: DreamModel) -> None:
    dreamed, mask = (
        independent(clip) + torch.linspace(0, 0.05, 5).view(-1, 1, 1, 1),
        clip.visible_next.double(),
    )
    energy = LayerEnergy(tiny, ("conv",))
    report = measure(iter(clip.frames), {"dream": iter(dreamed)}, exact(clip), energy=energy)
    found = report.dreams[0].overall
    residual = dreamed - clip.frames
    carried = warp(residual[1:], clip.forward, mode="bilinear").double()
    change = (mask * (carried - residual[:-1]).square()).sum()
    total = (mask * (carried.square() + residual[:-1].square())).sum()
    with torch.no_grad():
        top, bottom = (tiny.network.conv(x).double().square().mean() for x in (dreamed, clip.frames))
    assert found.e_warp == pytest.approx(e_warp(dreamed, clip), rel=REL)
    assert found.flicker == pytest.approx((change / total).item(), rel=REL)
    assert found.strength == pytest.approx((top / bottom).item(), rel=REL)
    assert found.sharpness == pytest.approx(sharpness(dreamed) / sharpness(clip.frames), rel=REL)
    assert found.drift == pytest.approx(drift(dreamed, clip.frames), rel=REL)
    assert report.layers == "squeezenet1_1 conv"


def test_the_input_is_measured_too(clip: SyntheticClip, tiny: DreamModel) -> None:
    noisy = independent(clip)
    report = measure(noisy, {"dream": carried(clip)}, exact(clip), energy=LayerEnergy(tiny, ("conv",)))
    own = report.input.overall
    assert report.input.name == INPUT
    assert own.e_warp == pytest.approx(e_warp(noisy, clip), rel=REL)
    assert own == Figures(own.e_warp, None, 1.0, sharpness=1.0, drift=0.0, evenness=None, coverage=None)


def test_the_figures_of_a_frame_come_from_the_pair_that_it_ends(clip: SyntheticClip) -> None:
    dreamed = carried(clip)
    dreamed[3] = independent(clip)[3] + 0.02
    frames = measure(clip.frames, {"dream": dreamed}, exact(clip)).dreams[0].frames
    assert frames[0].e_warp is frames[0].flicker is None
    unsteady = [figures.flicker is not None and figures.flicker > 0.1 for figures in frames]
    assert unsteady == [False, False, False, True, True]  # into the odd frame, and out of it
    assert frames[0].drift == 0
    assert frames[3].drift == pytest.approx(drift(dreamed[[0, 3]], clip.frames[[0, 3]]), rel=REL)
    for index, figures in enumerate(frames):
        sharper = sharpness(dreamed[index, None]) / sharpness(clip.frames[index, None])
        assert figures.sharpness == pytest.approx(sharper, rel=REL)


def test_figures_that_are_not_defined_are_none(clip: SyntheticClip) -> None:
    black = torch.zeros(3, *clip.frames.shape[1:])
    nothing = torch.zeros_like(clip.forward[:2]), torch.zeros_like(clip.visible_next[:2])
    report = measure(black, {"dream": clip.frames[:3]}, linked(*nothing))
    drift = report.dreams[0].overall.drift
    assert report.dreams[0].overall == Figures(None, None, None, None, drift, None, None)
    assert drift is not None
    assert report.layers is None


def test_a_single_frame_has_no_pair_to_compare(clip: SyntheticClip) -> None:
    frame = overall(carried(clip)[:1], clip.frames[:1])
    assert frame.e_warp is frame.flicker is None
    assert frame.drift == 0
    assert frame.sharpness == pytest.approx(
        sharpness(carried(clip)[:1]) / sharpness(clip.frames[:1]), rel=REL
    )


def test_at_most_two_frames_of_each_clip_stay_in_memory() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def stream(brightness: float) -> Iterator[Tensor]:
        nonlocal most
        for index in range(20):
            frame = torch.full((3, *SIZE), brightness + index / 100)
            alive.append(weakref.ref(frame))
            most = max(most, sum(one() is not None for one in alive))
            yield frame
            del frame

    measured: list[int] = []
    measure(stream(0.1), {"dream": stream(0.3)}, lambda a, b: STILL, on_frame=measured.append)
    assert most <= 4
    assert measured == list(range(20))


def test_flow_is_estimated_once_for_each_pair_and_in_its_direction(clip: SyntheticClip) -> None:
    estimator = estimator_of(DisNetwork(), FlowSettings(flow="dis"), device=torch.device("cpu"))
    link, pairs = flow_link(estimator), []

    def counted(frame: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        pairs.append((frame, following))
        return link(frame, following)

    dreams = {"one": carried(clip), "other": independent(clip)}
    report = measure(clip.frames, dreams, counted)
    assert len(pairs) == 4
    flow, mask = link(clip.frames[0], clip.frames[1])
    right, wrong = ((flow - way[0]).norm(dim=0)[mask[0] > 0].mean() for way in (clip.forward, clip.backward))
    assert right < wrong / 3
    one, other = (dream.overall.flicker for dream in report.dreams)
    assert one is not None
    assert other is not None
    assert one < 0.1 < 0.9 < other


@pytest.mark.parametrize(
    ("source", "dreams", "message"),
    [
        (4, (5,), "got input with 4 frames and dream 0 with more; .*`frames` 4"),
        (5, (5, 3), "got dream 1 with 3 frames and input with more; .*`frames` 3"),
        (0, (0,), "at least one frame"),
    ],
)
def test_clips_of_different_length_are_refused(
    clip: SyntheticClip, source: int, dreams: tuple[int, ...], message: str
) -> None:
    dreamed = {f"dream {index}": carried(clip)[:length] for index, length in enumerate(dreams)}
    with pytest.raises(ImageError, match=message):
        measure(clip.frames[:source], dreamed, exact(clip))


def test_a_dream_may_be_called_input(clip: SyntheticClip) -> None:
    (dream,) = measure(clip.frames, {INPUT: independent(clip)}, exact(clip)).dreams
    assert dream.overall.flicker == pytest.approx(1, abs=0.03)


def test_clips_of_different_size_are_refused(clip: SyntheticClip) -> None:
    with pytest.raises(ImageError, match="expected small in the size of the input, 80x60, got 79x60"):
        measure(clip.frames, {"small": clip.frames[..., 1:]}, exact(clip))
