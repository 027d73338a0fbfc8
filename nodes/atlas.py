"""Dream Atlas: what a network dreams in one's own image, as a contact sheet."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.dreaming.atlas import contact_sheet, make_atlas, title_of
from ..dream_core.settings import AtlasSettings, ModelSettings
from .adapters import categories, host
from .adapters.images import from_image, to_image
from .adapters.models import model_on_device
from .adapters.networks import AUTO, default_dream_model, dream_fingerprint
from .adapters.sockets import DreamModelSocket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

FOLDER = "deepdream_atlas"
"""Folder for finished pictures, in ComfyUI's folder of temporary files."""


class DreamAtlas(io.ComfyNode):
    """Draws what the layers of a network dream, or the channels of one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamAtlas",
            display_name="Dream Atlas",
            category=categories.OBJECTIVES,
            description=(
                "Shows what each layer of the network dreams in your own image, or each channel of one layer: a "
                "contact sheet to choose from, the most active ones first."
            ),
            search_aliases=[
                "contact sheet",
                "feature visualization",
                "channels",
                "layers",
                "neurons",
                "activation atlas",
                "choose layer",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The image to dream on; of several, the first one."),
                DreamModelSocket.Input(
                    "dream_model",
                    optional=True,
                    tooltip="The network to look into, from Load Dream Model. Not connected: auto.",
                ),
                *widgets(AtlasSettings),
            ],
            outputs=[
                io.Image.Output(
                    "sheet",
                    display_name="sheet",
                    tooltip="The contact sheet, for Save Image or Preview Image.",
                ),
                io.String.Output(
                    "names",
                    display_name="names",
                    tooltip="The layers, or the channels, one a line, the most active ones first.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> Any:
        """Return the time of change of the weight file, if no network is wired."""
        return None if "dream_model" in values else dream_fingerprint(AUTO)

    @classmethod
    def execute(cls, image: Tensor, dream_model: Any = None, **values: Any) -> io.NodeOutput:
        with working():
            settings = settings_from(AtlasSettings, values)
            patcher = default_dream_model(ModelSettings()) if dream_model is None else dream_model
            model = model_on_device(patcher)
            progress = host.Progress()
            entries = make_atlas(
                model,
                from_image(image[:1]).clone(),
                settings,
                cache=host.temporary_folder(FOLDER),
                report=progress.update,
            )
            sheet = contact_sheet(entries, title_of(model, settings, len(entries)))
            return io.NodeOutput(to_image(sheet), "\n".join(entry.name.lstrip("#") for entry in entries))
