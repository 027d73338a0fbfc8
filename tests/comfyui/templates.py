"""The workflows of the pack, and what they need besides it."""

from __future__ import annotations

import json
from typing import Any

from comfyui_server import Server
from refresh_workflows import FOLDER

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
DIFFUSING = ["latent_warp", "stable_diffusion_loop"]
"""Those that need a checkpoint."""
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"


def read(name: str) -> dict[str, Any]:
    """Read a workflow, "deepdream_image", or its twin, "api/deepdream_image"."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return loaded


def write_checkpoint(comfyui: Server) -> None:
    """Write an empty file in the checkpoint's place, so that the page misses nothing."""
    checkpoint = comfyui.base / "models" / "checkpoints" / CHECKPOINT
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.touch()
