"""ComfyUI's VIDEO as a clip that is read frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import Input, InputImpl
from torch import Tensor

from ...dream_core.errors import DamagedError
from ...dream_core.image import size_of
from ...dream_core.settings import InputSettings
from ...dream_core.video import Clip, Output, Sound, open_clip
from ...dream_core.video.beyond_images import beyond_images
from ...dream_core.video.clip import limited
from ...dream_core.video.pixels import fit, resize
from . import host
from .images import from_image

QUALITY_IN_BETWEEN = 10
"""Constant rate factor for a video of another pack that is not a file; it looks better than the result."""

_FINEST = 1001
"""Largest denominator of a frame rate, that of 30000/1001."""

WRITING = ("quality", "sound")
"""Fields of OutputSettings that have a widget where a node writes a video."""


def is_video(value: Any) -> bool:
    """Return True for a VIDEO."""
    return isinstance(value, Input.Video)


@contextmanager
def open_video(video: Any, *, settings: InputSettings) -> Iterator[Clip]:
    """Open the part of a VIDEO that it is trimmed to.

    Args:
        video: a VIDEO.
        settings: its `start` is that of the video.

    Raises:
        VideoError: see `open_clip`.
        ImageError: a video in memory has no images, or they hold NaN, infinite values or levels of 255.
    """
    start, seconds = video.get_active_trim_window()
    with _opened(video, replace(settings, start=start)) as clip:
        if seconds:
            clip.end_at(seconds)
        yield clip


@contextmanager
def finishing(output: Output) -> Iterator[None]:
    """Finish a video at the end of the block; where it is stopped, keep what is done."""
    if output.restored:
        host.tell(f"goes on after frame {output.restored}, where it was stopped")
    try:
        yield
        output.finish()
    except DamagedError:  # there is nothing to go on from
        output.stop()
        raise
    except BaseException:  # Cancel is not an Exception
        keep_what_is_done(output)
        raise


def tell_what_a_batch_loses(name: str) -> None:
    """Say on the node what of its clip is lost, if its images were taken out of a video file.

    Args:
        name: of the input with the images.
    """
    for path in host.video_files_behind(name):
        if lost := beyond_images(path):
            host.tell(
                f"{path.name} has {' and '.join(lost)}, which a batch of images cannot hold: connect the video "
                "itself to DeepDream Video File, or to Temporal Loop Open"
            )


def keep_what_is_done(output: Output) -> None:
    """Close a video whose making was stopped, and say where it is and how to go on; without a frame, remove it."""
    if output.work is None and output.written:
        output.finish()
        host.tell(
            f"stopped: the {output.written} frames that are done are in {output.path} until ComfyUI starts again"
        )
        return
    output.stop()
    if output.written:
        onward = f"goes on after frame {output.saved}" if output.saved else "begins anew"
        host.tell(
            f"stopped: the {output.written} frames that are done are in {output.growing_path}; the same graph, "
            f"queued again, {onward}"
        )


@contextmanager
def _opened(video: Any, settings: InputSettings) -> Iterator[Clip]:
    if isinstance(video, InputImpl.VideoFromComponents):
        components = video.get_components()
        with _sound_of(components) as sound:
            yield _clip_of(components, sound, settings)
        return
    with _as_file(video) as source, open_clip(source, settings=settings) as clip:
        yield clip


def clip_of_images(image: Tensor) -> Clip:
    """Make a clip of a batch of images, without their alpha: 25 a second, as in Temporal Loop Open.

    Raises:
        ImageError: it is no IMAGE, has no images, or they hold NaN, infinite values or levels of 255.
    """
    return _clip(from_image(image, name="clip"), Fraction(25), None, InputSettings(size=0))


def _clip_of(components: Any, sound: Sound | None, settings: InputSettings) -> Clip:
    """Make a clip of the images of a VIDEO in memory, without their alpha."""
    images = from_image(components.images, name="images of the video")
    rate = Fraction(components.frame_rate).limit_denominator(_FINEST)  # Create Video takes 29.97 as binary
    return _clip(images, rate, sound, settings)


def _clip(images: Tensor, rate: Fraction, sound: Sound | None, settings: InputSettings) -> Clip:
    size = fit(*size_of(images), longest=settings.size)
    return Clip(
        ((image, index / rate) for index, image in enumerate(images)),
        load=lambda image: resize(image, size),
        size=size,
        fps=rate,
        time_base=1 / rate,
        frame_count=limited(len(images), settings.frames),
        limit=settings.frames or None,
        sound=sound,
    )


@contextmanager
def _sound_of(components: Any) -> Iterator[Sound | None]:
    """Write the sound of a VIDEO in memory to a temporary file, beside small images, which ComfyUI wants there."""
    if not components.audio:
        yield None
        return
    black = torch.zeros(1, 16, 16, 3).expand(len(components.images), -1, -1, -1)
    path = host.temporary_file(".mp4")
    try:
        InputImpl.VideoFromComponents(replace(components, images=black)).save_to(str(path))
        yield Sound(path, start=0.0)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _as_file(video: Any) -> Iterator[Path]:
    """Return the file of a VIDEO; one that has none is first written to a temporary file."""
    source = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    if isinstance(source, str):
        yield Path(source)
        return
    path = host.temporary_file(".mp4")
    try:
        if isinstance(source, BytesIO):
            path.write_bytes(source.getbuffer())
        else:
            video.save_to(str(path), crf=QUALITY_IN_BETWEEN)
        yield path
    finally:
        path.unlink(missing_ok=True)
