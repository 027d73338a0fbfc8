"""Make the pictures of ComfyUI's registry, docs/icon.png and docs/banner.jpg. The second one takes a minute."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

from dream_core import dream_image
from dream_core.settings import InputSettings
from dream_core.video import SAMPLE_CLIP, open_clip

DOCS = Path(__file__).parents[1] / "docs"
ICON = 256  # pixels wide and high; the registry takes 400 at most
BANNER = (1050, 450)  # 21:9, as the registry wants
STRETCHED = 62
"""Frame of the sample clip in which the rabbit stretches."""


def icon() -> Image.Image:
    """Return the dog that the rabbit has become, the last picture of docs/rides.jpg."""
    with Image.open(DOCS / "rides.jpg") as sheet:
        return sheet.crop((1184, 242, 1400, 458)).resize((ICON, ICON), Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    """Return the stretched rabbit of the sample clip beside its dream, which is made as large as the banner."""
    with open_clip(SAMPLE_CLIP, settings=InputSettings(size=0)) as clip:
        frame = next(one.image[None] for one in clip if one.index == STRETCHED)
    frame = torch.nn.functional.interpolate(frame, size=(450, 800), mode="bicubic", antialias=True).clamp(
        0, 1
    )
    dreamed = dream_image(frame, look="creatures", octave_steps=20, octaves=5)
    halves = torch.cat([frame[..., : BANNER[0] // 2], dreamed[..., : BANNER[0] // 2]], dim=-1)
    return Image.fromarray((255 * halves[0]).round().byte().movedim(0, -1).numpy())  # CHW -> HWC


if __name__ == "__main__":
    icon().save(DOCS / "icon.png", optimize=True)
    banner().save(DOCS / "banner.jpg", quality=88)
