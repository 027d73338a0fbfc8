"""The command `deepdream-video atlas`: what a network dreams in a frame, as a contact sheet."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch import Tensor

from ..checks import validate
from ..device import backends
from ..dreaming.atlas import contact_sheet, make_atlas, title_of
from ..errors import VideoError
from ..pipeline import load_models
from ..settings import InputSettings
from ..video import SAMPLE_CLIP, open_clip
from ..video.containers import require_apart, require_path
from ..video.images import IMAGE_SUFFIXES, is_image, save_image
from .console import EXPECTED, Teller, exit_code
from .exit_codes import DONE
from .options import AtlasCommand


def main(command: AtlasCommand) -> int:
    """Run the command and show its progress. Returns the exit code."""
    teller = Teller(quiet=command.file.quiet)
    try:
        with teller.bar(), backends(command.device):
            write_atlas(command, teller)
    except EXPECTED as error:
        return exit_code(
            error,
            teller,
            out_of_memory="make smaller pictures by --thumbnail 64",
            stopped="what is done is kept, and the same command goes on",
        )
    return DONE


def write_atlas(command: AtlasCommand, teller: Teller) -> None:
    """Write the sheet of a network, or of one of its layers.

    Raises:
        DeepDreamError: a file cannot be read or written, or a setting is wrong.
    """
    validate(command)
    source = command.input or SAMPLE_CLIP
    target = command.output or Path(f"{source.stem}_atlas.png")
    require_path(target, what="output")
    require_apart(target, source)
    if not is_image(target):
        raise VideoError(f"expected an image as output ({', '.join(IMAGE_SUFFIXES)}), got {target}")
    if target.exists() and not command.file.overwrite:
        raise VideoError(f"{target} already exists: choose another name, or replace it by `overwrite`")
    with open_clip(source, settings=InputSettings(size=0, start=command.file.start)) as clip:
        image = next(clip).image[None]
    model = load_models(command.model, command.device, progress=teller.downloaded)[0]
    begun = False

    def report(done: int, total: int, _: Tensor) -> None:
        nonlocal begun
        if not begun:
            teller.begin(total, unit="pictures")
            begun = True
        teller.frame_done(done - 1)

    entries = make_atlas(model, image, command.atlas, cache=cache_folder(), report=report)
    save_image(contact_sheet(entries, title_of(model, command.atlas, len(entries)))[0], target)
    teller.say(f"{target}: {len(entries)} pictures, the most active first")


def cache_folder() -> Path:
    """Return the user's folder for atlases that were made, by the rules of the system."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "deepdream-video" / "atlas"
