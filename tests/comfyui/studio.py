"""Prompts that dream in a few steps, and the nodes of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfyui_server import Draft, Node

PACKS = tuple(sorted((Path(__file__).parent / "packs").glob("*.py")))
"""Packs of nodes for the tests."""
QUICK: dict[str, Any] = {"octave_mode.octaves": 2, "octave_steps": 2, "jitter": 4}
QUICK_FLOW: dict[str, Any] = {"flow_updates": 2}


class Studio(Draft):
    """A prompt with frames and both networks."""

    def __init__(self, kind: str = "moving", **frames: Any) -> None:
        super().__init__()
        self.frames = self.add("ProbeFrames", kind=kind, **frames)
        self.dream_model = self.add("DeepDreamLoadDreamModel", model="squeezenet1_1")
        self.flow_model = self.add("DeepDreamLoadFlowModel", model="raft_small")

    def dream(self, image: Any, **values: Any) -> Node:
        return self.add("DeepDreamImage", image=image, dream_model=self.dream_model, **{**QUICK, **values})

    def flow(self, frames: Any, **values: Any) -> Node:
        return self.add(
            "DeepDreamOpticalFlow", flow_model=self.flow_model, frames=frames, **{**QUICK_FLOW, **values}
        )

    def video(self, **values: Any) -> Node:
        return self.add(
            "DeepDreamVideo",
            dream_model=self.dream_model,
            flow_model=self.flow_model,
            **{"images": self.frames, **QUICK, **QUICK_FLOW, **values},
        )

    def see(self, value: Any) -> Node:
        return self.add("ProbeSee", value=value)
