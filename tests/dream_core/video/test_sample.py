"""The clip that comes with the package."""

from __future__ import annotations

import torch
from clips import NATIVE, read

from dream_core.video import SAMPLE_CLIP, open_clip
from dream_core.video.sample import SAMPLE_CREDIT


def test_it_is_three_seconds_of_film_with_sound() -> None:
    with open_clip(SAMPLE_CLIP, settings=NATIVE) as clip:
        assert (clip.size, clip.fps, clip.frame_count) == ((360, 640), 25, 75)
        assert clip.has_sound
    frames = torch.stack([frame.image for frame in read(SAMPLE_CLIP)])
    assert len(frames) == 75
    changes = frames.diff(dim=0).abs().mean((1, 2, 3))
    assert changes.max() < 0.05  # one shot
    assert changes[:36].mean() > 0.005  # something moves in what the templates take


def test_it_is_small_and_its_credit_and_license_lie_beside_it() -> None:
    assert SAMPLE_CLIP.stat().st_size < 1_000_000
    text = SAMPLE_CLIP.with_suffix(".txt").read_text("utf-8")
    assert "Creative Commons Attribution 3.0 (CC BY 3.0)" in text
    for word in ("Big Buck Bunny", "(c)", "Blender Foundation", "CC BY 3.0"):
        assert word in SAMPLE_CREDIT
        assert word in text
