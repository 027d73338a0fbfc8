"""Checks of settings: ranges declared with the fields, and one function for all; the kind of a path."""

from __future__ import annotations

import errno
import stat
from collections.abc import Collection
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import SettingsError, VideoError


@dataclass(frozen=True)
class Range:
    """Range of a number, as metadata of its type: ``Annotated[float, Range(0, 1, step=0.05)]``.

    Args:
        least, most: ends of the range, both included.
        step: change per click on a widget.
        or_zero: True if 0 is allowed too, for "off" or "automatic".
    """

    least: float
    most: float
    step: float = 1
    or_zero: bool = False

    def __contains__(self, value: Any) -> bool:
        return bool(self.least <= value <= self.most or (self.or_zero and value == 0))

    def __str__(self) -> str:
        return f"from {_format(self.least)} to {_format(self.most)}" + (", or 0" if self.or_zero else "")


@dataclass(frozen=True)
class Choices:
    """Texts that a field takes, as metadata of its type: ``Annotated[str, Choices(("auto",), ("timm:",))]``.

    Args:
        known: whole texts.
        prefixes: beginnings, each followed by a name.
    """

    known: tuple[str, ...]
    prefixes: tuple[str, ...]

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, str) and (value in self.known or value.startswith(self.prefixes))

    def __str__(self) -> str:
        return ", ".join((*self.known, *(f"{prefix}NAME" for prefix in self.prefixes)))


def validate(settings: Any) -> None:
    """Check a dataclass of settings: each field by its type, nested dataclasses, then fields against each other.

    The last is done by the method `check_together` of a class, if it has one.

    Raises:
        SettingsError: a value is out of range, not a choice of its field, or does not fit another.
    """
    for name, kind in kinds(type(settings)).items():
        value = getattr(settings, name)
        if is_dataclass(value):
            validate(value)
        else:
            _check(f"`{name}`", kind, value)
    if hasattr(settings, "check_together"):
        settings.check_together()


def in_full(path: Path) -> Path:
    """Return a path that ends in a name: that of . and .. in full.

    Raises:
        VideoError: it is the root, which has no name.
    """
    full = path.resolve() if path.name in ("", "..") else path
    if not full.name:
        raise VideoError(f"expected a path that ends in a name, got {path}; name a file or folder in it")
    return full


def require_valid(cls: type[Any], **values: Any) -> None:
    """Check single values by the fields of a class of settings.

    Raises:
        SettingsError: a value is out of range, or not a choice of its field.
    """
    for name, value in values.items():
        _check(f"`{name}`", kinds(cls)[name], value)


def require_known(
    names: Collection[str],
    known: Collection[str],
    *,
    what: str = "options of dream_core",
    where: str = "dream_core.settings lists the options",
) -> None:
    """Raise a SettingsError for a name that is not known, with the nearest one or where to find them."""
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else where
            raise SettingsError(f"expected {what}, got `{name}`; {hint}")


def kinds(cls: type[Any]) -> dict[str, Any]:
    """Types of the fields of a dataclass, with their metadata, by name and in order."""
    if cls not in _kinds:  # cached: settings are checked for every frame
        hints = get_type_hints(cls, include_extras=True)
        _kinds[cls] = {field.name: hints[field.name] for field in fields(cls)}
    return _kinds[cls]


_kinds: dict[type[Any], dict[str, Any]] = {}


def split_range(kind: Any) -> tuple[Any, Range | None]:
    """Split `Annotated[T, Range(...)]` into T and its range, None if there is none; other metadata is dropped."""
    if get_origin(kind) is not Annotated:
        return kind, None
    plain, *metadata = get_args(kind)
    return plain, next((one for one in metadata if isinstance(one, Range)), None)


def choices_of(kind: Any) -> Choices | None:
    """Return the choices among the metadata of a type; None if there are none."""
    return next((one for one in getattr(kind, "__metadata__", ()) if isinstance(one, Choices)), None)


WORDED = {bool: "true or false", str: "a text"}
"""Types without a range, as errors say them."""


def _check(what: str, kind: Any, value: Any) -> None:
    choices = choices_of(kind)
    kind, limits = split_range(kind)
    if choices:
        if value not in choices:
            raise SettingsError(f"expected {what} to be one of {choices}, got {value!r}")
    elif limits:
        _check_number(what, kind, limits, value)
    elif get_origin(kind) is Literal:
        if value not in get_args(kind):
            names = ", ".join(map(str, get_args(kind)))
            raise SettingsError(f"expected {what} to be one of {names}, got {value!r}")
    elif get_origin(kind) in (Union, UnionType):
        if value is not None:
            _check(what, get_args(kind)[0], value)
    elif get_origin(kind) is tuple:
        _check_tuple(what, get_args(kind), value)
    elif kind in WORDED and not isinstance(value, kind):
        raise SettingsError(f"expected {what} to be {WORDED[kind]}, got {value!r}")


def _check_number(what: str, kind: Any, limits: Range, value: Any) -> None:
    whole = kind is int
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not number or value not in limits:
        wanted = f"a whole number {limits}" if whole and isinstance(value, float) else limits
        raise SettingsError(f"expected {what} {wanted}, got {_format(value)}")


def _check_tuple(what: str, entries: tuple[Any, ...], values: Any) -> None:
    if not isinstance(values, (tuple, list)):
        raise SettingsError(f"expected {what} as a tuple, got {values!r}")
    if Ellipsis in entries:
        entries = entries[:1] * len(values)
    if len(values) != len(entries):
        raise SettingsError(f"expected {len(entries)} values in {what}, got {len(values)}")
    for kind, value in zip(entries, values, strict=True):
        _check(f"each of {what}", kind, value)


def _format(value: Any) -> str:
    """Format a number for people: 16384, 0.01, 1e-05."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def remedy(error: OSError, doing: Literal["read", "written"] = "written") -> str:
    """Say what to do about a file or folder that the system did not let be read or written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free space on the disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"change its permissions, or choose one that may be {doing}"
    if error.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if error.errno == errno.ELOOP:
        return "correct the link, which leads to itself"
    return "check that it is there" if doing == "read" else "check the folder and the space on the disk"


def kind_of(path: Path) -> Literal["file", "folder", "other"] | None:
    """Return what a path leads to; None for nothing, or what cannot be looked at.

    Unlike `Path.exists`, it never raises.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # a zero byte in the name is a ValueError
        return None
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"
