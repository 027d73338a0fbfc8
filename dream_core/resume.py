"""Dreams that go on where they were stopped: the state of a run, saved every few seconds beside its output."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from .checks import in_full, kind_of, remedy
from .device import choose_devices
from .errors import VideoError
from .models.registry import resolve_model
from .motion.flow import resolve_flow
from .motion.saved_flow import folders_of
from .settings import InputSettings, OutputSettings, PipelineSettings
from .temporal.dreamer import DreamedFrame, DreamerState, TemporalDreamer
from .temporal.seamless import Begun
from .unfinished import Pace, Unfinished, digest_of
from .video import Frame, Output
from .video.alongside import region_files
from .video.images import images_in

NOT_OF_A_RESULT = ("restart", "overwrite", "flow_batch", "save_last_dream", "beside")
"""Settings that do not change what comes out."""


FILES = (
    "model_file",
    "flow_file",
    "label_file",
    "text_pretrained",
    "previous_dream",
    "mask",
    "guide",
    "listen_to",
)
"""Settings that name files whose content counts, if there is such a file."""


def work_folder(
    source: Path,
    target: Path,
    *,
    pipeline: PipelineSettings,
    reading: InputSettings,
    writing: OutputSettings,
    more: Mapping[str, Any] | None = None,
) -> Unfinished:
    """Return the folder of an unfinished dream, not opened yet.

    Args:
        source: the input.
        target: the output.
        pipeline, reading, writing: all settings that the output depends on.
        more: others, by name.

    Raises:
        VideoError: the input cannot be read, or the output has no name.
    """
    conditions = {**conditions_of(pipeline, reading, writing), **(more or {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is chosen is told when it is loaded
        conditions["model"] = resolve_model(pipeline.model)
        if not pipeline.temporal.independent:
            conditions["flow"] = resolve_flow(pipeline.flow, folders=pipeline.model.model_dirs)
    conditions["device"] = [str(device) for device in choose_devices(pipeline.device)]
    try:
        conditions["input"] = digest_of(source, files=_images(source))
        for name in FILES:
            conditions[name] = conditions[name] and _digest(Path(conditions[name]))
        if reading.saved_flow:
            each = "".join(map(digest_of, folders_of(reading.saved_flow)))
            conditions["saved_flow"] = sha256(each.encode()).hexdigest()
        files = region_files(reading.regions)
        conditions["regions"] = {name: _digest(path) for name, path in files.items()}
    except OSError as error:
        raise VideoError(
            f"{error.filename} cannot be read ({error.strerror}): {remedy(error, 'read')}"
        ) from error
    return Unfinished(in_full(target), conditions=conditions, restart=writing.restart)


def _digest(path: Path) -> Any:
    return digest_of(path, files=_images(path)) if kind_of(path) in ("file", "folder") else str(path)


def _images(path: Path) -> list[Path]:
    """The images of a folder, which alone count: the output may grow there, and the system leaves files there."""
    return images_in(path) if kind_of(path) == "folder" else []


class Keeper:
    """Saves what a dream needs to go on, and restores it.

    Args:
        dreamer: of the clip, without earlier frames.
        output: opened with its folder.
    """

    def __init__(self, dreamer: TemporalDreamer, output: Output) -> None:
        assert output.work
        self._dreamer = dreamer
        self._output = output
        self._work = output.work
        self._first: DreamedFrame | None = None
        self._last_start = 0
        self._state: DreamerState | None = None
        """After the last frame that is done; None while one is being written."""
        self._files: set[str] = set()
        self._pace = Pace()

    def restore(self) -> Begun | None:
        """Bring the dreamer to where the earlier run was; None if there was none.

        Raises:
            DamagedError: the record is damaged.
        """
        run = self._output.state
        if run is None:
            return None
        first = self._load(run["first"])
        self._dreamer.state = DreamerState(
            past=tuple(map(self._load, run["past"])),
            before_cut=None if run["before_cut"] is None else tuple(map(self._load, run["before_cut"])),
            since_cut=run["since_cut"],
            count=run["count"],
            tile_size=run["tile_size"],
            flow_limits=None if run["flow_limits"] is None else tuple(run["flow_limits"]),
        )
        self._first, self._last_start = first, run["last_start"]
        return Begun(done=self._output.restored, last_start=self._last_start, first=self._first)

    def begin(self) -> None:
        """Note that a frame is about to be written."""
        self._state = None

    def done(self, frame: Frame, dreamed: DreamedFrame, state: DreamerState) -> None:
        """Note that a frame is written, and save all if that is due.

        Args:
            frame, dreamed: what was written.
            state: the dreamer's after it.

        Raises:
            VideoError: the record cannot be written.
        """
        if self._first is None:
            self._first = replace(dreamed, carried=None)
        if dreamed.carried is None:
            self._last_start = frame.index
        self._state = state
        if self._pace.due():
            self.save()

    def save(self) -> None:
        """Save what is done; nothing while a frame is being written.

        Raises:
            VideoError: the record cannot be written.
        """
        state, first = self._state, self._first
        if state is None or first is None:
            return
        with self._pace.recording():
            self._record(state, first)

    def _record(self, state: DreamerState, first: DreamedFrame) -> None:
        before_cut = state.before_cut
        frames = list(_each(first, state))
        for frame in frames:
            self._save(frame)
        run = {
            "past": [one.number for one in state.past],
            "before_cut": None if before_cut is None else [one.number for one in before_cut],
            "since_cut": state.since_cut,
            "count": state.count,
            "tile_size": state.tile_size,
            "flow_limits": state.flow_limits,
            "first": first.number,
            "last_start": self._last_start,
        }
        self._files = {_file(frame.number) for frame in frames}
        self._output.save(run, files=self._files)

    def _save(self, one: DreamedFrame) -> None:
        name = _file(one.number)
        if name not in self._files:
            self._work.save_tensors(name, one.tensors)

    def _load(self, number: int) -> DreamedFrame:
        tensors = self._work.load_tensors(_file(number))
        self._files.add(_file(number))
        frame = DreamedFrame(**tensors, carried=None, number=number)
        return frame.to(self._dreamer.dream.device)


def _each(first: DreamedFrame, state: DreamerState) -> Iterator[DreamedFrame]:
    yield first
    yield from state.past
    yield from state.before_cut or ()


def _file(number: int) -> str:
    return f"dream_{number:08d}.safetensors"


def conditions_of(*settings: Any) -> dict[str, Any]:
    """Return all settings that a result depends on, and those nested in them, by name."""
    flat: dict[str, Any] = {}
    for one in settings:
        for name, value in vars(one).items():
            if is_dataclass(value):
                flat.update(conditions_of(value))
            elif name not in NOT_OF_A_RESULT:
                flat[name] = value
    return flat
