"""Stands in for ComfyUI's node API where there is no ComfyUI: the names that the nodes use, with its signatures.

`tests/comfyui` holds it against the real one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from . import io
from .video import Input, InputImpl

__all__ = ["ComfyExtension", "Input", "InputImpl", "io"]


class ComfyExtension(ABC):
    async def on_load(self) -> None:
        pass

    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...
