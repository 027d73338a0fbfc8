"""AUDIO as samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.fixture
def from_audio(pack: Any) -> Any:
    return pack("nodes.adapters.audio").from_audio


def test_channels_are_mixed_and_the_first_of_a_batch_is_taken(from_audio: Any) -> None:
    wave = torch.rand(2, 3, 100)
    samples = from_audio({"waveform": wave, "sample_rate": 8000})
    torch.testing.assert_close(samples.wave, wave[0].mean(0))
    assert (samples.rate, samples.seconds) == (8000, 100 / 8000)


@pytest.mark.parametrize("shape", [(1, 2, 0), (1, 0, 10), (0, 2, 10)])
def test_a_sound_without_samples_is_told(from_audio: Any, pack: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        pack("dream_core.errors").VideoError, match=r"audio has no samples, .*: connect a sound"
    ):
        from_audio({"waveform": torch.zeros(shape), "sample_rate": 8000})


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"waveform": torch.zeros(1, 1, 5)}, {"waveform": torch.zeros(5), "sample_rate": 8}],
)
def test_what_is_no_audio_is_told(from_audio: Any, pack: Any, value: Any) -> None:
    with pytest.raises(pack("nodes.adapters.require").WireError, match="expected audio as AUDIO"):
        from_audio(value)


def test_values_that_are_no_numbers_are_told(from_audio: Any, pack: Any) -> None:
    with pytest.raises(pack("dream_core.errors").VideoError, match="audio holds NaN"):
        from_audio({"waveform": torch.full((1, 1, 5), torch.nan), "sample_rate": 8000})
