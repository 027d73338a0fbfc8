"""The workflows of the pack, and what they need besides it."""

from __future__ import annotations

import json
from typing import Any

from comfyui_server import Server
from refresh_workflows import FOLDER

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
CHECKPOINTS = {
    "latent_warp": "v1-5-pruned-emaonly-fp16.safetensors",
    "stable_diffusion_loop": "v1-5-pruned-emaonly-fp16.safetensors",
    "dream_on_one_thing": "sam3.1_multiplex_fp16.safetensors",
}
"""The checkpoint of each one that needs one."""


def read(name: str) -> dict[str, Any]:
    """Read a workflow, "deepdream_image", or its twin, "api/deepdream_image"."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def write_checkpoints(comfyui: Server) -> None:
    """Write an empty file in each checkpoint's place, so that the page misses nothing."""
    folder = comfyui.base / "models" / "checkpoints"
    folder.mkdir(exist_ok=True)
    for name in CHECKPOINTS.values():
        (folder / name).touch()
