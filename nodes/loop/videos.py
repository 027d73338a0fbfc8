"""A VIDEO taken apart and put together: one frame is decoded and one result encoded at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl
from torch import Tensor

from ...dream_core.errors import ImageError, VideoError
from ...dream_core.image import Size, size_of
from ...dream_core.settings import InputSettings, OutputSettings
from ...dream_core.unfinished import Unfinished
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
            self._clip = self._opened.enter_context(open_video(video, settings=InputSettings(size=0)))
        self.count = self._clip.frame_count or 1
        """About the number of frames, as the file says."""

    def __iter__(self) -> Iterator[Shot]:
        while True:
            with speaking():
                frame = next(self._clip, None)
            if frame is None:
                return
            yield Shot(to_image(frame.image[None]), frame.time, frame.duration)

    def go_on(self, frames: int) -> Any:
        """Go on after this number of frames, at least 1, and return the last one of them.

        Raises:
            VideoError: there are fewer.
        """
        self._clip.skip(frames - 1)
        last = next(iter(self), None)
        if last is None:
            raise VideoError(
                f"expected at least {frames} frames in the video, as in the run before, got fewer"
            )
        return last.value

    def gatherer(self, path: Path | None = None, work: Unfinished | None = None) -> VideoGatherer:
        """Make what gathers the results, in a file with a record or, by default, in a temporary one."""
        return VideoGatherer(self._clip, self._writing, path, work)

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


class VideoGatherer:
    """Writes the results of a loop into a video with the times and the sound of another one.

    Args:
        clip: that video.
        settings: quality and sound.
        path: of the file, by default a temporary one.
        work: record of its making.
    """

    def __init__(
        self, clip: Clip, settings: OutputSettings, path: Path | None = None, work: Unfinished | None = None
    ) -> None:
        self._clip, self._settings = clip, settings
        self._path, self._work = path, work
        self._output: Output | None = None
        self._size: Size = (0, 0)
        self._images = 0

    @property
    def begun(self) -> bool:
        """True once there is a result."""
        return self._output is not None

    def go_on(self, size: Size, images: int) -> None:
        """Go on with what an earlier run wrote.

        Args:
            size: of the results.
            images: number of images of the result of a frame.

        Raises:
            DamagedError: its record is damaged.
            VideoError: another run goes on with it, or it cannot be read.
        """
        self._output = self._open(size, images)

    def save(self, run: Mapping[str, Any], *, files: Iterable[str]) -> None:
        """Record all results so far.

        Args:
            run: what else is needed to go on, as JSON can hold it.
            files: names of its files in the record.

        Raises:
            VideoError: the record cannot be written.
        """
        assert self._output
        self._output.save({**run, "size": list(self._size), "images": self._images}, files=files)

    def add(self, result: Any, shot: Shot) -> None:
        """Write the result of a frame: an IMAGE, or a MASK in gray. Several images share its time.

        Raises:
            ImageError: the result is no image, or not of the first one's size.
            VideoError: the video cannot be written.
        """
        images = _images(result)
        if self._output is None:
            self._output = self._open(size_of(images), len(images))
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

    def _open(self, size: Size, images: int) -> Output:
        clip, self._size, self._images = self._clip, size, images
        with speaking():
            return open_output(
                self._path or host.temporary_file(".mp4"),
                size=size,
                fps=clip.fps * images,
                time_base=clip.time_base / images,
                sound=clip.sound if self._settings.sound else None,
                settings=self._settings,
                work=self._work,
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
