"""Measure seams within a shot: the table of docs/cluster.md, in Markdown.

    OMP_NUM_THREADS=1 uv run benchmarks/seam.py --clip bikes.mp4 --seam 22 --strip seam.png -- --size 160

The clip is dreamed once by itself, then in two parts that meet before frame SEAM, for each overlap: with the run-up
alone, and with the fade. Options of the dream come after --. The strip shows the 8 frames around the seam: of the
clip by itself above, with the last overlap below.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from dream_core.command.options import ClusterSettings, Command, parse
from dream_core.measure.figures import flicker_terms
from dream_core.measure.measure import Link, flow_link
from dream_core.pipeline import dream_frames, load_dreamer
from dream_core.temporal.dreamer import DreamerState, TemporalDreamer
from dream_core.temporal.seamless import ShotPart
from dream_core.video import Frame, open_clip
from dream_core.video.images import save_image

AFTER = 4
"""Number of frames that are measured after the first one after a seam."""

Dreams = Mapping[int, Tensor]
"""Index of a frame -> its dream, (3,H,W)."""


@dataclass(frozen=True)
class Seam:
    """Flicker at a seam, before and after it, and the contrast of the dream in the frame after it."""

    at: float
    before: float
    after: float
    contrast: float

    def __str__(self) -> str:
        """Cells of the table."""
        return f"{self.at:.3f} | {self.before:.3f} | {self.after:.3f} | {self.contrast:.3f}"


def look_at_seam(frames: Sequence[Frame], dreams: Dreams, seam: int, overlap: int, link: Link) -> Seam:
    """Measure a dream around a seam.

    Args:
        frames: of the clip, up to `AFTER` after the seam.
        dreams: of those from `overlap` + 1 before the seam on.
        seam: index of the first frame after it.
        overlap: number of frames to measure before it.
        link: see `flow_link`.
    """

    def residual(index: int) -> Tensor:
        return dreams[index] - frames[index].image

    def flicker(index: int) -> float:
        pair = link(frames[index - 1].image, frames[index].image)
        change, energy = flicker_terms(residual(index - 1), residual(index), *pair)
        return change / energy

    return Seam(
        at=flicker(seam),
        before=mean(map(flicker, range(seam - overlap, seam))),
        after=mean(map(flicker, range(seam + 1, seam + 1 + AFTER))),
        contrast=residual(seam).square().mean().sqrt().item(),
    )


def in_parts(
    frames: Sequence[Frame], dreamer: TemporalDreamer, before: DreamerState, seam: int, overlap: int
) -> tuple[Dreams, Dreams]:
    """Dream both parts around a seam.

    Args:
        frames: of the clip.
        dreamer: any of the clip.
        before: its state before frame `seam` - `overlap` - 1.
        seam, overlap: see above.

    Returns:
        The dreams of the fade, and those from the seam on.
    """
    first, second = dreamer.afresh(), dreamer.afresh()
    first.state = before
    parts = (
        dream_frames(frames[seam - overlap - 1 : seam + 1], first, part=ShotPart(fade=overlap)),
        dream_frames(frames[seam - overlap :], second, part=ShotPart(run_up=overlap)),
    )
    fading, later = ({frame.index: step.dream[0] for frame, step in part} for part in parts)
    return fading, later


def strip(rows: Sequence[Dreams], seam: int) -> Tensor:
    """Put the dreams of the 8 frames around a seam side by side, one row for each."""
    return torch.cat([torch.cat([row[index] for index in range(seam - 4, seam + 4)], -1) for row in rows], -2)


def main() -> None:
    own, dream = sys.argv[1:], []
    if "--" in own:
        place = own.index("--")
        own, dream = own[:place], own[place + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--seam", type=int, required=True, help="index of the first frame after the seam")
    parser.add_argument("--overlaps", type=int, nargs="+", default=[12, ClusterSettings.overlap])
    parser.add_argument("--strip", type=Path, help="image to write")
    given = parser.parse_args(own)
    if not max(given.overlaps) < given.seam:
        parser.error(f"expected --seam above {max(given.overlaps)}, the largest overlap")
    command = parse([str(given.clip), "unused.mp4", *dream])
    assert isinstance(command, Command)
    dreamer = load_dreamer(command.pipeline)
    assert dreamer.flow
    with open_clip(given.clip, settings=command.read) as clip:
        frames = list(islice(clip, given.seam + AFTER + 1))
    states, alone = [dreamer.state], {}
    for frame, step in dream_frames(frames, dreamer):
        alone[frame.index] = step.dream[0]
        states.append(dreamer.state)
    link = flow_link(dreamer.flow)
    print(
        "| overlap | joined by | at the seam | before it | after it | contrast |\n|---|---|---|---|---|---|"
    )
    rows: list[Dreams] = [alone]
    for overlap in given.overlaps:
        fading, later = in_parts(frames, dreamer, states[given.seam - overlap - 1], given.seam, overlap)
        hard, faded = {**alone, **later}, {**alone, **fading, **later}
        ways = {"no seam": alone, "a run-up": hard, "a run-up and a fade": faded}
        for name, dreams in ways.items():
            seam = look_at_seam(frames, dreams, given.seam, overlap, link)
            print(f"| {overlap} | {name} | {seam} |", flush=True)
        rows = [alone, faded]
    if given.strip:
        save_image(strip(rows, given.seam), given.strip)


if __name__ == "__main__":
    main()
