"""Flat options: settings by the names of their fields, as keywords of `dream_video` and in the file of a look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from .checks import require_known, validate


def fill_settings(options: Mapping[str, Any], *classes: type[Any]) -> list[Any]:
    """Make settings, with the settings nested in them, from flat options.

    Args:
        options: values by field name. Paths may be strings, texts may be numbers, and a tuple of one value may be
            the value itself.
        classes: classes of settings, such as `PipelineSettings`.

    Returns:
        An instance of each class; fields that no option names keep their defaults.

    Raises:
        SettingsError: an option is not a field of any class, is out of range, or does not fit another.
    """
    require_known(options, {name for cls in classes for name in field_names(cls)})
    filled = [_fill(cls, options) for cls in classes]
    for settings in filled:
        validate(settings)
    return filled


def field_names(cls: type[Any]) -> Iterator[str]:
    """Names of the fields of a class of settings and of those nested in it, in order."""
    for name, kind in get_type_hints(cls).items():
        if is_dataclass(kind):
            yield from field_names(kind)  # type: ignore[arg-type]
        else:
            yield name


def _fill(cls: type[Any], options: Mapping[str, Any]) -> Any:
    kinds = get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):
        kind = kinds[field.name]
        if is_dataclass(kind):
            values[field.name] = _fill(kind, options)  # type: ignore[arg-type]
        elif field.name in options:
            values[field.name] = _convert(options[field.name], kind)
    return cls(**values)


def _convert(value: Any, kind: Any) -> Any:
    """Convert strings to paths, numbers to texts and lists to tuples where the field has that type."""
    wanted = next((one for one in (kind, *get_args(kind)) if get_origin(one) is tuple), None)
    if wanted is not None and value is not None:
        entries = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_convert(entry, get_args(wanted)[0]) for entry in entries)
    if isinstance(value, str) and (kind is Path or Path in get_args(kind)):
        return Path(value)
    # The index of a channel may be a number.
    return str(value) if kind is str and type(value) is int else value
