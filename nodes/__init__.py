"""The one list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import host
from .loop.nodes import TemporalLoopClose, TemporalLoopOpen, TemporalLoopRunner

NODES: list[type[io.ComfyNode]] = [
    TemporalLoopOpen,
    TemporalLoopClose,
    TemporalLoopRunner,
]


class DeepDreamExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def on_load(self) -> None:
        """Register the pack's model folder."""
        host.register_folders()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack."""
        return NODES
