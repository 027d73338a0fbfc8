"""The workflows of the pack, and the files that they load."""

from __future__ import annotations

import json
from typing import Any

import av
import numpy as np
import torch
from comfyui_server import Server
from PIL import Image
from refresh_workflows import FOLDER

FRAMES, WIDTH, HEIGHT = 4, 128, 80
CLIP_WIDTH, CLIP_HEIGHT = 130, 82
"""Scaled to a width of 128 the height would be 81; encoders refuse odd sizes."""
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"


def read(name: str) -> dict[str, Any]:
    """Read a workflow, "deepdream_image", or its twin, "api/deepdream_image"."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def texture() -> np.ndarray:
    """Blobs, (H,W,3) uint8."""
    rough = torch.rand(1, 3, 10, 16, generator=torch.Generator().manual_seed(0))
    size = (CLIP_HEIGHT, CLIP_WIDTH)
    smooth = torch.nn.functional.interpolate(rough, size=size, mode="bicubic").clamp(0, 1)
    return (smooth[0].movedim(0, -1) * 255).byte().numpy()


def write_inputs(comfyui: Server) -> None:
    """Write an image and a clip with sound to the places that the workflows load from, and an empty checkpoint."""
    checkpoint = comfyui.base / "models" / "checkpoints" / CHECKPOINT
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.touch()
    Image.fromarray(texture()).resize((WIDTH, HEIGHT)).save(comfyui.base / "input" / "example.png")
    with av.open(str(comfyui.base / "input" / "video.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = CLIP_WIDTH, CLIP_HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=16000)
        for index in range(FRAMES):
            image = av.VideoFrame.from_ndarray(np.roll(texture(), 2 * index, 1), format="rgb24")
            container.mux(video.encode(image))
        container.mux(video.encode())
        for start in range(0, 16000 * FRAMES // 10, 1024):
            tone = np.sin(np.arange(start, start + 1024) / 8).astype(np.float32)[None]
            sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16000, start
            container.mux(audio.encode(sound))
        container.mux(audio.encode())
