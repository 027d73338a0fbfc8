"""Names of files in ComfyUI's own folders, and all ways out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

OUTSIDE = (
    "..",
    "../other",
    "flow/../../other",
    "/etc",
    "C:/Windows",
    "..\\other",
    "\\\\server\\share",
    "a\0b",
    ".",
)
"""Names that lead out of the folder."""


@pytest.fixture
def folders(pack: Any) -> Any:
    return pack("nodes.adapters.own_folders")


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out(folders: Any, host: Any, name: str) -> None:
    (host.folder / "other").mkdir()
    (host.folder / "output").mkdir()
    for way in (
        lambda: folders.place_to_load(name, "output", widget="folder"),
        lambda: folders.place_to_save(name, widget="folder"),
    ):
        with pytest.raises(folders.FolderError, match="folder"):
            way()


def test_an_empty_name_is_asked_for(folders: Any) -> None:
    with pytest.raises(folders.FolderError, match="a name for folder, got none"):
        folders.place_to_save(" ", widget="folder")


def test_no_link_leads_out_but_one_inside_is_followed(folders: Any, host: Any) -> None:
    output, other = host.folder / "output", host.folder / "other"
    for folder in (output / "own", other):
        folder.mkdir(parents=True)
    (output / "out").symlink_to(other, target_is_directory=True)
    (output / "in").symlink_to(output / "own", target_is_directory=True)
    for name in ("out", "out/clip"):
        with pytest.raises(folders.FolderError, match="a link that leads out"):
            folders.place_to_load(name, "output", widget="folder")
        with pytest.raises(folders.FolderError, match="a link that leads out"):
            folders.place_to_save(name, widget="folder")
    assert folders.place_to_load("in", "output", widget="folder") == (output / "own").resolve()


def test_the_folder_itself_may_be_a_link(folders: Any, host: Any) -> None:
    real = host.folder / "disk"
    (real / "clip").mkdir(parents=True)
    (host.folder / "output").symlink_to(real, target_is_directory=True)
    assert folders.place_to_load("clip", "output", widget="folder") == (real / "clip").resolve()


def test_a_new_folder_has_the_number_after_the_last(folders: Any, host: Any) -> None:
    output = host.folder / "output"
    assert folders.place_to_save("flow/clip", widget="folder") == (output / "flow" / "clip_00001").resolve()
    for name in ("clip_00003", "Clip_00007", "clip_x", "clips_00009"):
        (output / "flow" / name).mkdir(parents=True)
    new = folders.place_to_save("flow/clip", widget="folder")
    assert new.name == "clip_00008"
    assert folders.name_below_outputs(new) == "flow/clip_00008"


def test_what_is_not_there_is_named(folders: Any, host: Any) -> None:
    (host.folder / "input" / "here").mkdir(parents=True)
    with pytest.raises(
        folders.FolderError, match="in ComfyUI's output folder, got 'here', which is not there"
    ):
        folders.place_to_load("here", "output", widget="folder")
    found: Path = folders.place_to_load("here", "input", widget="folder")
    assert found.name == "here"
