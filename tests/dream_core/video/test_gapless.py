"""Sound without gaps."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from dream_core.video.gapless import SampleFormat, gapless


def frame(begin: float, *, rate: int = 8000, count: int = 800) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(np.full((1, count), 16000, dtype=np.int16), format="s16", layout="mono")
    made.sample_rate, made.pts, made.time_base = rate, round(begin * rate), Fraction(1, rate)
    return made


def heard(frames: list[av.AudioFrame], *, start: float = 0) -> np.ndarray:
    """Whether something sounds, in every tenth of a second."""
    wanted = SampleFormat(8000, "flt", "mono")
    pieces = [one.to_ndarray().ravel() for one in gapless(iter(frames), wanted, start=Fraction(start))]
    wave = np.concatenate(pieces)
    return np.abs(wave[: len(wave) // 800 * 800].reshape(-1, 800)).mean(1) > 0.1


@pytest.mark.parametrize("pause", [0.2, 70])
def test_gaps_are_filled(pause):
    found = heard([frame(0), frame(0.1 + pause)])
    assert len(found) == round(10 * pause) + 2
    assert np.flatnonzero(found).tolist() == [0, len(found) - 1]


def test_what_comes_before_the_start_is_dropped_and_what_comes_after_stays_late():
    assert heard([frame(0), frame(0.1), frame(0.2)], start=0.1).tolist() == [True, True]
    assert heard([frame(0.3)], start=0.1).tolist() == [False, False, True]


def test_a_rate_that_changes_on_the_way_loses_no_time():
    found = heard([frame(0), frame(0.1, rate=16000, count=1600), frame(0.2), frame(0.4)])
    assert found.tolist() == [True, True, True, False, True]
