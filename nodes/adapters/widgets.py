"""ComfyUI's widgets from the settings' dataclasses, and the settings back from the widgets' values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from comfy_api.latest import io
from docstring_parser import parse

from ...dream_core.checks import Range, choices_of, kinds, split_range, validate
from ...dream_core.errors import SettingsError

Settings = TypeVar("Settings")

ELSEWHERE = {
    "print_layers": "the output layers of Load Dream Model",
    "model_file": "weights of Load Dream Model",
    "flow": "Load Flow Model with",
    "flow_file": "model of Load Flow Model",
}
"""Fields without a widget of the same name."""

ROUND = 0.0001
"""Finest step that a widget of a fraction keeps."""


COUNT = "channel_count"
"""Name of the widget of `channels` if it is a number of channels instead of a list."""

COUNTS = Range(1, 10_000)
"""Range of that widget; the layer's number of channels is the real limit."""

CHOICES: dict[str, dict[str, dict[str, str]]] = {
    "optimizer": {
        "clean": {name: name for name in ("natural_colors", "spectrum", "turn", "stretch")},
        "lbfgs": {"lbfgs_history": "lbfgs_history"},
    },
    "octave_mode": {
        "normal": {"octaves": "octaves", "octave_scale": "octave_scale"},
        "advanced": {"octaves": "octaves", "octave_scale": "octave_scale"},
        "manual": {"octave_sizes": "octave_sizes"},
        "manual_max": {"octave_sizes": "octave_sizes"},
        "manual_min": {"octave_sizes": "octave_sizes"},
    },
    "layout": {
        "side_by_side": {},
        "wipe": {"wipe_seconds": "wipe_seconds"},
        "difference": {"amplify": "amplify"},
    },
    "operation": {
        "scale": {"factor": "factor"},
        "smooth": {"smoothing": "smoothing"},
    },
    "feature": {"band": {"band_low": "band_low", "band_high": "band_high"}},
    "channel_mode": {
        "all": {"channels": "channels"},
        "ignore": {"channels": "channels"},
        "strong": {COUNT: "channels"},
        "avg": {COUNT: "channels"},
        "weak": {COUNT: "channels"},
    },
}
"""Choice -> its value -> the widgets shown only for that value -> the fields they set."""

DEPENDENT = {field for options in CHOICES.values() for shown in options.values() for field in shown.values()}

BASIC = {
    "size",
    "frames",
    "model",
    "layers",
    "layer",
    "count",
    "channels",
    COUNT,
    "loss",
    "octaves",
    "octave_scale",
    "octave_steps",
    "octave_sizes",
    "learning_rate",
    "natural_colors",
    "spectrum",
    "turn",
    "stretch",
    "lbfgs_history",
    "seed",
    "tile_size",
    "original_colors",
    "blend",
    "zoom_factor",
    "rotation",
    "pan_x",
    "pan_y",
    "saturation_length",
    "arrow_spacing",
    "min_speed",
    "still_camera",
    "factor",
    "smoothing",
    "file_format",
    "points_to",
    "flow_layout",
    "amplify",
    "wipe_seconds",
    "labels",
    "band_low",
    "band_high",
    "least",
    "most",
    "attack",
    "release",
}
"""Widgets that are not marked advanced. Choices with widgets of their own are always shown.

Advanced widgets are optional too: a graph that does not name one, such as an older graph, gets the default.
"""


def as_widgets(text: str) -> str:
    """Replace the names of fields, which the library's texts write in backticks, by those of widgets."""
    return re.sub(r"`([a-z]\w*)`", lambda name: ELSEWHERE.get(name[1], name[1]), text)


def widgets(
    *classes: type[Any], only: Collection[str] | None = None, leave_out: Collection[str] = ()
) -> list[io.Input]:
    """Make a widget for each field, under the field's name.

    Args:
        classes: of settings; their order, and that of their fields, is that of the widgets.
        only: fields that have a widget here; by default all.
        leave_out: fields that have none.

    Raises:
        TypeError: a field has a type without a widget.
    """
    return [_widget(one, name) for one in classes for name in _shown(one, only, leave_out)]


def settings_from(
    cls: type[Settings],
    values: Mapping[str, Any],
    *,
    only: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    required: bool = True,
) -> Settings:
    """Convert the values of widgets to settings.

    Args:
        cls: the class of settings.
        values: the arguments of a node's `execute`; those of other classes are ignored. A choice is a
            dictionary of itself and of the widgets it shows.
        only, leave_out: as for `widgets`; fields without a widget keep their defaults.
        required: False if a value that is missing means its default, also one that is not advanced.

    Raises:
        SettingsError: a required value is missing, or a value belongs to another choice, cannot be read, is
            out of range or does not fit another.
    """
    given: dict[str, Any] = {}
    for name in _shown(cls, only, leave_out):
        if name not in values and not required:
            continue
        if name in CHOICES:
            given |= _chosen(cls, name, values.get(name))  # ComfyUI leaves out a choice that it does not know
        elif name in values:
            given[name] = _read(name, kinds(cls)[name], values[name])
        elif name in BASIC:
            raise SettingsError(f"expected a value for {name}, got none: set the widget again")
    settings = cls(**given)
    validate(settings)
    return settings


def _shown(cls: type[Any], only: Collection[str] | None, leave_out: Collection[str]) -> list[str]:
    """List the fields that have a widget of their own, without those that a choice shows."""
    return [
        name
        for name in kinds(cls)
        if (only is None or name in only) and name not in leave_out and name not in DEPENDENT
    ]


def tooltip(cls: type[Any], name: str) -> str:
    """Return the text about a field in its class's docstring, with the names of widgets."""
    return _texts(cls.__doc__ or "")[name]


@cache
def _texts(docstring: str) -> dict[str, str]:
    described = parse(docstring).params
    return {one.arg_name: as_widgets(" ".join((one.description or "").split())) for one in described}


def _widget(cls: type[Any], name: str, *, field: str = "") -> io.Input:
    field = field or name
    kind, limits = split_range(kinds(cls)[field])
    limits = COUNTS if name == COUNT else limits
    default, text = getattr(cls, field), tooltip(cls, field)
    if name in CHOICES:
        return io.DynamicCombo.Input(name, options=_options(cls, name), tooltip=text)
    rarely = name not in BASIC
    known = choices_of(kinds(cls)[field])
    if known or get_origin(kind) is Literal:
        choices = list(known.known if known else get_args(kind))
        return io.Combo.Input(
            name, options=choices, default=default, tooltip=text, optional=rarely, advanced=rarely
        )
    if kind is bool:
        return io.Boolean.Input(name, default=default, tooltip=text, optional=rarely, advanced=rarely)
    if limits:
        return _number(name, kind, limits, default, text, rarely)
    if _is_text(kind):
        return io.String.Input(
            name, default=_written(default), tooltip=text, optional=rarely, advanced=rarely
        )
    raise TypeError(f"expected a range for {name} or a kind that a widget is known for, got {kind}")


def _number(name: str, kind: Any, limits: Range, default: Any, text: str, rarely: bool) -> io.Input:
    least = 0 if limits.or_zero else limits.least
    if kind is float:
        return io.Float.Input(
            name,
            default=default,
            min=least,
            max=limits.most,
            step=limits.step,
            round=ROUND,
            tooltip=text,
            optional=rarely,
            advanced=rarely,
        )
    return io.Int.Input(
        name,
        default=int(least) if name == COUNT else default,
        min=int(least),
        max=int(limits.most),
        step=int(limits.step),
        # Otherwise ComfyUI would draw a new seed for every run.
        control_after_generate=io.ControlAfterGenerate.fixed if name == "seed" else None,
        tooltip=text,
        optional=rarely,
        advanced=rarely,
    )


def _options(cls: type[Any], choice: str) -> list[io.DynamicCombo.Option]:
    """Put the default first, because ComfyUI starts with the first choice."""
    default, shown = getattr(cls, choice), CHOICES[choice]
    keys = sorted(get_args(kinds(cls)[choice]), key=lambda key: key != default)
    return [
        io.DynamicCombo.Option(
            key, [_widget(cls, name, field=field) for name, field in shown.get(key, {}).items()]
        )
        for key in keys
    ]


def _chosen(cls: type[Any], choice: str, value: Any) -> dict[str, Any]:
    """Return the fields that a choice and the widgets it shows set."""
    keys = get_args(kinds(cls)[choice])
    if not isinstance(value, Mapping) or value.get(choice) not in keys:
        raise SettingsError(
            _no_choice(choice, value.get(choice) if isinstance(value, Mapping) else value, keys)
        )
    key, shown = value[choice], CHOICES[choice].get(value[choice], {})
    if value.keys() != {choice, *shown}:
        wanted, came = ", ".join(shown) or "nothing", ", ".join(sorted(value.keys() - {choice})) or "nothing"
        raise SettingsError(f"expected {wanted} beside {choice} {key}, got {came}: choose {choice} again")
    read = {field: _read(name, kinds(cls)[field], value[name]) for name, field in shown.items()}
    return {choice: key, **read}


def check_choice(name: str, value: Any, choices: Sequence[str]) -> bool | str:
    """Check a combo for the `validate_inputs` of a node, where ComfyUI itself would name no choice that is near.

    Use it for one combo of a node: ComfyUI repeats the answer at every input that `validate_inputs` names.

    Args:
        name: of the widget.
        value: of the widget; None where another node gives it.
        choices: of the widget.

    Returns:
        True, or what is wrong.
    """
    return True if value is None or value in choices else _no_choice(name, value, choices)


def _no_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    told = "none of these" if value is None else f"'{value}'"
    near = get_close_matches(str(value), choices, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"expected {name} to be one of {', '.join(choices)}, got {told}{hint}"


def _read(name: str, kind: Any, value: Any) -> Any:
    if name == COUNT:
        return (str(value),)
    if not _is_text(kind):
        return value
    if not isinstance(value, str):
        raise SettingsError(f"expected text for {name}, got {value!r}")
    if kind is str:
        return value.strip()
    if kind == str | None:
        return value.strip() or None
    parts = _split(name, value)
    if get_origin(kind) is not tuple:  # a tuple of numbers, or None
        kind = get_args(kind)[0]
        if not parts:
            return None
    entry, _ = split_range(get_args(kind)[0])
    count = None if Ellipsis in get_args(kind) else len(get_args(kind))
    wanted = f"{count or ''} numbers".strip()
    if count is not None and len(parts) != count:
        raise SettingsError(f"expected {wanted} in {name}, got '{value}'")
    try:
        return tuple(entry(part) for part in parts)
    except ValueError:
        raise SettingsError(f"expected {wanted} in {name}, got '{value}'") from None


def _is_text(kind: Any) -> bool:
    """Return True if the widget is a line of text: for a text, a list, or one of these or None."""
    if kind is str:
        return True
    if get_origin(kind) in (Union, UnionType):
        inner, *rest = get_args(kind)
        return rest == [type(None)] and (inner is str or (get_origin(inner) is tuple and _is_text(inner)))
    return get_origin(kind) is tuple and split_range(get_args(kind)[0])[0] in (str, int, float)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(map(str, value or ()))


def _split(name: str, text: str) -> list[str]:
    """Split a text at blanks and commas; quotes keep an entry with blanks together, as in the command."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace += ","
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""
    lexer.quotes = '"'
    try:
        return list(lexer)
    except ValueError:
        raise SettingsError(f"expected quotes in pairs in {name}, got '{text}'") from None
