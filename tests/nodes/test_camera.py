"""Camera Flow: the core's flow, in shape for the other nodes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

SIZE = (48, 64)
CAMERA = {"zoom_factor": 1.1, "rotation": 3.0, "pan_x": 2.0, "pan_y": -1.0}


def test_a_camera_has_the_cores_flow_for_each_image(nodes: Any, run: Any, pack: Any, clip: Any) -> None:
    flow, *_ = run(nodes.CameraFlow, image=clip(3), **CAMERA)
    camera = pack("dream_core.settings").CameraSettings(**CAMERA)
    backward, forward = pack("dream_core.motion.camera").camera_flow(SIZE, camera)
    assert torch.equal(flow.backward, backward.expand(3, 2, *SIZE))
    assert torch.equal(flow.forward, forward.expand(3, 2, *SIZE))


def test_a_cameras_flow_fits_the_other_nodes_of_flow(nodes: Any, run: Any, clip: Any, moved: Any) -> None:
    frames = clip(2)
    flow, *_ = run(nodes.CameraFlow, image=frames, **{**CAMERA, "pan_x": 12.0})
    before = moved(frames, flow.backward)
    (reliability,) = run(
        nodes.ReliabilityMask,
        flow=flow,
        frames=before,
        previous=frames,
        check_brightness=False,
    )
    assert not reliability[..., :6].any()  # what the pan has laid open
    assert reliability[..., 20:-8].mean() > 0.9
    (image,) = run(nodes.FlowImage, flow=flow, saturation_length=0.0, arrow_spacing=0)
    assert image.shape == frames.shape


STILL = {"zoom_factor": 1.0, "rotation": 0.0, "pan_x": 0.0, "pan_y": 0.0}


def test_schedules_change_the_camera_from_image_to_image(nodes: Any, run: Any, clip: Any) -> None:
    texts = {"pan_x_schedule": "0: 0, 2: 4", "pan_y_schedule": "0: -1 hold, 2: 3", "zoom_schedule": ""}
    flow, reliability, _ = run(nodes.CameraFlow, image=clip(3), **STILL, **texts)
    assert flow.forward.mean((2, 3)).tolist() == [[0, -1], [2, -1], [4, 3]]
    assert reliability.shape == (3, *SIZE)
    assert reliability.all()
    later, *_ = run(nodes.CameraFlow, image=clip(1), index=2, **STILL, **texts)
    assert torch.equal(later.forward[0], flow.forward[2])


def test_schedules_in_seconds_follow_the_time_of_the_loop(nodes: Any, run: Any, clip: Any) -> None:
    def pan(**values: Any) -> float:
        flow, *_ = run(nodes.CameraFlow, image=clip(1), **STILL, pan_x_schedule="0: 0, 2s: 4", **values)
        return float(flow.forward[0, 0].mean())

    assert pan(index=50) == 4  # 25 a second
    assert pan(index=50, time=1.0) == 2  # 50 a second


def test_a_schedule_that_cannot_be_read_or_goes_too_far_is_refused(
    nodes: Any, run: Any, clip: Any, errors: Any
) -> None:
    for text, says in (("0 1", "zoom_factor"), ("0: 1, 9: 1000", "zoom_factor from 0.01 to 100")):
        with pytest.raises(errors.SettingsError, match=says):
            run(nodes.CameraFlow, image=clip(1), **STILL, zoom_schedule=text)


def test_schedules_of_sockets_win_over_texts_and_widgets(
    nodes: Any, run: Any, clip: Any, pack: Any, errors: Any
) -> None:
    parse, make = pack("dream_core.schedules.schedules").parse_schedule_of, pack("nodes.adapters.sockets")

    def wired(name: str, text: str) -> dict[str, Any]:
        return {"schedule_0": make.SettingSchedule(name, parse(name, text)), "schedule_1": None}

    values = {"image": clip(3), **STILL, "pan_x_schedule": "0: 9", "pan_y_schedule": "0: -1 hold, 2: 3"}
    flow, *_ = run(nodes.CameraFlow, **values, schedules=wired("pan_x", "0: 0, 2: 4"))
    assert flow.forward.mean((2, 3)).tolist() == [[0, -1], [2, -1], [4, 3]]
    turned, *_ = run(nodes.CameraFlow, image=clip(2), **STILL, schedules=wired("yaw", "0: 0, 1: 5"))
    assert not turned.backward[0].any()
    assert turned.backward[1, 0].mean() > 2
    with pytest.raises(errors.SettingsError, match="got blend; connect it to the node that has"):
        run(nodes.CameraFlow, image=clip(1), **STILL, schedules=wired("blend", "0: 1"))
    with pytest.raises(errors.SettingsError, match="yaw"):
        run(nodes.CameraFlow, image=clip(1), **STILL, schedules=wired("yaw", "0: 100"))


def test_a_depth_map_moves_along_with_the_camera(nodes: Any, run: Any, clip: Any, pack: Any) -> None:
    depth = torch.zeros(1, *SIZE)
    depth[:, 16:32, 20:40] = 1
    values = {**STILL, "pan_x": 2.0}
    flow, reliability, after = run(nodes.CameraFlow, image=clip(2), depth=depth, **values)
    assert flow.forward[0, 0, 24, 25] == flow.forward[1, 0, 24, 35] == 10
    assert flow.forward[1, 0, 24, 25] == pytest.approx(2, abs=0.3)  # the square has moved on
    assert after.shape == (1, *SIZE)
    assert after[0, 24, 40:60].eq(1).all()
    assert not reliability[0, 24, 22:30].any()
    each = depth[0, ..., None].expand(2, *SIZE, 3)  # IMAGE, one for each
    twice, *_ = run(nodes.CameraFlow, image=clip(2), depth=each, **values)
    assert torch.allclose(twice.forward[1], flow.forward[0], atol=1e-4)


def test_a_depth_map_that_does_not_fit_is_refused(nodes: Any, run: Any, clip: Any, errors: Any) -> None:
    for depth, says in (
        (torch.zeros(1, 5, 5), "in the size of image"),
        (torch.zeros(2, *SIZE), "3 images, got 2"),
    ):
        with pytest.raises(errors.ImageError, match=says):
            run(nodes.CameraFlow, image=clip(3), depth=depth, **STILL)
