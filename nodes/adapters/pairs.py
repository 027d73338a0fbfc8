"""Frames, each with the one before it."""

from __future__ import annotations

import torch
from torch import Tensor

from .batches import check_same_size, match
from .images import from_image

FRAMES = "The frames: one, or a batch."
PREVIOUS = (
    "The frame before each frame, or one for all. Not connected: the frames are a clip, in which each follows the "
    "one before it, and the first has not moved."
)


class FramePairs:
    """Frames, each with the one before it; the first frame of a clip is paired with itself.

    Args:
        frames: IMAGE.
        previous: IMAGE, one for each frame or one for all; None for a clip.

    Raises:
        ImageError: the two differ in size or number, or one is not a finite image.
    """

    def __init__(self, frames: Tensor, previous: Tensor | None) -> None:
        self.frames = from_image(frames, name="frames")
        self._previous: Tensor | None = None
        if previous is not None:
            before = from_image(previous, name="previous")
            check_same_size(frames=self.frames, previous=before)
            _, (self.frames, self._previous) = match(frames=self.frames, previous=before)

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return some frames and those before them, both (B,3,H,W); all at once would copy a long clip."""
        if self._previous is not None:
            return self.frames[start:stop], self._previous[start:stop]
        before = [max(0, index - 1) for index in range(start, min(stop, len(self)))]
        return self.frames[start:stop], self.frames[torch.tensor(before)]
