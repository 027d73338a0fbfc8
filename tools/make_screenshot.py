"""Write docs/workflow.jpg, an image of deepdream_video_loop in ComfyUI's page.

    uv run tools/make_screenshot.py

Needs ComfyUI and Chromium.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from comfyui_page import Page, bounds
from comfyui_server import Server

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1900, 1120)
QUALITY = 80


def main() -> None:
    """Start a ComfyUI and a Chromium, and write."""
    graph = json.loads((ROOT / "workflows" / "deepdream_video_loop.json").read_text("utf-8"))
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder) / "comfyui") as server,
        Page(f"http://127.0.0.1:{server.port}/", size=SIZE) as page,
    ):
        page.load(graph)
        image = page.screenshot(bounds(graph, margin=10), kind="jpeg", quality=QUALITY)
    (ROOT / "docs" / "workflow.jpg").write_bytes(image)


if __name__ == "__main__":
    main()
