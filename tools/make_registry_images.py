"""Crop the pictures of ComfyUI's registry, docs/icon.png and docs/banner.jpg, from those of the documentation."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
ICON = 256  # pixels wide and high; the registry takes 400 at most
BANNER = (1050, 450)  # 21:9, as the registry wants


def icon() -> Image.Image:
    """Return the dog that the rabbit has become, the last picture of docs/rides.jpg."""
    with Image.open(DOCS / "rides.jpg") as sheet:
        return sheet.crop((1184, 242, 1400, 458)).resize((ICON, ICON), Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    """Return the stretched rabbit beside its dream, from the end of docs/rabbit.webp."""
    with Image.open(DOCS / "rabbit.webp") as film:
        film.seek(film.n_frames - 1)
        frame = film.convert("RGB")
    halves = [frame.crop((left, 0, left + width, 225)) for left, width in ((0, 263), (400, 262))]
    joined = Image.new("RGB", (525, 225))
    joined.paste(halves[0], (0, 0))
    joined.paste(halves[1], (263, 0))
    return joined.resize(BANNER, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    icon().save(DOCS / "icon.png", optimize=True)
    banner().save(DOCS / "banner.jpg", quality=88)
