"""The end of a dream in a file, from which the dream of another clip goes on without a seam."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

from ..checks import kind_of
from ..errors import SettingsError
from ..image import Size, size_of
from ..settings import TemporalSettings
from ..tensor_file import pack, unpack
from .dreamer import DreamedFrame, DreamerState

SUFFIX = ".safetensors"
VERSION = 1


def require_fit(earlier: DreamerState, settings: TemporalSettings, *, size: Size) -> None:
    """Check that a clip can continue the dream of an earlier one; warn where it would not.

    Args:
        earlier: the end of that dream.
        settings: of the feedback.
        size: of the frames that follow.

    Raises:
        SettingsError: they have another size, or are to play in a circle.
    """
    if settings.independent:
        warnings.warn(
            "`previous_dream` does nothing with `independent`: no frame continues another", stacklevel=2
        )
        return
    require_open(settings, "previous_dream")
    if not earlier.past:
        warnings.warn(
            "`previous_dream` holds no dream, because it was made with `independent`: this clip begins a new one",
            stacklevel=2,
        )
        return
    before = size_of(earlier.past[-1].frame)
    if before != size:
        raise SettingsError(
            f"expected frames of {before[1]}x{before[0]}, the size of the dream in `previous_dream`, got "
            f"{size[1]}x{size[0]}; resize them, or leave out `previous_dream`"
        )


def require_open(settings: TemporalSettings, name: str) -> None:
    """Raise a SettingsError for a clip that plays in a circle, whose beginning and end lead into each other.

    Args:
        settings: of its feedback.
        name: of the setting that wants an end or a beginning.
    """
    if settings.seamless and not settings.independent:
        raise SettingsError(
            f"expected `seamless` off with `{name}`, because the end of such a clip leads into its own beginning; "
            "drop one"
        )


def require_place(path: Path, settings: TemporalSettings, *, overwrite: bool) -> None:
    """Check, before any work, that a last dream can be saved.

    Args:
        path: of the file to write.
        settings: of the feedback.
        overwrite: replace a file that exists.

    Raises:
        SettingsError: the file has another suffix or exists, or nothing can follow the dream.
    """
    require_open(settings, "save_last_dream")
    if settings.independent:
        raise SettingsError(
            "expected `independent` off with `save_last_dream`, because then nothing continues a dream; drop one"
        )
    if path.suffix.lower() != SUFFIX:
        raise SettingsError(
            f"expected a {SUFFIX} file for `save_last_dream`, got {path}; choose another name"
        )
    if not path.parent.is_dir():
        raise SettingsError(
            f"expected a folder that exists for `save_last_dream`, got {path.parent}; make it first"
        )
    if kind_of(path) and not overwrite:
        raise SettingsError(
            f"expected a new file for `save_last_dream`, got {path}, which exists; choose another name or set "
            "`overwrite`"
        )


def save_last_dream(state: DreamerState, path: Path) -> None:
    """Save the state of a dreamer at the end of a clip. The file has its name once it is whole.

    Raises:
        SettingsError: it cannot be written.
    """
    before = state.before_cut
    frames = (*state.past, *(before or ()))
    tensors = {f"{one.number}.{name}": tensor for one in frames for name, tensor in one.tensors.items()}
    notes = {
        "version": VERSION,
        "past": [one.number for one in state.past],
        "before_cut": None if before is None else [one.number for one in before],
        "since_cut": state.since_cut,
        "count": state.count,
    }
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(pack(tensors, notes))
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise SettingsError(
            f"expected a file that can be written for `save_last_dream`, got {path} ({error.strerror or error}); "
            "choose another"
        ) from error


def load_last_dream(path: Path) -> DreamerState:
    """Load the end of a dream, on the CPU.

    Raises:
        SettingsError: the file cannot be read, or is not from `save_last_dream`.
    """
    try:
        tensors, notes = unpack(path.read_bytes())
        if notes["version"] != VERSION:
            raise ValueError(f"version {notes['version']}")

        def load(number: int) -> DreamedFrame:
            own = {
                name.partition(".")[2]: tensor
                for name, tensor in tensors.items()
                if name.partition(".")[0] == str(number)
            }
            return DreamedFrame(**own, carried=None, number=number)

        before = notes["before_cut"]
        return DreamerState(
            past=tuple(map(load, notes["past"])),
            before_cut=None if before is None else tuple(map(load, before)),
            since_cut=notes["since_cut"],
            count=notes["count"],
            tile_size=0,
            flow_limits=None,
        )
    except OSError as error:
        raise SettingsError(
            f"expected a file that can be read for `previous_dream`, got {path} ({error.strerror or error}); check "
            "it"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"expected a file that `save_last_dream` of this version wrote for `previous_dream`, got {path}, which "
            "is another or damaged; make it again"
        ) from error
