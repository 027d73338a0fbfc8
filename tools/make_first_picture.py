"""Write docs/rabbit.webp, the README's first picture: the sample clip as filmed and as the command dreams it.

    uv run tools/make_first_picture.py [DREAM]

DREAM is a dream of the whole sample clip that is already made; without it, one is made with the defaults.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from dream_core import dream_video
from dream_core.settings import InputSettings
from dream_core.video import SAMPLE_CLIP, open_clip

TARGET = Path(__file__).parents[1] / "docs" / "rabbit.webp"
WIDTH = 400
EVERY = 2
"""Frames of the clip to one of the picture."""
QUALITY = 55


def frames(clip: Path) -> list[Image.Image]:
    """Read every second frame of a clip, scaled to the picture's width."""
    with open_clip(clip, settings=InputSettings(size=0)) as opened:
        return [to_picture(one.image) for one in opened if one.index % EVERY == 0]


def to_picture(image: Tensor) -> Image.Image:
    """Convert (3,H,W) in 0..1 to a picture of WIDTH."""
    levels = (image.clamp(0, 1) * 255).round().byte().movedim(0, -1)
    picture = Image.fromarray(np.asarray(levels))
    height = round(picture.height * WIDTH / picture.width)
    return picture.resize((WIDTH, height), Image.Resampling.LANCZOS)


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Put two pictures side by side."""
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def main() -> None:
    """Read the command line, dream, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dream", type=Path, nargs="?", metavar="DREAM", help="a dream of the sample clip")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dream = arguments.dream or dream_video(SAMPLE_CLIP, Path(folder) / "dream.mp4", look="creatures")
        pairs = zip(frames(SAMPLE_CLIP), frames(dream), strict=True)
        first, *rest = [beside(filmed, dreamed) for filmed, dreamed in pairs]
    first.save(
        TARGET, save_all=True, append_images=rest, duration=40 * EVERY, loop=0, quality=QUALITY, method=6
    )


if __name__ == "__main__":
    main()
