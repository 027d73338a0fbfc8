"""Temporal Loop Open and Close, and the runner that Close expands into."""

from __future__ import annotations

import json
from typing import Any

from comfy_api.latest import io

from ..adapters import host
from ..adapters.sockets import LoopSocket
from .body import CLOSE, OPEN, Link, LoopBody, LoopError, closes_of, collect, watched
from .runner import CARRIED, CARRIED_AT_MOST, INITIAL, LoopRun, Values

RUNNER = "DeepDreamLoopRunner"

KINDS = [io.Image, io.Mask, io.Latent]


def _carried_inputs(name: str, *, tooltip: str, follow: bool) -> io.Autogrow.Input:
    """Make sockets that appear as they are connected.

    Args:
        name: of the group.
        tooltip: of each.
        follow: True to get their values, False to get their links.
    """
    one = io.AnyType.Input(name, tooltip=tooltip, optional=True, raw_link=None if follow else True)
    template = io.Autogrow.TemplatePrefix(one, prefix=f"{CARRIED}_", min=0, max=CARRIED_AT_MOST)
    return io.Autogrow.Input(name, template=template, tooltip=tooltip)


def _carried_outputs(tooltip: str) -> list[io.Output]:
    return [
        io.AnyType.Output(f"{CARRIED}_{number}", display_name=f"{CARRIED}_{number}", tooltip=tooltip)
        for number in range(CARRIED_AT_MOST)
    ]


class TemporalLoopOpen(io.ComfyNode):
    """Begins a loop over frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kind = io.MatchType.Template("frames", KINDS)
        return io.Schema(
            node_id=OPEN,
            display_name="Temporal Loop Open",
            category="DeepDream",
            description=(
                "Begins a loop that runs the nodes up to Temporal Loop Close once for every frame, each time with "
                "the result of the frame before. Any nodes may stand in between."
            ),
            search_aliases=["for loop", "for each frame", "feedback loop", "video loop", "iterate", "repeat"],
            inputs=[
                io.MatchType.Input(
                    "frames", kind, tooltip="The batch that the loop goes through, frame by frame."
                ),
                io.AnyType.Input(
                    "initial_result",
                    optional=True,
                    tooltip="The previous result for the first frame. By default the first frame itself.",
                ),
                _carried_inputs(
                    INITIAL,
                    tooltip="A value of any kind to carry from frame to frame: its value for the first frame.",
                    follow=True,
                ),
            ],
            outputs=[
                LoopSocket.Output("loop", display_name="loop", tooltip="Connect it to Temporal Loop Close."),
                io.MatchType.Output(kind, "frame", display_name="frame", tooltip="The current frame."),
                io.MatchType.Output(
                    kind,
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
                io.Int.Output("count", display_name="count", tooltip="Number of frames."),
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
                "result of a frame"
            )
        return io.NodeOutput(*[host.blocker()] * len(open_outputs()))


def open_outputs() -> list[str]:
    """Return the names of Temporal Loop Open's outputs, in order."""
    return [str(output.id) for output in TemporalLoopOpen.define_schema().outputs]


class TemporalLoopClose(io.ComfyNode):
    """Ends a loop over frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        kind = io.MatchType.Template("result", KINDS)
        return io.Schema(
            node_id=CLOSE,
            display_name="Temporal Loop Close",
            category="DeepDream",
            description="Ends a loop: gathers the result of every frame into one batch. The loop also runs for "
            "output nodes in it, such as Save Image, where nothing uses the batch.",
            search_aliases=["end loop", "loop end", "gather frames", "collect", "feedback loop"],
            inputs=[
                LoopSocket.Input("loop", raw_link=True, tooltip="The loop socket of Temporal Loop Open."),
                io.MatchType.Input(
                    "result",
                    kind,
                    lazy=True,
                    raw_link=True,
                    tooltip="The result of one frame: IMAGE, MASK or LATENT, of the same size for every frame. A "
                    "blocked result leaves the frame out.",
                ),
                _carried_inputs(
                    CARRIED,
                    tooltip="A value of any kind for the next frame, which finds it on Temporal Loop Open under "
                    "the same name.",
                    follow=False,
                ),
            ],
            outputs=[
                io.MatchType.Output(
                    kind, "results", display_name="results", tooltip="The results of all frames as one batch."
                ),
                *_carried_outputs("The carried value of this name after the last frame."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            is_output_node=True,
            enable_expand=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str | None:
        """Run again if an output node in the loop changed: ComfyUI itself sees only what leads to Close."""
        try:
            nodes = watched(host.running_graph(), cls.hidden.unique_id, host.is_output_node)
        except LoopError:
            return None  # `execute` raises it
        inputs = {node_id: (node["class_type"], node["inputs"]) for node_id, node in nodes.items()}
        return json.dumps(inputs, default=repr)

    @classmethod
    def execute(cls, loop: Any, result: Any, carried: Any = None) -> io.NodeOutput:
        """Expand into the runner, which gets the body and the values that lead into it from outside."""
        body = collect(host.graph_of(cls.hidden.dynprompt), cls.hidden.unique_id, host.is_output_node)
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
            category="DeepDream",
            description="Runs the body of a loop. Temporal Loop Close makes it; do not place it by hand.",
            search_aliases=["loop runner"],
            inputs=[],
            outputs=[
                io.AnyType.Output("results", display_name="results", tooltip="The results of all frames."),
                *_carried_outputs("The carried value of this name after the last frame."),
            ],
            hidden=[
                io.Hidden.dynprompt,
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

        run = LoopRun(
            loop,
            lambda node_id, node: host.HostedNode(node_id, node, cls.hidden),
            open_outputs=open_outputs(),
        )
        outputs = await run.run(resolve)
        return io.NodeOutput(*outputs, ui=run.all_shown())


def _name(number: int) -> str:
    return f"outside_{number}"
