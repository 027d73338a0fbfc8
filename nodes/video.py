"""DeepDream Video: the whole pipeline in one node, for a batch of frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.dreaming.dream import DreamStep
from ..dream_core.errors import SettingsError
from ..dream_core.image import Size
from ..dream_core.pipeline import dream_frames
from ..dream_core.settings import FlowSettings, ReliabilitySettings, TemporalSettings
from ..dream_core.temporal.dreamer import DreamedFrame, TemporalDreamer
from ..dream_core.video import Frame
from .adapters import host
from .adapters.estimators import NO_WIDGET, estimator_for, flow_widgets
from .adapters.images import alpha_of, from_image, to_image
from .adapters.looks import Chosen, with_look
from .adapters.models import model_on_device
from .adapters.sockets import Flow, FlowModelSocket, FlowSocket, Objectives
from .adapters.widgets import widgets
from .adapters.working import working
from .dream import dream_widgets, make_dreamer, network_inputs


def pipeline_sockets() -> list[io.Input]:
    """List the sockets of the pipeline: networks and objective."""
    dream_model, *others = network_inputs()
    flow_model = FlowModelSocket.Input(
        "flow_model",
        optional=True,
        tooltip="The network that estimates motion, from Load Flow Model. Not connected: auto. Not needed if "
        "independent is on.",
    )
    return [dream_model, flow_model, *others]


def pipeline_widgets() -> list[io.Input]:
    """List the widgets of the pipeline, without the choice of a look."""
    return [
        *widgets(TemporalSettings),
        *dream_widgets(),
        *flow_widgets(),
        *widgets(ReliabilitySettings),
    ]


class Pipeline:
    """Make a dreamer on ComfyUI's device that shows its progress and frees memory when it runs out.

    Args:
        dream_model, flow_model: from the loaders, or None for those of the look.
        objective: from Dream Objective, or None for the look's.
        chosen: the settings.
        count: expected number of frames, at least 1.
        size: of the frames, height and width.

    Raises:
        SettingsError: a widget's value is out of range.
    """

    def __init__(
        self,
        dream_model: Any,
        flow_model: Any,
        objective: Objectives | None,
        chosen: Chosen,
        *,
        count: int,
        size: Size,
    ) -> None:
        temporal = chosen.settings(TemporalSettings)
        self._progress = host.Progress()
        again = min(temporal.seamless_frames, count - 1) if temporal.seamless else 0
        self._count, self._done = count + again, 0
        self._dream_model = chosen.dream_model(dream_model)
        dream = make_dreamer(chosen, self._dream_model, objective, self._free, size=size)
        flow = None
        if not temporal.independent:
            settings = chosen.settings(FlowSettings, leave_out=NO_WIDGET)
            flow = estimator_for(chosen.flow_model(flow_model), settings, beside=[self._dream_model])
        self._dreamer = TemporalDreamer(
            dream, flow, temporal=temporal, reliability=chosen.settings(ReliabilitySettings)
        )

    def dream(self, clip: Iterable[Frame]) -> Iterator[tuple[Frame, DreamedFrame]]:
        """Dream the frames of a clip in order, see `dream_frames`. Cancel is heard at frames without a step too."""
        for frame, dreamed in dream_frames(clip, self._dreamer, on_step=self._tell):
            host.check_interrupted()
            yield frame, dreamed

    def _tell(self, step: DreamStep) -> None:
        # A container's own count of its frames may be wrong.
        count = max(self._count, self._done + 1)
        self._progress.update(self._done * step.total + step.done, count * step.total, step.image)
        self._done += step.done == step.total

    def _free(self) -> bool:
        others = host.free_memory(self._dream_model)
        model_on_device(self._dream_model)
        return others


class DeepDreamVideo(io.ComfyNode):
    """Dreams a batch of frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamVideo",
            display_name="DeepDream Video",
            category="DeepDream",
            description=(
                "Dreams a clip: each frame goes on with the dream of the one before, carried along by optical "
                "flow. The same as a Temporal Loop around Optical Flow, Reliability Mask, Flow Warp, Temporal "
                "Blend and DeepDream, which takes the renewal of Temporal Blend."
            ),
            search_aliases=[
                "deep dream",
                "inception",
                "hallucination",
                "video to video",
                "temporal",
                "vid2vid",
            ],
            inputs=[
                io.Image.Input(
                    "images",
                    tooltip="The frames of the clip, in order. As one batch: each piece of a list, as from Rebatch "
                    "Images, begins a new dream. A batch holds neither the times of its frames nor the shape of "
                    "their pixels: where the rate varies or pixels are not square, use DeepDream Video File.",
                ),
                *pipeline_sockets(),
                *with_look(
                    *pipeline_widgets(),
                    io.Boolean.Input(
                        "flow_and_reliability",
                        default=True,
                        advanced=True,
                        tooltip="Also output the flow and the reliability. They take as much memory as the frames; "
                        "off saves it.",
                    ),
                ),
            ],
            outputs=[
                io.Image.Output("dreams", display_name="images", tooltip="The dreamed frames."),
                FlowSocket.Output(
                    "flow",
                    display_name="flow",
                    tooltip="The flow from each frame to the one before; zero for the first.",
                ),
                io.Mask.Output(
                    "reliability",
                    display_name="reliability",
                    tooltip="Reliability of the carried dream: 1 = trusted, 0 = not. 1 for the first frame.",
                ),
            ],
            accept_all_inputs=True,  # otherwise ComfyUI drops a choice that it does not know
        )

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> Any:
        """Return the times of change of the weight files of networks that are not wired."""
        return Chosen(values).fingerprint(flow=True)

    @classmethod
    def execute(
        cls,
        images: Tensor,
        dream_model: Any = None,
        flow_model: Any = None,
        objective: Objectives | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        frames = from_image(images, name="images")
        count, _, height, width = frames.shape
        _tell_of_pieces()
        with working():
            chosen = Chosen(values)
            flow_and_reliability = chosen.value("flow_and_reliability", True)
            if not flow_and_reliability:
                _check_that_nothing_is_missed()
            pipeline = Pipeline(dream_model, flow_model, objective, chosen, count=count, size=(height, width))
            dreams = torch.empty(count, height, width, 3)
            flow = torch.zeros(count if flow_and_reliability else 0, 2, height, width)
            reliability = torch.ones(count if flow_and_reliability else 0, height, width)
            for frame, dreamed in pipeline.dream(_clip(frames)):
                dreams[frame.index] = to_image(dreamed.read())[0]
                if dreamed.carried and flow_and_reliability:
                    flow[frame.index] = dreamed.carried.flow[0]
                    reliability[frame.index] = dreamed.carried.reliability[0, 0]
        alpha = alpha_of(images)
        dreams = dreams if alpha is None else torch.cat([dreams, alpha], dim=-1)
        if not flow_and_reliability:
            return io.NodeOutput(dreams, host.blocker(), host.blocker())
        return io.NodeOutput(dreams, Flow(flow), reliability)


def _tell_of_pieces() -> None:
    """Say on the node that pieces of a list do not join, from the second piece on."""
    if host.is_later_piece():
        host.tell(
            "each piece of a list begins a new dream, which jumps where pieces join: connect a clip before Rebatch "
            "Images or, if it is too long for memory, use DeepDream Video File"
        )


def _check_that_nothing_is_missed() -> None:
    """Raise a SettingsError if something is connected to an output that flow_and_reliability switches off."""
    names = {number: str(one.id) for number, one in enumerate(DeepDreamVideo.define_schema().outputs)}
    missed = " and ".join(names[number] for number in sorted(host.wired_outputs() - {0}))
    if missed:
        raise SettingsError(
            f"expected flow_and_reliability on, because {missed} of DeepDream Video is connected, got off: switch "
            f"it on, or disconnect {missed}"
        )


def _clip(frames: Tensor) -> Iterator[Frame]:
    """Iterate over the frames of a batch (B,3,H,W), one per unit of time."""
    for index, image in enumerate(frames):
        yield Frame(image.contiguous(), time=index, duration=1, index=index)
