"""The measure of seams within a shot."""

from __future__ import annotations

import pytest
import torch
from seam import AFTER, look_at_seam
from torch import Tensor

from dream_core.video import Frame

SEAM, OVERLAP = 6, 3


def still(frame: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """No motion, all of it trusted."""
    return torch.zeros(2, *frame.shape[1:]), torch.ones(1, *frame.shape[1:])


def test_a_jump_is_told_from_a_gentle_change_before_it() -> None:
    image = torch.full((3, 8, 8), 0.5)
    frames = [Frame(image, time=index / 10, duration=0.1, index=index) for index in range(SEAM + AFTER + 1)]
    jump = {index: image + (0.1 if index < SEAM else -0.1) for index in range(len(frames))}
    seam = look_at_seam(frames, jump, SEAM, OVERLAP, still)
    assert (seam.at, seam.before, seam.after) == (pytest.approx(2), 0, 0)
    assert seam.contrast == pytest.approx(0.1)
    fade = {**jump, **{SEAM - 4 + step: image + 0.1 - 0.05 * step for step in range(5)}}
    seam = look_at_seam(frames, fade, SEAM, OVERLAP, still)
    assert 0 < seam.at < 0.5
    assert seam.before > 0
    assert seam.after == pytest.approx(0)
