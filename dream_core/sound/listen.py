"""Settings that follow the sound of a clip: the option `listen`."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from ..checks import require_known, validate
from ..errors import SettingsError, VideoError
from ..schedules.schedules import Schedules, join
from ..settings import SCHEDULABLE_NUMBERS, EnvelopeSettings, ListenSettings, SoundFeature, SoundSettings
from ..video.clip import Clip
from ..video.samples import Samples, read_samples, sound_of
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
        if settings.listen_to is not None:
            warnings.warn(
                f"`listen_to` {settings.listen_to} does nothing without `listen`, which names what follows it",
                stacklevel=2,
            )
        return Schedules()
    require_known(
        [entry.name for entry in entries],
        SCHEDULABLE_NUMBERS,
        what="a setting that can follow a sound in `listen`",
        where=f"choose one of {', '.join(SCHEDULABLE_NUMBERS)}",
    )
    samples = samples_for(clip, settings.listen_to, start=start)
    frame = 1 / float(clip.fps)
    return join((one.name, sound_curve(samples, one.sound, envelope, frame=frame)) for one in entries)


def samples_for(clip: Clip, other: Path | None, *, start: float) -> Samples:
    """Read the whole sound of a clip, or of another file that begins with it.

    What comes before the clip's first frame and after its last is read too: what counts as loud, and the beats, are
    the same whatever part of the input the clip is.

    Args:
        clip: opened, not read yet.
        other: the other file; None for the clip's own sound.
        start: seconds at which the clip begins in its file.

    Raises:
        VideoError: there is no sound, or it cannot be read.
    """
    sound = clip.sound if other is None else sound_of(other, start=start)
    if sound is None:
        raise VideoError(
            "expected an input with sound for `listen`, got one without: name another file by `listen_to`"
        )
    beginning = sound_of(sound.path, start=0.0)
    samples = read_samples(beginning)
    skipped = sound.start - beginning.start
    if samples.seconds <= skipped:
        raise VideoError(
            f"the sound of {sound.path} has no samples from {sound.start:g} s on: choose another file or start"
        )
    return replace(samples, begin=-skipped)


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
    sound = replace(parse_feature(feature), least=_number(least, text), most=_number(most, text))
    validate(sound)
    return Listening(name.replace("-", "_"), sound)


def parse_feature(text: str) -> SoundSettings:
    """Read a feature such as ``onsets`` or ``200-2000Hz``, as a curve from 0 to 1.

    Raises:
        SettingsError: it cannot be read.
    """
    if band := _BAND.fullmatch(text):
        sound = SoundSettings(feature="band", band_low=float(band[1]), band_high=float(band[2]))
        frequencies(sound)
        return sound
    named = [name for name in get_args(SoundFeature) if name != "band"]
    if text not in named:
        raise SettingsError(
            f"expected one of {', '.join(named)} in `listen`, or a range of frequencies such as 200-2000Hz, got "
            f"'{text}'"
        )
    feature: Any = text
    return SoundSettings(feature=feature)


def _number(text: str, entry: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(
            f"expected two numbers such as 1..4 in `listen`, got '{text}' in '{entry}'"
        ) from None
