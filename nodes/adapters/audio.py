"""ComfyUI's AUDIO as samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...dream_core.errors import VideoError
from ...dream_core.video.samples import Samples
from .require import WireError


def from_audio(audio: Any, *, name: str = "audio") -> Samples:
    """Convert an AUDIO: its channels mixed, the first one of a batch.

    Args:
        audio: a dictionary of waveform (B,C,T) and sample_rate.
        name: of the input, for the error message.

    Raises:
        WireError: it is none.
        VideoError: it has no samples, or holds NaN or infinite values.
    """
    wave, rate = (
        audio.get(key) if isinstance(audio, Mapping) else None for key in ("waveform", "sample_rate")
    )
    if not isinstance(wave, Tensor) or wave.ndim != 3 or not isinstance(rate, int) or rate < 1:
        raise WireError(
            f"expected {name} as AUDIO (waveform and sample_rate), got {type(audio).__name__}: connect Load Audio "
            "or Get Video Components"
        )
    if 0 in wave.shape:
        raise VideoError(
            f"{name} has no samples, {tuple(wave.shape)}: connect a sound, or a video that has one"
        )
    mixed = wave[0].detach().to("cpu").float().mean(0)
    if not mixed.isfinite().all():
        raise VideoError(f"{name} holds NaN or infinite values: connect another sound")
    return Samples(mixed.clone(), rate)
