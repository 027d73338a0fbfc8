"""Save Flow and Load Flow: the motion of a clip in files that other programs read."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.errors import DeepDreamError, ImageError
from ..dream_core.motion.flow_folder import FlowFolder, flow_files, load_flows
from ..dream_core.settings import FlowFileSettings, InputSettings, OtherFlowSettings
from .adapters import categories, host
from .adapters.batches import check_same_size
from .adapters.images import from_mask, to_mask
from .adapters.own_folders import WHERE, name_below_outputs, place_to_load, place_to_save
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

DIRECTION, FIRST = ("points_to",), ("first_missing",)
"""Fields of InputSettings and OtherFlowSettings that files do not say themselves."""


class SaveFlow(io.ComfyNode):
    """Writes flow into files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamSaveFlow",
            display_name="Save Flow",
            category=categories.MOTION,
            description=(
                "Writes the flow of a clip into files, one for each frame, in a new folder of ComfyUI's "
                "outputs: for "
                "Load Flow, for other programs, or for compositing."
            ),
            search_aliases=["flo", "kitti", "stmap", "exr", "motion vectors", "export flow", "write flow"],
            inputs=[
                FlowSocket.Input("flow", tooltip="From Optical Flow, Camera Flow or Flow Math."),
                io.String.Input(
                    "filename_prefix",
                    default="flow/clip",
                    tooltip="Name of the folder, to which a number is added. Slashes make folders in ComfyUI's "
                    "folder "
                    "of outputs.",
                ),
                *widgets(FlowFileSettings),
                io.Mask.Input(
                    "reliability",
                    optional=True,
                    tooltip="From Reliability Mask. png and exr keep it in the files, flo has no place for it.",
                ),
            ],
            outputs=[
                FlowSocket.Output("flow", display_name="flow", tooltip="The flow as it came."),
                io.String.Output(
                    "folder", display_name="folder", tooltip="The folder, for the folder of Load Flow."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, flow: Flow, filename_prefix: str, reliability: Tensor | None = None, **values: Any
    ) -> io.NodeOutput:
        with working():
            settings = settings_from(FlowFileSettings, values)
            flow = require_flow_socket(flow)
            masks = None if reliability is None else from_mask(reliability, name="reliability")
            if masks is not None:
                check_same_size(flow=flow.backward, reliability=masks)
                if len(masks) not in (1, len(flow.backward)):
                    raise ImageError(
                        f"expected one reliability for each of the {len(flow.backward)} flows, got "
                        f"{len(masks)}: connect "
                        "that of the same flow"
                    )
            masks = flow.known(masks)
            place = place_to_save(filename_prefix, widget="filename_prefix")
            folder = FlowFolder(place, f".{settings.file_format}")
            count = len(flow.backward)
            progress = host.Progress(count)
            for index in range(count):
                folder.save(
                    index,
                    flow.backward[index],
                    forward=None if flow.forward is None else flow.forward[index],
                    reliability=None if masks is None else masks[min(index, len(masks) - 1)],
                )
                progress.update(index + 1, count)
            return io.NodeOutput(flow, name_below_outputs(folder.path))


class LoadFlow(io.ComfyNode):
    """Reads flow from files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamLoadFlow",
            display_name="Load Flow",
            category=categories.MOTION,
            description=(
                "Reads the flow of a clip from files: those of Save Flow, or .flo, KITTI's .png or STMaps in "
                ".exr of "
                "another program."
            ),
            search_aliases=["flo", "kitti", "stmap", "exr", "motion vectors", "import flow", "read flow"],
            inputs=[
                io.String.Input(
                    "folder",
                    default="flow/clip_00001",
                    tooltip="Folder with the files, one for each frame, or one file, in ComfyUI's own folder.",
                ),
                io.Combo.Input(
                    "where",
                    options=list(WHERE),
                    default=WHERE[0],
                    tooltip="ComfyUI's folder in which it is: output, as Save Flow writes it, or input.",
                ),
                *widgets(InputSettings, only=DIRECTION),
                *widgets(OtherFlowSettings, only=FIRST),
            ],
            outputs=[
                FlowSocket.Output(
                    "flow",
                    display_name="flow",
                    tooltip="One flow for each frame, from it to the frame before.",
                ),
                io.Mask.Output(
                    "reliability",
                    display_name="reliability",
                    tooltip="As the files say, 1 everywhere if they do not; 0 where an inverse is not known.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None, where: str | None = None) -> bool | str:
        """Refuse a name that leads out of ComfyUI's folders, before any node runs. A wired one is None."""
        if folder is None or where is None:
            return True
        try:
            place_to_load(folder, where, widget="folder")
        except DeepDreamError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, where: str | None = None, **_: Any) -> Any:
        """Return the times of change of the files. A wired name is None: then the node that gives it counts."""
        if folder is None or where is None:
            return None
        try:
            found = flow_files(place_to_load(folder, where, widget="folder"))
        except DeepDreamError as error:
            return str(error)  # `execute` raises it
        return [(str(one), one.stat().st_mtime_ns) for files in found.values() for one in files]

    @classmethod
    def execute(cls, folder: str, where: str, **values: Any) -> io.NodeOutput:
        with working():
            loaded = load_flows(
                place_to_load(folder, where, widget="folder"),
                to_next=settings_from(InputSettings, values, only=DIRECTION).points_to == "next",
                first_missing=settings_from(OtherFlowSettings, values, only=FIRST).first_missing,
            )
            return io.NodeOutput(Flow(*loaded), to_mask(loaded.reliability))
