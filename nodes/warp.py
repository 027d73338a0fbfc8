"""Flow Warp: images, masks and latents moved along flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.image import size_of
from ..dream_core.motion.warp import resize_flow, warp
from ..dream_core.settings import TemporalSettings, WarpEdges, WarpMode, WarpSettings
from .adapters import categories
from .adapters.batches import entry_at, map_entries, match
from .adapters.images import alpha_of, from_image, from_mask, to_image, to_mask
from .adapters.latents import Latent, from_latent, to_latent
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working


class FlowWarp(io.ComfyNode):
    """Moves images, masks and latents of the frame before to fit the frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kind = io.MatchType.Template("kind", [io.Image, io.Mask, io.Latent])
        return io.Schema(
            node_id="DeepDreamFlowWarp",
            display_name="Flow Warp",
            category=categories.MOTION,
            description=(
                "Moves images, masks or latents of the frame before so that they fit the frame. The flow is scaled "
                "to their size."
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
                    tooltip="IMAGE, MASK or LATENT to move: one for each flow, or one for all. Each latent frame "
                    "of a video latent (a batch of 1) counts as one.",
                ),
                FlowSocket.Input(
                    "flow", tooltip="From Optical Flow or Camera Flow: one for each entry, or one for all."
                ),
                *widgets(TemporalSettings, only=("warp",)),
                io.Boolean.Input(
                    "from_previous",
                    default=False,
                    tooltip="Off: entry i is moved by flow i. On: the entry before it is moved by flow i. A clip "
                    "moved by its own flow then looks like the clip itself; its first frame stays as it is.",
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
        with working():
            options = _Options(
                settings_from(TemporalSettings, values, only=("warp",)).warp,
                settings_from(WarpSettings, values).edges,
                from_previous,
            )
            flow = require_flow_socket(flow)
            if isinstance(input, dict):
                return io.NodeOutput(_warp_latent(input, flow, options))
            if isinstance(input, Tensor) and input.ndim < 4:
                masks = from_mask(input, name="input")
                return io.NodeOutput(to_mask(_warp(masks, flow, options.for_masks())))
            return io.NodeOutput(_warp_image(input, flow, options))


@dataclass(frozen=True)
class _Options:
    mode: WarpMode
    edges: WarpEdges
    from_previous: bool

    def for_masks(self) -> _Options:
        return replace(self, mode="bilinear")


def _warp_image(image: Tensor, flow: Flow, options: _Options) -> Tensor:
    colors = _warp(from_image(image, name="input"), flow, options, clamp=True)
    alpha = alpha_of(image)
    if alpha is not None:
        alpha = _warp(alpha.movedim(-1, 1), flow, options, clamp=True).movedim(1, -1)  # BHWC -> BCHW and back
    return to_image(colors, alpha=alpha)


def _warp_latent(latent: Latent, flow: Flow, options: _Options) -> Latent:
    samples, noise_mask = from_latent(latent)
    warped = _warp(samples, flow, options)
    if noise_mask is not None:
        noise_mask = _warp(noise_mask, flow, options.for_masks())
    return to_latent(latent, warped, noise_mask)


def _warp(tensor: Tensor, flow: Flow, options: _Options, *, clamp: bool = False) -> Tensor:
    """(B,C,H,W) -> (B,C,H,W) in the tensor's type on the CPU."""
    count, (entries, flows) = match(input=tensor, flow=flow.backward)
    size = size_of(tensor)

    def moved(index: int) -> Tensor:
        if options.from_previous and index == 0:
            entry = entry_at(entries, 0)
        else:
            vectors = entry_at(flows, index)
            if size_of(vectors) != size:
                vectors = resize_flow(vectors, size)
            source = entry_at(entries, index - options.from_previous)
            entry = warp(source, vectors, mode=options.mode, edges=options.edges)
        return entry.clamp(0, 1) if clamp else entry

    return map_entries(moved, count, dtype=tensor.dtype)
