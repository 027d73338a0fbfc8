"""Frames, dreams, flow images and masks of a clip, saved as image files in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from ..errors import VideoError
from .containers import require_path, telling
from .images import save_image

FOLDERS = ("frames", "dreams", "flow", "mask")
STEPS = "steps"
"""Folder into which the command saves growing dreams."""
INSTEAD = "choose another folder to keep things in, or add `overwrite`"


class KeepFolder:
    """A folder that receives frames/frame_000000.png, dreams/, flow/ and mask/. Nothing is ever deleted."""

    def __init__(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Save into this folder, which may exist already.

        Args:
            path: the folder.
            overwrite: replace files of an earlier run.

        Raises:
            VideoError: the path is a file, or cannot be looked at or written, or holds files of an earlier run that
                may not be overwritten.
        """
        self.path = Path(path)
        self._overwrite = overwrite
        require_path(self.path, what="folder for what is kept")
        with telling(self.path, "read"):
            if self.path.exists() and not self.path.is_dir():
                raise VideoError(f"{self.path} is a file: expected a folder for what is kept")
            made = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
            if not os.access(made, os.W_OK | os.X_OK):
                raise VideoError(
                    f"{made} may not be written: expected a folder for what is kept; change its permissions, or "
                    "choose another"
                )
            for folder in (*FOLDERS, STEPS):
                if not overwrite and any((self.path / folder).glob("*")):
                    raise VideoError(f"{self.path / folder} is not empty: {INSTEAD}")

    def save(
        self,
        index: int,
        *,
        frame: Tensor | None = None,
        dream: Tensor | None = None,
        flow: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Save the images of one frame.

        Args:
            index: of the frame.
            frame, dream, flow: (3,H,W) or (1,3,H,W) in 0..1; the flow as an image.
            mask: (1,H,W) or (1,1,H,W) in 0..1.

        Raises:
            VideoError: a file exists already and may not be overwritten, or cannot be written.
        """
        for folder, image in zip(FOLDERS, (frame, dream, flow, mask), strict=True):
            if image is not None:
                name = f"{folder.removesuffix('s')}_{index:06d}.png"
                save_image(image.reshape(image.shape[-3:]), self._file(folder, name))

    def _file(self, folder: str, name: str) -> Path:
        path = self.path / folder / name
        with telling(path.parent, "made"):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not self._overwrite:
                raise VideoError(f"{path} exists already: {INSTEAD}")
        return path
