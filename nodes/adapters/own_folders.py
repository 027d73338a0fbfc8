"""Files of nodes that load and save: in ComfyUI's own folders, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from ...dream_core.errors import DeepDreamError
from . import host

WHERE = ("output", "input")
"""ComfyUI's folders from which a node may load."""


class FolderError(DeepDreamError):
    """A name leads out of ComfyUI's folders, or to nothing."""


def place_to_load(name: str, where: str, *, widget: str) -> Path:
    """Return the path of a file or folder to load.

    Args:
        name: of the file or folder, below ComfyUI's own.
        where: "output" or "input".
        widget: name of the widget, for the message.

    Raises:
        FolderError: the name leads out of the folder, also by a link, or nothing is there.
    """
    root = host.input_folder() if where == "input" else host.output_folder()
    path = _inside(root, name, widget)
    if not path.exists():
        raise FolderError(
            f"expected {widget} to be in ComfyUI's {where} folder, got '{name}', which is not there: check the "
            f"name, "
            "and the choice of the folder"
        )
    return path


def place_to_save(prefix: str, *, widget: str) -> Path:
    """Return the path of a new folder in ComfyUI's folder of outputs: PREFIX_00001, or the number after the last.

    Args:
        prefix: name to begin with; slashes make folders.
        widget: name of the widget, for the message.

    Raises:
        FolderError: the name leads out of the folder, also by a link.
    """
    path = _inside(host.output_folder(), prefix, widget)
    taken = [0]
    if path.parent.is_dir():
        # Windows and macOS take names that differ in case alone for one.
        pattern = re.compile(rf"{re.escape(path.name)}_(\d+)", re.IGNORECASE)
        taken += [int(found[1]) for one in path.parent.iterdir() if (found := pattern.fullmatch(one.name))]
    return path.with_name(f"{path.name}_{max(taken) + 1:05d}")


def name_below_outputs(path: Path) -> str:
    """Return the name of a path for `place_to_load`, with slashes."""
    return path.resolve().relative_to(host.output_folder().resolve()).as_posix()


def _inside(root: Path, name: str, widget: str) -> Path:
    told = FolderError(
        f"expected {widget} to stay inside ComfyUI's folder, got '{name}': name a place below it, without .., a "
        f"drive "
        "or a link that leads out"
    )
    plain = name.strip().replace("\\", "/")
    parts = PurePosixPath(plain).parts
    if "\0" in plain or plain.startswith("/") or PureWindowsPath(plain).drive or ".." in parts:
        raise told
    if not parts:
        raise FolderError(f"expected a name for {widget}, got none")
    root = root.resolve()
    # Links inside the folder are followed here: what counts is where they lead.
    path = root.joinpath(*parts).resolve()
    if path == root or not path.is_relative_to(root):
        raise told
    return path
