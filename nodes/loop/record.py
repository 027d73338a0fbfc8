"""Record of a loop over a video: it goes on where it was stopped, and a finished result is taken up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from logging import Logger
from pathlib import Path, PurePath
from threading import Lock, RLock
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch

from ...dream_core.errors import VideoError
from ...dream_core.unfinished import Pace, Unfinished
from ..adapters import host
from ..adapters.digests import is_never_same
from ..adapters.lasting import begin_anew, forget, values_beside
from .body import LoopBody, title
from .carried import CARRIED, CARRIED_AT_MOST, INITIAL
from .packing import Packer, Unsavable, unpack
from .videos import VideoGatherer

FIXED = (
    bool, int, float, complex, str, bytes, type, ModuleType, FunctionType, BuiltinFunctionType, Enum, PurePath,
    re.Pattern, Logger, torch.dtype, torch.device, type(Lock()), type(RLock()),
)  # fmt: skip
"""Types of values that never change in place, or in nothing that a result depends on."""


@dataclass(frozen=True)
class LoopState:
    """What a loop needs to go on after a frame.

    Args:
        frames: number of frames done.
        result: of the last one; None if all were blocked.
        carried: carried values by number.
        nodes: what nodes of the body keep themselves from frame to frame: id -> attributes.
    """

    frames: int
    result: Any
    carried: dict[int, Any]
    nodes: dict[str, dict[str, Any]]


class LoopRecord:
    """Saves what a loop needs to go on, every few seconds, and restores it.

    Args:
        body: the loop.
        path: of the finished video.
        work: record of its making, not opened.
    """

    def __init__(self, body: LoopBody, path: Path, work: Unfinished) -> None:
        self.path = path
        """Of the finished video."""
        self.work = work
        """Record of its making."""
        self._body = body
        self._pace = Pace()
        self._state: LoopState | None = None
        """After the last frame that is done; None while one is being written."""
        self._saved = 0

    def finished(self) -> Sequence[Any] | None:
        """Return the values carried out of the finished loop, by number; None if it is to run.

        A loop always runs if output nodes stand in it, for what they do, or nodes that ComfyUI always runs.
        """
        if not self.path.exists():
            return None
        names = (*self._body.open_inputs, *self._body.close_inputs)
        carries = any(name.startswith((f"{INITIAL}.", f"{CARRIED}.")) for name in names)
        state = values_beside(self.path).peek()
        if _runs_anyway(self._body) or (carries and state is None):
            forget(self.path)
            return None
        if state is None:
            return [None] * CARRIED_AT_MOST
        try:
            values = unpack(state["values"], values_beside(self.path).load_tensors(state["tensors"]))
        except VideoError:  # they are damaged
            forget(self.path)
            return None
        return [values.get(number) for number in range(CARRIED_AT_MOST)]

    def finish(self, carried: Mapping[int, Any]) -> None:
        """Save the values carried out of the loop, before its video gets its name.

        Raises:
            VideoError: they cannot be written.
        """
        values = {number: value for number, value in carried.items() if value is not None}
        if not values:
            return
        packer = Packer()
        with suppress(Unsavable):  # then it is not taken up
            packed = packer.pack(values)
            beside = values_beside(self.path)
            beside.remove()
            beside.open()
            beside.save_tensors("carried.safetensors", packer.tensors)
            state = {"values": packed, "tensors": "carried.safetensors"}
            beside.commit(state, files=["carried.safetensors"])
            beside.close()

    def restore(self, gatherer: VideoGatherer) -> LoopState | None:
        """Bring the gatherer to where an earlier run was, and return the loop's state; None if there was none.

        Raises:
            DamagedError: the record is damaged.
            VideoError: see `VideoGatherer.go_on`.
        """
        run = (self.work.peek() or {}).get("run")
        if run is None:
            return None
        tensors = self.work.load_tensors(run["tensors"])
        values = {name: unpack(packed, tensors) for name, packed in run["values"].items()}
        gatherer.go_on((run["size"][0], run["size"][1]), run["images"])
        self._saved = run["frames"]
        host.tell(f"goes on after frame {self._saved}, where it was stopped")
        return LoopState(self._saved, values["result"], values["carried"], values["nodes"])

    def begin_anew(self) -> None:
        """Say that the record is damaged, and remove it."""
        begin_anew(self.path)

    def begin(self) -> None:
        """Note that a result is about to be written."""
        self._state = None

    def done(self, state: LoopState, gatherer: VideoGatherer) -> None:
        """Note that a frame is done, and save all if that is due.

        Raises:
            VideoError: the record cannot be written.
        """
        self._state = state
        if self._pace.due():
            self._save(state, gatherer)

    def stop(self, gatherer: VideoGatherer) -> None:
        """Save what is done of a loop that was stopped within a frame."""
        state = self._state
        # What a node keeps itself may have changed since. What cannot be saved does not count.
        if state is not None and not any(self._savable(*kept) for kept in state.nodes.items()):
            with suppress(VideoError):  # what stopped it says more
                self._save(state, gatherer)

    def _save(self, state: LoopState, gatherer: VideoGatherer) -> None:
        if not gatherer.begun or state.frames == self._saved:
            return
        with self._pace.recording():
            packer = Packer()
            try:
                values = {"result": packer.pack(state.result), "carried": packer.pack(state.carried)}
            except Unsavable as kind:
                host.tell(f"a carried value, {kind}, cannot be saved: from here on the loop is not recorded")
                return
            values["nodes"] = packer.pack(
                {node_id: self._savable(node_id, kept) for node_id, kept in state.nodes.items() if kept}
            )
            name = f"loop_{state.frames:08d}.safetensors"
            self.work.save_tensors(name, packer.tensors)
            gatherer.save({"frames": state.frames, "tensors": name, "values": values}, files=[name])
            self._saved = state.frames

    def _savable(self, node_id: str, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Return what of the attributes of a node can be saved, and say once which cannot."""
        savable = {}
        for name, value in kept.items():
            try:
                Packer().pack(value)
                savable[name] = value
            except Unsavable as kind:
                host.tell(
                    f"{title(self._body.nodes[node_id], node_id)} keeps {name} ({kind}) from frame to frame, which "
                    "cannot be saved: unless it is a cache, or never changes, a loop that goes on after a stop "
                    "differs"
                )
        return savable


def kept_by(attributes: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Return those attributes of a node that may have changed since it was made.

    Args:
        attributes: of the node now.
        fresh: a copy of them from when it was made. All but `FIXED` may have changed in place.
    """
    return {name: value for name, value in attributes.items() if not _is_same(value, fresh.get(name, fresh))}


def _is_same(value: Any, before: Any) -> bool:
    plain = isinstance(value, bool | int | float | str)
    return (value is before and _is_fixed(value)) or (plain and bool(value == before))


def _is_fixed(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(map(_is_fixed, value))
    return value is None or isinstance(value, FIXED)


def _runs_anyway(body: LoopBody) -> bool:
    always = any(is_never_same(node.get("is_changed")) for node in body.nodes.values())
    return always or bool(body.outputs) or any(map(_runs_anyway, body.inner.values()))
