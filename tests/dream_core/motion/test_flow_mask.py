"""Masks of what moves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dream_core.errors import ImageError, SettingsError
from dream_core.motion.flow_mask import flow_mask
from dream_core.settings import FlowMaskSettings

HARD = {"speed_fade": 0.0, "still_camera": False}


def backward(*motions: tuple[float, float]) -> Tensor:
    """Flow (1,2,8,8 n): a part for each motion, x and y, as it is seen."""
    parts = [
        torch.tensor(motion, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 8, 8) for motion in motions
    ]
    return -torch.cat(parts, dim=-1)


def levels(flow: Tensor, **options: float) -> list[float]:
    mask = flow_mask(flow, FlowMaskSettings(**{**HARD, **options}))
    assert mask.shape == (1, 1, 8, flow.shape[-1])
    return [round(float(part.mean()), 3) for part in mask.split(8, dim=-1)]


def test_white_is_what_is_fast_enough() -> None:
    flow = backward((0, 0), (0.9, 0), (0, -1), (3, 4))
    assert levels(flow) == [0, 0, 1, 1]
    assert levels(flow, min_speed=5) == [0, 0, 0, 1]


def test_it_fades_over_the_speeds_below() -> None:
    flow = backward((1, 0), (1.5, 0), (2, 0), (9, 0))
    assert levels(flow, min_speed=2, speed_fade=1) == [0, 0.5, 1, 1]


@pytest.mark.parametrize(("direction", "taken"), [(0, 0), (90, 1), (180, 2), (-180, 2), (270, 3), (-90, 3)])
def test_directions_are_right_down_left_and_up(direction: float, taken: int) -> None:
    flow = backward((2, 0), (0, 2), (-2, 0), (0, -2))
    found = levels(flow, direction=direction, direction_range=90)
    assert found == [float(number == taken) for number in range(4)]
    assert levels(flow, direction=direction) == [1, 1, 1, 1]


def test_the_cameras_motion_is_taken_off() -> None:
    flow = backward((6, 0), (6, 0), (6, 3), (6, 0))
    assert levels(flow, still_camera=True) == [0, 0, 1, 0]
    assert levels(flow) == [1, 1, 1, 1]


def test_without_speed_there_is_no_direction() -> None:
    found = flow_mask(torch.zeros(2, 2, 4, 4), FlowMaskSettings(min_speed=0, direction_range=90))
    assert found.isfinite().all()


def test_wrong_flow_and_settings_are_refused() -> None:
    with pytest.raises(ImageError, match="finite flow"):
        flow_mask(torch.full((1, 2, 4, 4), torch.nan), FlowMaskSettings())
    with pytest.raises(ImageError, match="flow"):
        flow_mask(torch.zeros(1, 3, 4, 4), FlowMaskSettings())
    with pytest.raises(SettingsError, match="direction_range"):
        flow_mask(torch.zeros(1, 2, 4, 4), FlowMaskSettings(direction_range=0))
