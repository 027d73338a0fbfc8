"""Settings that follow the sound of a clip: the option `listen`."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, get_args

from ..checks import require_known, validate
from ..errors import SettingsError, VideoError
from ..schedules.schedules import LAYERS, Schedules, join
from ..settings import SCHEDULABLE, EnvelopeSettings, ListenSettings, SoundFeature, SoundSettings
from ..video.clip import Clip
from ..video.samples import read_samples, sound_of
from .curve import frequencies, sound_curve

_ENTRY = re.compile(r"\s*([a-z][\w-]*)\s*=\s*([^:]+?)\s*:\s*(.+?)\s*\.\.\s*(.+?)\s*", re.IGNORECASE)
_BAND = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)\s*hz", re.IGNORECASE)
_EXAMPLE = "learning_rate=onsets:1..4"


class Listening(NamedTuple):
    """A setting that follows a sound.

    Args:
        name: of the setting.
        sound: what it listens for, and its values.
    """

    name: str
    sound: SoundSettings


def hear(clip: Clip, settings: ListenSettings, envelope: EnvelopeSettings, *, start: float) -> Schedules:
    """Make the schedules of the settings that follow a sound.

    Args:
        clip: opened, not read yet.
        settings: what follows what, and another file to listen to.
        envelope: the shape of the curves.
        start: seconds at which the clip begins in its file.

    Raises:
        SettingsError: an entry cannot be read, its setting is not known or follows twice.
        VideoError: there is no sound, or it cannot be read.
    """
    entries = [parse_listening(text) for text in settings.listen]
    if not entries:
        return Schedules()
    known = [name for name in SCHEDULABLE if name != LAYERS]
    require_known(
        [entry.name for entry in entries],
        known,
        what="a setting that can follow a sound in `listen`",
        where=f"choose one of {', '.join(known)}",
    )
    sound = clip.sound if settings.listen_to is None else sound_of(settings.listen_to, start=start)
    if sound is None:
        raise VideoError(
            "expected an input with sound for `listen`, got one without: name another file by `listen_to`"
        )
    seconds = None
    if clip.frame_count is not None:
        seconds = clip.frame_count / float(clip.fps) + 1 + max(0.0, -envelope.delay)
    samples = read_samples(sound, seconds=seconds)
    frame = 1 / float(clip.fps)
    return join((one.name, sound_curve(samples, one.sound, envelope, frame=frame)) for one in entries)


def parse_listening(text: str) -> Listening:
    """Read an entry such as ``learning_rate=onsets:1..4`` or ``blend=200-2000Hz:0.3..0.05``.

    Raises:
        SettingsError: it cannot be read.
    """
    parts = _ENTRY.fullmatch(text)
    if not parts:
        raise SettingsError(
            f"expected SETTING=FEATURE:LEAST..MOST in `listen`, such as {_EXAMPLE}, got '{text}'"
        )
    name, feature, least, most = parts.groups()
    sound = SoundSettings(**_feature(feature), least=_number(least, text), most=_number(most, text))
    validate(sound)
    frequencies(sound)
    return Listening(name.replace("-", "_"), sound)


def _feature(text: str) -> dict[str, Any]:
    """Fields of SoundSettings that a feature sets."""
    if band := _BAND.fullmatch(text):
        return {"feature": "band", "band_low": float(band[1]), "band_high": float(band[2])}
    named = [name for name in get_args(SoundFeature) if name != "band"]
    if text not in named:
        raise SettingsError(
            f"expected one of {', '.join(named)} in `listen`, or a range of frequencies such as 200-2000Hz, got "
            f"'{text}'"
        )
    return {"feature": text}


def _number(text: str, entry: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(
            f"expected two numbers such as 1..4 in `listen`, got '{text}' in '{entry}'"
        ) from None
