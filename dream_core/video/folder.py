"""Images of a folder as the frames of a clip, looked at before any work."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

from PIL import Image

from ..errors import Notice, VideoError
from .images import UNREADABLE, is_image, list_images

_SHOWN = 3
_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
"""What stands at the end of a whole file. Some programs add more, so that the last bytes are searched for it."""
_LAST_BYTES = 4096


def whole_images(folder: Path) -> list[Path]:
    """List the images of a folder in natural order; what is unfinished is left out, and gaps are told.

    Only the beginning and the end of each file are read.

    Raises:
        VideoError: no image of the folder can be read.
    """
    paths = list_images(folder)
    if folders := [path.name for path in sorted(folder.iterdir()) if is_image(path) and path.is_dir()]:
        _tell(f"{_listed(folders)} in {folder}: a folder named like an image, left out", Notice)
    broken = [path for path in paths if not is_whole(path)]
    whole = [path for path in paths if path not in set(broken)]
    if not whole:
        raise VideoError(
            f"no image of {folder} can be read: expected whole image files, got {_listed_paths(broken)}"
        )
    if broken:
        _tell(f"{_listed_paths(broken)} in {folder}: damaged or unfinished, left out")
    if gaps := _gaps(paths):
        _tell(
            f"numbers are missing in {folder}, between {_listed(gaps)}: its images follow each other without pause"
        )
    return whole


def is_whole(path: Path) -> bool:
    """Return whether an image file can be opened and ends as its kind does."""
    try:
        with Image.open(path) as image:
            end = _ENDS.get(image.format or "")
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            return end is None or end in file.read()
    except UNREADABLE:
        return False


def _gaps(paths: list[Path]) -> list[str]:
    """Neighbors between which numbers are missing, as "shot_4.png and shot_7.png"; a steady step is no gap."""
    numbered = [(re.sub(r"\d+(?=\D*$)", "", path.stem), _last_number(path), path.name) for path in paths]
    steps = [
        (number - before, f"{earlier} and {name}")
        for (group, before, earlier), (other, number, name) in pairwise(numbered)
        if group == other and before is not None and number is not None
    ]
    if not steps:
        return []
    usual = Counter(step for step, _ in steps).most_common(1)[0][0]
    return [names for step, names in steps if step > max(1, usual)]


def _last_number(path: Path) -> int | None:
    found = re.search(r"(\d+)\D*$", path.stem)
    return int(found[1]) if found else None


def _listed_paths(paths: list[Path]) -> str:
    return _listed([path.name for path in paths])


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _tell(text: str, category: type[Warning] = UserWarning) -> None:
    warnings.warn(text, category, stacklevel=4)
