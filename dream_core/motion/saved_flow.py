"""Saved flow of a clip, read frame by frame instead of being estimated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..errors import VideoError
from ..image import Size, alike, antialias, size_of
from ..settings import FrameBeside, InputSettings
from ..video import Clip, open_clip
from ..video.clip import FrameFlow
from .flow_file import flow_size, read_flow
from .flow_folder import BACKWARD, FORWARD, flow_files
from .flow_math import invert
from .warp import resize_flow


class SavedFlow:
    """Flow of a clip in files, of which one is in memory at a time.

    Args:
        path: see `flow_files`.
        points_to: frame that the vectors lead to, if another program wrote them.

    Raises:
        VideoError: see `flow_files`.
    """

    def __init__(self, path: Path, *, points_to: FrameBeside = "next") -> None:
        found = flow_files(path)
        self.path = path
        self.to_next = BACKWARD not in found and points_to == "next"
        """Whether the vectors lead from each frame to the next; the flow to the frame before is their inverse."""
        self.own = BACKWARD in found
        """Whether this pack wrote it, with one file for each frame."""
        self._files = found[BACKWARD] if self.own else found[""]
        self._forward = found.get(FORWARD)
        self.size = flow_size(self._files[0])
        """Height and width of the files."""

    def __len__(self) -> int:
        return len(self._files)

    def fits(self, frames: int) -> bool:
        """Return whether it is of so many frames. Other programs may leave one out, which leads nowhere."""
        return len(self) == frames or (not self.own and len(self) == frames - 1)

    def at(self, index: int, size: Size, *, frames: int) -> FrameFlow | None:
        """Read the flow of a frame.

        Args:
            index: of the frame.
            size: height and width to scale it to.
            frames: number of frames that the flow is of.

        Returns:
            None for the first frame, which has none before it.

        Raises:
            VideoError: a file cannot be read, or there is none for the frame.
        """
        if index == 0:
            return None
        number = index - 1 if self.to_next or len(self) < frames else index
        if number >= len(self):
            raise VideoError(
                f"expected a flow for each frame, got {len(self)} in {self.path} for more frames"
            )
        found = read_flow(self._files[number])
        if self.to_next:
            # At the size of the clip the inverse is quicker, and exact there.
            forward, _, known = fit_flow(FrameFlow(found.flow, reliability=found.reliability), size)
            inverse, reached = invert(forward, reliability=known)
            return FrameFlow(inverse, forward, reached)
        back = read_flow(self._forward[number]).flow if self._forward else None
        return fit_flow(FrameFlow(found.flow, back, found.reliability), size)


def add_saved_flow(clip: Clip, source: Path, settings: InputSettings) -> None:
    """Read the flow that `saved_flow` names beside the frames of a clip; nothing if it names none.

    Args:
        clip: just opened.
        source: what it was opened from.
        settings: it was opened with these.

    Raises:
        VideoError: the files cannot be read, have other proportions than the clip or are of another number.
    """
    if settings.saved_flow is None:
        return
    flow = SavedFlow(settings.saved_flow, points_to=settings.points_to)
    require_flow_for(flow.size, clip.size, where=str(flow.path))
    first, frames = _place(flow, clip, source, settings)
    clip.give({"flow": lambda index: flow.at(first + index, clip.size, frames=frames)})


def folders_of(path: Path) -> list[Path]:
    """Return the folders, or the file, that hold the flow at a path."""
    own = [path / name for name in (BACKWARD, FORWARD) if (path / name).is_dir()]
    return own or [path]


def _place(flow: SavedFlow, clip: Clip, source: Path, settings: InputSettings) -> tuple[int, int]:
    """Find the index of a clip's first frame among those that a flow is of, and their number.

    It is of the whole input, or of the part that is read. Where files of another program fit both, because the part
    is but one frame shorter, they are of the whole: the flow of a frame is then the same whatever part is read.
    """
    told, of_a_part = clip.frame_count, bool(settings.start or settings.frames)
    if flow.own and not of_a_part and told == len(flow):
        return 0, told
    # A container's own count may be wrong, by the one file that other programs may leave out.
    read = _count(source, settings)
    whole = _count(source, replace(settings, start=0.0, frames=0)) if of_a_part else read
    if flow.fits(whole):
        return clip.frames_before(), whole
    if flow.fits(read):
        return 0, read
    part = f" or {read} of the part that is dreamed" if read != whole else ""
    raise VideoError(
        f"expected one flow for each of the {whole} frames of {source}{part}, got {len(flow)} in {flow.path}: save "
        "that of this clip"
    )


def _count(source: Path, settings: InputSettings) -> int:
    plain = replace(settings, mask=None, guide=None, regions=())
    with open_clip(source, settings=plain) as clip:
        return sum(1 for _ in clip.times())


def fit_flow(flow: FrameFlow, size: Size) -> FrameFlow:
    """Scale the flow of a frame with its vectors, by those that are known.

    Args:
        flow: of any size.
        size: the new height and width.
    """
    if size_of(flow.backward) == size:
        return flow
    forward = None if flow.forward is None else resize_flow(flow.forward, size)
    plain = resize_flow(flow.backward, size)
    if flow.reliability is None:
        return FrameFlow(plain, forward)
    known = antialias(flow.reliability, size, mode="bilinear").clamp(0, 1)
    weighted = resize_flow(flow.backward * flow.reliability, size) / known.clamp_min(
        torch.finfo(known.dtype).eps
    )
    return FrameFlow(torch.where(known > 0, weighted, plain), forward, known)


def require_flow_for(size: Size, clip: Size, *, where: str) -> None:
    """Raise a VideoError if flow has other proportions than a clip.

    Args:
        size: height and width of the flow.
        clip: those of the clip.
        where: says where it comes from.
    """
    if not alike(size, clip):
        raise VideoError(
            f"expected flow in the proportions of the clip, {clip[1]}x{clip[0]} pixels, got {size[1]}x{size[0]} in "
            f"{where}: take that of this clip"
        )
