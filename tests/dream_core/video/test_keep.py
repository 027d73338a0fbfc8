from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dream_core.errors import VideoError
from dream_core.video import KeepFolder


def test_everything_goes_where_it_belongs(tmp_path):
    keep = KeepFolder(tmp_path / "kept")
    keep.save(
        12,
        frame=torch.full((1, 3, 4, 6), 0.2),
        dream=torch.full((3, 4, 6), 0.4),
        flow=torch.full((1, 3, 4, 6), 0.8),
        mask=torch.full((1, 1, 4, 6), 0.6),
    )
    levels = {"frames/frame": 51, "dreams/dream": 102, "flow/flow": 204, "mask/mask": 153}
    files = {f"{name}_000012.png" for name in levels}
    assert {str(path.relative_to(tmp_path / "kept")) for path in tmp_path.glob("kept/*/*")} == files
    for name, level in levels.items():
        with Image.open(tmp_path / "kept" / f"{name}_000012.png") as image:
            assert image.size == (6, 4)
            assert image.mode == ("L" if name == "mask/mask" else "RGB")
            assert set(np.unique(np.asarray(image))) == {level}


def test_images_that_are_not_given_are_not_saved(tmp_path):
    KeepFolder(tmp_path).save(0, dream=torch.zeros(3, 4, 6))
    assert [path.name for path in tmp_path.rglob("*.png")] == ["dream_000000.png"]


def test_files_are_only_overwritten_if_that_is_allowed(tmp_path):
    frame = torch.zeros(3, 4, 6)
    KeepFolder(tmp_path).save(0, frame=frame)
    with pytest.raises(VideoError, match=r"frames is not empty: choose another folder"):
        KeepFolder(tmp_path)
    with Image.open(tmp_path / "frames" / "frame_000000.png") as image:
        assert image.getpixel((0, 0)) == (0, 0, 0)
    KeepFolder(tmp_path, overwrite=True).save(0, frame=frame + 1)
    with Image.open(tmp_path / "frames" / "frame_000000.png") as image:
        assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_file_is_not_taken_for_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match="file is a file: expected a folder for what is kept"):
        KeepFolder(tmp_path / "file")
    (tmp_path / "frames").touch()
    with pytest.raises(VideoError, match="frames cannot be made"):
        KeepFolder(tmp_path).save(0, frame=torch.zeros(3, 4, 6))


def test_saved_steps_are_not_overwritten_either(tmp_path):
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "frame_000000_step_0001.png").touch()
    with pytest.raises(VideoError, match=r"steps is not empty: choose another folder"):
        KeepFolder(tmp_path)
    KeepFolder(tmp_path, overwrite=True)


def test_a_folder_that_may_not_be_written_is_told_at_once(tmp_path, monkeypatch):
    """As root, whose permissions let everything be written, the tests are told what the system would say."""
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(
        VideoError, match=rf"{tmp_path} may not be written: expected a folder for what is kept"
    ):
        KeepFolder(tmp_path / "new" / "kept")
    assert list(tmp_path.iterdir()) == []
