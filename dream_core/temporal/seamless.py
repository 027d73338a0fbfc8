"""Dreams of clips that play in a circle: the last frame leads into the first."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..dreaming.dream import DreamCallback
from ..schedules.schedules import Moment
from ..video import Frame
from .dreamer import DreamedFrame, TemporalDreamer

MAX_GAIN = 2**0.5
"""Largest gain of a crossfade: two unrelated patterns in equal parts need it. Opposite patterns would need more,
but little of them is left to amplify."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What of a clip is dreamed already.

    Args:
        done: number of frames.
        last_start: index of the last of them that continued no dream.
        first: the first one.
    """

    done: int
    last_start: int
    first: DreamedFrame

    def needed(self, seamless_frames: int) -> int:
        """Index of the first frame that is read again: the last of those done may lie in the fade."""
        return max(1, self.done - seamless_frames)


def dream_seamless(
    clip: Iterable[Frame],
    dreamer: TemporalDreamer,
    *,
    begun: Begun | None = None,
    on_step: DreamCallback | None = None,
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream a clip that plays in a circle.

    Over the last frames, at most `seamless_frames` and never the first, the dream fades into one that is carried
    from the first frame in reversed time. The last frame shows that one alone, and so leads into the first. Up to
    `seamless_frames` frames are read ahead. Each dream is yielded as soon as it is ready, so that an interruption
    loses none.

    Args:
        clip: frames of one size; with `begun`, those from the index on that it says is needed.
        dreamer: without earlier frames, or after those that are done.
        begun: what is done already; it is not yielded.
        on_step: called after every gradient step, including those in reversed time.

    Yields:
        Each frame with its dream, in order. `carried` is always from the frame before.

    Raises:
        ImageError, OutOfMemoryError: see `TemporalDreamer.step`.
    """
    frames = iter(clip)
    if begun is None:
        opening = next(frames, None)
        if opening is None:
            return
        first = dream_next(dreamer, opening, None, on_step)
        yield opening, first
        begun = Begun(done=1, last_start=0, first=first)
    ahead: deque[Frame] = deque()
    for frame in frames:
        ahead.append(frame)
        if len(ahead) > dreamer.temporal.seamless_frames:
            frame = ahead.popleft()
            if frame.index >= begun.done:
                yield frame, dream_next(dreamer, frame, ahead[0] if ahead else None, on_step)
    yield from _fade(ahead, dreamer, begun, on_step)


def _fade(
    ahead: deque[Frame], dreamer: TemporalDreamer, begun: Begun, on_step: DreamCallback | None
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream the last frames, fading into the dream that is carried from the first frame in reversed time."""
    ends = _dream_back(ahead, dreamer.backwards_from(begun.first), on_step)
    fading = len(ends)
    # After a cut there is no carried dream to fade out.
    after_cut = bool(ends) and begun.last_start > ahead[-1].index - fading
    while ahead:
        frame = ahead.popleft()
        end = ends.popleft() if len(ahead) < fading else None
        if frame.index < begun.done:
            continue
        dreamed = dream_next(dreamer, frame, ahead[0] if ahead else None, on_step)
        if end is not None:
            after_cut = after_cut or dreamed.carried is None
            share = 1 if after_cut else 1 - len(ahead) / fading
            faded = crossfade(dreamed.frame, dreamed.dream, end.to(dreamed.dream.device), share)
            dreamed = replace(dreamed, dream=faded)
        yield frame, dreamed


def dream_next(
    dreamer: TemporalDreamer, frame: Frame, following: Frame | None, on_step: DreamCallback | None
) -> DreamedFrame:
    """Dream the next frame, after nothing where the clip begins anew; `following` as in `TemporalDreamer.step`."""
    if frame.anew:
        dreamer.reset()
    expected = following.image[None] if following and not following.anew else None
    return dreamer.step(
        frame.image[None],
        **_given_with(frame),
        following=expected,
        following_moment=_moment_of(following) if following else None,
        following_flow=following.flow if following else None,
        on_step=on_step,
    )


def _moment_of(frame: Frame) -> Moment:
    return Moment(frame.index, frame.time)


def _given_with(frame: Frame) -> dict[str, Any]:
    """Arguments of `TemporalDreamer.step` that come with a frame."""
    return {
        "moment": _moment_of(frame),
        "mask": None if frame.mask is None else frame.mask[None],
        "regions": {name: one[None] for name, one in frame.regions.items()},
        "guides": [one[None] for one in frame.guides],
        "flow": frame.flow,
    }


def _dream_back(
    frames: Sequence[Frame], dreamer: TemporalDreamer, on_step: DreamCallback | None
) -> deque[Tensor]:
    """Dream the last frames in reversed time, back to a cut or to where the clip begins anew.

    Args:
        frames: the last frames of the clip, in order.
        dreamer: continues from the clip's first dream.
        on_step: called after every gradient step.

    Returns:
        (1,3,H,W) each, in the order of the frames; on the CPU, to save the memory of the device.
    """
    dreams: deque[Tensor] = deque()
    after: Frame | None = None
    for frame in reversed(frames):
        flow = after.flow.reversed() if after and after.flow else None
        given = {**_given_with(frame), "flow": flow}
        dreamed = dreamer.step(frame.image[None], **given, on_step=on_step)
        after = frame
        if dreamed.carried is None:
            break
        dreams.appendleft(dreamed.dream.cpu())
        if frame.anew:
            break
    if frames and not dreams:
        warnings.warn(
            "the clip cuts from its last frame to its first, so `seamless` has no effect; choose another start or "
            "end, or switch `cuts` off",
            stacklevel=2,
        )
    return dreams


def crossfade(frame: Tensor, dream: Tensor, other: Tensor, share: float) -> Tensor:
    """Mix two dreams of a frame without loss of strength.

    ``frame + gain * lerp(dream - frame, other - frame, share)``, clamped to 0..1. Different patterns cancel out in
    part; the gain restores the root mean square, interpolated between those of the two.

    Args:
        frame, dream, other: (1,3,H,W) in 0..1.
        share: weight of the other dream, 0..1.
    """
    residual, other_residual = dream - frame, other - frame
    mixed = torch.lerp(residual, other_residual, share)
    wanted = torch.lerp(_rms(residual), _rms(other_residual), share)
    gain = (wanted / _rms(mixed).clamp_min(torch.finfo(mixed.dtype).tiny)).clamp_max(MAX_GAIN)
    return (frame + gain * mixed).clamp(0, 1)


def _rms(residual: Tensor) -> Tensor:
    return residual.square().mean().sqrt()
