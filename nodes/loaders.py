"""The nodes that load networks: Load Dream Model and Load Flow Model."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io

from ..dream_core.models.dream_model import DreamModel
from ..dream_core.settings import DeviceSettings, FlowChoice, FlowSettings, ModelChoice, ModelSettings
from .adapters import categories, host
from .adapters.networks import (
    AUTO,
    auto_model,
    dream_fingerprint,
    dream_network,
    flow_fingerprint,
    flow_network,
)
from .adapters.sockets import DreamModelSocket, FlowModelSocket
from .adapters.widgets import check_choice, settings_from, tooltip, widgets
from .adapters.working import working

FILES = ("model_file", "model_dirs", "label_file")
"""Fields of ModelSettings without widgets: ComfyUI's model folders replace them."""


class LoadDreamModel(io.ComfyNode):
    """Loads a network that dreams, from a model folder or a download."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        (model,) = widgets(ModelSettings, leave_out=(*FILES, "pooling", "model_mean"))
        model.extra_dict = {AUTO: auto_model()}  # for the page, web/layer_list.js
        return io.Schema(
            node_id="DeepDreamLoadDreamModel",
            display_name="Load Dream Model",
            category=categories.MODELS,
            description="Loads the network that dreams. Each sees the world its own way: GoogLeNet dreams eyes "
            "and dogs, the places networks dream buildings.",
            search_aliases=["deep dream model", "googlenet", "inception", "vgg", "caffe", "load network"],
            inputs=[
                model,
                io.Combo.Input(
                    "weights",
                    options=[AUTO, *host.weight_files(host.DREAM_FOLDER)],
                    default=AUTO,
                    tooltip="auto looks for the network's own weights in models/deepdream and downloads them "
                    "there if they are missing. Or a file from that folder, of the network chosen.",
                    advanced=True,
                ),
                *widgets(ModelSettings, leave_out=(*FILES, "model")),
                *widgets(DeviceSettings, only=("precision",)),  # ComfyUI chooses the rest
                io.String.Input(
                    "other_network",
                    default="",
                    tooltip="A network of timm or torchvision instead of model, such as timm:convnext_tiny or "
                    "torchvision:swin_t. timm has to be installed for its own. Empty = model.",
                    optional=True,
                    advanced=True,
                ),
            ],
            outputs=[
                DreamModelSocket.Output(display_name="dream_model", tooltip="The network that dreams."),
                io.String.Output(
                    display_name="layers",
                    tooltip="The network's layers, from shallow to deep, each with its number of channels.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: Any = None) -> bool | str:
        """Name the nearest network, where there is none of the name."""
        return check_choice("model", model, get_args(ModelChoice))

    @classmethod
    def fingerprint_inputs(
        cls, model: str | None, weights: str | None, other_network: str | None = "", **_: Any
    ) -> Any:
        """Return the time of change of the weight file; ComfyUI loads again when it differs.

        It is None without a file, and if this server downloaded the file. A wired name is None: then the node that
        gives it counts.
        """
        if model is None or weights is None or other_network is None:
            return None
        return dream_fingerprint(other_network.strip() or model, weights)

    @classmethod
    def execute(cls, weights: str, other_network: str = "", **values: Any) -> io.NodeOutput:
        with working():
            chosen = other_network.strip() or values["model"]
            settings = settings_from(ModelSettings, {**values, "model": chosen}, leave_out=FILES)
            precision = settings_from(DeviceSettings, values, only=("precision",)).precision
            network = dream_network(settings, weights=weights, precision=precision)
            return io.NodeOutput(host.wrap(host.Wrapped(network)), layer_list(network))


def layer_list(model: DreamModel) -> str:
    """List the layers of a network, one a line from shallow to deep, with their numbers of channels."""
    return "\n".join(
        f"{name}: {channels} channels{' (default)' if name == model.default_layer else ''}"
        for name, channels in model.layers().items()
    )


class LoadFlowModel(io.ComfyNode):
    """Loads an optical flow network, from a model folder or a download."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamLoadFlowModel",
            display_name="Load Flow Model",
            category=categories.MODELS,
            description="Loads a network that estimates motion. RAFT large also works with ComfyUI's own nodes for "
            "optical flow.",
            search_aliases=["optical flow", "raft", "dis", "motion", "load raft"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[*get_args(FlowChoice), *host.weight_files(host.FLOW_FOLDER)],
                    default=FlowSettings.flow,
                    tooltip=f"{tooltip(FlowSettings, 'flow')} Weights are looked for in models/optical_flow and "
                    "downloaded there if they are missing. Or a file of RAFT weights from that folder.",
                )
            ],
            outputs=[
                FlowModelSocket.Output(
                    display_name="flow_model", tooltip="The network that estimates motion."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str | None, **_: Any) -> Any:
        """Return the time of change of the weight file; ComfyUI loads again when it differs.

        It is None without a file, and if this server downloaded the file. So it is for a wired name.
        """
        return None if model is None else flow_fingerprint(model)

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        with working():
            return io.NodeOutput(host.wrap(flow_network(model)))
