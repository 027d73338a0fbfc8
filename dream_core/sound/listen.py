"""Entries of the option `listen`: which setting follows what of a sound."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, get_args

from ..checks import validate
from ..errors import SettingsError
from ..settings import SoundFeature, SoundSettings
from .curve import frequencies

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
