from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kornia.color import rgb_to_ycbcr
from pretended import Pretended
from torch import Tensor
from torchvision.models.optical_flow import raft_small

from dream_core import image as images
from dream_core.beside import Worker
from dream_core.dreaming import dream as dream_module
from dream_core.dreaming import guide as guide_module
from dream_core.dreaming import memory as memory_module
from dream_core.dreaming.dream import DreamStep, ImageDreamer, dream
from dream_core.dreaming.objectives import Objective, build_objective, layer
from dream_core.errors import ImageError, OutOfMemoryError, SettingsError
from dream_core.image import zoom
from dream_core.models.dream_model import DreamModel
from dream_core.motion.flow import FlowEstimator, dis_flow, estimator_of
from dream_core.motion.raft import FastRaft
from dream_core.motion.warp import warp
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    FlowSettings,
    ImageSettings,
    MaskSettings,
    ObjectiveSettings,
    OctaveSettings,
    ReliabilitySettings,
    TemporalSettings,
    TileSettings,
)
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip
from dream_core.temporal.blend import add_residual, blend_frames
from dream_core.temporal.dreamer import Carried, DreamedFrame, TemporalDreamer
from dream_core.video.clip import FrameFlow

CPU = torch.device("cpu")
STILL = DreamSettings(octave=OctaveSettings(octave_steps=0), image=ImageSettings(keep_brightness=False))
"""Zero steps: the dream of an image is the image."""
QUICK = DreamSettings(octave=OctaveSettings(octave_steps=3), ascent=AscentSettings(jitter=2))
TRUST_ALL = ReliabilitySettings(
    check_consistency=False, check_boundaries=False, check_brightness=False, check_leaving=False
)


def constant_flow(x: float = 0, y: float = 0) -> FlowEstimator:
    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        flow = torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).expand(1, 2, *first.shape[-2:])
        return torch.cat([flow, -flow] if both else [flow])

    return FlowEstimator(estimate, CPU, 1, 1)


def exact_flow(clip: SyntheticClip) -> FlowEstimator:
    """Exact flow of a clip; it must be asked for the frames in order."""
    links: Iterator[int] = iter(range(len(clip.backward)))

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        link = next(links)
        assert torch.equal(first, clip.frames[link + 1 : link + 2])
        assert torch.equal(second, clip.frames[link : link + 1])
        backward, forward = clip.backward[link : link + 1], clip.forward[link : link + 1]
        return torch.cat([backward, forward] if both else [backward])

    return FlowEstimator(estimate, CPU, 1, 1)


def uncut(**options: Any) -> TemporalSettings:
    """Settings without cuts, for frames of noise, which differ like scenes."""
    return TemporalSettings(**{"cuts": False, **options})


Paint = Callable[..., Tensor]
"""A fake dream: (image, settings=, colors=, renewal=, on_step=) -> image."""


class Painter(ImageDreamer):
    """Dreams by a function of the test."""

    def __init__(self, model: DreamModel, paint: Paint, settings: DreamSettings) -> None:
        super().__init__([model], settings=settings)
        self.paint = paint

    def __call__(self, image: Tensor, **options: Any) -> Tensor:
        return self.paint(image, **options)


def painting(*paints: Callable[[Tensor], Tensor]) -> Paint:
    """Apply one function per frame, in order; further frames are not changed."""
    left = iter(paints)
    return lambda image, **_: next(left, lambda same: same)(image)


def dreamer(
    model: DreamModel,
    flow: FlowEstimator | None = None,
    *,
    settings: DreamSettings = STILL,
    temporal: TemporalSettings | None = None,
    reliability: ReliabilitySettings | None = None,
    objective: Objective | None = None,
    paint: Paint | None = None,
) -> TemporalDreamer:
    images = ImageDreamer([model], settings=settings, objective=objective)
    return TemporalDreamer(
        Painter(model, paint, settings) if paint else images,
        flow or constant_flow(),
        temporal=temporal or uncut(),
        reliability=reliability or ReliabilitySettings(),
    )


def run(machine: TemporalDreamer, frames: Tensor) -> list[DreamedFrame]:
    return [machine.step(frame) for frame in frames.split(1)]


def random_clip(frames: int = 4, height: int = 20, width: int = 24) -> Tensor:
    return torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(3))


HALF = torch.full((1, 1, 20, 24), 1 - 0.5**2.5)
"""Share of the steps that is due where half of a dream is carried."""


# The feedback


def test_a_clip_keeps_the_mean_colors_of_its_frames(tiny: DreamModel) -> None:
    """A mask that trusts parts of the picture alone leaves a carried residual with another mean."""
    frames = 0.3 + 0.4 * random_clip(6)
    clip = run(dreamer(tiny, settings=QUICK, temporal=uncut(blend=0)), frames)
    for step in clip:
        shift = (step.dream - step.frame).mean((0, 2, 3)) * 255
        assert shift.abs().max() < 0.5
    assert (clip[-1].dream - clip[-1].frame).abs().mean() * 255 > 2


def test_the_first_frame_is_dreamed_from_itself(tiny: DreamModel) -> None:
    frame = random_clip(1)
    step = dreamer(tiny, settings=QUICK).step(frame)
    assert step.carried is None
    assert torch.equal(step.frame, frame)
    assert torch.equal(step.dream, dream(frame, [tiny], settings=QUICK))
    assert not torch.equal(step.dream, frame)


@pytest.mark.parametrize("blend", [0.0, 0.25, 0.5, 1.0])
def test_without_motion_the_start_is_the_blend_of_frame_and_dream(tiny: DreamModel, blend: float) -> None:
    starts = []

    def invert(image: Tensor, **_: object) -> Tensor:
        starts.append(image)
        return 1 - image

    frame = synthetic_clip(frames=1, height=24, width=32).frames
    machine = dreamer(tiny, temporal=uncut(blend=blend), paint=invert)
    first, second = machine.step(frame), machine.step(frame)
    assert second.carried is not None
    assert torch.equal(second.carried.flow, torch.zeros(1, 2, 24, 32))
    assert torch.equal(second.carried.reliability, torch.ones(1, 1, 24, 32))
    torch.testing.assert_close(second.carried.warped, first.dream)
    assert torch.equal(starts[0], frame)
    torch.testing.assert_close(starts[1], blend * frame + (1 - blend) * (1 - frame))
    torch.testing.assert_close(second.dream, 1 - starts[1])


@pytest.mark.parametrize("blend", [0.0, 0.25, 0.5, 1.0])
def test_dreams_of_zero_steps_are_the_recursion_by_hand(tiny: DreamModel, blend: float) -> None:
    frames = random_clip()
    machine = dreamer(
        tiny, constant_flow(x=1), temporal=uncut(blend=blend, carry="image"), reliability=TRUST_ALL
    )
    first, *others = run(machine, frames)
    expected = frames[:1]
    torch.testing.assert_close(first.dream, expected)
    for step, frame in zip(others, frames[1:].split(1), strict=True):
        # Backward flow (1, 0): every pixel was one to the right of where it is now.
        moved = torch.cat([expected[..., 1:], expected[..., -1:]], dim=-1)
        expected = blend * frame + (1 - blend) * moved
        torch.testing.assert_close(step.dream, expected)


def test_distrusted_pixels_start_from_the_frame(tiny: DreamModel) -> None:
    y, x = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    board = 0.1 + 0.8 * ((x + y) % 2).expand(3, 24, 32)
    frames = torch.stack([board, 1 - board])  # every pixel changes, and no change of light explains that
    machine = dreamer(tiny, temporal=uncut(blend=0, carry="image"))
    _, second = run(machine, frames)
    assert second.carried is not None
    assert torch.equal(second.carried.reliability, torch.zeros(1, 1, 24, 32))
    assert torch.equal(second.dream, frames[1:])


def test_the_dream_sticks_to_moving_things(tiny: DreamModel) -> None:
    scene = Scene(shapes=4, speed=3, background=(1, -1), whole_pixels=True)
    clip = synthetic_clip(frames=6, height=72, width=96, seed=7, scene=scene)
    machine = dreamer(
        tiny,
        exact_flow(clip),
        paint=painting(lambda image: 1 - image),
        temporal=uncut(blend=0, carry="image"),
    )
    # The dream of the first frame is its negative: pixels carried from it are still negative.
    negative = torch.ones(1, 1, 72, 96)
    for index, step in enumerate(run(machine, clip.frames)):
        if step.carried:
            assert torch.equal(step.carried.flow, clip.backward[index - 1 : index])
            negative = step.carried.reliability * warp(negative, step.carried.flow, mode="bilinear")
            seen = clip.visible[index - 1 : index]
            assert (step.carried.reliability * (1 - seen)).mean() < 0.005
        expected = negative * (1 - step.frame) + (1 - negative) * step.frame
        # Wrongly trusted pixels next to the shapes show other things.
        assert ((step.dream - expected).abs() > 1e-3).float().mean() < 0.02
    on_shapes = (clip.backward[-1:] - torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)).norm(
        dim=1, keepdim=True
    ) > 0.5
    assert on_shapes.float().mean() > 0.05
    assert negative[on_shapes].mean() > 0.3
    assert negative[~on_shapes].mean() > 0.5


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_carried_dream_is_the_last_one_warped(tiny: DreamModel, mode: Any) -> None:
    frames = random_clip(2)
    machine = dreamer(
        tiny,
        constant_flow(0.4, -0.3),
        settings=QUICK,
        temporal=uncut(warp=mode, blend=0.5, carry="image"),
        reliability=TRUST_ALL,
    )
    first, second = run(machine, frames)
    flow = torch.tensor([0.4, -0.3]).view(1, 2, 1, 1).expand(1, 2, 20, 24)
    assert second.carried is not None
    torch.testing.assert_close(second.carried.warped, warp(first.dream, flow, mode=mode).clamp(0, 1))
    start = blend_frames(frames[1:], second.carried.warped, second.carried.reliability, blend=0.5)
    expected = ImageDreamer([tiny], settings=QUICK)(start, colors=frames[1:], renewal=HALF)
    torch.testing.assert_close(second.dream, expected)


def test_the_residual_is_added_to_the_frame(tiny: DreamModel) -> None:
    frames = 0.3 + 0.4 * random_clip(2)
    machine = dreamer(
        tiny,
        constant_flow(0.4, -0.3),
        settings=QUICK,
        temporal=uncut(blend=0.5, warp="bilinear"),
        reliability=TRUST_ALL,
    )
    first, second = run(machine, frames)
    flow = torch.tensor([0.4, -0.3]).view(1, 2, 1, 1).expand(1, 2, 20, 24)
    start = frames[1:] + 0.5 * warp(first.dream - first.frame, flow, mode="bilinear")
    expected = ImageDreamer([tiny], settings=QUICK)(start, colors=frames[1:], renewal=HALF)
    torch.testing.assert_close(second.dream, expected)


@pytest.mark.parametrize("blend", [0.0, 0.25, 1.0])
def test_a_frame_without_a_dream_stays_as_sharp_as_it_was(tiny: DreamModel, blend: float) -> None:
    frames = random_clip(5)
    machine = dreamer(tiny, constant_flow(0.4, -0.3), temporal=uncut(blend=blend), reliability=TRUST_ALL)
    for step in run(machine, frames):
        assert torch.equal(step.dream, step.frame)


def test_the_residual_moves_with_the_scene(tiny: DreamModel) -> None:
    scene = Scene(shapes=0, background=(2, -1), whole_pixels=True)
    clip = synthetic_clip(frames=6, height=48, width=64, seed=7, scene=scene)
    clip = replace(clip, frames=0.25 + 0.5 * clip.frames)
    pattern = 0.4 * random_clip(1, 48, 64) - 0.2
    machine = dreamer(
        tiny,
        exact_flow(clip),
        paint=painting(lambda image: image + pattern),
        temporal=uncut(blend=0),
        reliability=TRUST_ALL,
    )
    for index, step in enumerate(run(machine, clip.frames)):
        inner = slice(12, -12)
        moved = torch.roll(pattern, (-index, 2 * index), (-2, -1))
        torch.testing.assert_close(
            (step.dream - step.frame)[..., inner, inner], moved[..., inner, inner], atol=1e-5, rtol=0
        )


def test_the_carried_dream_loses_the_share_blend_at_every_frame(tiny: DreamModel) -> None:
    frame = torch.full((1, 3, 24, 32), 0.3)
    machine = dreamer(tiny, paint=painting(lambda image: image + 0.4), temporal=TemporalSettings(blend=0.2))
    for index in range(6):
        step = machine.step(frame)
        torch.testing.assert_close(step.dream - frame, torch.full_like(frame, 0.4 * 0.8**index))


def renewals(machine: TemporalDreamer, frames: Tensor) -> list[tuple[int, Tensor | None]]:
    """Steps at each size, and the share of them that is due at each pixel, of every frame."""
    found = []

    def note(image: Tensor, *, settings: DreamSettings, renewal: Tensor | None, **_: Any) -> Tensor:
        found.append((settings.octave.octave_steps, renewal))
        return image + 0.1

    machine.dream = Painter(machine.model, note, machine.settings)
    run(machine, frames)
    return found


def test_what_is_lost_is_renewed(tiny: DreamModel) -> None:
    machine = dreamer(
        tiny,
        constant_flow(x=8),  # the last 8 columns of 32 come into view
        settings=DreamSettings(octave=OctaveSettings(octave_steps=10)),
        temporal=uncut(blend=0.1),
        reliability=replace(TRUST_ALL, check_leaving=True, mask_softness=0),
    )
    (steps, first), (same, second) = renewals(machine, 0.5 * random_clip(2, 24, 32))
    assert steps == same == 10
    assert first is None
    assert second is not None
    torch.testing.assert_close(second[0, 0, 0, :22], torch.full((22,), 1 - 0.9**2.5))
    torch.testing.assert_close(second[0, 0, 0, 26:], torch.ones(6))


def test_carried_steps_are_taken_everywhere(tiny: DreamModel) -> None:
    machine = dreamer(
        tiny,
        settings=DreamSettings(octave=OctaveSettings(octave_steps=10)),
        temporal=uncut(carried_steps=25),
    )
    assert renewals(machine, random_clip(3)) == [(10, None), (25, None), (25, None)]


def test_the_dream_of_a_still_reaches_a_fixed_point(tiny: DreamModel) -> None:
    settings = replace(QUICK, octave=OctaveSettings(octaves=1, octave_steps=10))

    def energies(temporal: TemporalSettings, frames: int) -> list[float]:
        frame = 0.45 + 0.1 * random_clip(1)
        machine = dreamer(tiny, settings=settings, temporal=temporal)
        residuals = (machine.step(frame).dream - frame for _ in range(frames))
        return [residual.square().mean().item() for residual in residuals]

    held = energies(TemporalSettings(), 200)
    assert held[199] == pytest.approx(held[30], rel=0.4)  # of the energy: a fifth of the amplitude
    assert held[199] == pytest.approx(held[150], rel=0.05)
    grown = energies(TemporalSettings(blend=0, carried_steps=1), 100)
    assert grown[99] > 1.1 * grown[50] > 1.1 * 1.2 * held[199]
    kept = energies(TemporalSettings(blend=0), 10)
    assert kept == pytest.approx(kept[:1] * 10)


def test_independent_frames_take_all_steps(tiny: DreamModel) -> None:
    temporal = TemporalSettings(independent=True, carried_steps=1)
    for step in run(dreamer(tiny, settings=QUICK, temporal=temporal), random_clip(2)):
        assert torch.equal(step.dream, dream(step.frame, [tiny], settings=QUICK))


# Flashes, pans and cuts


def brighter(model: DreamModel, flow: FlowEstimator | None = None, **temporal: Any) -> TemporalDreamer:
    """A dreamer that draws a residual of 0.1 on the first frame and adds nothing to what it carries."""
    return dreamer(
        model,
        flow,
        paint=painting(lambda image: image + 0.1),
        temporal=TemporalSettings(**{"blend": 0, **temporal}),
        reliability=replace(TRUST_ALL, check_leaving=True, mask_softness=0),
    )


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize(("length", "returns"), [(1, True), (3, True), (6, False)])
def test_after_a_flash_the_dream_comes_back(
    tiny: DreamModel, length: int, returns: bool, references: int
) -> None:
    scene = 0.8 * synthetic_clip(frames=1, height=48, width=64, seed=1).frames
    machine = brighter(tiny, references=references)
    run(machine, scene.expand(3, -1, -1, -1))
    flash = run(machine, torch.ones(length, 3, 48, 64))
    assert flash[0].carried is None
    after, later = run(machine, scene.expand(2, -1, -1, -1))
    assert (after.carried is not None) == returns
    residual = torch.full_like(scene, 0.1 if returns else 0.0)
    torch.testing.assert_close(after.dream - scene, residual)
    torch.testing.assert_close(later.dream - scene, residual)


def test_after_a_cut_nothing_comes_back_but_the_scene_itself(tiny: DreamModel) -> None:
    one, other = (0.8 * synthetic_clip(frames=1, height=48, width=64, seed=seed).frames for seed in (1, 4))
    machine = brighter(tiny)
    steps = run(machine, torch.cat([one, one, other, other, one]))
    assert [step.carried is None for step in steps] == [True, False, True, False, False]
    machine.reset()
    assert machine.step(one).carried is None


def test_the_first_frame_after_a_dark_cut_takes_all_steps(tiny: DreamModel) -> None:
    one, other = (
        0.2 + synthetic_clip(frames=1, height=48, width=64, seed=seed).frames.mean(1, keepdim=True) / 6
        for seed in (1, 4)
    )
    machine = dreamer(tiny, settings=QUICK, temporal=TemporalSettings(blend=0.1))
    found = renewals(machine, torch.cat([one, one, other, other]).expand(-1, 3, -1, -1))
    assert [renewal is None for _, renewal in found] == [True, False, True, False]


def test_the_dream_goes_along_with_a_pan_too_fast_for_the_estimator(tiny: DreamModel) -> None:
    wide = 0.8 * synthetic_clip(frames=1, height=90, width=330, seed=3).frames
    frames = torch.cat([wide[..., 70 * index : 70 * index + 160] for index in range(3)])
    machine = brighter(tiny, constant_flow())  # it finds no motion
    *_, last = run(machine, frames)
    assert last.carried is not None
    torch.testing.assert_close(last.carried.flow[:, 0], torch.full((1, 90, 160), 70.0), atol=1, rtol=0)
    residual = (last.dream - last.frame)[0].mean(0)
    assert residual[:, :10].mean() == pytest.approx(0.1, abs=0.01)  # what was in the first frame
    assert residual[:, 30:].abs().max() < 0.01


# Long-term references


HIDES = (slice(None), slice(None), slice(4, 12), slice(6, 16))
"""Pixels that something hides for a while."""


@pytest.mark.parametrize(("references", "hidden", "remembered"), [(1, 1, 0), (2, 1, 1), (2, 2, 0), (3, 3, 1)])
def test_hidden_pixels_get_their_dream_back(
    tiny: DreamModel, references: int, hidden: int, remembered: float
) -> None:
    clip = torch.full((hidden + 2, 3, 20, 24), 0.2)
    clip[1:-1][HIDES] = 0.9
    machine = dreamer(
        tiny,
        paint=painting(lambda image: image + 0.3),
        temporal=uncut(blend=0, references=references),
        reliability=replace(TRUST_ALL, check_brightness=True, mask_softness=0),
    )
    *_, last = run(machine, clip)
    dreamed = last.dream - last.frame
    torch.testing.assert_close(dreamed[HIDES], torch.full_like(dreamed[HIDES], 0.3 * remembered))
    torch.testing.assert_close(dreamed[:, :, 13:], torch.full_like(dreamed[:, :, 13:], 0.3))


def test_the_nearest_reliable_reference_wins() -> None:
    def carried(reliability: list[float], value: float) -> Carried:
        mask = torch.tensor(reliability).view(1, 1, 1, -1)
        image = torch.full((1, 3, 1, len(reliability)), value)
        flow = torch.full((1, 2, 1, len(reliability)), value)
        return Carried(flow=flow, reliability=mask, warped=image, warped_frame=image / 2)

    near, far = carried([1, 0, 0.5, 0.25, 0], 0.2), carried([1, 1, 0.25, 0.75, 0], 0.8)
    merged = near.fill_from(far)
    torch.testing.assert_close(merged.reliability.flatten(), torch.tensor([1, 1, 0.5, 0.75, 0]))
    expected = torch.tensor([0.2, 0.8, 0.2, (0.25 * 0.2 + 0.5 * 0.8) / 0.75, 0.2])
    torch.testing.assert_close(merged.warped[0, 0, 0], expected)
    assert merged.warped_frame is not None
    torch.testing.assert_close(merged.warped_frame[0, 2, 0], expected / 2)
    assert merged.flow is near.flow


def test_references_are_1_2_4_frames_back_but_not_from_before_a_cut(tiny: DreamModel) -> None:
    one, other = (synthetic_clip(frames=1, height=20, width=24, seed=seed).frames for seed in (1, 4))
    frames = torch.cat([one.expand(6, -1, -1, -1), other.expand(3, -1, -1, -1)]) + 0.002 * random_clip(9)
    pairs: list[tuple[int, int]] = []
    sizes: list[tuple[int, int]] = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        scaled = F.interpolate(frames, images.size_of(first), mode="bilinear", antialias=True)
        index = [int((scaled - one).abs().mean((1, 2, 3)).argmin()) for one in (first, second)]
        pairs.append((index[0], index[1]))
        sizes.append(images.size_of(first))
        return torch.zeros(1 + both, 2, *images.size_of(first))

    machine = dreamer(tiny, FlowEstimator(estimate, CPU, 1, 1), temporal=TemporalSettings(references=3))
    run(machine, frames)
    looked = [(5, 4), (5, 3), (5, 1), (6, 5), (6, 4), (6, 2), (7, 6), (8, 7), (8, 6)]
    assert pairs == [(1, 0), (2, 1), (2, 0), (3, 2), (3, 1), (4, 3), (4, 2), (4, 0), *looked]
    # Far frames are compared at a smaller scale.
    assert sizes == [(20, 24) if one == other + 1 else (7, 8) for one, other in pairs]


def test_zoom_moves_an_earlier_dream_as_often_as_it_is_frames_back(tiny: DreamModel) -> None:
    frames = torch.full((3, 3, 20, 24), 0.5)
    frames[1] = 0.9
    machine = dreamer(
        tiny,
        settings=replace(STILL, image=ImageSettings(keep_brightness=False, zoom=10.0)),
        temporal=uncut(blend=0, carry="image", references=2),
        reliability=replace(TRUST_ALL, check_brightness=True),
    )
    frames[:1] += 0.05 * random_clip(1)
    *_, last = run(machine, frames)
    assert last.carried is not None
    twice = zoom(zoom(frames[:1], 10.0, "percent"), 10.0, "percent")
    torch.testing.assert_close(last.carried.warped, twice)


@pytest.mark.parametrize("references", [0, 7])
def test_references_out_of_range_are_refused(tiny: DreamModel, references: int) -> None:
    with pytest.raises(SettingsError, match=f"expected `references` from 1 to 6, got {references}"):
        dreamer(tiny, temporal=TemporalSettings(references=references))


# Cuts


def test_a_cut_starts_a_new_dream(tiny: DreamModel) -> None:
    scenes = [synthetic_clip(frames=2, height=48, width=64, seed=seed).frames for seed in (1, 4)]
    steps = run(dreamer(tiny, settings=QUICK), torch.cat(scenes))
    assert [step.carried is None for step in steps] == [True, False, False, False]  # `uncut`
    steps = run(dreamer(tiny, settings=QUICK, temporal=TemporalSettings()), torch.cat(scenes))
    assert [step.carried is None for step in steps] == [True, False, True, False]
    assert torch.equal(steps[2].dream, dream(scenes[1][:1], [tiny], settings=QUICK))


@pytest.mark.parametrize("check", [True, False])
def test_the_forward_flow_is_estimated_only_for_its_check(tiny: DreamModel, check: bool) -> None:
    asked = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        asked.append(both)
        return torch.zeros(1 + both, 2, *first.shape[-2:])

    occlusion = ReliabilitySettings(check_consistency=check)
    run(dreamer(tiny, FlowEstimator(estimate, CPU, 1, 1), reliability=occlusion), random_clip(3))
    assert asked == [check, check]


def test_a_custom_objective_is_dreamed_on(tiny: DreamModel) -> None:
    frame, objective = random_clip(1), layer("conv", channels=(1,))
    own = dreamer(tiny, settings=QUICK, objective=objective).step(frame).dream
    assert torch.equal(own, dream(frame, [tiny], settings=QUICK, objective=objective))
    assert not torch.equal(own, dreamer(tiny, settings=QUICK).step(frame).dream)


def test_every_gradient_step_is_reported(tiny: DreamModel) -> None:
    told: list[DreamStep] = []
    machine = dreamer(tiny, settings=QUICK, reliability=TRUST_ALL)
    for frame in random_clip(2).split(1):
        machine.step(frame, on_step=told.append)
    assert [(step.done, step.total) for step in told] == [
        *((done, 12) for done in range(1, 13)),  # 4 octaves of 3 steps
        *((done, 4) for done in range(1, 5)),  # and of one
    ]


# The image inside the loop


def test_the_feedback_stays_float32_and_in_range(tiny: DreamModel) -> None:
    frames = (random_clip(4) * 3 - 1).clamp(0, 1)  # much black and white, where bicubic warping overshoots
    machine = dreamer(tiny, constant_flow(0.5, 0.5), settings=QUICK, temporal=uncut(blend=0.2))
    steps = [machine.step(frame.to(torch.float64)) for frame in frames.split(1)]
    for step in steps:
        carried = [step.carried.warped, step.carried.reliability] if step.carried else []
        for image in (step.dream, *carried):
            assert image.dtype == torch.float32
            assert 0 <= image.min() <= image.max() <= 1


def test_levels_finer_than_bytes_survive_the_loop(tiny: DreamModel) -> None:
    frames = 0.5 + random_clip(5) / 1000
    machine = dreamer(tiny, temporal=uncut(blend=0, carry="image"), reliability=TRUST_ALL)
    torch.testing.assert_close(run(machine, frames)[-1].dream, frames[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("amount", "mode"), [(10.0, "percent"), (3.0, "pixel"), (-5.0, "percent")])
def test_zoom_moves_the_dream_once_per_frame(tiny: DreamModel, amount: float, mode: Any) -> None:
    frames = random_clip(3)
    settings = replace(STILL, image=ImageSettings(keep_brightness=False, zoom=amount, zoom_mode=mode))
    machine = dreamer(tiny, settings=settings, temporal=uncut(blend=0, carry="image"), reliability=TRUST_ALL)
    expected = frames[:1]
    for step in run(machine, frames):
        torch.testing.assert_close(step.dream, expected)
        expected = zoom(expected, amount, mode).clamp(0, 1)
    assert not torch.allclose(expected, frames[:1], atol=0.01)


def test_zoom_moves_only_the_residual_if_that_is_carried(tiny: DreamModel) -> None:
    frames = 0.3 + 0.4 * random_clip(2)
    settings = replace(QUICK, image=ImageSettings(keep_brightness=False, zoom=10.0))
    first, second = run(
        dreamer(tiny, settings=settings, temporal=uncut(blend=0.2), reliability=TRUST_ALL), frames
    )
    zoomed = [zoom(image, 10.0, "percent").clamp(0, 1) for image in (first.dream, first.frame)]
    start = add_residual(frames[1:], zoomed[0], torch.ones(1, 1, 20, 24), zoomed[1], blend=0.2)
    renewal = torch.full((1, 1, 20, 24), 1 - 0.8**2.5)
    torch.testing.assert_close(
        second.dream, ImageDreamer([tiny], settings=settings)(start, colors=frames[1:], renewal=renewal)
    )


def test_in_reversed_time_the_zoom_is_inverted_and_the_state_stays(tiny: DreamModel) -> None:
    frames = random_clip(3)
    settings = replace(STILL, image=ImageSettings(keep_brightness=False, zoom=10.0))
    machine = dreamer(tiny, settings=settings, temporal=uncut(blend=0, carry="image"), reliability=TRUST_ALL)
    undisturbed = run(machine, frames)[2]
    machine.reset()
    first, second = run(machine, frames[:2])
    back = machine.backwards_from(first).step(frames[2:])
    torch.testing.assert_close(back.dream, zoom(first.dream, -10.0, "percent").clamp(0, 1))
    assert not torch.equal(second.dream, first.dream)
    assert torch.equal(machine.step(frames[2:]).dream, undisturbed.dream)


def test_original_colors_come_from_the_frame(tiny: DreamModel) -> None:
    frames = 0.4 + 0.2 * random_clip(3)
    settings = replace(STILL, image=ImageSettings(keep_brightness=False, original_colors=True))
    machine = dreamer(tiny, settings=settings, temporal=uncut(blend=0, carry="image"), reliability=TRUST_ALL)
    for step in run(machine, frames):
        dreamed, frame = rgb_to_ycbcr(step.dream), rgb_to_ycbcr(step.frame)
        torch.testing.assert_close(dreamed[:, 1:], frame[:, 1:], atol=1e-3, rtol=0)
    # The brightness comes from the dream, which is the first frame.
    torch.testing.assert_close(dreamed[:, :1], rgb_to_ycbcr(frames[:1])[:, :1], atol=2e-3, rtol=0)


# State


def test_independent_frames_need_no_flow_and_keep_no_state(tiny: DreamModel) -> None:
    frames = random_clip(3)
    machine = TemporalDreamer(
        ImageDreamer([tiny], settings=QUICK),
        None,
        temporal=TemporalSettings(independent=True),
        reliability=ReliabilitySettings(),
    )
    for step in run(machine, frames):
        assert step.carried is None
        assert torch.equal(step.dream, dream(step.frame, [tiny], settings=QUICK))
    kept = weakref.ref(step.frame), weakref.ref(step.dream)
    del step
    gc.collect()
    assert [reference() for reference in kept] == [None, None]
    assert machine.step(torch.rand(1, 3, 9, 9)).carried is None  # any size is allowed


def test_independent_frames_call_no_flow(tiny: DreamModel) -> None:
    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        raise AssertionError("flow was estimated")

    temporal = TemporalSettings(independent=True)
    run(dreamer(tiny, FlowEstimator(estimate, CPU, 1, 1), temporal=temporal), random_clip(2))


def test_reset_begins_a_new_clip(tiny: DreamModel) -> None:
    frames = random_clip(3)
    machine = dreamer(tiny, settings=QUICK)
    before = run(machine, frames)
    machine.reset()
    run(machine, torch.rand(2, 3, 16, 16))  # another clip, of another size
    machine.reset()
    after = run(machine, frames)
    assert after[0].carried is None
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.dream, other.dream)


def test_a_frame_of_another_size_is_refused_and_changes_nothing(tiny: DreamModel) -> None:
    frames = random_clip(2)
    undisturbed = run(dreamer(tiny, settings=QUICK), frames)[1]
    machine = dreamer(tiny, settings=QUICK)
    machine.step(frames[:1])
    message = (
        r"^expected a frame of the clip's size \(1, 3, 20, 24\), got \(1, 3, 20, 26\); "
        r"resize it, or reset\(\) to begin a new clip$"
    )
    with pytest.raises(ImageError, match=message):
        machine.step(torch.rand(1, 3, 20, 26))
    assert torch.equal(machine.step(frames[1:]).dream, undisturbed.dream)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (torch.rand(2, 3, 20, 24), r"^expected frame \(1,3,H,W\) in floating point, got \(2, 3, 20, 24\)"),
        (torch.rand(3, 20, 24), r"^expected frame \(1,3,H,W\) .* got \(3, 20, 24\)"),
        (
            torch.zeros(1, 3, 20, 24, dtype=torch.uint8),
            r"^expected frame .* uint8; convert it to floating point",
        ),
        (torch.full((1, 3, 20, 24), float("nan")), r"^expected finite frame in 0\.\.1, got NaN"),
    ],
)
def test_a_wrong_frame_is_refused_and_changes_nothing(tiny: DreamModel, frame: Tensor, message: str) -> None:
    frames = random_clip(2)
    undisturbed = run(dreamer(tiny, settings=QUICK), frames)[1]
    machine = dreamer(tiny, settings=QUICK)
    machine.step(frames[:1])
    with pytest.raises(ImageError, match=message):
        machine.step(frame)
    assert torch.equal(machine.step(frames[1:]).dream, undisturbed.dream)


def test_a_step_that_was_interrupted_can_be_repeated(tiny: DreamModel) -> None:
    frames = random_clip(3)
    undisturbed = run(dreamer(tiny, settings=QUICK), frames)
    machine = dreamer(tiny, settings=QUICK)
    run(machine, frames[:2])

    def interrupt(step: DreamStep) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.step(frames[2:], on_step=interrupt)
    assert torch.equal(machine.step(frames[2:]).dream, undisturbed[2].dream)


def test_the_feedback_needs_a_flow_estimator(tiny: DreamModel) -> None:
    with pytest.raises(
        SettingsError, match=r"^expected a flow estimator for the feedback, got None; pass one"
    ):
        TemporalDreamer(
            ImageDreamer([tiny], settings=STILL),
            None,
            temporal=TemporalSettings(),
            reliability=ReliabilitySettings(),
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ImageSettings(keep_brightness=False, zoom=100), r"^expected `zoom` below 100 percent, got 100$"),
        (ImageSettings(keep_brightness=False, contrast=101), r"^expected `contrast` from 0 to 100, got 101$"),
        (OctaveSettings(octave_mode="manual"), r"^expected `octave_sizes` for `octave_mode` manual"),
        (AscentSettings(learning_rate=-1), r"^expected `learning_rate` from 0.001 to 1000, got -1$"),
    ],
)
def test_wrong_settings_are_refused_before_the_first_frame(
    tiny: DreamModel, settings: Any, message: str
) -> None:
    field = type(settings).__name__.removesuffix("Settings").lower()
    with pytest.raises(SettingsError, match=message):
        dreamer(tiny, settings=DreamSettings(**{field: settings}))


@pytest.mark.parametrize("blend", [-0.1, 1.1, float("nan")])
def test_a_wrong_blend_is_refused_before_the_first_frame(tiny: DreamModel, blend: float) -> None:
    with pytest.raises(SettingsError, match=rf"^expected `blend` from 0 to 1, got {blend:g}$"):
        dreamer(tiny, temporal=uncut(blend=blend))


@pytest.mark.parametrize(
    ("temporal", "message"),
    [
        ({"carry": "both"}, r"^expected `carry` to be one of residual, image, got 'both'$"),
        ({"carried_steps": -1}, r"^expected `carried_steps` from 0 to 10000, got -1$"),
    ],
)
def test_a_wrong_carry_is_refused_before_the_first_frame(
    tiny: DreamModel, temporal: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        dreamer(tiny, temporal=TemporalSettings(**temporal))


# Memory


@pytest.mark.parametrize("references", [1, 2, 4])
def test_the_number_of_frames_in_memory_depends_on_references_not_on_the_clip(
    tiny: DreamModel, references: int
) -> None:
    machine = dreamer(tiny, constant_flow(0.5, 0), temporal=uncut(references=references))
    held: dict[str, list[weakref.ref[Tensor]]] = {"given": [], "frame": [], "dream": [], "carried": []}
    for _ in range(20):
        frame = torch.rand(1, 3, 12, 14)
        step = machine.step(frame)
        held["given"].append(weakref.ref(frame))
        held["frame"].append(weakref.ref(step.frame))
        held["dream"].append(weakref.ref(step.dream))
        if step.carried:
            carried = step.carried
            assert carried.warped_frame is not None
            held["carried"] += map(
                weakref.ref, (carried.flow, carried.reliability, carried.warped, carried.warped_frame)
            )
    del frame, step, carried
    gc.collect()
    alive = {name: sum(one() is not None for one in found) for name, found in held.items()}
    back = 2 ** (references - 1)
    assert alive == {"given": 0, "frame": back, "dream": back, "carried": 0}
    machine.reset()
    gc.collect()
    assert not any(one() is not None for found in held.values() for one in found)


def test_a_frame_does_not_keep_its_clip_in_memory(tiny: DreamModel) -> None:
    step = dreamer(tiny).step(random_clip(50)[7:8])
    assert step.frame.untyped_storage().nbytes() == step.frame.nbytes


def test_the_caller_may_change_a_frame_after_its_step(tiny: DreamModel) -> None:
    frames = random_clip(3)
    expected = run(dreamer(tiny, settings=QUICK), frames)
    machine, buffer = dreamer(tiny, settings=QUICK), torch.empty(1, 3, 20, 24)
    for frame, step in zip(frames.split(1), expected, strict=True):
        buffer.copy_(frame)
        assert torch.equal(machine.step(buffer).dream, step.dream)
        assert torch.equal(buffer, frame)  # and it is not modified
        buffer.zero_()


def test_later_steps_do_not_change_earlier_results(tiny: DreamModel) -> None:
    machine = dreamer(tiny, constant_flow(0.3, 0), settings=QUICK)
    steps, copies = [], []
    for frame in random_clip(4).split(1):
        steps.append(machine.step(frame))
        copies.append((steps[-1].frame.clone(), steps[-1].dream.clone()))
    for step, (frame, dreamed) in zip(steps, copies, strict=True):
        assert torch.equal(step.frame, frame)
        assert torch.equal(step.dream, dreamed)


def test_results_hold_no_autograd_graph(tiny: DreamModel) -> None:
    machine = dreamer(tiny, settings=QUICK)
    for frame in random_clip(2).split(1):
        step = machine.step(frame.clone().requires_grad_())
        assert not step.frame.requires_grad
        assert not step.dream.requires_grad
    assert step.carried is not None
    assert not step.carried.warped.requires_grad


# Memory that runs out


def look_ahead(machine: TemporalDreamer, frames: Tensor) -> list[DreamedFrame]:
    """Dream frames, each with the next one announced, from one buffer each."""
    parts = [part.clone() for part in frames.split(1)]
    return [
        machine.step(part, following=following)
        for part, following in zip(parts, [*parts[1:], None], strict=True)
    ]


@pytest.mark.parametrize("temporal", [TemporalSettings(), TemporalSettings(references=3), uncut()])
def test_motion_that_is_found_ahead_changes_nothing(tiny: DreamModel, temporal: TemporalSettings) -> None:
    """With a cut, and a flash after which the dream before it goes on."""
    clip = synthetic_clip(frames=6, height=48, width=64, seed=1).frames
    frames = torch.cat([clip[:3], 1 - clip[3:4], clip[4:], clip.flip(-1)[:2]])
    threads: list[bool] = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        threads.append(threading.current_thread() is threading.main_thread())
        return dis_flow(first, second, both)

    flow = FlowEstimator(estimate, CPU, 16, 1)

    def make(beside: Worker | None) -> TemporalDreamer:
        dream = ImageDreamer([tiny], settings=QUICK)
        return TemporalDreamer(
            dream, flow, temporal=temporal, reliability=ReliabilitySettings(), beside=beside
        )

    plain = make(None)
    assert not plain.looks_ahead
    expected = look_ahead(plain, frames)
    assert all(threads)
    found = len(threads)
    assert any(step.carried is None for step in expected[1:]) == temporal.cuts
    threads.clear()
    machine = make(Worker(CPU))
    assert machine.looks_ahead
    for step, wanted in zip(look_ahead(machine, frames), expected, strict=True):
        assert torch.equal(step.dream, wanted.dream)
        assert (step.carried is None) == (wanted.carried is None)
        if step.carried and wanted.carried:
            assert torch.equal(step.carried.flow, wanted.carried.flow)
    assert not any(threads)
    assert len(threads) == found  # nothing was found in vain


def test_motion_is_found_ahead_only_once_the_network_is_traced(tiny: DreamModel) -> None:
    """Tracing changes how all modules are called; a first frame whose mask is black does not trace by dreaming."""
    traced: list[bool] = []

    class Network(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image

    network, model = Network(), DreamModel(tiny.network, tiny.spec)

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        traced.append(bool(model._extractors) and bool(model._truncated_skeletons))
        return dis_flow(network(first), network(second), both)

    machine = TemporalDreamer(
        ImageDreamer([model], settings=QUICK),
        FlowEstimator(estimate, CPU, 16, 1),
        temporal=uncut(),
        reliability=ReliabilitySettings(),
        beside=Worker(CPU),
    )
    parts = synthetic_clip(frames=4, height=48, width=64, seed=1).frames.split(1)
    masks = [torch.zeros(1, 1, 48, 64), *[torch.ones(1, 1, 48, 64)] * 3]
    for part, mask, following in zip(parts, masks, [*parts[1:], None], strict=True):
        machine.step(part, mask=mask, following=following)
    assert traced == [True] * 3


def test_a_frame_other_than_the_announced_one_finds_its_own_motion(tiny: DreamModel) -> None:
    frames = synthetic_clip(frames=4, height=48, width=64, seed=1).frames

    def make(beside: Worker | None) -> TemporalDreamer:
        dream, flow = ImageDreamer([tiny], settings=QUICK), FlowEstimator(dis_flow, CPU, 16, 1)
        return TemporalDreamer(
            dream, flow, temporal=uncut(), reliability=ReliabilitySettings(), beside=beside
        )

    order = [0, 2, 3]
    expected = run(make(None), frames[order])
    machine = make(Worker(CPU))
    first = machine.step(frames[:1], following=frames[1:2])
    found = [first, machine.step(frames[2:3], following=frames[3:]), machine.step(frames[3:])]
    for step, wanted in zip(found, expected, strict=True):
        assert torch.equal(step.dream, wanted.dream)
    machine.step(frames[:1], following=frames[1:2])
    machine.reset()
    assert machine.step(frames[1:2]).carried is None


def test_an_announced_frame_that_is_refused_is_refused_at_its_own_step(tiny: DreamModel) -> None:
    machine = TemporalDreamer(
        ImageDreamer([tiny], settings=QUICK),
        constant_flow(),
        temporal=uncut(),
        reliability=ReliabilitySettings(),
        beside=Worker(CPU),
    )
    machine.step(torch.zeros(1, 3, 20, 24), following=torch.zeros(1, 3, 20, 25))
    with pytest.raises(ImageError, match="clip's size"):
        machine.step(torch.zeros(1, 3, 20, 25))
    machine.step(torch.zeros(1, 3, 20, 24), following=torch.full((1, 3, 20, 24), torch.nan))
    with pytest.raises(ImageError, match="finite"):
        machine.step(torch.full((1, 3, 20, 24), torch.nan))


def test_flow_that_runs_out_of_memory_ahead_is_tried_again_in_its_turn(tiny: DreamModel) -> None:
    frames, freed = random_clip(3), []
    expected = run(scarce(tiny, Scarce(), []), frames)
    machine = scarce(tiny, Scarce(1), freed, beside=Worker(CPU))
    for step, wanted in zip(look_ahead(machine, frames), expected, strict=True):
        assert torch.equal(step.dream, wanted.dream)
    assert freed == [1]


class Scarce:
    """A flow estimate that runs out of memory in the attempts of these numbers, counted from 1."""

    def __init__(self, *attempts: int) -> None:
        self.attempts, self.count = attempts, 0

    def __call__(self, first: Tensor, second: Tensor, both: bool) -> Tensor:
        self.count += 1
        if self.count in self.attempts:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20.00 GiB")
        return torch.zeros(len(first) * (1 + both), 2, *first.shape[-2:])


def scarce(
    model: DreamModel, estimate: Scarce, freed: list[int], *, beside: Worker | None = None
) -> TemporalDreamer:
    return TemporalDreamer(
        ImageDreamer([model], settings=QUICK, free=lambda: freed.append(estimate.count)),
        FlowEstimator(estimate, CPU, 1, 1),
        temporal=uncut(),
        reliability=ReliabilitySettings(),
        beside=beside,
    )


def test_flow_that_runs_out_of_memory_is_tried_again_once_memory_is_freed(tiny: DreamModel) -> None:
    frames, freed = random_clip(3), []
    expected = run(scarce(tiny, Scarce(), []), frames)
    for one, other in zip(run(scarce(tiny, Scarce(1), freed), frames), expected, strict=True):
        assert torch.equal(one.dream, other.dream)
    assert freed == [1]


def test_flow_that_runs_out_of_memory_again_is_an_error_and_changes_nothing(tiny: DreamModel) -> None:
    frames, freed = random_clip(3), []
    expected = run(scarce(tiny, Scarce(), []), frames)
    machine = scarce(tiny, Scarce(1, 2), freed)
    machine.step(frames[:1])
    with pytest.raises(OutOfMemoryError, match=r"\(CUDA out of memory\.\): lower `flow_scale`") as told:
        machine.step(frames[1:2])
    assert "\n" not in str(told.value)
    assert freed == [1, 2]
    for one, other in zip(run(machine, frames[1:]), expected[1:], strict=True):
        assert torch.equal(one.dream, other.dream)


@pytest.mark.filterwarnings("ignore:flow is estimated")
def test_flow_that_runs_out_of_memory_again_is_estimated_at_a_smaller_scale(tiny: DreamModel) -> None:
    sizes: list[tuple[int, int]] = []

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        sizes.append((first.shape[-2], first.shape[-1]))
        if first.shape[-1] > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(2, 2, *first.shape[-2:])

    freed: list[int] = []
    machine = TemporalDreamer(
        ImageDreamer([tiny], settings=QUICK, free=lambda: freed.append(len(sizes))),
        FlowEstimator(estimate, CPU, 8, 1, pair_memory=1e9),
        temporal=uncut(),
        reliability=ReliabilitySettings(),
    )
    run(machine, torch.rand(3, 3, 24, 32))
    assert sizes == [(24, 32), (24, 32), (16, 22), (11, 15), (11, 15)]  # for the third frame, at once
    assert freed == [1, 2, 3]
    assert machine.settings.tile.tile_size == 0


@pytest.mark.filterwarnings("ignore:.*memory ran out")
def test_a_clip_goes_on_in_the_smaller_tiles(tiny: DreamModel) -> None:
    """The second frame runs out of memory: it and the third are dreamed in tiles, as if these were chosen."""
    frames, attempts = torch.rand(3, 1, 3, 100, 140), []

    class Failing(DreamModel):
        def activations(self, image: Tensor, layers: Any) -> dict[str, Tensor]:
            attempts.append(image.shape[-1])
            if len(attempts) > 2 and image.shape[-1] > 70:
                raise torch.OutOfMemoryError("out of memory")
            return super().activations(image, layers)

    def dream_all(model: DreamModel, tile: int) -> list[Tensor]:
        settings = DreamSettings(
            octave=OctaveSettings(octaves=1, octave_steps=2), tile=TileSettings(tile_size=tile)
        )
        images = ImageDreamer([model], settings=settings, free=lambda: None)
        machine = TemporalDreamer(
            images, None, temporal=TemporalSettings(independent=True), reliability=ReliabilitySettings()
        )
        return [machine.step(frame).dream for frame in frames]

    whole, tiled = dream_all(tiny, 0), dream_all(tiny, 64)
    found = dream_all(Failing(tiny.network, tiny.spec), 0)
    assert attempts[:3] == [140, 140, 140]
    assert max(attempts[3:]) == 64
    for one, other in zip(found, [whole[0], *tiled[1:]], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("kind", "version", "references"),
    [("cuda", (2, 15), 1), ("cuda", (2, 15), 2), ("mps", (2, 15), 1), ("mps", (2, 6), 1)],
    ids=["cuda", "two references", "mps", "old mps"],
)
def test_a_clip_on_a_gpu_is_that_of_the_cpu(
    kind: str, version: tuple[int, int], references: int, tiny: DreamModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that a frame passes through, on a GPU that pretends; waits and copies must not grow.

    Two waits are left: for the numbers of steps and whether there is a cut, at once, and for the dream.
    """
    clip = synthetic_clip(frames=3, height=128, width=136, seed=3, scene=Scene(speed=0, background=(1, 0)))
    raft, settings = raft_small(weights=None).eval(), QUICK

    def dreamer(device: torch.device) -> TemporalDreamer:
        network = FastRaft(copy.deepcopy(raft), dtype=torch.float32).to(device)
        return TemporalDreamer(
            ImageDreamer([copy.deepcopy(tiny).to(device)], settings=settings),
            estimator_of(network, FlowSettings(flow_updates=1), device=device),
            temporal=TemporalSettings(references=references),
            reliability=ReliabilitySettings(),
        )

    on_cpu = dreamer(CPU)
    expected = [on_cpu.step(frame[None]) for frame in clip.frames]
    assert all(step.carried for step in expected[1:])
    monkeypatch.setattr(images, "TORCH", version)
    with Pretended(kind, version=version) as gpu:
        on_gpu = dreamer(gpu.device)
        for number, (frame, step_of_cpu) in enumerate(zip(clip.frames, expected, strict=True)):
            gpu.copies.clear()
            gpu.waits.clear()
            dreamed = on_gpu.step(frame[None])
            assert dreamed.dream.device == gpu.device
            image = dreamed.read()
            if number > 1 and version > (2, 12):
                assert gpu.copies == ["to"]  # the frame
                assert gpu.waits == ["cpu", "cpu"]
            # Another layout rounds otherwise, and dreams amplify it.
            tolerance = 1e-6 if kind == "cuda" else 0.02
            torch.testing.assert_close(image, step_of_cpu.dream, atol=tolerance, rtol=0)


@pytest.mark.parametrize(("free", "has_room"), [(10_000_000_000, True), (800_000_000, False)])
def test_where_memory_is_short_all_goes_in_turn_before_tiles_get_smaller(
    free: float, has_room: bool, tiny: DreamModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (dream_module, memory_module):
        monkeypatch.setattr(module, "free_memory", lambda device: free)
    machine = scarce(tiny, Scarce(), [], beside=Worker(CPU))
    machine.fit((720, 1280), beside=1000)
    assert machine.looks_ahead == has_room
    assert machine.settings.tile.tile_size == 0


# Masks


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> Tensor:
    rows, columns = torch.arange(size[0]).view(-1, 1), torch.arange(size[1])
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).float()[None, None]


def masked(
    model: DreamModel, *, feather: int = 0, temporal: TemporalSettings | None = None
) -> TemporalDreamer:
    settings = replace(QUICK, mask=MaskSettings(mask_feather=feather))
    return TemporalDreamer(
        ImageDreamer([model], settings=settings),
        FlowEstimator(dis_flow, CPU, 16, 1),
        temporal=temporal or uncut(),
        reliability=ReliabilitySettings(),
    )


@pytest.mark.parametrize("carry", ["residual", "image"])
def test_what_a_moving_mask_leaves_is_the_frame_to_the_last_bit(tiny: DreamModel, carry: str) -> None:
    frames = synthetic_clip(frames=8, height=64, width=96, seed=1).frames
    machine = masked(tiny, feather=4, temporal=uncut(carry=carry))
    for number, frame in enumerate(frames.split(1)):
        mask = disc((64, 96), 20 + 6 * number, 30, 14)
        dreamed = machine.step(frame, mask=mask)
        changed = (dreamed.dream != frame).any(1, keepdim=True)
        assert not changed[mask == 0].any()
        assert changed[disc((64, 96), 20 + 6 * number, 30, 10) == 1].float().mean() > 0.9


def test_nothing_leaks_out_of_a_mask_in_300_frames(tiny: DreamModel) -> None:
    frame = random_clip(1, 24, 32)
    one_step = DreamSettings(
        octave=OctaveSettings(octaves=1, octave_steps=1),
        ascent=AscentSettings(jitter=2),
        mask=MaskSettings(mask_feather=2),
    )
    machine = dreamer(tiny, settings=one_step, reliability=TRUST_ALL)
    for number in range(300):
        mask = disc((24, 32), 6 + number % 20, 12, 5)
        dreamed = machine.step(frame, mask=mask).dream
        assert torch.equal(dreamed[:, :, mask[0, 0] == 0], frame[:, :, mask[0, 0] == 0])
    assert (dreamed != frame).any()


def test_where_the_mask_comes_the_dream_begins_and_stays_as_strong(tiny: DreamModel) -> None:
    """On frames that stand still, where without a mask nearly nothing would be renewed."""
    frame = 0.3 + 0.4 * random_clip(1, 64, 96)
    machine, strengths = masked(tiny), []
    for number in range(6):
        mask = disc((64, 96), 30 if number < 3 else 60, 30, 12)
        residual = machine.step(frame, mask=mask).dream - frame
        strengths.append(float((residual.abs() * mask).sum() / mask.sum()))
    assert min(strengths) > 0.7 * strengths[0]


def test_a_dream_fades_where_the_mask_does_and_not_more_each_time(tiny: DreamModel) -> None:
    frame = 0.3 + 0.4 * random_clip(1, 64, 96)
    machine, gray = masked(tiny), torch.full((1, 1, 64, 96), 0.5)
    ones = torch.ones_like(gray)
    full = (machine.step(frame, mask=ones).dream - frame).abs().mean()
    halves = [float((machine.step(frame, mask=gray).dream - frame).abs().mean() / full) for _ in range(4)]
    assert 0.35 < halves[0] < 0.75
    assert halves[3] > 0.9 * halves[0]


def test_a_mask_ends_and_the_dream_goes_on_everywhere(tiny: DreamModel) -> None:
    frames = synthetic_clip(frames=3, height=64, width=96, seed=1).frames
    machine = masked(tiny)
    machine.step(frames[:1], mask=disc((64, 96), 40, 30, 12))
    restored = masked(tiny)
    restored.state = machine.state
    found, same = (one.step(frames[1:2]) for one in (machine, restored))
    assert torch.equal(found.dream, same.dream)
    changed = (found.dream != frames[1:2]).any(1)
    assert changed.float().mean() > 0.9


def guided(tiny: DreamModel, **options: Any) -> TemporalDreamer:
    objective = build_objective(ObjectiveSettings(layers=("conv",), loss="match"), tiny)
    return dreamer(tiny, settings=QUICK, objective=objective, **options)


def test_a_match_with_the_guide_moves_with_the_flow(tiny: DreamModel) -> None:
    """Each pixel holds on to its place in the guide, unless its motion is not to be trusted or the view zooms."""
    guide, frames = torch.rand(1, 3, 24, 24), random_clip(2, 40, 48)
    machine = guided(tiny, flow=constant_flow(x=-3), reliability=TRUST_ALL)
    first = machine.step(frames[:1], guides=[guide])
    second = machine.step(frames[1:], guides=[guide])
    assert first.matches.shape == (1, 1, 40, 48)
    assert first.matches.unique().numel() > 5
    assert torch.equal(second.carried.matches[..., 3:], first.matches[..., :-3])
    distrusting = guided(tiny, flow=constant_flow(x=-1000))
    distrusting.step(frames[:1], guides=[guide])
    assert distrusting.step(frames[1:], guides=[guide]).carried.matches.eq(-1).all()


def test_a_guided_dream_goes_on_from_its_state_bit_for_bit(tiny: DreamModel) -> None:
    guide, frames = torch.rand(1, 3, 24, 24), random_clip(3, 40, 48)
    machine, other = guided(tiny), guided(tiny)
    for frame in frames[:2].split(1):
        machine.step(frame, guides=[guide])
    other.state = machine.state
    assert torch.equal(
        machine.step(frames[2:], guides=[guide]).dream, other.step(frames[2:], guides=[guide]).dream
    )


def test_each_frame_may_have_a_guide_of_its_own_which_is_looked_at_once(
    tiny: DreamModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = guide_module.look_at_guide
    monkeypatch.setattr(guide_module, "look_at_guide", lambda *args: looks.append(1) or look(*args))
    machine, guides = guided(tiny), torch.rand(2, 3, 24, 24)
    for frame, guide in zip(random_clip(4, 40, 48).split(1), (0, 0, 0, 1), strict=True):
        machine.step(frame, guides=[guides[guide, None]])
    assert len(looks) == 2


def test_where_no_objective_acts_the_frame_stays_as_it_is(tiny: DreamModel) -> None:
    machine = dreamer(tiny, settings=QUICK, objective=layer("conv"))
    frame, left = 0.3 + 0.4 * random_clip(1, 64, 96), torch.zeros(1, 1, 64, 96)
    left[..., :40] = 1
    for region in (left, left.flip(-1)):
        changed = machine.step(frame, regions={"conv": region}).dream != frame
        assert not changed[region.expand_as(changed) == 0].any()
        assert changed[region.expand_as(changed) == 1].float().mean() > 0.9


@pytest.mark.parametrize(
    ("given", "error", "problem"),
    [
        ({}, SettingsError, "^expected a guide for `loss` match or statistics, got none"),
        ({"guides": [torch.zeros(1, 3, 0, 4)]}, ImageError, "guide"),
        (
            {"guides": [torch.rand(1, 3, 9, 9)], "regions": {"conv": torch.ones(1, 1, 9, 9)}},
            ImageError,
            "region conv",
        ),
    ],
)
def test_wrong_guides_and_regions_change_nothing(
    tiny: DreamModel, given: dict[str, Any], error: type[Exception], problem: str
) -> None:
    machine = guided(tiny)
    with pytest.raises(error, match=problem):
        machine.step(torch.rand(1, 3, 64, 96), **given)
    assert not machine.state.past


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (torch.ones(1, 1, 64, 95), r"expected mask \(1,1,64,96\)"),
        (torch.full((1, 1, 64, 96), -1.0), "mask values between 0 and 1"),
        (torch.full((1, 1, 64, 96), torch.nan), "finite mask"),
    ],
)
def test_a_wrong_mask_is_refused_and_changes_nothing(tiny: DreamModel, mask: Tensor, problem: str) -> None:
    machine = masked(tiny)
    with pytest.raises(ImageError, match=problem):
        machine.step(torch.zeros(1, 3, 64, 96), mask=mask)
    assert not machine.state.past


# Flow that is known


def unasked(first: Tensor, second: Tensor, both: bool) -> Tensor:
    raise AssertionError("flow is known, and estimated all the same")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_a_dream_along_known_flow_is_that_along_the_same_flow_estimated(
    tiny: DreamModel, masked: bool, beside: bool
) -> None:
    clip = synthetic_clip(frames=4, height=40, width=56, seed=4)
    frames = list(clip.frames.split(1))
    flows = [None, *map(FrameFlow, clip.backward.split(1), clip.forward.split(1))]
    mask = torch.zeros(1, 1, 40, 56)
    mask[..., :30] = 1
    given = {"mask": mask} if masked else {}
    machine = dreamer(tiny, FlowEstimator(unasked, CPU, 1, 1), settings=QUICK)
    machine.beside = Worker(CPU) if beside else None
    following = zip([*frames[1:], None], [*flows[1:], None], strict=True)
    dreams = [
        machine.step(frame, flow=flow, following=after, following_flow=then, **given)
        for frame, flow, (after, then) in zip(frames, flows, following, strict=True)
    ]
    estimated = dreamer(tiny, exact_flow(clip), settings=QUICK)
    expected = [estimated.step(frame, **given) for frame in frames]
    assert all(torch.equal(a.dream, b.dream) for a, b in zip(dreams, expected, strict=True))


def test_at_a_cut_known_flow_does_not_count(tiny: DreamModel) -> None:
    frames = [synthetic_clip(frames=1, height=40, width=56, seed=seed).frames for seed in (1, 2)]
    machine = dreamer(tiny, FlowEstimator(unasked, CPU, 1, 1), temporal=TemporalSettings())
    machine.step(frames[0])
    assert machine.step(frames[1], flow=FrameFlow(torch.zeros(1, 2, 40, 56))).carried is None


def test_known_flow_of_another_size_is_refused_and_the_state_stays(tiny: DreamModel) -> None:
    frames = random_clip(2)
    machine = dreamer(tiny)
    machine.step(frames[:1])
    before = machine.state
    with pytest.raises(ImageError, match=r"expected forward flow of shape \(1, 2, 20, 24\)"):
        machine.step(frames[1:], flow=FrameFlow(torch.zeros(1, 2, 20, 24), torch.zeros(1, 2, 3, 4)))
    assert machine.state == before
