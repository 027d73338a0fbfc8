"""Flow Warp: moving images, masks and latents along flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.motion.warp import resize_flow, warp
from ..dream_core.settings import TemporalSettings, WarpEdges, WarpMode, WarpSettings
from .adapters import host
from .adapters.batches import compute, match
from .adapters.images import alpha_of, from_image, from_mask, to_image, to_mask
from .adapters.latents import Latent, from_latent, to_latent
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import all_but, settings_from, widgets

NO_WIDGET = all_but(TemporalSettings, "warp")


class FlowWarp(io.ComfyNode):
    """What belongs to the frame before, moved to where it is now."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kind = io.MatchType.Template("kind", [io.Image, io.Mask, io.Latent])
        return io.Schema(
            node_id="DeepDreamFlowWarp",
            display_name="Flow Warp",
            category="DeepDream",
            description=(
                "Moves what belongs to the frame before to where its things are in the frame: images, masks or "
                "latents. The flow is scaled to their size."
            ),
            search_aliases=[
                "warp",
                "remap",
                "motion compensation",
                "warp latent",
                "warp mask",
                "optical flow",
            ],
            inputs=[
                io.MatchType.Input(
                    "input",
                    kind,
                    tooltip="IMAGE, MASK or LATENT to move: one for each flow, or one for all. Of a video latent "
                    "(batch of 1), each latent frame is an entry.",
                ),
                FlowSocket.Input(
                    "flow", tooltip="From Optical Flow or Camera Flow: one for each entry, or one for all."
                ),
                *widgets(TemporalSettings, leave_out=NO_WIDGET),
                io.Boolean.Input(
                    "from_previous",
                    default=False,
                    tooltip="Off: entry i is moved by flow i. On: the entry before it is, for a clip with its own "
                    "flow, so that the result looks like entry i; the first stays as it is.",
                ),
                *widgets(WarpSettings),
            ],
            outputs=[
                io.MatchType.Output(
                    kind,
                    "output",
                    display_name="output",
                    tooltip="The same kind as the input. Masks, also a latent's, are always warped bilinearly.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        input: Tensor | Latent,  # noqa: A002, the word that ComfyUI uses
        flow: Flow,
        from_previous: bool,
        **values: Any,
    ) -> io.NodeOutput:
        """Move."""
        with host.working():
            how = _How(
                settings_from(TemporalSettings, values, leave_out=NO_WIDGET).warp,
                settings_from(WarpSettings, values).edges,
                from_previous,
            )
            flow = require_flow_socket(flow)
            if isinstance(input, dict):
                return io.NodeOutput(_warp_latent(input, flow, how))
            if isinstance(input, Tensor) and input.ndim < 4:
                masks = from_mask(input, name="input")
                return io.NodeOutput(to_mask(_warp(masks, flow, how.for_masks())))
            return io.NodeOutput(_warp_image(input, flow, how))


@dataclass(frozen=True)
class _How:
    """The widgets' values."""

    mode: WarpMode
    edges: WarpEdges
    from_previous: bool

    def for_masks(self) -> _How:
        return replace(self, mode="bilinear")


def _warp_image(image: Tensor, flow: Flow, how: _How) -> Tensor:
    colors = _warp(from_image(image, name="input"), flow, how, clamp=True)
    alpha = alpha_of(image)
    if alpha is not None:
        alpha = _warp(alpha.movedim(-1, 1), flow, how, clamp=True).movedim(1, -1)  # BHWC -> BCHW and back
    return to_image(colors, alpha=alpha)


def _warp_latent(latent: Latent, flow: Flow, how: _How) -> Latent:
    samples, noise_mask = from_latent(latent)
    warped = _warp(samples, flow, how)
    if noise_mask is not None:
        noise_mask = _warp(noise_mask, flow, how.for_masks())
    return to_latent(latent, warped, noise_mask)


def _warp(tensor: Tensor, flow: Flow, how: _How, *, clamp: bool = False) -> Tensor:
    """(B,C,H,W) -> (B,C,H,W) in the tensor's type on the CPU, entry by entry."""
    count, (entries, flows) = match(input=tensor, flow=flow.backward)
    height, width = tensor.shape[-2:]
    progress = host.Progress(count)
    shape = (count, *tensor.shape[1:])
    moved = torch.empty(shape, dtype=tensor.dtype, memory_format=torch.channels_last)  # as an IMAGE lies
    for index in range(count):
        source = max(0, index - how.from_previous)
        entry = compute(entries[source : source + 1])
        if index or not how.from_previous:
            vectors = compute(flows[index : index + 1])
            if vectors.shape[-2:] != (height, width):
                vectors = resize_flow(vectors, (height, width))
            entry = warp(entry, vectors, mode=how.mode, edges=how.edges)
        moved[index] = entry.clamp(0, 1)[0] if clamp else entry[0]
        progress.update(index + 1, count)
    return moved
