"""DeepDream Video: the whole pipeline in one node, for a batch of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.checks import require_valid
from ..dream_core.dreaming.dream import DreamStep
from ..dream_core.errors import ImageError, SettingsError
from ..dream_core.image import Size, fit_mask, size_of
from ..dream_core.models.dream_model import DreamModel
from ..dream_core.motion.saved_flow import fit_flow, require_flow_for
from ..dream_core.pipeline import dream_clip, dream_frames
from ..dream_core.resume import conditions_of
from ..dream_core.schedules.schedules import Schedules
from ..dream_core.settings import (
    SCHEDULABLE,
    AscentSettings,
    FlowSettings,
    ImageSettings,
    InputSettings,
    MaskSettings,
    ObjectiveSettings,
    OctaveSettings,
    ReliabilitySettings,
    ScheduleSettings,
    TemporalSettings,
    TileSettings,
)
from ..dream_core.temporal.dreamer import DreamedFrame, DreamerState, TemporalDreamer
from ..dream_core.temporal.last_dream import require_fit, require_open
from ..dream_core.temporal.scheduled import ObjectivePart, Scheduled, ScheduledObjective
from ..dream_core.video import Clip, Frame, Output
from ..dream_core.video.clip import FrameFlow
from .adapters import categories, host
from .adapters.digests import digest, digest_of_network
from .adapters.estimators import NO_WIDGET, estimator_for, flow_widgets
from .adapters.images import alpha_of, from_image, from_mask, of_frame, require_enough, to_image
from .adapters.lists import item_of, longest
from .adapters.looks import LOOK, Chosen, check_look, with_look
from .adapters.models import model_on_device
from .adapters.objectives import (
    Objectives,
    check_counts,
    check_objectives,
    guides_at,
    networks_of,
    parts_of,
    regions_at,
)
from .adapters.require import require
from .adapters.schedules import schedules_from, schedules_input
from .adapters.sockets import Flow, FlowModelSocket, FlowSocket, LastDreamSocket, require_flow_socket
from .adapters.videos import tell_what_a_batch_loses
from .adapters.widgets import widgets
from .adapters.working import working
from .dream import dream_widgets, make_dreamer, mask_input, network_inputs
from .objective import OF_A_TEXT, OF_AN_OBJECTIVE, ON_THE_DREAM

SETTINGS = (
    TemporalSettings,
    OctaveSettings,
    AscentSettings,
    TileSettings,
    ImageSettings,
    ReliabilitySettings,
    MaskSettings,
)
"""Classes of settings that have widgets on the nodes of the whole pipeline, but for the flow and its objective."""

BATCH_RATE = 25.0
"""Frames a second of a batch, which has no times, as in a Temporal Loop."""

ELSEWHERE = "connect it to Camera Flow"
"""Told of a schedule of another setting."""

SOURCE = "DeepDream Video"
"""The node that hands a last dream on."""


def pipeline_sockets() -> list[io.Input]:
    """List the sockets of the pipeline: networks and objective."""
    dream_model, *others = network_inputs()
    flow_model = FlowModelSocket.Input(
        "flow_model",
        optional=True,
        tooltip="The network that estimates motion, from Load Flow Model. Not connected: auto. Not needed if "
        "independent is on.",
    )
    flow = FlowSocket.Input(
        "flow",
        optional=True,
        tooltip="Flow of the clip, one for each frame, which is then not estimated: from Load Flow, Flow Convert, "
        "Flow Math or another DeepDream Video. It is scaled to the frames. Not connected: estimated.",
    )
    return [dream_model, flow_model, flow, *others]


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
        masks: (1,1,h,w) or one for each frame, from `from_mask`, or None.
        flows: from `flow_of_frames`, one for each frame, or None to estimate it.
        schedules: of the settings that change, from `schedules_from`.

    Raises:
        ImageError: there are fewer masks or flows than frames, or they have other proportions.
        SettingsError: the value of a widget or of a schedule is out of range.
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
        masks: Tensor | None = None,
        flows: Sequence[FrameFlow | None] | None = None,
        schedules: Schedules | None = None,
    ) -> None:
        self._schedules = all_schedules(chosen, objective, schedules or Schedules())
        self._masks = masks
        if masks is not None:
            require_enough(masks, count, name="mask")
            fit_mask(masks[:1], size)
        self._flows = flows
        if flows is not None and len(flows) < count:
            raise ImageError(_unequal_flow(len(flows), f"of {count} frames"))
        self._wired = check_objectives(objective)
        check_counts(self._wired, count, size)
        temporal = chosen.settings(TemporalSettings)
        self._progress = host.Progress()
        again = min(temporal.seamless_frames, count - 1) if temporal.seamless else 0
        self._count, self._done = count + again, 0
        self._dream_model = chosen.dream_model(dream_model)
        scheduled = _scheduled(chosen, self._schedules, objective, model_on_device(self._dream_model))
        dream = make_dreamer(
            chosen,
            self._dream_model,
            objective,
            self._free,
            size=size,
            objective=scheduled.objective.widest if scheduled.objective else None,
        )
        self._chosen, self._objective, self._flow_model = chosen, objective, None
        flow = None
        if not temporal.independent:
            settings = chosen.settings(FlowSettings, leave_out=NO_WIDGET)
            self._flow_model = chosen.flow_model(flow_model)
            flow = estimator_for(self._flow_model, settings, beside=[self._dream_model])
        self._dreamer = TemporalDreamer(
            dream,
            flow,
            temporal=temporal,
            reliability=chosen.settings(ReliabilitySettings),
            scheduled=scheduled,
        )
        self._dreamer.fit(size)

    def go_on_from(self, earlier: DreamerState, *, size: Size) -> None:
        """Continue the dream of an earlier clip.

        Raises:
            SettingsError: see `require_fit`.
        """
        require_fit(earlier, self._dreamer.temporal, size=size)
        self._dreamer.go_on_from(earlier)

    @property
    def last_dream(self) -> DreamerState:
        """The end of the dream so far, on the CPU."""
        return self._dreamer.state.to(torch.device("cpu"))

    def dream(self, clip: Iterable[Frame]) -> Iterator[tuple[Frame, DreamedFrame]]:
        """Dream the frames of a clip in order, see `dream_frames`. Cancel is heard at frames without a step too."""
        for frame, dreamed in dream_frames(map(self._with_wired, clip), self._dreamer, on_step=self._tell):
            host.check_interrupted()
            yield frame, dreamed

    def dream_into(self, clip: Clip, output: Output) -> None:
        """Dream a clip into an output, see `dream_clip`: it goes on where an earlier run was stopped."""
        clip.give({name: partial(give, size=clip.size) for name, give in self._given.items()})
        self._done = output.restored
        dream_clip(
            clip, self._dreamer, output, on_frame=lambda *_: host.check_interrupted(), on_step=self._tell
        )

    def conditions(self) -> dict[str, Any]:
        """Return all that its dreams depend on beside the clip, by name."""
        chosen = self._chosen
        settings = [chosen.settings(cls) for cls in SETTINGS]
        flow = chosen.settings(FlowSettings, leave_out=NO_WIDGET)
        objective = chosen.settings(ObjectiveSettings, only=ON_THE_DREAM, model=self._dreamer.model.spec.name)
        return {
            **conditions_of(*settings, flow),
            "objective": digest([self._objective, objective]),
            "masks": digest(self._masks),
            "flows": digest(self._flows),
            "schedules": digest(self._schedules),
            "dream_model": digest_of_network(self._dream_model),
            "flow_model": self._flow_model and digest_of_network(self._flow_model),
            "device": str(host.compute_device()),
        }

    @property
    def _given(self) -> dict[str, Callable[..., Any]]:
        """What is wired for each frame: functions of its index and size, by the name of the field of `Frame`."""
        given: dict[str, Callable[..., Any]] = {}
        if self._masks is not None:
            given["mask"] = self._mask
        if self._flows is not None:
            given["flow"] = self._flow
        if self._wired:
            given["regions"] = partial(regions_at, self._wired)
            given["guides"] = lambda index, size: guides_at(self._wired, index)
        return given

    def _with_wired(self, frame: Frame) -> Frame:
        size = size_of(frame.image)
        return replace(frame, **{name: give(frame.index, size=size) for name, give in self._given.items()})

    def _mask(self, index: int, size: Size) -> Tensor:
        """Return the mask (1,H,W) of a frame."""
        assert self._masks is not None
        return fit_mask(of_frame(self._masks, index, name="mask"), size)[0]

    def _flow(self, index: int, size: Size) -> FrameFlow | None:
        assert self._flows is not None
        if index >= len(self._flows):  # a container's own count of its frames was wrong
            raise ImageError(_unequal_flow(len(self._flows), "frame of the clip, which has more"))
        flow = self._flows[index]
        return None if flow is None else fit_flow(flow, size)

    def _tell(self, step: DreamStep) -> None:
        # A container's own count of its frames may be wrong.
        count = max(self._count, self._done + 1)
        self._progress.update(self._done * step.total + step.done, count * step.total, step.image)
        self._done += step.done == step.total

    def _free(self) -> bool:
        others = host.free_memory(self._dream_model, *networks_of(self._wired))
        model_on_device(self._dream_model)
        return others


def all_schedules(chosen: Chosen, objectives: Objectives | None, wired: Schedules) -> Schedules:
    """Return the schedules of a look and, over them, those that are wired; check their values.

    Raises:
        SettingsError: a value is out of range, or a schedule belongs to an objective that is connected.
    """
    own = chosen.settings(ScheduleSettings).read()
    if misplaced := next(iter(wired.only(OF_A_TEXT).by_name), None):
        raise SettingsError(
            f"expected the schedule of `{misplaced}` at Dream Text, got it here; connect it there"
        )
    if objectives:
        own = own.only(set(SCHEDULABLE) - set(OF_AN_OBJECTIVE))
        if misplaced := next(iter(wired.only(OF_AN_OBJECTIVE).by_name), None):
            raise SettingsError(
                f"expected the schedule of `{misplaced}` at Dream Objective, because one is connected, got it "
                "here; connect it there"
            )
    schedules = Schedules({**own.by_name, **wired.by_name})
    schedules.check(*map(chosen.settings, SETTINGS))
    return schedules


def _scheduled(
    chosen: Chosen, schedules: Schedules, objectives: Objectives | None, model: DreamModel
) -> Scheduled:
    own = chosen.settings(ObjectiveSettings, only=ON_THE_DREAM, model=model.spec.name)
    parts = parts_of(check_objectives(objectives)) or (ObjectivePart(own, schedules.only(OF_AN_OBJECTIVE)),)
    changes = any(part.schedules for part in parts)
    return Scheduled(
        schedules.only(set(SCHEDULABLE) - {*OF_AN_OBJECTIVE, *OF_A_TEXT}),
        ScheduledObjective(parts, model) if changes else None,
    )


def _unequal_flow(count: int, frames: str) -> str:
    return f"expected one flow for each {frames}, got {count}: connect that of the clip"


def flow_of_frames(flows: Sequence[Any], sizes: Sequence[Size]) -> list[FrameFlow | None]:
    """Return the flow of each frame from a FLOW socket, or from several of the parts of a clip.

    Args:
        flows: what the sockets carry.
        sizes: of the frames of each part, height and width, or of all.

    Raises:
        VideoError: the flow has other proportions than the frames.
        WireError: a socket carries something else.
    """
    found = list(map(require_flow_socket, flows))
    for number, size in enumerate(sizes):
        own = size_of(found[min(number, len(found) - 1)].backward)
        require_flow_for(own, size, where="flow")
    return [one for flow in found for one in flow.frames]


class DeepDreamVideo(io.ComfyNode):
    """Dreams a batch of frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamVideo",
            display_name="DeepDream Video",
            category=categories.DREAM,
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
                    tooltip="The frames of the clip, in order: a batch, or a list of batches, as from Rebatch "
                    "Images, which are one clip. A batch holds neither the times of its frames nor the shape of "
                    "their pixels: where the rate varies or pixels are not square, use DeepDream Video File.",
                ),
                *pipeline_sockets(),
                LastDreamSocket.Input(
                    "previous_dream",
                    optional=True,
                    tooltip="The dream of the part of the clip before this one, which goes on here without a seam: "
                    "last_dream of another DeepDream Video. Its look and settings may differ.",
                ),
                mask_input("frames"),
                schedules_input(),
                io.Float.Input(
                    "fps",
                    optional=True,
                    force_input=True,
                    tooltip="Frames a second, from Get Video Components, for schedules in seconds. Not connected: "
                    "25.",
                ),
                *with_look(
                    *pipeline_widgets(),
                    *widgets(MaskSettings),
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
                io.Image.Output(
                    "dreams",
                    display_name="images",
                    is_output_list=True,
                    tooltip="The dreamed frames: a batch, or a list of batches as it came.",
                ),
                FlowSocket.Output(
                    "flow",
                    display_name="flow",
                    is_output_list=True,
                    tooltip="The flow from each frame to the one before; zero for the first.",
                ),
                io.Mask.Output(
                    "reliability",
                    display_name="reliability",
                    is_output_list=True,
                    tooltip="Reliability of the carried dream: 1 = trusted, 0 = not. 1 for the first frame.",
                ),
                LastDreamSocket.Output(
                    "last_dream",
                    display_name="last_dream",
                    is_output_list=True,
                    tooltip="The end of the dream, for previous_dream of a DeepDream Video that dreams the next "
                    "part of the clip.",
                ),
            ],
            is_input_list=True,
            accept_all_inputs=True,  # otherwise ComfyUI drops a choice that it does not know
        )

    @classmethod
    def validate_inputs(
        cls, look: Any = None, octave_mode: Any = None, optimizer: Any = None, schedules: Any = None
    ) -> bool | str:
        """Name the nearest look, where there is none of the name. ComfyUI hands over choices and groups too."""
        return check_look(item_of({LOOK: look})[LOOK])

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> Any:
        """Return the times of change of the weight files of networks that are not wired."""
        return Chosen.fingerprint(item_of(values), flow=True)

    @classmethod
    def execute(cls, images: list[Tensor], **lists: Any) -> io.NodeOutput:
        with working():
            if not images:
                raise ImageError(
                    "expected at least one batch of images, got an empty list: check the node that gives it"
                )
            flows = lists.pop("flow", None) or []
            others = longest(lists)
            if others == 1 and len(flows) in (0, 1, len(images)):
                return io.NodeOutput(*_dream(images, flows=flows, **item_of(lists)))
            # Each item is a dream with values of its own, as ComfyUI repeats other nodes.
            others = max(others, len(flows))
            count = max(len(images), others)
            if len(images) > 1:
                host.tell(
                    "each batch of the list begins a new dream, because other inputs are lists too: to dream the "
                    "batches as one clip, connect single values there"
                )
            dreams = [
                _dream(
                    [images[min(n, len(images) - 1)]],
                    flows=[flows[min(n, len(flows) - 1)]] if flows else [],
                    **item_of(lists, n),
                )
                for n in range(count)
            ]
            return io.NodeOutput(*([one for (one,) in batches] for batches in zip(*dreams, strict=True)))


def _dream(
    images: list[Tensor],
    *,
    flows: Sequence[Any] = (),
    dream_model: Any = None,
    flow_model: Any = None,
    objective: Objectives | None = None,
    previous_dream: Any = None,
    mask: Tensor | None = None,
    schedules: Mapping[str, Any] | None = None,
    fps: float = BATCH_RATE,
    **values: Any,
) -> tuple[list[Any], ...]:
    """Dream the batches of a clip, see `DeepDreamVideo`. Returns the values of each output, one for each batch.

    `flows` are one for all batches, one for each, or none.
    """
    require_valid(InputSettings, fps=fps)
    batches = [from_image(batch, name="images") for batch in images]
    sizes = [size_of(batch) for batch in batches]
    count = sum(map(len, batches))
    if count > 1:
        tell_what_a_batch_loses("images")
    known = flow_of_frames(flows, sizes) if flows else None
    if known is not None and len(known) != count:
        raise ImageError(_unequal_flow(len(known), f"of {count} frames"))
    chosen = Chosen(values)
    flow_and_reliability = chosen.value("flow_and_reliability", True)
    _check_outputs(chosen, flow_and_reliability=flow_and_reliability)
    pipeline = Pipeline(
        dream_model,
        flow_model,
        objective,
        chosen,
        count=count,
        size=max(sizes, key=prod),
        masks=None if mask is None else from_mask(mask),
        flows=known,
        schedules=schedules_from(schedules, SCHEDULABLE, where=ELSEWHERE),
    )
    if previous_dream is not None:
        earlier = require(previous_dream, DreamerState, name="previous_dream", source=SOURCE)
        pipeline.go_on_from(earlier, size=sizes[0])
    dreams = [torch.empty(len(batch), *size, 3) for batch, size in zip(batches, sizes, strict=True)]
    kept = [len(batch) if flow_and_reliability else 0 for batch in batches]
    flow = [torch.zeros(count, 2, *size) for count, size in zip(kept, sizes, strict=True)]
    reliability = [torch.ones(count, *size) for count, size in zip(kept, sizes, strict=True)]
    places = [(piece, index) for piece, batch in enumerate(batches) for index in range(len(batch))]
    for frame, dreamed in pipeline.dream(_clip(batches, fps)):
        piece, index = places[frame.index]
        dreams[piece][index] = to_image(dreamed.read())[0]
        if dreamed.carried and flow_and_reliability:
            flow[piece][index] = dreamed.carried.flow[0]
            reliability[piece][index] = dreamed.carried.reliability[0, 0]
    alphas = [alpha_of(batch) for batch in images]
    results = [
        dream if alpha is None else torch.cat([dream, alpha], dim=-1)
        for dream, alpha in zip(dreams, alphas, strict=True)
    ]
    if not flow_and_reliability:
        blocked = [host.blocker()] * len(batches)
        return results, blocked, blocked, [pipeline.last_dream]
    return results, list(map(Flow, flow)), reliability, [pipeline.last_dream]


def _check_outputs(chosen: Chosen, *, flow_and_reliability: bool) -> None:
    """Raise a SettingsError if something is connected to an output that the settings leave without a value."""
    names = [str(one.id) for one in DeepDreamVideo.define_schema().outputs]
    wired = {names[number] for number in host.wired_outputs()}
    if "last_dream" in wired:
        require_open(chosen.settings(TemporalSettings), "last_dream")
    missed = " and ".join(name for name in names if name in wired & {"flow", "reliability"})
    if missed and not flow_and_reliability:
        raise SettingsError(
            f"expected flow_and_reliability on, because {missed} of DeepDream Video is connected, got off: switch "
            f"it on, or disconnect {missed}"
        )


def _clip(batches: list[Tensor], fps: float) -> Iterator[Frame]:
    """Iterate over the frames of batches (B,3,H,W), so many a second. The dream begins anew at another size."""
    index, size = 0, None
    for batch in batches:
        for image in batch:
            anew = size is not None and size_of(image) != size
            yield Frame(image.contiguous(), time=index / fps, duration=1 / fps, index=index, anew=anew)
            index, size = index + 1, size_of(image)
