"""Division of a clip into segments that can be dreamed apart: at cuts, and within shots where that is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from ..device import send
from ..motion.finder import MotionFinder
from ..motion.scene_cuts import COMPARISON_SIDE, THRESHOLD, content_change, find_pan
from ..temporal.dreamer import FLASH

BESIDE_A_CUT = FLASH
"""Number of frames before and after a cut in which there must be no other, so that none of them is a flash."""

OVERLAP = 24
"""Number of frames before a seam within a shot over which one part fades out and the dream of the next grows."""


class Segment(NamedTuple):
    """Frames of a clip, from index `first` to before `end`.

    Args:
        first, end: indices of frames.
        continues: True if it begins within a shot, which the segment before it begins.
        leads_on: True if it ends within a shot, which the next one goes on with.
    """

    first: int
    end: int
    continues: bool = False
    leads_on: bool = False

    @property
    def frame_count(self) -> int:
        """Number of the frames."""
        return self.end - self.first


def find_cuts(frames: Iterable[Tensor], is_cut: Callable[[Tensor, Tensor], bool]) -> tuple[list[int], int]:
    """Find the cuts at which a dream begins anew and never looks back.

    It is a fast scan: only where the colors of two frames differ much, and around there, is `is_cut` asked. Cuts
    between similar colors are left out, and those that are near another one or near an end of the clip: the dream
    is the same without them, but cannot be divided there.

    Args:
        frames: (1,3,H,W) RGB in 0..1, of one size.
        is_cut: says of a frame and the one before it what the dreamer would, as `cut_test` makes it.

    Returns:
        The indices of the frames after such cuts, and the number of all frames.
    """
    # With the frame before the first that has to be no cut.
    window: deque[Tensor] = deque(maxlen=2 * BESIDE_A_CUT + 2)
    candidates: set[int] = set()
    cuts: list[int] = []
    count = 0
    for frame in frames:
        if window and content_change(_every(frame), _every(window[-1])) >= THRESHOLD:
            candidates.add(count)
        window.append(frame)
        count += 1
        middle = count - 1 - BESIDE_A_CUT
        if middle in candidates and len(window) == window.maxlen:
            pairs = list(zip(list(window)[1:], window, strict=False))
            own = pairs.pop(BESIDE_A_CUT)
            if is_cut(*own) and not any(is_cut(*pair) for pair in pairs):
                cuts.append(middle)
    return cuts, count


def _every(frame: Tensor) -> Tensor:
    """Take every so many pixels of a large frame, enough for a first look."""
    step = max(1, max(frame.shape[-2:]) // COMPARISON_SIDE)
    return frame[..., ::step, ::step]


def cut_test(find: MotionFinder) -> Callable[[Tensor, Tensor], bool]:
    """Return a function that says whether the dreamer finds a cut between a frame and the one before it.

    Args:
        find: with the flow estimator and the settings of the dream.
    """

    def test(frame: Tensor, previous: Tensor) -> bool:
        frame, previous = (send(one, find.flow.device) for one in (frame, previous))
        found = find(frame, [previous])
        return find.is_cut(found, frame, previous) and find_pan(frame, previous) is None

    return test


def divide(cuts: Sequence[int], frame_count: int, *, shortest: int) -> list[Segment]:
    """Divide a clip at cuts. Shots in a row are one segment until it has enough frames.

    Args:
        cuts: indices of the frames after cuts, in order.
        frame_count: of the clip.
        shortest: number of frames that a segment has at least, if the clip has as many.
    """
    starts = [0]
    for cut in cuts:
        if cut - starts[-1] >= shortest and frame_count - cut >= shortest:
            starts.append(cut)
    return [Segment(*pair) for pair in zip(starts, [*starts[1:], frame_count], strict=True)]


def split(
    segments: Sequence[Segment], *, wanted: int = 1, longest: int = 0, shortest: int = 1
) -> list[Segment]:
    """Split long segments, wherever a shot is just then, into parts of equal lengths.

    Args:
        segments: from `divide`.
        wanted: number of segments to come to, if that is possible; the longest are split first.
        longest: number of frames that a part may have; 0 for any.
        shortest: number of frames that a part has at least where `wanted` asks for it.
    """
    parts = [-(-one.frame_count // longest) if longest else 1 for one in segments]

    while sum(parts) < wanted:
        can_split = [
            number for number, one in enumerate(segments) if one.frame_count >= shortest * (parts[number] + 1)
        ]
        if not can_split:
            break
        parts[max(can_split, key=lambda number: segments[number].frame_count / parts[number])] += 1
    return [part for one, count in zip(segments, parts, strict=True) for part in _parts(one, count)]


def _parts(segment: Segment, count: int) -> list[Segment]:
    ends = [segment.first + segment.frame_count * number // count for number in range(count + 1)]
    return [
        Segment(first, end, continues=first > segment.first, leads_on=end < segment.end)
        for first, end in pairwise(ends)
    ]


def divide_evenly(frame_count: int, *, shortest: int) -> list[Segment]:
    """Divide a clip whose frames continue no dream: anywhere."""
    return divide(range(shortest, frame_count, shortest), frame_count, shortest=shortest)
