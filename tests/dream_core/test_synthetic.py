"""Clips with exact flow and occlusion."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from dream_core.errors import SettingsError
from dream_core.motion.occlusion import soften_inwards
from dream_core.motion.warp import points_inside, warp
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip, synthetic_frames


def clip(
    *, frames: int = 4, height: int = 97, width: int = 131, seed: int = 0, scene: Scene | None = None
) -> SyntheticClip:
    return synthetic_clip(frames=frames, height=height, width=width, seed=seed, scene=scene or Scene())


def test_shapes_types_and_ranges() -> None:
    made = clip()
    assert made.frames.shape == (4, 3, 97, 131)
    assert made.backward.shape == made.forward.shape == (3, 2, 97, 131)
    assert made.visible.shape == made.visible_next.shape == (3, 1, 97, 131)
    assert {tensor.dtype for tensor in vars(made).values()} == {torch.float32}
    assert 0 <= made.frames.min() < 0.2
    assert 0.8 < made.frames.max() <= 1
    assert set(made.visible.unique().tolist()) == {0.0, 1.0}


def test_background_motion_is_the_flow() -> None:
    made = clip(scene=Scene(shapes=0, background=(3, -2)))
    assert torch.equal(made.forward[:, 0].unique(), torch.tensor([3.0]))
    assert torch.equal(made.forward[:, 1].unique(), torch.tensor([-2.0]))
    assert torch.equal(made.backward, -made.forward)
    # Pixels that enter the frame: 3 columns at the left and 2 rows at the bottom.
    expected = torch.ones(97, 131)
    expected[:, :3] = 0
    expected[-2:] = 0
    assert torch.equal(made.visible[0, 0], expected)
    torch.testing.assert_close(made.frames[1, :, :-2, 3:], made.frames[0, :, 2:, :-3], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_whole_pixel_flow_restores_every_visible_pixel(mode: str) -> None:
    made = clip(scene=Scene(whole_pixels=True, background=(3, -2)))
    back = (warp(made.frames[:-1], made.backward, mode=mode) - made.frames[1:]).abs()
    forth = (warp(made.frames[1:], made.forward, mode=mode) - made.frames[:-1]).abs()
    assert (back * made.visible).max() < 1e-4
    assert (forth * made.visible_next).max() < 1e-4
    # Hidden pixels really are hidden: warping restores almost none of them.
    hidden = (made.visible == 0) & (points_inside(made.backward) == 1)
    assert hidden.sum() > 50
    wrong = back.amax(dim=1, keepdim=True)[hidden] > 0.02
    assert wrong.float().mean() > 0.9


def test_subpixel_flow_restores_the_frame_away_from_edges() -> None:
    made = clip(scene=Scene(speed=2.6))
    restored = warp(made.frames[:-1], made.backward, mode="bicubic")
    # Near an edge the resampling mixes layers, which no flow can undo.
    steps = (made.backward[:, :, 1:, :] - made.backward[:, :, :-1, :]).abs().sum(1, keepdim=True)
    sides = (made.backward[:, :, :, 1:] - made.backward[:, :, :, :-1]).abs().sum(1, keepdim=True)
    smooth = torch.ones_like(made.visible)
    smooth[:, :, 1:] *= steps == 0
    smooth[:, :, :, 1:] *= sides == 0
    inside = soften_inwards(smooth * made.visible, radius=3) == 1
    assert inside.float().mean() > 0.4
    error = (restored - made.frames[1:]).abs().amax(dim=1, keepdim=True)[inside]
    assert error.max() < 0.05
    assert error.mean() < 0.005


def test_forward_undoes_backward_where_visible() -> None:
    made = clip(scene=Scene(whole_pixels=True))
    roundtrip = made.backward + warp(made.forward, made.backward, mode="bilinear")
    assert (roundtrip.abs() * made.visible).max() < 1e-3


def test_rotation_and_zoom_about_the_middle() -> None:
    made = clip(
        frames=2, height=41, width=41, scene=Scene(shapes=0, background=(0, 0), rotation=90, zoom=2.0)
    )
    # The frame's middle is (20.5, 20.5). A quarter turn takes x to y, so (21, 20) = middle + (0.5, -0.5)
    # goes to middle + 2 * (0.5, 0.5) = (21.5, 21.5).
    torch.testing.assert_close(made.forward[0, :, 20, 21], torch.tensor([0.5, 1.5]))
    slow = clip(scene=Scene(shapes=0, background=(0, 0), rotation=2, zoom=1.01))
    seen = (soften_inwards(slow.visible, radius=2) == 1).expand_as(slow.frames[1:])
    error = (warp(slow.frames[:-1], slow.backward) - slow.frames[1:]).abs()[seen]
    assert error.max() < 0.05


def test_shapes_move_at_their_speed_and_stay_in_the_frame() -> None:
    scene = Scene(shapes=3, speed=5.0, background=(0, 0))
    made = clip(frames=60, height=48, width=64, scene=scene)
    speeds = made.forward.norm(dim=1)
    shown = (speeds > 0).flatten(1).float().mean(dim=1)
    assert shown.min() > 0.02
    assert speeds.max() <= 5.0 + 1e-4
    assert ((speeds - 5).abs() < 1e-4).any()


def test_a_seed_gives_the_same_clip_whatever_the_global_generator() -> None:
    first = clip(seed=7)
    torch.manual_seed(1234)
    second = clip(seed=7)
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in vars(first))
    assert not torch.allclose(first.frames, clip(seed=8).frames, atol=0.05)


def test_stream_equals_clip_and_is_lazy() -> None:
    made = clip()
    stream = list(synthetic_frames(frames=4, height=97, width=131))
    assert torch.equal(torch.cat([part.frame for part in stream]), made.frames)
    assert stream[0].backward is stream[0].forward is stream[0].visible is stream[0].visible_next is None
    assert torch.equal(stream[2].backward, made.backward[1:2])
    assert torch.equal(stream[2].visible_next, made.visible_next[1:2])
    # A million frames would take days if they were rendered at once.
    endless = synthetic_frames(frames=1_000_000, height=8, width=8)
    assert len(list(islice(endless, 2))) == 2


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 1, 1), (3, 1, 1), (2, 1, 9), (1, 20, 30)])
def test_tiny_clips(frames: int, height: int, width: int) -> None:
    made = clip(frames=frames, height=height, width=width)
    assert made.frames.shape == (frames, 3, height, width)
    assert made.backward.shape == (frames - 1, 2, height, width)
    assert all(torch.isfinite(tensor).all() for tensor in vars(made).values())


@pytest.mark.parametrize(
    ("options", "scene", "message"),
    [
        ({"frames": 0}, Scene(), "at least 1 frame, got 0"),
        ({"height": 0}, Scene(), "at least 1 pixel, got 0x131"),
        ({"width": -1}, Scene(), "at least 1 pixel, got 97x-1"),
        ({}, Scene(shapes=-1), "at least 0 shapes, got -1"),
        ({}, Scene(zoom=0.0), r"zoom above 0 \(1 is none\), got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, int], scene: Scene, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        clip(**options, scene=scene)
    with pytest.raises(SettingsError, match=message):  # at the call, not at the first frame
        synthetic_frames(**{"frames": 4, "height": 97, "width": 131, **options}, scene=scene)
