"""DeepDream video whose hallucinations stick to the moving world.

    from dream_core import dream_video
    dream_video("in.mp4", "out.mp4", octave_steps=4, size=512)

An image is (B,3,H,W) RGB float32 in 0..1; a mask is (B,1,H,W) with 1 = trust; a flow is (B,2,H,W) in pixels, x
first, from the current frame to the previous one.

The data flows through the packages in this order: `video` reads frames, `motion` estimates flow and its
reliability, `temporal` carries the dream of the frame before, `dreaming` dreams with a network of `models`, and
`video` writes. `pipeline` joins them. Importing this package loads nothing until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Dreamer, dream_image, dream_video

__all__ = ["Dreamer", "dream_image", "dream_video"]


def __getattr__(name: str) -> Any:
    """Import the main functions when one is first used: `--help` must not wait for PyTorch."""
    if name in __all__:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
