"""A VIDEO taken apart and put together: one frame is decoded and one result encoded at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from comfy_api.latest import InputImpl
from torch import Tensor

from ...dream_core.errors import ImageError
from ...dream_core.image import Size, size_of
from ...dream_core.settings import InputSettings, OutputSettings
from ...dream_core.video import Clip, Output, open_output
from ..adapters import host
from ..adapters.images import from_image, from_mask, to_image
from ..adapters.videos import keep_what_is_done, open_video
from ..adapters.working import speaking
from .frames import Shot


class VideoFrames:
    """The frames of a VIDEO at its own size, as IMAGE. Close it at the end.

    Args:
        video: a VIDEO.
        writing: settings of the video that the results make.

    Raises:
        VideoError: the video cannot be read.
    """

    def __init__(self, video: Any, writing: OutputSettings) -> None:
        self._writing = writing
        self._opened = ExitStack()
        with speaking():
            opened = open_video(video, settings=InputSettings(size=0))
            self._clip, self._frames, count = self._opened.enter_context(opened)
        self.count = count
        """About the number of frames, as the file says."""

    def __iter__(self) -> Iterator[Shot]:
        while True:
            with speaking():
                frame = next(self._frames, None)
            if frame is None:
                return
            yield Shot(to_image(frame.image[None]), frame.time, frame.duration)

    def gatherer(self) -> VideoGatherer:
        """Make what gathers the results."""
        return VideoGatherer(self._clip, self._writing)

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


class VideoGatherer:
    """Writes the results of a loop into a video with the times and the sound of another one.

    Args:
        clip: that video.
        settings: quality and sound.
    """

    def __init__(self, clip: Clip, settings: OutputSettings) -> None:
        self._clip, self._settings = clip, settings
        self._output: Output | None = None
        self._size: Size = (0, 0)

    def add(self, result: Any, shot: Shot) -> None:
        """Write the result of a frame: an IMAGE, or a MASK in gray. Several images share its time.

        Raises:
            ImageError: the result is no image, or not of the first one's size.
            VideoError: the video cannot be written.
        """
        images = _images(result)
        if self._output is None:
            self._size = size_of(images)
            self._output = self._open(len(images))
        if size_of(images) != self._size:
            raise ImageError(
                f"expected a result of {_named(self._size)} as for the first frame, got "
                f"{_named(size_of(images))}: bring all results of the loop to one size"
            )
        duration = shot.duration / len(images)
        with speaking():
            for number, image in enumerate(images):
                self._output.write(image, time=shot.time + number * duration, duration=duration)

    def gathered(self) -> Any:
        """Complete the video and return it as VIDEO, or None if there is no result."""
        if self._output is None:
            return None
        with speaking():
            self._output.finish()
        return InputImpl.VideoFromFile(str(self._output.path))

    def stop(self) -> None:
        """Keep what is done of a loop that was stopped, and say where it is."""
        if self._output is not None and not self._output.finished:
            with speaking():
                keep_what_is_done(self._output)

    def _open(self, images: int) -> Output:
        clip = self._clip
        with speaking():
            return open_output(
                host.temporary_file(".mp4"),
                size=self._size,
                fps=clip.fps * images,
                time_base=clip.time_base / images,
                sound=clip.sound if self._settings.sound else None,
                settings=self._settings,
            )


def _images(result: Any) -> Tensor:
    if isinstance(result, Tensor) and result.ndim == 4:
        return from_image(result, name="the result of a frame")
    if isinstance(result, Tensor):
        return from_mask(result, name="the result of a frame").expand(-1, 3, -1, -1)
    kind = (
        "a LATENT: put VAE Decode before Temporal Loop Close"
        if isinstance(result, dict)
        else type(result).__name__
    )
    raise ImageError(f"expected IMAGE or MASK as the result of a frame of a video, got {kind}")


def _named(size: Size) -> str:
    return f"{size[1]} x {size[0]}"
