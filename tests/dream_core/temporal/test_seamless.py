"""Clips whose last frame leads into the first."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core.dreaming.dream import DreamStep, ImageDreamer
from dream_core.errors import SettingsError
from dream_core.measure.measure import flow_link, measure
from dream_core.models.dream_model import DreamModel
from dream_core.motion.flow import FlowEstimator
from dream_core.pipeline import dream_clip, dream_frames, load_dreamer
from dream_core.settings import (
    DeviceSettings,
    DreamSettings,
    FlowSettings,
    InputSettings,
    ModelSettings,
    OctaveSettings,
    OutputSettings,
    PipelineSettings,
    ReliabilitySettings,
    TemporalSettings,
)
from dream_core.synthetic import synthetic_clip
from dream_core.temporal.dreamer import DreamedFrame, TemporalDreamer
from dream_core.temporal.seamless import ShotPart, crossfade
from dream_core.video import Frame, open_clip, open_output
from dream_core.video.clip import FrameFlow

HEIGHT, WIDTH, SPEED = 48, 64, 4
Paint = Callable[[Tensor], Tensor]
QUICK = DreamSettings(octave=OctaveSettings(octaves=1, octave_steps=2))


def frames_of(images: Sequence[Tensor]) -> list[Frame]:
    return [Frame(image, index / 10, 0.1, index) for index, image in enumerate(images)]


def rolling() -> Tensor:
    """A texture that moves in a circle, (16,3,48,64): the first frame follows the last."""
    still = synthetic_clip(frames=1, height=HEIGHT, width=WIDTH // 2, seed=2).frames[0]
    around = torch.cat([still, still.flip(-1)], -1)
    return torch.stack([around.roll(SPEED * index, -1) for index in range(WIDTH // SPEED)])


class Painter(ImageDreamer):
    """Dreams by a function of the test."""

    def __init__(self, model: DreamModel, paint: Paint) -> None:
        super().__init__([model], settings=QUICK)
        self.paint = paint

    def __call__(self, image: Tensor, **_: Any) -> Tensor:
        return self.paint(image)


@pytest.fixture
def make(tiny: DreamModel) -> Callable[..., TemporalDreamer]:
    """A dreamer whose flow is zero."""

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        return torch.zeros(1 + both, 2, *first.shape[-2:])

    def make(
        seamless_frames: int = 3, *, seamless: bool = True, paint: Paint | None = None, **options: Any
    ) -> TemporalDreamer:
        return TemporalDreamer(
            Painter(tiny, paint) if paint else ImageDreamer([tiny], settings=QUICK),
            FlowEstimator(estimate, torch.device("cpu"), 1, 1),
            temporal=TemporalSettings(seamless=seamless, seamless_frames=seamless_frames, **options),
            reliability=ReliabilitySettings(),
        )

    return make


def dream(dreamer: TemporalDreamer, images: Sequence[Tensor]) -> list[DreamedFrame]:
    clip = frames_of(images)
    found = list(dream_frames(clip, dreamer))
    assert [frame for frame, _ in found] == clip
    return [dreamed for _, dreamed in found]


def similar(count: int, *, seed: int = 1) -> Tensor:
    """Frames of a scene that differ, but less than by a cut; another seed gives another scene."""
    noise = torch.rand(count, 3, 20, 24, generator=torch.Generator().manual_seed(3))
    scene = synthetic_clip(frames=1, height=20, width=24, seed=seed).frames
    return 0.2 + 0.5 * scene + 0.05 * noise


def backwards(dreamer: TemporalDreamer, first: DreamedFrame, images: Tensor) -> list[Tensor]:
    """Dreams carried from the first frame in reversed time, in the order of the frames."""
    back = dreamer.backwards_from(first)
    return [back.step(image[None]).dream for image in images.flip(0)][::-1]


# Parts


@pytest.mark.parametrize("options", [{}, {"references": 3}, {"carry": "image"}])
def test_a_part_fades_into_the_next_one_as_if_it_went_back_from_there(
    make: Callable[..., TemporalDreamer], options: dict[str, Any]
) -> None:
    images = similar(16)
    clip, alone = frames_of(images), dream(make(seamless=False, **options), images)
    first = list(dream_frames(clip[:10], make(seamless=False, **options), part=ShotPart(fade=3)))
    second = list(dream_frames(clip[6:], make(seamless=False, **options), part=ShotPart(run_up=3)))
    assert [frame.index for frame, _ in [*first, *second]] == list(range(16))
    for (_, one), expected in zip(first[:6], alone, strict=False):
        assert torch.equal(one.dream, expected.dream)
    back = backwards(make(seamless=False, **options), second[0][1], images[6:9])
    shares = (1 / 3, 2 / 3, 1)
    for (_, one), expected, end, share in zip(first[6:], alone[6:], back, shares, strict=False):
        faded = crossfade(one.frame, expected.dream, end, share)
        assert torch.allclose(one.dream, faded, atol=1e-6)
    assert not torch.equal(first[-1][1].dream, alone[8].dream)


def test_a_part_that_leads_to_other_proportions_or_a_cut_ends_as_it_is(
    make: Callable[..., TemporalDreamer],
) -> None:
    images = torch.cat([similar(6), similar(2, seed=2)])
    alone = dream(make(seamless=False), images)
    clip = frames_of(images[:7])
    for last in (clip[6], replace(frames_of(images[:6])[5], index=6, anew=True)):
        part = dream_frames([*clip[:6], last], make(seamless=False), part=ShotPart(fade=3))
        assert all(
            torch.equal(one.dream, expected.dream) for (_, one), expected in zip(part, alone[:6], strict=True)
        )


# The seam


def test_the_last_frame_leads_into_the_first_like_any_other() -> None:
    source = rolling()

    def flicker(*, seamless: bool) -> list[float]:
        settings = PipelineSettings(
            model=ModelSettings(model="efficientnet_lite0"),
            flow=FlowSettings(flow="dis"),
            dream=DreamSettings(octave=OctaveSettings(octaves=2, octave_steps=6)),
            temporal=TemporalSettings(seamless=seamless, seamless_frames=6),
            device=DeviceSettings(device="cpu", precision="float32"),
        )
        dreamer = load_dreamer(settings)
        assert dreamer.flow is not None
        dreams = [dreamed.dream[0] for dreamed in dream(dreamer, source)]
        around = measure([*source, source[0]], {"dream": [*dreams, dreams[0]]}, flow_link(dreamer.flow))
        return [figures.flicker or 0 for figures in around.dreams[0].frames[1:]]

    *open_body, open_seam = flicker(seamless=False)
    *body, seam = flicker(seamless=True)
    assert open_seam > 5 * max(open_body)
    assert seam < 1.5 * max(open_body)
    assert max(body) < 2 * max(open_body)  # the fade does not flicker either


def test_a_crossfade_of_unrelated_dreams_keeps_its_strength() -> None:
    frame = torch.full((1, 3, 64, 64), 0.5)
    strong, weak = frame + 0.1 * torch.randn(1, 3, 64, 64), frame + 0.05 * torch.randn(1, 3, 64, 64)
    for share in (0, 0.25, 0.5, 0.75, 1):
        mixed = crossfade(frame, strong, weak, share) - frame
        assert mixed.std().item() == pytest.approx(0.1 - 0.05 * share, rel=0.02)


def test_a_crossfade_goes_from_one_dream_to_the_other() -> None:
    frame, one, other = torch.rand(3, 1, 3, 16, 16)
    torch.testing.assert_close(crossfade(frame, one, other, 0), one)
    torch.testing.assert_close(crossfade(frame, one, other, 1), other)
    torch.testing.assert_close(crossfade(frame, one, one, 0.3), one)
    assert torch.equal(crossfade(frame, frame, frame, 0.5), frame)


def test_opposite_dreams_fade_through_the_frame() -> None:
    frame = torch.full((1, 3, 16, 16), 0.5)
    difference = 0.1 * torch.randn(1, 3, 16, 16)
    mixed = crossfade(frame, frame + difference, frame - difference, 0.45)
    torch.testing.assert_close(mixed, frame + 0.1 * 2**0.5 * difference)


# The frames that change


@pytest.mark.parametrize(("count", "seamless_frames"), [(9, 3), (9, 1), (9, 8), (9, 100), (3, 12), (2, 12)])
def test_the_last_frames_fade_and_earlier_ones_stay(
    make: Callable[..., TemporalDreamer], count: int, seamless_frames: int
) -> None:
    images = similar(count)
    forward = dream(make(seamless=False), images)
    found = dream(make(seamless_frames), images)
    fading = min(seamless_frames, count - 1)
    kept = count - fading
    for one, other in zip(found[:kept], forward[:kept], strict=True):
        assert torch.equal(one.dream, other.dream)
    ends = backwards(make(), forward[0], images[kept:])
    for place, (one, plain, end) in enumerate(zip(found[kept:], forward[kept:], ends, strict=True), 1):
        expected = crossfade(plain.frame, plain.dream, end, place / fading)
        assert torch.equal(one.dream, expected)
        # The second of two frames is next to the first, forwards and backwards.
        assert count == 2 or not torch.equal(one.dream, plain.dream)
        assert one.carried is not None
        assert plain.carried is not None
        assert torch.equal(one.carried.flow, plain.carried.flow)
    torch.testing.assert_close(found[-1].dream, ends[-1])


@pytest.mark.parametrize("count", [0, 1])
def test_a_clip_without_neighbors_stays_as_it_is(
    make: Callable[..., TemporalDreamer], count: int, recwarn: pytest.WarningsRecorder
) -> None:
    images = similar(count)
    found, plain = dream(make(), images), dream(make(seamless=False), images)
    assert len(found) == count
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one.dream, other.dream)
    assert not recwarn.list


def test_a_cut_from_the_last_frame_to_the_first_leaves_the_clip_with_a_warning(
    make: Callable[..., TemporalDreamer],
) -> None:
    images = torch.cat([similar(3), similar(3, seed=4)])
    with pytest.warns(UserWarning, match="cuts from its last frame to its first") as told:
        found = dream(make(2), images)
    assert len({str(one.message) for one in told}) == 1
    for one, other in zip(found, dream(make(seamless=False), images), strict=True):
        assert torch.equal(one.dream, other.dream)


def test_with_cuts_off_it_fades_across_a_cut(make: Callable[..., TemporalDreamer]) -> None:
    images = torch.cat([similar(3), similar(3, seed=4)])
    found = dream(make(2, cuts=False), images)
    (end,) = backwards(make(cuts=False), found[0], images[-1:])
    torch.testing.assert_close(found[-1].dream, end)


def test_a_cut_among_the_last_frames_hides_the_change(make: Callable[..., TemporalDreamer]) -> None:
    images = torch.cat([similar(2), similar(5, seed=4), similar(2)])
    found, forward = dream(make(4), images), dream(make(seamless=False), images)
    for one, other in zip(found[:7], forward[:7], strict=True):
        assert torch.equal(one.dream, other.dream)
    for one, end in zip(found[7:], backwards(make(), forward[0], images[7:]), strict=True):
        torch.testing.assert_close(one.dream, end)


def test_independent_frames_stay_as_they_are_with_a_warning(make: Callable[..., TemporalDreamer]) -> None:
    images = similar(4)
    with pytest.warns(UserWarning, match="^`seamless` does nothing with `independent`") as told:
        found = dream(make(independent=True), images)
    assert len({str(one.message) for one in told}) == 1
    for one, other in zip(found, dream(make(seamless=False, independent=True), images), strict=True):
        assert torch.equal(one.dream, other.dream)


def test_zero_frames_to_fade_over_are_refused(make: Callable[..., TemporalDreamer]) -> None:
    with pytest.raises(SettingsError, match=r"expected `seamless_frames` from 1 to 10000, got 0"):
        make(0)


# Streaming


def test_memory_holds_twice_the_frames_that_fade_and_does_not_grow_with_the_clip(
    make: Callable[..., TemporalDreamer], quick_collection: None
) -> None:
    made: list[weakref.ref[Tensor]] = []

    def note(image: Tensor) -> Tensor:
        dreamed = image.clone()
        made.append(weakref.ref(dreamed))
        return dreamed

    def clip(count: int) -> Iterator[Frame]:
        for index, image in enumerate(similar(count)):
            own = image.clone()
            made.append(weakref.ref(own))
            yield Frame(own, index / 10, 0.1, index)

    def most_alive(count: int) -> int:
        made.clear()
        alive = []
        for _ in dream_frames(clip(count), make(5, paint=note)):
            gc.collect()
            alive.append(sum(one() is not None for one in made))
        return max(alive)

    # Besides: the first frame and dream, the last dream, the current frame and its dream.
    assert 2 * 5 <= most_alive(12) <= 2 * 5 + 5
    assert most_alive(40) == most_alive(12)


def test_each_dream_is_yielded_as_soon_as_it_is_ready(make: Callable[..., TemporalDreamer]) -> None:
    dreamed: list[Tensor] = []

    def note(image: Tensor) -> Tensor:
        dreamed.append(image)
        return image

    counts = [len(dreamed) for _ in dream_frames(frames_of(similar(8)), make(3, paint=note))]
    assert counts == [1, 2, 3, 4, 5, 9, 10, 11]  # three in reversed time, after the end is known


@pytest.mark.parametrize("at", [2, 6, 9])
def test_an_interruption_loses_no_dream(
    make: Callable[..., TemporalDreamer], tmp_path: Path, at: int
) -> None:
    dreams = 0

    def interrupt(step: DreamStep) -> None:
        nonlocal dreams
        dreams += step.done == step.total
        if dreams == at:
            raise KeyboardInterrupt

    output = open_output(tmp_path / "dreams", size=(20, 24), fps=Fraction(10), settings=OutputSettings())
    with pytest.raises(KeyboardInterrupt), output:
        dream_clip(frames_of(similar(8)), make(3), output, on_step=interrupt)
    done = {2: 1, 6: 5, 9: 5}[at]
    with open_clip(tmp_path / "dreams", settings=InputSettings(size=0)) as clip:
        found = [frame.image for frame in clip]
    expected = [step.dream[0] for step in dream(make(), similar(8))[:done]]
    assert len(found) == done
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0.5 / 255 + 1e-6, rtol=0)


@pytest.mark.parametrize("seamless", [False, True])
def test_the_dream_begins_anew_where_the_clip_does(make, seamless) -> None:
    images = similar(8)
    clip = [replace(frame, anew=frame.index == 6) for frame in frames_of(images)]
    dreamed = [dreamed for _, dreamed in dream_frames(clip, make(seamless=seamless))]
    assert [one.carried is None for one in dreamed] == [True] + [False] * 5 + [True, False]
    plain = [dreamed for _, dreamed in dream_frames(clip, make(seamless=False))]
    # In reversed time, nothing is carried over that place either.
    assert torch.equal(dreamed[5].dream, plain[5].dream)
    assert torch.equal(dreamed[7].dream, plain[7].dream) == (not seamless)


def test_known_flow_leads_back_in_reversed_time(make: Callable[..., TemporalDreamer]) -> None:
    """Only the step from the first frame back to the last is estimated: no file has it."""
    asked = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        asked.append((first, second))
        return torch.zeros(1 + both, 2, *first.shape[-2:])

    images = rolling()[:5]
    right = torch.zeros(1, 2, HEIGHT, WIDTH)
    right[:, 0] = SPEED
    frames = [
        replace(frame, flow=FrameFlow(-right, right) if frame.index else None) for frame in frames_of(images)
    ]
    machine = make(cuts=False)
    machine.flow = FlowEstimator(estimate, torch.device("cpu"), 1, 1)
    list(dream_frames(frames, machine))
    ((first, second),) = asked
    assert torch.equal(first, images[4:])
    assert torch.equal(second, images[:1])
