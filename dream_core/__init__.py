"""DeepDream video whose hallucinations stick to the moving world.

A picture is (B, 3, H, W) RGB float32 in 0..1; a mask is (B, 1, H, W) with 1 = trust; a flow is (B, 2, H, W)
in pixels, x first, pointing from the current frame to where each pixel was in the previous one.

`load_dreamer` and `dream_clip` are the whole of it; the modules are its parts, each usable alone.
"""

from .dream import DreamStep, build_objective
from .errors import DeepDreamError, PictureError, SettingsError, VideoError, WeightsError
from .flow import FlowEstimator, load_flow
from .models.dream_model import DreamModel, load_model
from .objectives import Objective, layer
from .pipeline import PipelineSettings, dream_clip, load_dreamer
from .settings import (
    AscentSettings,
    DeviceSettings,
    DreamSettings,
    FlowSettings,
    InputSettings,
    ModelSettings,
    ObjectiveSettings,
    OcclusionSettings,
    OctaveSettings,
    OutputSettings,
    PictureSettings,
    TemporalSettings,
    TileSettings,
)
from .temporal import DreamedFrame, TemporalDreamer
from .video import Clip, Frame, Output, open_clip, open_output

__all__ = [
    "AscentSettings",
    "Clip",
    "DeepDreamError",
    "DeviceSettings",
    "DreamModel",
    "DreamSettings",
    "DreamStep",
    "DreamedFrame",
    "FlowEstimator",
    "FlowSettings",
    "Frame",
    "InputSettings",
    "ModelSettings",
    "Objective",
    "ObjectiveSettings",
    "OcclusionSettings",
    "OctaveSettings",
    "Output",
    "OutputSettings",
    "PictureError",
    "PictureSettings",
    "PipelineSettings",
    "SettingsError",
    "TemporalDreamer",
    "TemporalSettings",
    "TileSettings",
    "VideoError",
    "WeightsError",
    "build_objective",
    "dream_clip",
    "layer",
    "load_dreamer",
    "load_flow",
    "load_model",
    "open_clip",
    "open_output",
]
