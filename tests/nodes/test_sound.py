"""Sound Curve."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch


def audio(*, seconds: float = 4, rate: int = 16_000) -> dict[str, Any]:
    """Clicks at 0.25 s, 0.75 s, ... in stereo."""
    time = torch.arange(round(seconds * rate)) / rate
    since = (time - 0.25) % 0.5
    wave = torch.sin(2 * math.pi * 1000 * since) * torch.exp(-300 * since) * (time >= 0.25)
    return {"waveform": torch.stack([wave, 0.5 * wave])[None], "sample_rate": rate}


@pytest.fixture
def curve(pack: Any, run: Any, defaults: Any) -> Any:
    node = pack("nodes.sound").SoundCurve

    def curve(sound: Any, *, feature: Any = "level", **values: Any) -> Any:
        chosen = feature if isinstance(feature, dict) else {"feature": feature}
        return run(node, **{**defaults(node), "audio": sound, **values, "feature": chosen})

    return curve


@pytest.mark.parametrize("fps", [24, 30000 / 1001])
def test_there_is_a_number_for_each_frame_and_a_schedule_in_step(curve: Any, fps: float) -> None:
    schedule, values, plot = curve(audio(), feature="onsets", fps=fps, least=1.0, most=4.0, release=0.1)
    assert len(values) == round(4 * fps)
    assert values == [schedule.schedule.at(index, index / fps) for index in range(len(values))]
    for click in range(8):
        shown = int((0.25 + 0.5 * click) * fps)
        assert max(values[shown : shown + 2]) == pytest.approx(4, abs=0.5)
        assert min(values[shown + 4 : shown + 8]) == 1
    assert plot.shape[0] == 1
    assert plot.shape[-2:] == (1200, 3)


def test_a_video_brings_the_times_of_its_frames(curve: Any, pack: Any, video: Path) -> None:
    source = pack("nodes.adapters.videos").InputImpl.VideoFromFile(str(video))
    schedule, values, _ = curve(audio(), feature="beats", video=source)
    assert values == [schedule.schedule.at(index, index / 10) for index in range(6)]


def test_a_band_has_its_own_widgets(curve: Any) -> None:
    _, inside, _ = curve(audio(), feature={"feature": "band", "band_low": 500.0, "band_high": 2000.0})
    assert max(inside) > 0.5
    with pytest.raises(Exception, match="expected band_low below band_high, got 900 and 500 Hz"):
        curve(audio(), feature={"feature": "band", "band_low": 900.0, "band_high": 500.0})


def test_silence_is_told_on_the_node(curve: Any, host: Any) -> None:
    _, values, _ = curve({"waveform": torch.zeros(1, 1, 8000), "sample_rate": 8000}, feature="level")
    assert set(values) == {0.0}
    assert host.told == ["no sound in this range was found: the curve stays at its least, 0"]


def test_a_sound_without_samples_is_refused(curve: Any, errors: Any) -> None:
    with pytest.raises(errors.VideoError, match=r"audio has no samples, \(1, 1, 0\): connect a sound"):
        curve({"waveform": torch.zeros(1, 1, 0), "sample_rate": 8000})
