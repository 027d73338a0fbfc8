"""What is read beside the frames of a clip: masks, regions and guides, one for all frames or one for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ImageError, SettingsError, VideoError
from ..image import fit_mask, luma
from ..settings import InputSettings
from .animation import is_animated
from .clip import Clip
from .images import is_image

Open = Callable[[Path, InputSettings, str, int | None], Clip]
"""Opens a file or a folder, called so in messages; of a folder, it skips so many images, None for those before the
settings' start."""


def add_alongside(clip: Clip, settings: InputSettings, *, in_folder: bool, open_one: Open) -> None:
    """Read the masks, regions and guides that the settings name beside the frames of a clip.

    Args:
        clip: just opened; it closes them too.
        settings: of the clip.
        in_folder: whether the clip itself is a folder of images.
        open_one: opens each of them.

    Raises:
        SettingsError: an entry of `regions` is wrong.
        VideoError: there are fewer images than frames, or a mask has other proportions than the clip.
    """
    with ExitStack() as files:

        def each(path: Path, what: str, load: Callable[[Tensor], Tensor]) -> Iterator[Any]:
            # One image is for all frames, wherever the clip starts.
            still = path.is_file() and is_image(path) and not is_animated(path)
            own = replace(settings, size=0, mask=None, guide=None, regions=(), transparency=False)
            own = replace(own, start=0.0, frames=0) if still else own
            # A folder has no times of its own: beside a film, its images are counted as the film's frames are.
            counted = path.is_dir() and own.start and not in_folder
            images = open_one(path, own, what, clip.frames_before() if counted else None)
            files.callback(images.close)
            return _for_frames(clip, images, path=path, what=what, still=still, load=load)

        def mask(path: Path, what: str) -> Iterator[Any]:
            return each(path, what, lambda image: _mask(image, clip, path, what))

        if settings.mask:
            clip.add({"mask": mask(settings.mask, "mask")})
        if settings.guide:
            clip.add({"guides": ((one,) for one in each(settings.guide, "guide", lambda image: image))})
        regions = {name: mask(path, "region") for name, path in region_files(settings.regions).items()}
        if regions:
            names = list(regions)
            clip.add(
                {
                    "regions": (
                        dict(zip(names, ones, strict=True)) for ones in zip(*regions.values(), strict=False)
                    )
                }
            )
        clip.add({}, close=files.pop_all().close)


def region_files(entries: tuple[str, ...]) -> dict[str, Path]:
    """Parse entries LAYER=FILE.

    Raises:
        SettingsError: an entry has another form, or a layer comes twice.
    """
    found: dict[str, Path] = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not (name.strip() and equals and path.strip()):
            raise SettingsError(f"expected entries LAYER=FILE in `regions`, got '{entry}'")
        if name.strip() in found:
            raise SettingsError(
                f"expected one entry for each layer in `regions`, got two for '{name.strip()}'"
            )
        found[name.strip()] = Path(path.strip())
    return found


def _for_frames(
    clip: Clip, images: Clip, *, path: Path, what: str, still: bool, load: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    still = still or images.frame_count == 1
    if not still and _is_shorter(images.frame_count, clip.frame_count):
        # What files say of their length may be wrong.
        found, expected = images.counted(), clip.counted()
        if found and _is_shorter(found, expected):
            raise VideoError(_too_few(path, what, found, f"the {expected} frames"))
    first = load(next(images).image)

    def repeated() -> Iterator[Tensor]:
        while True:
            yield first

    def each() -> Iterator[Tensor]:
        count = 1
        yield first
        for frame in images:
            yield load(frame.image)
            count += 1
        raise VideoError(_too_few(path, what, count, "more frames"))

    return repeated() if still else each()


def _is_shorter(found: int | None, expected: int | None) -> bool:
    return found is not None and expected is not None and found < expected


def _mask(image: Tensor, clip: Clip, path: Path, what: str) -> Tensor:
    """Bring the brightness of an image, of BT.709's luma, to the size of a clip: (1,H,W) in 0..1."""
    try:
        return fit_mask(luma(image[None]), clip.size, name=f"the {what} {path}")[0]
    except ImageError as error:
        raise VideoError(str(error)) from error


def _too_few(path: Path, what: str, count: int, frames: str) -> str:
    return (
        f"expected one {what} for all frames or one for each, got {count} in {path} for {frames}: add some, or "
        "dream fewer frames by `frames`"
    )
