"""Folders with the flow of a clip, one file for each frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import VideoError
from .flow_convert import both_directions
from .flow_file import FORMATS, FlowFile, flow_size, is_flow, read_flow, require_format, write_flow

BACKWARD, FORWARD = "backward", "forward"
"""Folders in a folder of flow: to the frame before, and from it."""


class ClipFlow(NamedTuple):
    """Flow of a clip.

    Args:
        backward: (B,2,H,W) float32 in pixels, x first: from each frame to the one before it.
        forward: the same from the frame before; None if it is not known.
        reliability: (B,1,H,W) in 0..1, 0 where backward is not known.
    """

    backward: Tensor
    forward: Tensor | None
    reliability: Tensor


class FlowFolder:
    """A folder that receives backward/flow_000000.flo and so on, and forward/ beside it.

    Args:
        path: of the folder, which is made.
        suffix: of the files, see `write_flow`.

    Raises:
        VideoError: the folder cannot be made or holds flow already, or the format cannot be written.
    """

    def __init__(self, path: Path, suffix: str) -> None:
        require_format(suffix)
        self.path, self._suffix = path, suffix
        for folder in (BACKWARD, FORWARD):
            if any((path / folder).glob("*")):
                raise VideoError(f"{path / folder} is not empty: choose another folder for the flow")
        try:
            (path / BACKWARD).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VideoError(f"{path} cannot be made ({error.strerror}): choose another folder") from error

    def save(
        self,
        index: int,
        backward: Tensor,
        *,
        forward: Tensor | None = None,
        reliability: Tensor | None = None,
    ) -> None:
        """Write the flow of one frame.

        Args:
            index: of the frame, from 0.
            backward, forward: (2,H,W) or (1,2,H,W) in pixels.
            reliability: (1,H,W) or (1,1,H,W) in 0..1, of the backward flow.

        Raises:
            VideoError: see `write_flow`.
        """
        write_flow(self._file(BACKWARD, index), backward, reliability=reliability)
        if forward is not None:
            (self.path / FORWARD).mkdir(exist_ok=True)
            write_flow(self._file(FORWARD, index), forward)

    def _file(self, folder: str, index: int) -> Path:
        return self.path / folder / f"flow_{index:06d}{self._suffix}"


def flow_files(path: Path) -> dict[str, list[Path]]:
    """List the files of flow below a path, in natural order, and check that all have one size.

    Args:
        path: a folder that `FlowFolder` wrote, a folder of files, or one file.

    Returns:
        The files of the folders `BACKWARD` and `FORWARD`, the second maybe missing; those of another program as "".

    Raises:
        VideoError: there are none, they differ in size, or the two folders in number.
    """
    if path.is_file():
        found = {"": [path]}
    else:
        found = {name: files for name in (BACKWARD, FORWARD) if (files := _listed(path / name))}
        if BACKWARD not in found:
            found = {"": _listed(path)}
    files = [one for some in found.values() for one in some]
    if not files:
        raise VideoError(
            f"expected flow in {path}, files ending in {', '.join(FORMATS)}, got none: name the folder that "
            f"holds them"
        )
    first = flow_size(files[0])
    for one in files[1:]:
        if (size := flow_size(one)) != first:
            raise VideoError(
                f"expected flow of one size, got {files[0].name} with {first[1]}x{first[0]} and {one.name} with "
                f"{size[1]}x{size[0]} pixels in {path}: keep clips apart"
            )
    if len({len(some) for some in found.values()}) > 1:
        raise VideoError(
            f"expected as many files in {FORWARD} as in {BACKWARD} of {path}, got {len(found[FORWARD])} and "
            f"{len(found[BACKWARD])}: save the flow again"
        )
    return found


def load_flows(path: Path, *, to_next: bool = True, first_missing: bool = True) -> ClipFlow:
    """Load the flow of a clip.

    Args:
        path: see `flow_files`.
        to_next: whether files of another program lead from each frame to the next, as is usual; else to the one
            before. What `FlowFolder` wrote says it itself.
        first_missing: whether they leave out the first frame, which has none before it; it gets flow without
            motion.

    Raises:
        VideoError: see `flow_files` and `read_flow`.
    """
    found = flow_files(path)
    if BACKWARD in found:
        backward = _read(found[BACKWARD])
        forward = _read(found[FORWARD]).flow if FORWARD in found else None
        return ClipFlow(backward.flow, forward, backward.reliability)
    flows = _read(found[""])
    return ClipFlow(
        *both_directions(
            flows.flow, to_next=to_next, first_missing=first_missing, reliability=flows.reliability
        )
    )


def _read(files: Sequence[Path]) -> FlowFile:
    parts = [read_flow(file) for file in files]
    return FlowFile(torch.cat([one.flow for one in parts]), torch.cat([one.reliability for one in parts]))


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        return sorted((one for one in folder.iterdir() if is_flow(one) and one.is_file()), key=_natural_order)
    except OSError as error:
        raise VideoError(f"{folder} cannot be read ({error.strerror}): check its permissions") from error


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts]
