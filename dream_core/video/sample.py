"""The clip that comes with the package, for a first try without one of your own."""

from __future__ import annotations

from pathlib import Path

SAMPLE_CLIP = Path(__file__).with_name("rabbit.mp4")
"""A rabbit comes out of its hole and stretches: 75 frames of 640x360 pixels, 25 a second, with sound.

An excerpt from "Big Buck Bunny"; the text file beside it has its credit and license.
"""

SAMPLE_CREDIT = '"Big Buck Bunny", (c) Blender Foundation, CC BY 3.0'
"""Credit to show with it."""
