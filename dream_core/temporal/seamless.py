"""Frames -> dreamed frames, of which the last leads into the first."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..dreaming.dream import DreamCallback
from ..video import Frame
from .dreamer import DreamedFrame, TemporalDreamer

MOST_GAIN = 2**0.5
"""Gain that a mix of two unrelated patterns in equal parts needs; opposite ones leave nothing to strengthen."""


def dream_seamless(
    clip: Iterable[Frame], dreamer: TemporalDreamer, *, on_step: DreamCallback | None = None
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream a clip that plays in a circle.

    The dream of the last frames, at most `seamless_frames` and all but the first, fades over into one that is
    carried from the first frame in reversed time. The last frame shows that one alone, and so leads into the first.
    As many frames are read ahead, and no dream is held back: an interruption leaves all that was dreamed so far.

    Args:
        clip: frames of one size.
        dreamer: at the clip's beginning.
        on_step: called after every gradient step, those in reversed time too.

    Yields:
        Each frame with its dream, in order. `carried` is always from the frame before.

    Raises:
        ImageError, OutOfMemoryError: see `TemporalDreamer.step`.
    """
    frames = iter(clip)
    opening = next(frames, None)
    if opening is None:
        return
    first = dreamer.step(opening.image[None], on_step=on_step)
    yield opening, first
    ahead: deque[Frame] = deque()
    for frame in frames:
        ahead.append(frame)
        if len(ahead) > dreamer.temporal.seamless_frames:
            frame = ahead.popleft()
            yield frame, dreamer.step(frame.image[None], on_step=on_step)
    ends = _dream_back(ahead, dreamer.backwards_from(first), on_step)
    fading, after_cut = len(ends), False
    while ahead:
        frame = ahead.popleft()
        dreamed = dreamer.step(frame.image[None], on_step=on_step)
        if len(ahead) < fading:
            # After a cut no dream was carried that would have to fade away.
            after_cut = after_cut or dreamed.carried is None
            share = 1 if after_cut else 1 - len(ahead) / fading
            end = ends.popleft().to(dreamed.dream.device)
            dreamed = replace(dreamed, dream=crossfade(dreamed.frame, dreamed.dream, end, share))
        yield frame, dreamed


def _dream_back(
    frames: Sequence[Frame], dreamer: TemporalDreamer, on_step: DreamCallback | None
) -> deque[Tensor]:
    """Dream the last frames in reversed time, back to a cut.

    Args:
        frames: the last ones of the clip, in order.
        dreamer: continues from the clip's first dream.
        on_step: called after every gradient step.

    Returns:
        (1,3,H,W) in the order of the frames, on the CPU, so that they take no device's memory.
    """
    dreams: deque[Tensor] = deque()
    for frame in reversed(frames):
        dreamed = dreamer.step(frame.image[None], on_step=on_step)
        if dreamed.carried is None:
            break
        dreams.appendleft(dreamed.dream.cpu())
    if frames and not dreams:
        warnings.warn(
            "the clip cuts from its last frame to its first, so that `seamless` leaves it open: choose another "
            "start or end, or switch `cuts` off to dream across",
            stacklevel=2,
        )
    return dreams


def crossfade(frame: Tensor, dream: Tensor, other: Tensor, share: float) -> Tensor:
    """Mix two dreams of a frame without a loss of strength on the way.

    ``frame + gain * lerp(dream - frame, other - frame, share)``, clamped to 0..1. Patterns that differ cancel out
    in part; the gain brings the mix to the root mean square that lies between theirs.

    Args:
        frame, dream, other: (1,3,H,W) in 0..1.
        share: of the other dream, 0..1.
    """
    residual, other_residual = dream - frame, other - frame
    mixed = torch.lerp(residual, other_residual, share)
    wanted = torch.lerp(_rms(residual), _rms(other_residual), share)
    gain = (wanted / _rms(mixed).clamp_min(torch.finfo(mixed.dtype).tiny)).clamp_max(MOST_GAIN)
    return (frame + gain * mixed).clamp(0, 1)


def _rms(residual: Tensor) -> Tensor:
    return residual.square().mean().sqrt()
