"""Camera Flow: the core's flow, in shape for the other nodes."""

from __future__ import annotations

from typing import Any

import torch

SIZE = (48, 64)
CAMERA = {"zoom_factor": 1.1, "rotation": 3.0, "pan_x": 2.0, "pan_y": -1.0}


def test_a_camera_has_the_cores_flow_for_each_image(nodes: Any, run: Any, pack: Any, clip: Any) -> None:
    (flow,) = run(nodes.CameraFlow, image=clip(3), **CAMERA)
    camera = pack("dream_core.settings").CameraSettings(**CAMERA)
    backward, forward = pack("dream_core.motion.camera").camera_flow(SIZE, camera)
    assert torch.equal(flow.backward, backward.expand(3, 2, *SIZE))
    assert torch.equal(flow.forward, forward.expand(3, 2, *SIZE))


def test_a_cameras_flow_fits_the_other_nodes_of_flow(nodes: Any, run: Any, clip: Any, moved: Any) -> None:
    frames = clip(2)
    (flow,) = run(nodes.CameraFlow, image=frames, **{**CAMERA, "pan_x": 12.0})
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
