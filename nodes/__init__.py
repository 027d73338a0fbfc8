"""The list of nodes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from ..dream_core.errors import DeepDreamError
from .adapters import host, lasting
from .atlas import DreamAtlas
from .blend import TemporalBlend
from .camera import CameraFlow
from .compare import CompareVideos
from .dream import Dream
from .flow import OpticalFlow
from .flow_convert import FlowConvert
from .flow_file import LoadFlow, SaveFlow
from .flow_image import FlowImage
from .flow_mask import FlowMask
from .flow_math import FlowMath
from .loaders import LoadDreamModel, LoadFlowModel
from .loop.nodes import TemporalLoopClose, TemporalLoopOpen, TemporalLoopRunner
from .objective import DreamGuide, DreamObjective, DreamText
from .reliability import ReliabilityMask
from .report import ConsistencyReport
from .sample import SampleClip
from .schedule import ScheduleNode, ValueAtFrame
from .sound import SoundCurve
from .video import DeepDreamVideo
from .video_file import DeepDreamVideoFile
from .warp import FlowWarp

NODES: list[type[io.ComfyNode]] = [
    SampleClip,
    Dream,
    DeepDreamVideo,
    DeepDreamVideoFile,
    LoadDreamModel,
    LoadFlowModel,
    DreamObjective,
    DreamGuide,
    DreamText,
    DreamAtlas,
    TemporalLoopOpen,
    TemporalLoopClose,
    TemporalLoopRunner,
    TemporalBlend,
    OpticalFlow,
    ReliabilityMask,
    FlowWarp,
    CameraFlow,
    FlowMask,
    FlowMath,
    FlowImage,
    FlowConvert,
    SaveFlow,
    LoadFlow,
    ScheduleNode,
    ValueAtFrame,
    SoundCurve,
    ConsistencyReport,
    CompareVideos,
]


class DeepDreamExtension(ComfyExtension):
    """The extension that ComfyUI asks for the pack's nodes."""

    async def on_load(self) -> None:
        """Register the pack's model folder, give its errors short names, and remove videos of long ago."""
        host.register_folders()
        lasting.clean()
        host.name_errors(DeepDreamError)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return all nodes of the pack."""
        return NODES
