"""Looks: named sets of options that suit each other, each a small JSON file.

    {"description": "Snouts and eyes.", "options": {"model": "bvlc_googlenet", "layers": ["inception_4c_output"]}}

Options are fields of `dream_core.settings`; those that a look does not name have their defaults. What is given
beside a look wins. The layers and channels of a look belong to its network, so they are left out for another.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from .checks import kind_of, require_known
from .errors import Notice, SettingsError
from .flat_options import field_names, fill_settings
from .settings import (
    AscentSettings,
    ImageSettings,
    ModelChoice,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    ScheduleSettings,
    TemporalSettings,
    TextSettings,
)

Settings = TypeVar("Settings")

FOLDER = Path(__file__).with_name("look_files")
"""The looks of the package: NAME.json each."""

FIRST = "creatures"
"""Look that begins every list, and that a new node has."""

SUFFIX = ".json"

CLASSES = (
    ModelSettings,
    ObjectiveSettings,
    TextSettings,
    OctaveSettings,
    AscentSettings,
    ImageSettings,
    TemporalSettings,
    ScheduleSettings,
)
NOT_OF_A_LOOK = ("model_file", "model_dirs", "model_mean", "label_file")
OPTIONS = tuple(name for cls in CLASSES for name in field_names(cls) if name not in NOT_OF_A_LOOK)
"""Options that a look may have: not those of files, of time and memory, and of what is read and written."""

OF_THE_NETWORK = ("layers", "channels", "channel_mode", "channel_capture")
"""Options that mean something for one network only."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A set of options.

    Args:
        name: of its file, without the suffix.
        description: one line.
        options: value by field name, all valid.
    """

    name: str
    description: str
    options: Mapping[str, Any]

    @property
    def model(self) -> str:
        """Name of its network, or auto."""
        return str(self.options.get("model", ModelSettings.model))

    def options_for(self, model: str | None) -> dict[str, Any]:
        """Options for a network: without layers and channels if it is not the look's own.

        Args:
            model: name of the network, or None for the look's own.
        """
        own = model in (None, self.model)
        return {name: value for name, value in self.options.items() if own or name not in OF_THE_NETWORK}

    def settings(self, cls: type[Settings], *, model: str | None = None) -> Settings:
        """Make settings of a class from the options for a network; see `options_for`."""
        own = set(field_names(cls))
        return cls(**{name: value for name, value in self.options_for(model).items() if name in own})

    def warn_left_out(self, model: str | None) -> None:
        """Tell, by a `Notice`, if options are left out for a network; see `options_for`."""
        left_out = [f"`{name}`" for name in self.options if name not in self.options_for(model)]
        if left_out:
            warnings.warn(
                f"`model` {model} is not {self.model}, the network of `look` {self.name}: leaving out "
                f"the look's {', '.join(left_out)}",
                Notice,
                stacklevel=2,
            )


def look_names() -> list[str]:
    """Names of the package's looks: the first one, then the others by network and name."""
    names = [path.stem for path in FOLDER.glob(f"*{SUFFIX}")]
    networks = get_args(ModelChoice)
    return sorted(names, key=lambda name: (name != FIRST, networks.index(named_look(name).model), name))


def load_look(look: str | Path) -> Look:
    """Read a look.

    Args:
        look: name of one of the package's looks, or path of a .json file.

    Raises:
        SettingsError: there is no such look, its file cannot be read, or an option in it is unknown or wrong.
    """
    path = Path(look)
    if path.suffix.lower() != SUFFIX:
        return named_look(str(look))
    try:
        return _read(path)
    except SettingsError as error:
        # In a file the names are the fields' own, not flags or widgets.
        raise SettingsError(f"{path}: {error}".replace("`", "")) from error


def named_look(name: str) -> Look:
    """Read one of the package's looks.

    Raises:
        SettingsError: there is none of this name.
    """
    path = FOLDER / f"{name}{SUFFIX}"
    if path not in FOLDER.glob(f"*{SUFFIX}"):
        raise SettingsError(_unknown(name))
    return _read(path)


def save_look(path: Path, description: str, *settings: Any, model: str, overwrite: bool = False) -> None:
    """Write the options of settings that differ from their defaults, as a look.

    Args:
        path: of the file, *.json.
        description: one line.
        settings: of the classes that looks have options of; other classes are ignored.
        model: name of the network that layers and channels belong to.
        overwrite: replace a file that exists.

    Raises:
        SettingsError: the file has another suffix, exists, or cannot be written.
    """
    if path.suffix.lower() != SUFFIX:
        raise SettingsError(f"expected a {SUFFIX} file for `save_look`, got {path}; choose another name")
    if kind_of(path) and not overwrite:
        raise SettingsError(
            f"expected a new file for `save_look`, got {path}, which exists; choose another name or set `overwrite`"
        )
    options = {
        name: getattr(one, name)
        for one in settings
        for name in vars(one).keys() & set(OPTIONS)
        if getattr(one, name) != getattr(type(one), name)
    }
    if options.keys() & set(OF_THE_NETWORK):
        options["model"] = model
    ordered = {name: options[name] for name in OPTIONS if name in options}
    text = json.dumps({"description": description, "options": ordered}, indent=2, ensure_ascii=False)
    try:
        path.write_text(f"{text}\n", "utf-8")
    except (OSError, ValueError) as error:  # a zero byte in the name is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"expected a file that can be written for `save_look`, got {path} ({reason}); choose another"
        ) from error


def with_look(look: str | Path | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a look with flat options over them; a `Notice` tells if some are left out.

    Args:
        look: see `load_look`; None for no look.
        options: value by field name.

    Raises:
        SettingsError: see `load_look`.
    """
    if look is None:
        return dict(options)
    loaded = load_look(look)
    model = options.get("model")
    loaded.warn_left_out(model)
    return {**loaded.options_for(model), **options}


def _unknown(name: str) -> str:
    names = look_names()
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of these, or a {SUFFIX} file"
    return f"expected `look` to be one of {', '.join(names)}, got {name}; {hint}"


def _read(path: Path) -> Look:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(
            f"expected a file that can be read, got {error.strerror}; check its name"
        ) from error
    except ValueError as error:
        raise SettingsError(f"expected JSON, got {error}; mend it there") from error
    if not isinstance(content, dict) or content.keys() != {"description", "options"}:
        came = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise SettingsError(f"expected a description and options, got {came or 'nothing'}; write both")
    description, options = content["description"], content["options"]
    if not isinstance(description, str) or len(description.splitlines()) != 1:
        raise SettingsError(f"expected one line of text as the description, got {description!r}; write one")
    if not isinstance(options, dict):
        raise SettingsError(f"expected options by name, got {options!r}; write " + '{"octaves": 4}, say')
    require_known(options, OPTIONS, what="options of a look", where=f"it may have {', '.join(OPTIONS)}")
    if "model" not in options and (bound := options.keys() & set(OF_THE_NETWORK)):
        raise SettingsError(
            f"expected the model that {', '.join(sorted(bound))} belongs to, got none; add `model`"
        )
    filled = fill_settings(options, *CLASSES)
    valid = {name: value for one in filled for name, value in vars(one).items() if name in options}
    return Look(name=path.stem, description=description, options=valid)
