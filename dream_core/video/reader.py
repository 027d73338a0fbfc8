"""Reading of video files, GIFs, folders of images and single images as a stream of images."""

from __future__ import annotations

from pathlib import Path

from ..checks import validate
from ..errors import VideoError
from ..settings import InputSettings
from .alongside import add_alongside
from .animation import is_animated, open_animation
from .clip import Clip
from .containers import require_path, telling
from .film import open_film
from .folder import whole_images
from .images import is_image
from .pictures import open_pictures


def open_clip(path: Path | str, *, settings: InputSettings) -> Clip:
    """Open a video of any container that ffmpeg reads, an animated image, a folder of images or a single image.

    Timestamps, rotation and pixel proportions of the file are respected; 10-bit video keeps its bits; transparency
    is blended with black. The longer side of each image is `settings.size`. The first frame is the one that is
    shown at `settings.start`. The images of a folder come in natural order, all at the size of the first one. A
    damaged file is read as far as possible, with a warning. `settings.mask`,
    `guide` and `regions` are read beside it.

    Raises:
        SettingsError: size, start, frames or fps is out of range.
        VideoError: the file is missing or contains no video, no frame can be decoded, the folder is empty, or the
            start is after the end; or what is read beside it does not fit the clip.
    """
    validate(settings)
    clip = _open(Path(path), settings, "input", None)
    try:
        add_alongside(clip, settings, in_folder=Path(path).is_dir(), open_one=_open)
    except BaseException:
        clip.close()
        raise
    return clip


def _open(path: Path, settings: InputSettings, what: str, first: int | None) -> Clip:
    require_path(path, what=what)
    with telling(path, "read"):
        if not path.exists():
            raise VideoError(f"{path} does not exist: expected a video, an image or a folder of images")
        if path.is_dir():
            return open_pictures(whole_images(path), settings=settings, first=first)
        if is_image(path) and is_animated(path):
            return open_animation(path, settings=settings)
        if is_image(path):
            return open_pictures([path], settings=settings)
        return open_film(path, settings=settings)
