"""Dreams whose last frame leads into one that is dreamed already: of clips that play in a circle, and of parts."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..dreaming.dream import DreamCallback
from ..schedules.schedules import Moment
from ..video import Frame
from .dreamer import DreamedFrame, TemporalDreamer

MAX_GAIN = 2**0.5
"""Largest gain of a crossfade: two unrelated patterns in equal parts need it. Opposite patterns would need more,
but little of them is left to amplify."""


class ShotPart(NamedTuple):
    """Says how a clip is a part of a shot whose parts are dreamed apart from each other.

    Args:
        run_up: number of first frames that belong to the part before, whose dreams are thrown away: so the dream is
            fully grown where the part begins.
        fade: number of last frames that fade into the dream of the next part, whose run-up is as long; 0 if nothing
            follows. The clip then ends with the first frame of the next part, which is not yielded.
    """

    run_up: int = 0
    fade: int = 0


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What of a clip is dreamed already.

    Args:
        done: number of frames; where the clip is a part of another, counted in that one.
        last_start: index of the last of them that continued no dream.
        first: the first one.
    """

    done: int
    last_start: int
    first: DreamedFrame


def dream_seamless(
    clip: Iterable[Frame],
    dreamer: TemporalDreamer,
    *,
    begun: Begun | None = None,
    part: ShotPart | None = None,
    on_step: DreamCallback | None = None,
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream a clip that plays in a circle, or a part that leads into the next one.

    Over the last frames, at most `seamless_frames` and never the first, the dream fades into one that is carried
    from the first frame in reversed time. The last frame shows that one alone, and so leads into the first. Up to
    `seamless_frames` frames are read ahead. Each dream is yielded as soon as it is ready, so that an interruption
    loses none.

    A part fades likewise into the first frame of the next part, which it dreams for this, after its run-up.

    Args:
        clip: frames of one size; with `begun`, from the last of those that are done on, as many as are read ahead.
        dreamer: without earlier frames, or after those that are done.
        begun: what is done already; it is not yielded.
        part: one with a fade; without, the clip plays in a circle.
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
        begun = Begun(done=opening.index + 1, last_start=opening.index, first=first)
    ahead: deque[Frame] = deque()
    held = part.fade + 1 if part else dreamer.temporal.seamless_frames
    for frame in frames:
        ahead.append(frame)
        if len(ahead) > held:
            frame = ahead.popleft()
            if frame.index >= begun.done:
                yield frame, dream_next(dreamer, frame, ahead[0] if ahead else None, on_step)
    if part is None:
        ends = _dream_back(ahead, dreamer.backwards_from(begun.first), on_step)
        if ahead and not ends:
            warnings.warn(
                "the clip cuts from its last frame to its first, so `seamless` has no effect; choose another start "
                "or end, or switch `cuts` off",
                stacklevel=2,
            )
    else:
        ends = _dream_back_from_next(ahead, dreamer, on_step)
    yield from _fade(ahead, ends, dreamer, begun, on_step)


def _dream_back_from_next(
    ahead: deque[Frame], dreamer: TemporalDreamer, on_step: DreamCallback | None
) -> deque[Tensor]:
    """Dream the run-up and the first frame of the next part, and from there back; see `_dream_back`.

    Args:
        ahead: the frames of the fade, and that one, which is taken out.
        dreamer: of the part.
        on_step: called after every gradient step.
    """
    opening = ahead.pop()
    if opening.anew:
        return deque()
    other = dreamer.afresh()
    for frame in (*ahead, opening):
        first = dream_next(other, frame, None, on_step)
    return _dream_back(ahead, dreamer.backwards_from(first), on_step, after=opening)


def _fade(
    ahead: deque[Frame],
    ends: deque[Tensor],
    dreamer: TemporalDreamer,
    begun: Begun,
    on_step: DreamCallback | None,
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream the last frames, fading into the dreams `ends` of the last of them."""
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
    frames: Sequence[Frame],
    dreamer: TemporalDreamer,
    on_step: DreamCallback | None,
    *,
    after: Frame | None = None,
) -> deque[Tensor]:
    """Dream the last frames in reversed time, back to a cut or to where the clip begins anew.

    Args:
        frames: the last frames of the clip, in order.
        dreamer: continues from the dream that they lead into.
        on_step: called after every gradient step.
        after: the frame after them, whose flow leads back to them.

    Returns:
        (1,3,H,W) each, in the order of the frames; on the CPU, to save the memory of the device.
    """
    dreams: deque[Tensor] = deque()
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
