"""Division of a clip into segments that can be dreamed apart: at cuts, and within shots where that is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from ..device import send
from ..motion.finder import MotionFinder
from ..motion.scene_cuts import THRESHOLD, content_change, find_pan
from ..temporal.dreamer import FLASH

BESIDE_A_CUT = FLASH
"""Number of frames before and after a cut in which there must be no other, so that none of them is a flash."""


NEAR = 500
"""Cuts are looked for among so many frames before and after those at which equal parts would end."""


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


def near_equal_parts(frame_count: int, *, wanted: int) -> set[int]:
    """Return the indices of the frames at which a clip may be divided, for it to have about equal parts.

    Args:
        frame_count: of the clip; an estimate will do.
        wanted: number of parts.
    """
    ends = [frame_count * number // wanted for number in range(1, wanted)]
    return {index for end in ends for index in range(end - NEAR, end + NEAR)}


def find_candidates(frames: Iterable[tuple[int, Tensor]]) -> list[int]:
    """Find frames whose colors differ much from those of the frame before: a first look for cuts, at a small size.

    Args:
        frames: those to look at with their indices, in order; (1,3,H,W) RGB in 0..1, of one size.

    Returns:
        Their indices.
    """
    return [
        index
        for (before, previous), (index, frame) in pairwise(frames)
        if index == before + 1 and content_change(frame, previous) >= THRESHOLD
    ]


def around(candidate: int) -> range:
    """Indices of the frames that `find_cuts` needs, with the one before the first that has to be no cut."""
    return range(candidate - BESIDE_A_CUT - 1, candidate + BESIDE_A_CUT + 1)


def find_cuts(
    frames: Iterable[tuple[int, Tensor]], candidates: Iterable[int], is_cut: Callable[[Tensor, Tensor], bool]
) -> list[int]:
    """Find the cuts at which a dream begins anew and never looks back.

    Cuts between similar colors are no candidates, and those that are near another one or near an end of the clip
    are left out: the dream is the same without them, but cannot be divided there.

    Args:
        frames: those `around` the candidates with their indices, in order; others do no harm. (1,3,H,W) RGB in
            0..1, of one size.
        candidates: from `find_candidates`.
        is_cut: says of a frame and the one before it what the dreamer would, as `cut_test` makes it.

    Returns:
        The indices of the frames after such cuts.
    """
    window: deque[tuple[int, Tensor]] = deque(maxlen=len(around(0)))
    waiting, cuts = set(candidates), []
    for index, image in frames:
        window.append((index, image))
        middle = index - BESIDE_A_CUT
        if middle not in waiting or [one for one, _ in window] != list(around(middle)):
            continue
        images = [one for _, one in window]
        pairs = list(zip(images[1:], images, strict=False))
        own = pairs.pop(BESIDE_A_CUT)
        if is_cut(*own) and not any(is_cut(*pair) for pair in pairs):
            cuts.append(middle)
    return cuts


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


def divide(cuts: Sequence[int], frame_count: int, *, wanted: int, shortest: int) -> list[Segment]:
    """Divide a clip at the cuts that are nearest to those of equal parts.

    Args:
        cuts: indices of the frames after cuts, in order.
        frame_count: of the clip.
        wanted: number of parts; no more, because the clip is decoded again up to each.
        shortest: number of frames that a segment has at least, if the clip has as many.
    """
    starts = [0]
    for number in range(1, wanted):
        even = frame_count * number / wanted
        cut = min(cuts, key=lambda one: abs(one - even), default=0)
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
