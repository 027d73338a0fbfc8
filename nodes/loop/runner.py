"""Runs the body of a loop, frame by frame."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ...dream_core.errors import DamagedError, DeepDreamError
from ...dream_core.settings import OutputSettings
from ..adapters import host
from ..adapters.throttle import Throttle
from ..adapters.videos import WRITING, is_video
from ..adapters.widgets import settings_from
from .body import Link, LoopBody, LoopError, is_link, links_of, title
from .carried import CARRIED_AT_MOST, carried_name, initial_name, next_name
from .frames import BatchFrames, Gatherer, Shot, check_one_frame
from .record import LoopRecord, LoopState, kept_by
from .videos import VideoFrames, VideoGatherer

Values: TypeAlias = list[Any]
"""The values of one output of a node: a list, usually of one, as ComfyUI passes them on."""

Resolve: TypeAlias = Callable[[Link], Awaitable[Values]]
"""Returns the values of a link from outside of a loop."""

SHOWN_AT_MOST = 100
"""Results that an output node shows of a video, the last ones: those of an hour are too many for a page."""
SHOW_SECONDS = 0.5
"""Shortest time between two updates of the results that output nodes show."""


class LoopRun:
    """A loop whose nodes are prepared once and called for every frame; only one frame's values are kept.

    Args:
        body: the nodes to repeat.
        prepare: makes a node callable, given its id and {"class_type", "inputs"}.
        open_outputs: names of Open's outputs, in order.
        progress_on: the node that shows the count of frames, if not the running one.
        record: of a loop over a video, to go on where an earlier run was stopped.
    """

    def __init__(
        self,
        body: LoopBody,
        prepare: Callable[[str, Mapping[str, Any]], host.HostedNode],
        *,
        open_outputs: Sequence[str],
        progress_on: str | None = None,
        record: LoopRecord | None = None,
    ) -> None:
        self.body = body
        self.shown: dict[str, dict[str, list[Any]]] = {}
        """Results that the output nodes showed, over all frames; of a video the last ones."""
        self._shown_at_most = 0
        self._nodes = {node_id: prepare(node_id, node) for node_id, node in body.own().items()}
        self._inner = {
            node_id: LoopRun(loop, prepare, open_outputs=open_outputs, progress_on=node_id)
            for node_id, loop in body.inner.items()
        }
        self._open_outputs = open_outputs
        self._progress_on = progress_on
        self._record = record
        self._fresh = {node_id: dict(node.attributes) for node_id, node in self._all_nodes().items()}
        self._shows = Throttle(SHOW_SECONDS)
        self._started: set[str] = set()
        self._failed: str | None = None
        self._frame: dict[str, list[Values]] = {}
        self._outside: Resolve

    async def run(self, outside: Resolve) -> list[Any]:
        """Run all frames.

        Returns:
            The outputs of Close: the batch of results, then the carried values after the last frame.

        Raises:
            LoopError: a node failed, or its value cannot be used in a loop; the message ends with node and frame.
            ImageError: the frames are not a batch.
        """
        self._outside = outside
        inputs = await self._open_inputs()
        if any(map(host.is_blocker, inputs.values())):
            return [host.blocker()] * (1 + CARRIED_AT_MOST)
        check_one_frame(inputs.get("initial_result"), name="initial_result")
        carried = {number: inputs.get(initial_name(number)) for number in range(CARRIED_AT_MOST)}
        state = LoopState(0, inputs.get("initial_result"), carried, {})
        source = await self._source(inputs["frames"])
        gatherer: Gatherer | VideoGatherer = source.gatherer()
        try:
            if self._record and isinstance(source, VideoFrames):
                gatherer, state = self._go_on(self._record, source, state)
            state = await self._frames(source, gatherer, state)
            if self._record:
                self._record.finish(state.carried)
            gathered = gatherer.gathered()
        except BaseException:  # Cancel is not an Exception
            if self._record and isinstance(gatherer, VideoGatherer):
                self._record.stop(gatherer)
            gatherer.stop()
            raise
        finally:
            source.close()
            self._finish()
        return [host.blocker() if gathered is None else gathered, *state.carried.values()]

    def _go_on(
        self, record: LoopRecord, source: VideoFrames, state: LoopState
    ) -> tuple[VideoGatherer, LoopState]:
        """Make what gathers the results, and return the state of an earlier run, or that of the beginning."""
        gatherer = source.gatherer(record.path, record.work)
        try:
            state = record.restore(gatherer) or state
        except DamagedError:
            record.begin_anew()
        nodes = self._all_nodes()
        for node_id, kept in state.nodes.items():
            nodes[node_id].attributes.update(kept)
        return gatherer, state

    async def _frames(
        self, source: BatchFrames | VideoFrames, gatherer: Gatherer | VideoGatherer, state: LoopState
    ) -> LoopState:
        """Run the frames that are left, and return the state after the last one."""
        progress = host.Progress(source.count, node_id=self._progress_on)
        previous = source.go_on(state.frames) if state.frames and isinstance(source, VideoFrames) else None
        carried, result = dict(state.carried), state.result
        for index, shot in enumerate(source, state.frames):
            count = max(source.count, index + 1)  # a file may have more frames than it says
            values = {
                "frame": shot.value,
                "previous_frame": shot.value if previous is None else previous,
                "previous_result": shot.value if result is None else result,
                "index": index,
                "count": count,
                "time": shot.time,
                **{carried_name(number): value for number, value in carried.items()},
            }
            result = await self._step(values, carried, gatherer, shot)
            previous = shot.value
            state = LoopState(index + 1, result, dict(carried), self._kept())
            if self._record and isinstance(gatherer, VideoGatherer):
                self._record.done(state, gatherer)
            progress.update(index + 1, count)
        if not state.frames:
            raise LoopError("the loop got no frames: connect a batch of at least one to Temporal Loop Open")
        return state

    def _all_nodes(self) -> dict[str, host.HostedNode]:
        """Return the nodes of the loop and of those inside, by id."""
        inner = [loop._all_nodes() for loop in self._inner.values()]
        return {node_id: node for nodes in (self._nodes, *inner) for node_id, node in nodes.items()}

    def _kept(self) -> dict[str, dict[str, Any]]:
        """Return what nodes keep themselves from frame to frame, if the loop has a record."""
        nodes = self._all_nodes() if self._record else {}
        return {node_id: kept_by(node.attributes, self._fresh[node_id]) for node_id, node in nodes.items()}

    async def _open_inputs(self) -> dict[str, Any]:
        return {name: await self._given(name, value) for name, value in self.body.open_inputs.items()}

    async def _source(self, frames: Any) -> BatchFrames | VideoFrames:
        if not is_video(frames):
            return BatchFrames(frames)
        self._show_at_most(SHOWN_AT_MOST)
        close = {name: value for name, value in self.body.close_inputs.items() if name in WRITING}
        inside = {name for name, value in close.items() if is_link(value) and self._is_inside(value[0])}
        if inside:
            raise LoopError(
                f"{' and '.join(sorted(inside))} of Temporal Loop Close (node {self.body.close_id}) come from "
                "inside of the loop, but a video has one for all frames: connect a value from outside"
            )
        given = {name: await self._given(name, value) for name, value in close.items()}
        return VideoFrames(frames, settings_from(OutputSettings, given, only=WRITING))

    async def _given(self, name: str, value: Any) -> Any:
        """Return a constant, or the value of a link from outside."""
        return _only(await self._outside((value[0], value[1])), name) if is_link(value) else value

    def _is_inside(self, node_id: str) -> bool:
        return node_id == self.body.open_id or node_id in self._nodes or node_id in self._inner

    async def _step(
        self,
        open_values: Mapping[str, Any],
        carried: dict[int, Any],
        gatherer: Gatherer | VideoGatherer,
        shot: Shot,
    ) -> Any:
        """Run one frame. A blocked result leaves its frame out; a blocked carried value stays as it was."""
        self._frame = {self.body.open_id: [[open_values.get(name)] for name in self._open_outputs]}
        self._where = f"frame {open_values['index']} of {open_values['count']}"
        try:
            for node_id in self.body.outputs:
                await self._outputs(node_id)
            links = links_of({"inputs": self.body.close_inputs})
            values = {
                name: await self._value(link)
                for name, link in links.items()
                if name not in ("loop", *WRITING)
            }
        finally:
            self._frame = {}
        try:
            found = {name: _only(value, name) for name, value in values.items()}
        except LoopError as error:
            raise LoopError(f"{error} ({self._where})") from error
        for number in carried:
            value = found.get(next_name(number))
            if value is not None and not host.is_blocker(value):
                carried[number] = value
        new = found["result"]
        if host.is_blocker(new):
            return open_values["previous_result"]
        if self._record:
            self._record.begin()
        try:
            gatherer.add(new, shot)
        except DeepDreamError as error:
            raise LoopError(f"{error} ({self._where})") from error
        return new

    async def _value(self, link: Link) -> Values:
        source, slot = link
        if source not in self._frame and source not in self._nodes and source not in self._inner:
            return await self._outside(link)
        outputs = await self._outputs(source)
        return outputs[slot] if slot < len(outputs) else [None]

    async def _outputs(self, node_id: str) -> list[Values]:
        if node_id not in self._frame:
            self._start(node_id)
            self._frame[node_id] = await (
                self._loop(node_id) if node_id in self._inner else self._call(node_id)
            )
        return self._frame[node_id]

    async def _loop(self, node_id: str) -> list[Values]:
        try:
            return [[value] for value in await self._inner[node_id].run(self._value)]
        except DeepDreamError as error:
            self._failed = node_id
            raise LoopError(f"{error} ({self._where} of the loop around it)") from error

    async def _call(self, node_id: str) -> list[Values]:
        node = self._nodes[node_id]
        values = {name: await self._value(link) for name, link in node.links.items() if name not in node.lazy}
        try:
            while wanted := await node.missing(values):
                values.update({name: await self._value(node.links[name]) for name in wanted})
            outputs, shown = await node.call(values)
        except LoopError:
            raise
        except Exception as error:
            self._failed = node_id
            raise self._failure(node_id, error) from error
        if shown:
            self._show(node_id, shown)
        return outputs

    def _failure(self, node_id: str, error: Exception) -> BaseException:
        kind = "" if isinstance(error, DeepDreamError) else f"{type(error).__name__}: "
        message = f"{kind}{error} ({title(self.body.nodes[node_id], node_id)}, {self._where})"
        return host.out_of_memory(message) if host.is_out_of_memory(error) else LoopError(message)

    def _show(self, node_id: str, shown: dict[str, list[Any]]) -> None:
        kept = self.shown.setdefault(node_id, {})
        for name, items in shown.items():
            kept.setdefault(name, []).extend(items)
            del kept[name][: -self._shown_at_most or 0]
        if self._shows.due():
            host.show(node_id, shown)

    def _show_at_most(self, count: int) -> None:
        self._shown_at_most = count
        for loop in self._inner.values():
            loop._show_at_most(count)

    def failing_node(self) -> str | None:
        """Return the id of the node that failed, the innermost one; None if the loop itself did, or nothing."""
        inner = (loop.failing_node() for loop in self._inner.values())
        return next(filter(None, inner), self._failed)

    def all_shown(self) -> dict[str, list[Any]]:
        """Return the results that all output nodes showed, also in inner loops, for ComfyUI's history."""
        merged: dict[str, list[Any]] = {}
        for shown in (*self.shown.values(), *(loop.all_shown() for loop in self._inner.values())):
            for name, items in shown.items():
                merged.setdefault(name, []).extend(items)
        return merged

    def _start(self, node_id: str) -> None:
        if node_id not in self._started:
            self._started.add(node_id)
            host.start(node_id)

    def _finish(self) -> None:
        for node_id in sorted(self._started):
            host.finish(node_id)
        self._started = set()
        for node_id, shown in self.shown.items():
            host.show(node_id, shown)


def _only(values: Values, name: str) -> Any:
    if len(values) != 1:
        raise LoopError(
            f"expected one value for '{name}' of the loop, got a list of {len(values)}: "
            "make a batch of them, or pick one"
        )
    return values[0]
