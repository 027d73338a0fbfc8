"""Frames -> dreamed frames, of which the last leads into the first where the clip is to loop."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..checks import warn_once
from ..dreaming.dream import DreamCallback
from ..dreaming.memory import step_with_smaller_tiles
from ..video import Frame
from .dreamer import DreamedFrame, TemporalDreamer

MOST_GAIN = 2**0.5
"""What a mix of two unrelated patterns in equal parts needs. Opposite ones leave nothing to be strengthened."""

Step = Callable[[TemporalDreamer, Tensor], DreamedFrame]


def dream_frames(
    clip: Iterable[Frame],
    dreamer: TemporalDreamer,
    *,
    free: Callable[[], None],
    on_step: DreamCallback | None = None,
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream the frames of a clip one after the other, in smaller tiles where memory runs out.

    With `seamless` in its settings, the dream of the last frames, at most `seamless_frames` and all but the first,
    fades over into one that is carried from the first frame in reversed time. The last frame shows that one alone,
    and so leads into the first. As many frames are read ahead, and no dream is held back: whoever stops has
    all that was dreamed so far.

    Args:
        clip: frames of one size.
        dreamer: at the clip's beginning.
        free: see `with_smaller_tiles`.
        on_step: told about every gradient step, those in reversed time too.

    Yields:
        Each frame with its dream, in order. What was carried is always what came over from the frame before.

    Raises:
        OutOfMemoryError: there is too little memory for the smallest tiles.
        ImageError: a frame is no image, or not of the clip's size.
    """

    def step(dreamer: TemporalDreamer, image: Tensor) -> DreamedFrame:
        return step_with_smaller_tiles(dreamer, image[None], free=free, on_step=on_step)

    if _closes(dreamer):
        yield from _dream_loop(iter(clip), dreamer, step)
        return
    for frame in clip:
        yield frame, step(dreamer, frame.image)


def crossfade(frame: Tensor, dream: Tensor, other: Tensor, share: float) -> Tensor:
    """Mix two dreams of a frame without a loss of strength on the way.

    ``frame + gain * lerp(dream - frame, other - frame, share)``, clamped to 0..1. Patterns that differ cancel out
    in part; the gain brings the mix to the root mean square that lies between theirs.

    Args:
        frame, dream, other: (1,3,H,W) in 0..1.
        share: of the other dream, 0..1.
    """
    ours, theirs = dream - frame, other - frame
    mixed = torch.lerp(ours, theirs, share)
    wanted = torch.lerp(_strength(ours), _strength(theirs), share)
    gain = (wanted / _strength(mixed).clamp_min(torch.finfo(mixed.dtype).tiny)).clamp_max(MOST_GAIN)
    return (frame + gain * mixed).clamp(0, 1)


def _strength(difference: Tensor) -> Tensor:
    return difference.square().mean().sqrt()


def _closes(dreamer: TemporalDreamer) -> bool:
    """Whether the loop is wanted, and there is something to close."""
    if dreamer.temporal.seamless and dreamer.temporal.independent:
        warn_once("--seamless does nothing with --independent: no frame leads into another")
        return False
    return dreamer.temporal.seamless


def _dream_loop(
    clip: Iterator[Frame], dreamer: TemporalDreamer, step: Step
) -> Iterator[tuple[Frame, DreamedFrame]]:
    opening = next(clip, None)
    if opening is None:
        return
    first = step(dreamer, opening.image)
    yield opening, first
    ahead: deque[Frame] = deque()
    for frame in clip:
        ahead.append(frame)
        if len(ahead) > dreamer.temporal.seamless_frames:
            frame = ahead.popleft()
            yield frame, step(dreamer, frame.image)
    ends = _dream_back(ahead, dreamer.backwards_from(first), step)
    fading, behind_cut = len(ends), False
    while ahead:
        frame = ahead.popleft()
        dreamed = step(dreamer, frame.image)
        if len(ahead) < fading:
            # Behind a cut no dream came over that would have to fade away.
            behind_cut = behind_cut or dreamed.carried is None
            share = 1 if behind_cut else 1 - len(ahead) / fading
            end = ends.popleft().to(dreamed.dream.device)
            dreamed = replace(dreamed, dream=crossfade(dreamed.frame, dreamed.dream, end, share))
        yield frame, dreamed


def _dream_back(frames: Sequence[Frame], dreamer: TemporalDreamer, step: Step) -> deque[Tensor]:
    """Dreams of the last frames, in order, carried from behind them in reversed time, as far as to a cut.

    Args:
        frames: the last ones of the clip, in order.
        dreamer: which goes on from the clip's first dream.
        step: dreams a frame.

    Returns:
        (1,3,H,W) on the CPU, so that they take no device's memory.
    """
    dreams: deque[Tensor] = deque()
    for frame in reversed(frames):
        dreamed = step(dreamer, frame.image)
        if dreamed.carried is None:
            break
        dreams.appendleft(dreamed.dream.cpu())
    if frames and not dreams:
        warnings.warn(
            "the clip cuts from its last frame to its first, so that --seamless leaves it open: choose another "
            "start or end, or switch --cuts off to dream across",
            stacklevel=2,
        )
    return dreams
