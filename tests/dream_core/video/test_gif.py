from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from clips import read

from dream_core.settings import OutputSettings
from dream_core.video import open_output
from dream_core.video.gif import Palette


def test_a_gif_keeps_the_times_and_close_colors(tmp_path):
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 64), indexing="ij")
    images = [torch.stack([x, y, torch.full_like(x, level)]) for level in (0.0, 0.5, 1.0)]
    options = {"size": (48, 64), "fps": Fraction(10), "settings": OutputSettings()}
    with open_output(tmp_path / "out.gif", **options) as output:
        for image, time in zip(images, (0, 0.05, 0.5), strict=True):
            output.write(image, time=time, duration=0.1)
    frames = read(tmp_path / "out.gif")
    assert [frame.time for frame in frames] == pytest.approx([0, 0.05, 0.5])
    for frame, image in zip(frames, images, strict=True):
        assert (frame.image - image).abs().mean() < 0.04
        assert (frame.image.mean((1, 2)) - image.mean((1, 2))).abs().max() < 0.01


def test_every_frame_gets_the_colors_it_has():
    palette = Palette(width=16, height=16, time_base=Fraction(1, 100))
    colors = [(200, 10, 30), (0, 120, 250)]
    reduced = []
    for index, color in enumerate(colors):
        frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), color, dtype=np.uint8), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 100)
        reduced += palette.reduce(frame)
    reduced += palette.reduce(None)
    assert [frame.format.name for frame in reduced] == ["pal8"] * 2
    found = [frame.to_ndarray(format="rgb24")[8, 8] for frame in reduced]
    np.testing.assert_allclose(found, colors, atol=3)
