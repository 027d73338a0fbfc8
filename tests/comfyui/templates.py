"""The workflows of the pack, and what they need besides it."""

from __future__ import annotations

import json
from typing import Any

from comfyui_server import Server
from refresh_workflows import FOLDER

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
CHECKPOINTS = {
    "latent_warp": {"CheckpointLoaderSimple": "v1-5-pruned-emaonly-fp16.safetensors"},
    "stable_diffusion_loop": {"CheckpointLoaderSimple": "v1-5-pruned-emaonly-fp16.safetensors"},
    "dream_on_one_thing": {"CheckpointLoaderSimple": "sam3.1_multiplex_fp16.safetensors"},
    "text_dream": {"CLIPLoader": "clip_g.safetensors", "CLIPVisionLoader": "clip_vision_g.safetensors"},
}
"""The checkpoints of each one that needs some, by the node that loads them."""

FOLDERS = {
    "CheckpointLoaderSimple": "checkpoints",
    "CLIPLoader": "text_encoders",
    "CLIPVisionLoader": "clip_vision",
}
"""Folder of the models that a node loads."""


def read(name: str) -> dict[str, Any]:
    """Read a workflow, "deepdream_image", or its twin, "api/deepdream_image"."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def write_checkpoints(comfyui: Server) -> None:
    """Write an empty file in each checkpoint's place, so that the page misses nothing."""
    for files in CHECKPOINTS.values():
        for loader, name in files.items():
            folder = comfyui.base / "models" / FOLDERS[loader]
            folder.mkdir(exist_ok=True)
            (folder / name).touch()
