"""Dream two images with every look, and write the sheet docs/looks.jpg.

    uv run tools/make_looks_sheet.py mallard.mp4 --model-dirs WEIGHTS

The images are a frame of the sample clip and the first frame of CLIP. Looks of BVLC GoogLeNet need its weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dream_core import dream_image
from dream_core.looks import load_look, look_names
from dream_core.settings import InputSettings
from dream_core.video import open_clip
from dream_core.video.sample import SAMPLE_CLIP

TARGET = Path(__file__).parents[1] / "docs" / "looks.jpg"
MOMENT = 1.4
"""Seconds into the sample clip, when the rabbit stands."""
SIZE = 512
HEIGHT = 150
"""Height of an image on the sheet, in pixels."""
MARGIN = 22
"""Height of a name above its images."""
COLUMNS = 4
QUALITY = 88


def first_frame(clip: Path, *, start: float = 0) -> Tensor:
    """Read the frame of a clip at `start` seconds, (3,H,W) in 0..1."""
    with open_clip(clip, settings=InputSettings(size=SIZE, start=start, frames=1)) as frames:
        return next(frames).image


def cell(name: str, images: list[Tensor]) -> Image.Image:
    """Draw images of one height, side by side under a name."""
    pictures = [to_picture(image) for image in images]
    width = sum(picture.width for picture in pictures)
    drawn = Image.new("RGB", (width, MARGIN + HEIGHT), "white")
    drawn_text = ImageDraw.Draw(drawn)
    drawn_text.text((3, 2), name, fill="black", font=ImageFont.load_default(15))
    left = 0
    for picture in pictures:
        drawn.paste(picture, (left, MARGIN))
        left += picture.width
    return drawn


def to_picture(image: Tensor) -> Image.Image:
    """Convert (3,H,W) in 0..1 to a picture of the sheet's height."""
    levels = (image.movedim(0, -1) * 255).round().to(torch.uint8)
    picture = Image.fromarray(np.asarray(levels))
    width = round(picture.width * HEIGHT / picture.height)
    return picture.resize((width, HEIGHT), Image.Resampling.LANCZOS)


def main() -> None:
    """Read the command line, dream, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path, metavar="CLIP", help="a video")
    parser.add_argument("--model-dirs", type=Path, nargs="*", default=[], help="folders of weights")
    arguments = parser.parse_args()
    sources = [first_frame(SAMPLE_CLIP, start=MOMENT), first_frame(arguments.clip)]
    cells = []
    for name in look_names():
        dreams = [dream_image(one, look=name, model_dirs=arguments.model_dirs) for one in sources]
        cells.append(cell(f"{name} ({load_look(name).model})", dreams))
    width, height = cells[0].size
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(cells) // COLUMNS) * height), "white")
    for number, one in enumerate(cells):
        sheet.paste(one, (number % COLUMNS * width, number // COLUMNS * height))
    sheet.save(TARGET, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
