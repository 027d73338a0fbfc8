"""Frames and the frames before them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture
def pair(pack: Any) -> Any:
    """`pair(frames, previous)`: a `FramePairs` of IMAGEs whose pixels all have the given values."""

    def image(values: list[float]) -> Tensor:
        return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)

    def pair(frames: list[float], previous: list[float] | None = None) -> Any:
        given = None if previous is None else image(previous)
        return pack("nodes.adapters.pairs").FramePairs(image(frames), given)

    return pair


def values(pairs: Any, start: int, stop: int) -> list[list[float]]:
    return [part[:, 0, 0, 0].tolist() for part in pairs.part(start, stop)]


def test_in_a_clip_each_frame_follows_the_one_before_it(pair: Any) -> None:
    pairs = pair([0.0, 0.25, 0.5])
    assert len(pairs) == 3
    assert values(pairs, 0, 3) == [[0.0, 0.25, 0.5], [0.0, 0.0, 0.25]]
    assert values(pairs, 2, 5) == [[0.5], [0.25]]


def test_previous_frames_are_given_one_by_one_or_one_for_all(pair: Any) -> None:
    assert values(pair([0.25, 0.5], [0.75, 1.0]), 0, 2) == [[0.25, 0.5], [0.75, 1.0]]
    assert values(pair([0.25, 0.5], [0.75]), 1, 2) == [[0.5], [0.75]]
    assert values(pair([0.25], [0.75, 1.0]), 0, 2) == [[0.25, 0.25], [0.75, 1.0]]


def test_other_numbers_of_frames_are_refused(pair: Any, errors: Any) -> None:
    with pytest.raises(errors.ImageError, match="3 in frames, 2 in previous"):
        pair([0.0, 0.0, 0.0], [0.0, 0.0])
