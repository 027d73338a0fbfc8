"""The material of a dream, frame by frame, as image files in a folder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..errors import VideoError
from ..motion.flow_image import flow_image
from .images import save_image

FOLDERS = ("frames", "dreams", "flow", "mask")
STEPS = "steps"
"""The folder that the command saves growing dreams into."""
INSTEAD = "choose another folder to keep things in, or add `overwrite`"


class KeepFolder:
    """A folder that receives frames/frame_000000.png, dreams/, flow/ and mask/. Nothing is ever deleted."""

    def __init__(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Use this folder, which may exist already; files in it are replaced only with `overwrite`.

        Raises:
            VideoError: the path is a file, or holds what was kept before and may not be overwritten.
        """
        self.path = Path(path)
        self._overwrite = overwrite
        if self.path.exists() and not self.path.is_dir():
            raise VideoError(f"{self.path} is a file: expected a folder for what is kept")
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
        """Keep what belongs to frame `index`, each with or without a batch dimension of 1.

        Frame and dream are (3,H,W) and the mask is (1,H,W), values in 0..1. The flow, (2,H,W) in
        pixels, becomes a `flow_image`.

        Raises:
            VideoError: a file exists already and may not be overwritten, or cannot be written.
        """
        colors = None if flow is None else flow_image(flow.reshape(1, *flow.shape[-3:]))
        for folder, image in zip(FOLDERS, (frame, dream, colors, mask), strict=True):
            if image is not None:
                name = f"{folder.removesuffix('s')}_{index:06d}.png"
                save_image(image.reshape(image.shape[-3:]), self._file(folder, name))

    def _file(self, folder: str, name: str) -> Path:
        path = self.path / folder / name
        if path.exists() and not self._overwrite:
            raise VideoError(f"{path} exists already: {INSTEAD}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VideoError(f"{path.parent} cannot be made ({error.strerror}): check the path") from error
        return path
