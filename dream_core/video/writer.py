"""Output of a dream: a video, a GIF, a folder of images or one image, renamed to its final name once complete."""

from __future__ import annotations

import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import partial
from itertools import chain, count
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import av
import torch
from av.video.codeccontext import VideoCodecContext
from torch import Tensor

from ..checks import in_full, kind_of, validate
from ..errors import DamagedError, VideoError
from ..image import describe
from ..settings import OutputSettings
from ..unfinished import Unfinished, shortened, sync
from .clip import Sound
from .containers import open_to_read, require_path, telling
from .encoder import Encoder
from .images import ANIMATED_SUFFIXES, is_image, save_image
from .sound import describe_tracks, tell_left_out

PART = "part"
"""Says in the state of an output that it is a part of another one, and whole."""

_IMAGE = re.compile(r"frame_\d{6,}\.png")
_FAINT = 1 / 255
_FINEST = 1_000_000
"""Steps per second at most; ffmpeg's numbers have 32 bits."""


class Output:
    """Writer of the images of a dream, opened by `open_output`.

    The output grows at `growing_path`, where a video can already be played. `finish` renames it to its final name;
    `discard` removes it. As a context manager it finishes at the end and on ctrl-C; after any other error the
    incomplete output stays at `growing_path`, and a warning says so.

    With `work`, `save` records what an output needs to go on; then it also stays at `growing_path` after ctrl-C,
    and `open_output` goes on from there.
    """

    def __init__(
        self,
        path: Path,
        growing_path: Path,
        sink: _Sink,
        *,
        size: tuple[int, int],
        fps: Fraction,
        settings: OutputSettings,
        transparency: bool = False,
        work: Unfinished | None = None,
        memory: float = 0.0,
    ) -> None:
        self.path = path
        """Final name."""
        self.growing_path = growing_path
        """Name until the output is complete."""
        state = (work.state if work else None) or {}
        self.work = work
        """Folder in which the output is recorded, None without one."""
        self.restored: int = state.get("written", 0)
        """Number of images from the record of an earlier run."""
        self.state: Mapping[str, Any] | None = state.get("run")
        """What was given to the last `save` of an earlier run, None if there was none."""
        self.written = self.restored
        """Number of images written so far, with those of an earlier run."""
        self.size = size
        """Height and width of its images."""
        self.memory = memory
        """Estimate of the bytes that it comes to hold."""
        self.finished = False
        """True once the output is complete and has its final name."""
        self._sink = sink
        self._transparency = transparency
        self._settings = settings
        self._fps = fps
        self._open = True
        self._next_time: float = state.get("next_time", 0.0)
        self.saved = self.restored
        """Number of images that are recorded."""

    def write(
        self,
        image: Tensor,
        *,
        time: float | None = None,
        duration: float | None = None,
        alpha: Tensor | None = None,
    ) -> None:
        """Write one image, (3,H,W) or (1,3,H,W), RGB in 0..1, rounded to the output's levels.

        Args:
            image: of the output's size, on any device.
            time: seconds from the output's first frame; by default right after the frame before.
            duration: seconds until the next frame; by default one frame at the output's rate.
            alpha: (1,H,W) in 0..1 for an output with transparency, over black; by default it is opaque.

        Raises:
            VideoError: the image has another size, the output is closed, or its file cannot be written or is gone.
        """
        if not self._open:
            raise VideoError(f"{self.path} is closed: no image can be added")
        self._require_still_there()
        image = _checked(image, self.size)
        if self._transparency:
            image = _with_alpha(image, alpha)
        duration = float(1 / self._fps) if duration is None else duration
        time = self._next_time if time is None else time
        self._sink.write(image, time=time, duration=duration)
        self.written += 1
        self._next_time = time + duration

    def _require_still_there(self) -> None:
        # The system lets a removed file grow on, unseen, until it is closed.
        if self.written and kind_of(self.growing_path) is None:
            raise VideoError(
                f"expected the output so far at {self.growing_path}, but it or its folder was removed or moved: "
                "put it back and start the same again, or begin anew"
            )

    def save(self, run: Mapping[str, Any], *, files: Iterable[str] = ()) -> None:
        """Record all that is written so far, so that it outlasts a kill or a loss of power.

        Args:
            run: what the caller needs to go on, as JSON can hold it; `state` has it then.
            files: names of its files in `work`, which are on disk already.

        Raises:
            VideoError: the record cannot be written.
        """
        assert self.work
        sink = self._sink.state()
        state = {"growing": self.growing_path.name, "written": self.written, "next_time": self._next_time}
        self.work.commit({**state, "sink": sink, "run": dict(run)}, files=[*self._sink.files, *files])
        self.saved = self.written

    def leave_as_part(self) -> None:
        """Leave the record, whole, for `joining.join_parts`, and nothing else that this can be spared.

        Raises:
            VideoError: the record cannot be written.
        """
        assert self.work
        self._sink.end_record()
        self.save({PART: True})
        with suppress(VideoError):  # the file was made for the record alone
            self.close()
        if not self.growing_path.is_dir():
            _remove(self.growing_path)
        self.work.close()

    def what_is_left(self) -> str:
        """Say in one line where what is done so far is, after the output was closed, and how to go on."""
        if self.written and kind_of(self.growing_path) is None:
            return f"nothing is left at {self.growing_path}: it or its folder was removed or moved"
        shown = _count_images(self.growing_path)
        images = f"{shown} image{'' if shown == 1 else 's'}"
        place = (
            f"{self.growing_path} has the {images} done so far" if shown else "no image of it can be seen yet"
        )
        if self.work is None or not self.work.exists():
            return place
        onward = f"after image {self.saved}" if self.saved else "from the beginning"
        return f"{place}; the same again goes on {onward}, `restart` begins anew"

    def close(self) -> None:
        """Complete the file and leave it at `growing_path`; a second call does nothing."""
        if self._open:
            self._open = False
            self._sink.close()

    def finish(self) -> None:
        """Complete the output and rename it to its final name, ignoring ctrl-C and SIGTERM meanwhile.

        Raises:
            VideoError: nothing was written, the disk is full, or a file of that name has appeared meanwhile.
        """
        if not self.written:
            self.discard()
            raise VideoError(f"no image was written to {self.path}: there is nothing to keep")
        with _undisturbed():
            self.close()
            self._require_still_there()
            if is_occupied(self.path) and not self._settings.overwrite:
                raise VideoError(
                    f"{self.path} has appeared meanwhile: the output stays at {self.growing_path}"
                )
            if self.work:
                _bring_to_disk(self.growing_path)
            _move(self.growing_path, self.path)
            self.finished = True
            if self.work:
                _bring_to_disk(self.path.parent, whole=False)
                self.work.remove()

    def discard(self) -> None:
        """Close and remove the incomplete output at `growing_path`; after `finish` there is none."""
        with suppress(VideoError):  # what is removed need not be complete
            self.close()
        _remove(self.growing_path)
        if self.work:
            self.work.remove()

    def stop(self) -> None:
        """Close an output that is to go on later: it stays at `growing_path`, with its record; without an image
        nothing stays.
        """
        if not self.written:
            self.discard()
            return
        with suppress(VideoError):  # what led here says more
            self.close()
        if self.work:
            self.work.close()

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if kind is None or (self.written and interrupted and not self.work):
            self.finish()
            return
        self.stop()
        if self.written and not interrupted:
            warnings.warn(self.what_is_left(), stacklevel=2)


def open_output(
    path: Path | str,
    *,
    size: tuple[int, int],
    fps: Fraction,
    settings: OutputSettings,
    time_base: Fraction | None = None,
    top_fps: Fraction | None = None,
    transparency: bool = False,
    frame_count: int | None = None,
    sound: Sound | None = None,
    work: Unfinished | None = None,
) -> Output:
    """Open an output and check everything that can be checked before the first image.

    A path with an image's suffix takes one image; .png and .webp take an animation, too. A path without a suffix or
    with a slash at its end, and an existing folder, take images named frame_000000.png and so on. Any other path
    becomes a video in the container of its suffix, or a GIF. Missing folders are created.

    A video keeps the times of its images and is converted to and tagged as BT.709. All sound tracks that the
    container can hold are copied, or encoded again if it does not take their codec, from `sound.start` to the end
    of the last image; a line says which are left out.

    Args:
        path: final name of the output.
        size: height and width of the images.
        fps: frame rate, for images without a time.
        settings: codec, quality and other options.
        time_base: unit of the timestamps in seconds; by default one frame.
        top_fps: rate for containers that have a constant one, such as AVI, whose images are repeated or left out so
            that moments stay; by default `fps`.
        transparency: images come with their alpha.
        frame_count: number of images to come, if known.
        sound: sound to copy.
        work: folder of the unfinished output, not opened yet: the output goes on from it, and is recorded in it.
            An image, and an animation of unknown length, is not recorded.

    Raises:
        SettingsError: quality, update_interval or frame_duration is out of range, or the unfinished output was
            begun with other settings.
        VideoError: the output exists and may not be overwritten, or cannot be written, or its suffix, codec, pixel
            format and size do not go together, or a clip is to be written into a single image.
    """
    validate(settings)
    target = in_full(Path(path))
    require_path(target, what="output")
    if work:
        _forget_finished(work, target)
    is_folder = str(path).endswith(("/", os.sep)) or not target.suffix or target.is_dir()
    with telling(target, "read"):
        _check_target(target, is_folder=is_folder, frame_count=frame_count, sound=sound, settings=settings)
    _warn_of_idle_options(target, is_folder=is_folder, settings=settings)
    if sound is not None and settings.sound and (is_folder or is_image(target)):
        tell_left_out(describe_tracks(sound))
    if transparency and not _holds_alpha(target, is_folder=is_folder):
        transparency = False
        text = f"`transparency` is for GIF, WebP, PNG and folders: {target} is written over black"
        warnings.warn(text, stacklevel=2)
    animated = frame_count is not None and frame_count > 1
    if work and not is_folder and is_image(target) and not animated:
        work = None
    growing = _begin_or_go_on(work, target, is_folder=is_folder) if work else free_name(target)
    try:
        sink = _open_sink(
            growing,
            is_folder=is_folder,
            size=size,
            fps=fps,
            time_base=(time_base or 1 / fps).limit_denominator(_FINEST),
            top_fps=top_fps,
            transparency=transparency,
            frame_count=frame_count,
            settings=settings,
            sound=sound if not is_image(target) else None,
            work=work,
        )
    except BaseException:
        if work and work.state and work.state["written"]:
            work.close()
        else:
            _remove(growing)
            if work:
                work.remove()
        raise
    return Output(
        target,
        growing,
        sink,
        size=size,
        fps=fps,
        settings=settings,
        transparency=transparency,
        work=work,
        memory=sink.memory(frame_count) if isinstance(sink, Encoder) else 0.0,
    )


def _forget_finished(work: Unfinished, target: Path) -> None:
    """Remove what a run left that was killed right after its output got its name."""
    state = work.peek()
    if state and target.exists() and not target.with_name(state["growing"]).exists():
        work.remove()


def _begin_or_go_on(work: Unfinished, target: Path, *, is_folder: bool) -> Path:
    """Open the folder of an output, and return the name at which it grows.

    A video can be made again from its record; a folder of images that is gone begins anew.
    """
    work.open()
    lost = is_folder and work.state and not target.with_name(work.state["growing"]).is_dir()
    if work.state is None or lost:
        growing = free_name(target)
        # Noted at once, so that whoever is killed before the first record leaves no file that nobody knows.
        work.commit({"growing": growing.name, "written": 0, "sink": None, "run": None})
    return target.with_name(work.state["growing"]) if work.state else free_name(target)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore ctrl-C and SIGTERM inside the block; those that arrive meanwhile are lost.

    Outside the main thread, where Python does not allow it, this has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Sink(Protocol):
    def write(self, image: Tensor, *, time: float, duration: float) -> None: ...

    def close(self) -> None: ...

    def state(self) -> Mapping[str, Any]: ...

    def end_record(self) -> None: ...

    @property
    def files(self) -> Sequence[str]: ...


class _Unrecorded:
    """What an output of one image records: nothing."""

    files: tuple[str, ...] = ()

    def state(self) -> Mapping[str, Any]:
        return {}

    def end_record(self) -> None:
        pass


class _FolderSink:
    files: tuple[str, ...] = ()

    def __init__(self, folder: Path, state: Mapping[str, Any] | None) -> None:
        self._folder = folder
        self._index: int = state["index"] if state else 0
        self._fresh: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(self._index):
            if not (folder / image_name(index)).exists():
                raise DamagedError(
                    f"expected {folder / image_name(index)}, which an earlier run wrote, but it is gone: put it "
                    "back, or add `restart` to begin anew"
                )
        for path in sorted(folder.glob("frame_*.png"))[self._index :]:
            path.unlink()  # it may be incomplete

    def write(self, image: Tensor, *, time: float, duration: float) -> None:
        path = self._folder / image_name(self._index)
        save_image(image, path)
        self._fresh.append(path)
        self._index += 1

    def state(self) -> Mapping[str, Any]:
        for path in (*self._fresh, self._folder):
            _bring_to_disk(path, whole=False)
        self._fresh.clear()
        return {"index": self._index}

    def end_record(self) -> None:
        pass

    def close(self) -> None:
        pass


def image_name(index: int) -> str:
    """Return the name of an image in a folder of images."""
    return f"frame_{index:06d}.png"


class _ImageSink(_Unrecorded):
    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, image: Tensor, *, time: float, duration: float) -> None:
        if self._path.exists():
            raise VideoError(_one_image(self._path))
        save_image(image, self._path)

    def close(self) -> None:
        pass


class _MaybeAnimationSink(_Unrecorded):
    """Writes one image as such, and several as an animation."""

    def __init__(self, path: Path, open_encoder: Callable[[], Encoder]) -> None:
        self._path = path
        self._open_encoder = open_encoder
        self._encoder: Encoder | None = None
        self._first: tuple[Tensor, float, float] | None = None

    def write(self, image: Tensor, *, time: float, duration: float) -> None:
        if self._first is None:
            self._first = image, time, duration
            save_image(image, self._path)
            return
        if self._encoder is None:
            first, begin, length = self._first
            self._encoder = self._open_encoder()
            self._encoder.write(first, time=begin, duration=length)
        self._encoder.write(image, time=time, duration=duration)

    def close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()


def _one_image(path: Path) -> str:
    return f"{path} holds one image, but the clip has more: write a video or a folder, or ask for frames 1"


def _open_sink(
    growing: Path,
    *,
    is_folder: bool,
    size: tuple[int, int],
    fps: Fraction,
    time_base: Fraction,
    top_fps: Fraction | None,
    transparency: bool,
    frame_count: int | None,
    settings: OutputSettings,
    sound: Sound | None,
    work: Unfinished | None,
) -> _Sink:
    state = work.state["sink"] if work and work.state else None
    try:
        growing.parent.mkdir(parents=True, exist_ok=True)
        if is_folder:
            return _FolderSink(growing, state)
    except OSError as error:
        raise VideoError(f"{growing} cannot be made ({error.strerror}): check the path") from error
    open_encoder = partial(
        Encoder,
        growing,
        size=size,
        fps=fps,
        time_base=time_base,
        top_fps=top_fps,
        transparency=transparency,
        settings=settings,
        sound=sound,
        work=work,
        state=state,
    )
    if growing.suffix.lower() in ANIMATED_SUFFIXES:
        return (
            open_encoder() if frame_count and frame_count > 1 else _MaybeAnimationSink(growing, open_encoder)
        )
    return _ImageSink(growing) if is_image(growing) else open_encoder()


def _check_target(
    path: Path, *, is_folder: bool, frame_count: int | None, sound: Sound | None, settings: OutputSettings
) -> None:
    if is_folder and path.is_file():
        raise VideoError(f"{path} is a file: expected a folder, or a name with a suffix such as .mp4")
    if sound is not None and path.exists() and path.samefile(sound.path):
        raise VideoError(f"{path} is the input: choose another name for the output")
    if is_occupied(path) and not settings.overwrite:
        raise VideoError(f"{path} exists already: choose another name, or add `overwrite`")
    holds_one = not is_folder and is_image(path) and path.suffix.lower() not in ANIMATED_SUFFIXES
    if holds_one and (frame_count or 1) > 1:
        raise VideoError(_one_image(path))


def _warn_of_idle_options(path: Path, *, is_folder: bool, settings: OutputSettings) -> None:
    is_gif = not is_folder and path.suffix.lower() == ".gif"
    if settings.frame_duration and not is_gif:
        warnings.warn(f"`frame_duration` is for GIFs only: {path} keeps the input's timing", stacklevel=3)
    if is_gif or is_folder or is_image(path):
        for name in ("codec", "pixel_format"):
            if getattr(settings, name) != getattr(OutputSettings, name):
                warnings.warn(f"`{name}` is for videos only: {path} is written without", stacklevel=3)


def _checked(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.dim() == 4 and image.shape[0] == 1:
        image = image[0]
    if tuple(image.shape) != (3, *size):
        raise VideoError(f"expected an image (3,{size[0]},{size[1]}), got {describe(image)}; resize it")
    return image.detach().float()


def _with_alpha(image: Tensor, alpha: Tensor | None) -> Tensor:
    """Take an image (3,H,W) off its black ground, and add the alpha: (4,H,W)."""
    if alpha is None:
        return torch.cat([image, torch.ones_like(image[:1])])
    alpha = alpha.to(image)
    return torch.cat([(image / alpha.clamp_min(_FAINT)).clamp(0, 1), alpha])


def _holds_alpha(path: Path, *, is_folder: bool) -> bool:
    return is_folder or path.suffix.lower() in (".gif", ".webp", ".png", ".apng")


def is_occupied(path: Path) -> bool:
    """Return True if there is a file of this name, or a folder with something in it."""
    return any(path.iterdir()) if path.is_dir() else path.exists()


def free_name(path: Path) -> Path:
    """Return a name beside an output at which it can grow."""
    names = chain([".part"], (f".part-{number}" for number in count(2)))
    stem = shortened(path.stem, f".part-999999{path.suffix}")
    candidates = (path.with_name(f"{stem}{name}{path.suffix}") for name in names)
    return next(candidate for candidate in candidates if not candidate.exists())


def _move(growing: Path, path: Path) -> None:
    try:
        if growing.is_dir() and path.is_dir() and any(path.iterdir()):
            names = sorted(file.name for file in growing.iterdir())
            for name in names:
                (growing / name).replace(path / name)
            growing.rmdir()
            for image in path.glob("frame_*.png"):
                if _IMAGE.fullmatch(image.name) and image.name not in names:
                    image.unlink()  # of an earlier, longer dream
        elif growing.is_dir() and path.is_dir():
            path.rmdir()
            growing.replace(path)
        else:
            growing.replace(path)
    except OSError as error:
        raise VideoError(
            f"{path} cannot be written ({error.strerror}); the output is in {growing}"
        ) from error


def _bring_to_disk(path: Path, *, whole: bool = True) -> None:
    """Bring a file onto the disk; of a folder all its files, or with `whole` off its list of files."""
    try:
        for file in path.iterdir() if whole and path.is_dir() else ():
            sync(file)
        sync(path)
    except OSError as error:
        raise VideoError(
            f"{path} cannot be written ({error.strerror}): check the folder and the disk"
        ) from error


def _count_images(growing: Path) -> int:
    """Count the images that can be seen in an output that was stopped."""
    if growing.is_dir():
        return sum(1 for _ in growing.glob("frame_*.png"))
    if is_image(growing) and growing.suffix.lower() not in ANIMATED_SUFFIXES:
        return int(growing.exists())
    sure = 0
    last: list[av.Packet[Any]] = []
    with suppress(OSError, ValueError, av.FFmpegError), open_to_read(growing) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"  # as players do, which may lose the image before a damaged one
        with suppress(av.FFmpegError):
            for packet in container.demux(stream):
                if packet.is_keyframe:
                    sure, last = sure + len(last), []
                if packet.size:
                    last.append(packet)
        # Where the disk was full, the last packets are in the list of the file but not in the file.
        sure += _count_decoded(stream.codec_context, last)
    return sure


def _count_decoded(decoder: VideoCodecContext, packets: Sequence[av.Packet[Any]]) -> int:
    count = 0
    for packet in (*packets, None):
        with suppress(av.FFmpegError):
            count += sum(not frame.is_corrupt for frame in decoder.decode(packet))
    return count


def _remove(growing: Path) -> None:
    if growing.is_dir():
        for file in growing.iterdir():
            file.unlink()
        growing.rmdir()
    elif growing.exists():
        growing.unlink()
