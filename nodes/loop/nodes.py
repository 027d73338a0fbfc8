"""Temporal Loop Open and Close, and the runner that Close expands into."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io

from ...dream_core.settings import OutputSettings
from ..adapters import categories, host
from ..adapters.digests import change_of, is_never_same
from ..adapters.lasting import remember, times_lost
from ..adapters.sockets import LoopSocket
from ..adapters.videos import WRITING, is_video
from ..adapters.widgets import widgets
from .body import CLOSE, OPEN, Link, LoopBody, LoopError, closes_of, collect, watched
from .carried import CARRIED, CARRIED_AT_MOST, INITIAL, carried_name, check_carried
from .identity import record_of
from .runner import LoopRun, Values

RUNNER = "DeepDreamLoopRunner"

FRAME = "IMAGE,MASK,LATENT"
"""Types of one frame and of its result."""
FrameSocket = io.Custom(FRAME)
ClipSocket = io.Custom(f"{FRAME},VIDEO")


def _carried_inputs(name: str, *, tooltip: str, lazy: bool) -> io.Autogrow.Input:
    """Make sockets that appear as they are connected.

    Args:
        name: of the group.
        tooltip: of each.
        lazy: True to get their links, and no values.
    """
    one = io.AnyType.Input(name, tooltip=tooltip, optional=True, lazy=lazy or None, raw_link=lazy or None)
    template = io.Autogrow.TemplatePrefix(one, prefix=f"{CARRIED}_", min=0, max=CARRIED_AT_MOST)
    return io.Autogrow.Input(name, template=template, tooltip=tooltip)


def _carried_outputs(tooltip: str) -> list[io.Output]:
    return [
        io.AnyType.Output(carried_name(number), display_name=carried_name(number), tooltip=tooltip)
        for number in range(CARRIED_AT_MOST)
    ]


class TemporalLoopOpen(io.ComfyNode):
    """Begins a loop over frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=OPEN,
            display_name="Temporal Loop Open",
            category=categories.LOOP,
            description=(
                "Begins a loop that runs the nodes up to Temporal Loop Close once for every frame, each time with "
                "the result of the frame before. Any nodes may stand in between. A video is decoded frame by "
                "frame, so that it may be of any length."
            ),
            search_aliases=[
                "for loop",
                "for each frame",
                "feedback loop",
                "video loop",
                "iterate",
                "repeat",
                "long video",
                "stream",
            ],
            inputs=[
                ClipSocket.Input(
                    "frames",
                    tooltip="The batch or video that the loop goes through, frame by frame. Of a video, as from "
                    "Load Video, one frame is decoded at a time. A batch holds neither the times of its frames nor "
                    "the shape of their pixels: where the rate varies or pixels are not square, connect the video.",
                ),
                io.AnyType.Input(
                    "initial_result",
                    optional=True,
                    tooltip="The previous result for the first frame. By default the first frame itself.",
                ),
                _carried_inputs(
                    INITIAL,
                    tooltip="A value of any kind to carry from frame to frame: its value for the first frame.",
                    lazy=False,
                ),
            ],
            outputs=[
                LoopSocket.Output("loop", display_name="loop", tooltip="Connect it to Temporal Loop Close."),
                FrameSocket.Output(
                    "frame", display_name="frame", tooltip="The current frame; of a video as IMAGE."
                ),
                FrameSocket.Output(
                    "previous_frame",
                    display_name="previous_frame",
                    tooltip="The frame before; for the first frame, the frame itself.",
                ),
                io.AnyType.Output(
                    "previous_result",
                    display_name="previous_result",
                    tooltip="What Temporal Loop Close got for the frame before; for the first frame "
                    "initial_result, or else the frame itself.",
                ),
                io.Int.Output("index", display_name="index", tooltip="Number of the frame, from 0."),
                io.Int.Output(
                    "count", display_name="count", tooltip="Number of frames; of a video, as its file says."
                ),
                io.Float.Output(
                    "time",
                    display_name="time",
                    tooltip="Time of the frame in seconds, from the first frame on. A batch has no times: its "
                    "frames count as 25 a second.",
                ),
                *_carried_outputs(
                    "The value that Temporal Loop Close got under this name for the frame before."
                ),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> bool:
        """Run again if a Close was added or removed."""
        return bool(closes_of(host.running_graph(), cls.hidden.unique_id))

    @classmethod
    def execute(cls, frames: Any, initial_result: Any = None, initial: Any = None) -> io.NodeOutput:
        """Block the nodes that follow: the runner calls them.

        Raises:
            LoopError: no Close is connected, so the nodes that follow would never run.
        """
        if not closes_of(host.graph_of(cls.hidden.dynprompt), cls.hidden.unique_id):
            raise LoopError(
                "no Temporal Loop Close is tied to this loop: connect the 'loop' sockets of the two, and the "
                "result of a frame; to run the nodes in between on the whole batch, bypass both ends"
            )
        return io.NodeOutput(*[host.blocker()] * len(open_outputs()))


def open_outputs() -> list[str]:
    """Return the names of Temporal Loop Open's outputs, in order."""
    return [str(output.id) for output in TemporalLoopOpen.define_schema().outputs]


class TemporalLoopClose(io.ComfyNode):
    """Ends a loop over frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        # With lazy inputs alone, ComfyUI expands Close before all else. Otherwise nodes that feed both the loop
        # and something else would run twice where outputs are not cached.
        writing = widgets(OutputSettings, only=WRITING)
        for widget in writing:
            widget.lazy = True
        return io.Schema(
            node_id=CLOSE,
            display_name="Temporal Loop Close",
            category=categories.LOOP,
            description="Ends a loop: gathers the result of every frame into one batch or, where the loop goes "
            "through a video, writes them into a video one by one. The loop also runs for output nodes in it, such "
            "as Save Image, where nothing uses its results.",
            search_aliases=["end loop", "loop end", "gather frames", "collect", "feedback loop"],
            inputs=[
                LoopSocket.Input(
                    "loop", lazy=True, raw_link=True, tooltip="The loop socket of Temporal Loop Open."
                ),
                FrameSocket.Input(
                    "result",
                    lazy=True,
                    raw_link=True,
                    tooltip="The result of one frame: IMAGE, MASK or LATENT, of the same size for every frame. A "
                    "blocked result leaves the frame out.",
                ),
                _carried_inputs(
                    CARRIED,
                    tooltip="A value of any kind for the next frame, which finds it on Temporal Loop Open under "
                    "the same name.",
                    lazy=True,
                ),
                *writing,
            ],
            outputs=[
                ClipSocket.Output(
                    "results",
                    display_name="results",
                    tooltip="The results of all frames: a batch or, of a video, a video with its times and its "
                    "sound, H.264 in MP4, among the pack's working files, which go after some days: Save Video "
                    "keeps it.",
                ),
                *_carried_outputs("The carried value of this name after the last frame."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            is_output_node=True,
            enable_expand=True,
        )

    @classmethod
    async def fingerprint_inputs(cls, **_: Any) -> str | float | None:
        """Run again if an output node in the loop, or a file that it uses, changed, of which ComfyUI itself sees
        only what leads to Close, or if the video it made is gone.
        """
        graph = host.running_graph()
        try:
            nodes = watched(graph, cls.hidden.unique_id, host.is_output_node)
        except LoopError:
            return None  # `execute` raises it
        changes = {node_id: await change_of(graph, node_id) for node_id in nodes}
        if any(map(is_never_same, changes.values())):
            return math.nan
        inputs = {node_id: (node["class_type"], node["inputs"]) for node_id, node in nodes.items()}
        return json.dumps([inputs, changes, times_lost(cls.hidden.unique_id)], default=repr)

    @classmethod
    def execute(cls, **_: Any) -> io.NodeOutput:
        """Expand into the runner, which gets the body and the values that lead into it from outside.

        Raises:
            LoopError: the loop is connected in a way that cannot run.
        """
        body = collect(host.graph_of(cls.hidden.dynprompt), cls.hidden.unique_id, host.is_output_node)
        check_carried(body, open_outputs())
        runner = f"{cls.hidden.unique_id}.runner"
        inputs = {"body": body} | {_name(number): list(link) for number, link in enumerate(body.outside)}
        outputs = [[runner, number] for number in range(1 + CARRIED_AT_MOST)]
        return io.NodeOutput(*outputs, expand={runner: {"class_type": RUNNER, "inputs": inputs}})


class TemporalLoopRunner(io.ComfyNode):
    """Runs a whole loop; Temporal Loop Close puts it into the graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=RUNNER,
            display_name="Temporal Loop Runner",
            category=categories.LOOP,
            description="Runs the body of a loop. Temporal Loop Close makes it; do not place it by hand.",
            search_aliases=["loop runner"],
            inputs=[],
            outputs=[
                io.AnyType.Output("results", display_name="results", tooltip="The results of all frames."),
                *_carried_outputs("The carried value of this name after the last frame."),
            ],
            hidden=[
                io.Hidden.dynprompt,
                io.Hidden.unique_id,
                io.Hidden.extra_pnginfo,
                io.Hidden.auth_token_comfy_org,
                io.Hidden.api_key_comfy_org,
                io.Hidden.comfy_usage_source,
            ],
            is_input_list=True,
            is_dev_only=True,
            accept_all_inputs=True,
        )

    @classmethod
    async def execute(cls, body: list[LoopBody], **outside: Values) -> io.NodeOutput:
        loop = body[0]
        values: dict[Link, Values] = {
            link: outside[_name(number)] for number, link in enumerate(loop.outside)
        }

        async def resolve(link: Link) -> Values:
            return values[link]

        record = record_of(loop, values, host.graph_of(cls.hidden.dynprompt))
        finished = record.finished() if record else None
        if record and finished is not None:
            remember(loop.close_id, record.path)
            return io.NodeOutput(InputImpl.VideoFromFile(str(record.path)), *finished)
        run = LoopRun(
            loop,
            lambda node_id, node: host.HostedNode(node_id, node, cls.hidden),
            open_outputs=open_outputs(),
            record=record,
        )
        try:
            outputs = await run.run(resolve)
        except Exception:
            if failing := run.failing_node():
                await host.show_error_at(failing, cls.hidden.dynprompt, cls.hidden.unique_id)
            raise
        if is_video(outputs[0]):
            remember(loop.close_id, Path(outputs[0].get_stream_source()))
        return io.NodeOutput(*outputs, ui=run.all_shown())


def _name(number: int) -> str:
    return f"outside_{number}"
