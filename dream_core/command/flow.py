"""The command `deepdream-video flow`: the optical flow of a clip in files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..checks import validate
from ..device import backends
from ..errors import VideoError
from ..motion.flow import FlowEstimator
from ..motion.flow_folder import FlowFolder
from ..motion.flow_mask import flow_mask
from ..motion.occlusion import flows_agree
from ..motion.warp import points_inside
from ..pipeline import load_estimator
from ..settings import InputSettings
from ..video import open_clip
from ..video.containers import require_apart, telling
from ..video.images import save_image
from .console import EXPECTED, Teller, exit_code
from .exit_codes import DONE
from .options import FlowCommand

MASKS = "masks"
"""Folder of masks in a folder of flow."""


def main(command: FlowCommand) -> int:
    """Run the command and show its progress. Returns the exit code."""
    teller = Teller(quiet=command.save.quiet)
    try:
        with teller.bar(), backends(command.device):
            save_flow(command, teller)
    except EXPECTED as error:
        return exit_code(
            error,
            teller,
            out_of_memory="estimate flow at --flow-scale 0.5, or lower --size",
            stopped="the files that are written stay",
        )
    return DONE


def save_flow(command: FlowCommand, teller: Teller) -> None:
    """Estimate the flow of a clip and write it, frame by frame.

    Raises:
        DeepDreamError: a file cannot be read or written, or a setting is wrong.
    """
    validate(command)
    require_apart(command.output, command.input)
    wanted = command.save
    reading = InputSettings(size=wanted.size, start=wanted.start, frames=wanted.frames, fps=wanted.fps)
    with open_clip(command.input, settings=reading) as clip:
        folder = FlowFolder(command.output, f".{command.file.file_format}")
        masks = _mask_folder(folder.path) if wanted.masks else None
        estimator = load_estimator(
            command.flow, command.device, folders=wanted.model_dirs, progress=teller.downloaded
        )
        teller.begin(clip.frame_count, "estimating flow")
        previous: Tensor | None = None
        count = 0
        for frame in clip:
            image = frame.image[None]
            backward, forward, reliability = _flow(estimator, image, previous, both=wanted.both_ways)
            folder.save(frame.index, backward, forward=forward, reliability=reliability)
            if masks:
                save_image(flow_mask(backward, command.moving)[0], masks / f"mask_{frame.index:06d}.png")
            teller.frame_done(frame.index)
            previous, count = image, count + 1
    teller.say(f"{folder.path}: flow of {count} frames")


def _mask_folder(folder: Path) -> Path:
    """Make an empty folder for masks.

    Raises:
        VideoError: it holds something, or cannot be made.
    """
    path = folder / MASKS
    with telling(path, "made"):
        path.mkdir(exist_ok=True)
    if any(path.iterdir()):
        raise VideoError(f"{path} is not empty: choose another folder for the flow")
    return path


def _flow(
    estimator: FlowEstimator, image: Tensor, previous: Tensor | None, *, both: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return backward flow, and forward flow and reliability if both are asked for; the first has not moved."""
    if previous is None:
        still = torch.zeros(1, 2, *image.shape[-2:])
        return still, still if both else None, None
    if not both:
        return estimator.flow(image, previous), None, None
    backward, forward = estimator.both_ways(image, previous)
    return backward, forward, flows_agree(backward, forward) * points_inside(backward)
