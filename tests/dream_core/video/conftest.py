"""Clips that the tests make for themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

MakeClip = Callable[..., Path]


def gray_levels(count: int) -> list[int]:
    """A distinct gray for every frame, so that a frame can be told from its image."""
    return [20 + 200 * index // max(1, count - 1) for index in range(count)]


def flat(level: int, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.full((*size, 3), level, dtype=np.uint8)


def add_tone(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    rate, step = stream.rate, 1024
    for position in range(0, round(seconds * rate), step):
        samples = np.sin(2 * np.pi * 440 * (position + np.arange(step)) / rate) * 0.5
        frame = av.AudioFrame.from_ndarray(
            (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, position, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    def make(
        name: str = "clip.mp4",
        *,
        images: Sequence[NDArray[np.uint8]] | None = None,
        count: int = 12,
        size: tuple[int, int] = (48, 64),
        fps: int = 12,
        stamps: Sequence[int] | None = None,
        time_base: Fraction | None = None,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        options: dict[str, str] | None = None,
        muxer: dict[str, str] | None = None,
        sound: str | None = None,
        pixel_aspect: Fraction | None = None,
        gop: int = 4,
    ) -> Path:
        path = tmp_path / name
        images = [flat(level, size=size) for level in gray_levels(count)] if images is None else images
        height, width = images[0].shape[:2]
        with av.open(str(path), "w", options=muxer or {}) as container:
            stream = container.add_stream(codec, rate=fps)
            context = stream.codec_context
            context.width, context.height, context.pix_fmt = width, height, pixel_format
            context.gop_size = gop
            context.options = options if options is not None else {"crf": "4"} if codec == "libx264" else {}
            context.time_base = time_base or Fraction(1, fps)
            if pixel_aspect is not None:
                context.sample_aspect_ratio = pixel_aspect
            tone = container.add_stream(sound, rate=48000, layout="mono") if sound else None
            for index, image in enumerate(images):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = index if stamps is None else stamps[index]
                frame.time_base = context.time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if tone is not None:
                add_tone(container, tone, len(images) / fps)
        return path

    return make
