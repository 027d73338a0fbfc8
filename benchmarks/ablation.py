"""Measure the effect of each part of the loop: the table of docs/temporal.md, in Markdown.

    GOMP_SPINCOUNT=20000 uv run benchmarks/ablation.py --clip mallard.mp4 --weights folder

One run dreams the clip once for each row, with the row's options and defaults otherwise, and measures all dreams
with the same flow. Seconds are the median of the frames that carry a dream.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dream_core.measure.figures import Figures
from dream_core.measure.measure import LayerEnergy, flow_link, measure
from dream_core.pipeline import load_dreamer, load_estimator, load_models
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    FlowSettings,
    InputSettings,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    PipelineSettings,
    ReliabilitySettings,
    TemporalSettings,
)
from dream_core.video import open_clip

LAYER = "inception_4d_3x3_reduce"
MEASURED_BY = FlowSettings(flow="raft_small", flow_updates=24)
"""More exact than the flow of any row, so that no row is measured with its own flow."""

INDEPENDENT = "`--independent`"
"""Name of the row that coverage is measured by."""


@dataclass(frozen=True)
class Row:
    """One variation.

    Args:
        name: as the table calls it.
        temporal, flow, ascent, octave, reliability: what differs from the defaults, by field.
    """

    name: str
    temporal: dict[str, Any] = field(default_factory=dict)
    flow: dict[str, Any] = field(default_factory=dict)
    ascent: dict[str, Any] = field(default_factory=dict)
    octave: dict[str, Any] = field(default_factory=dict)
    reliability: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("the defaults"),
    Row("`--carry image`", temporal={"carry": "image"}),
    Row("`--warp bilinear`", temporal={"warp": "bilinear"}),
    Row("both", temporal={"carry": "image", "warp": "bilinear"}),
    Row("`--optimizer classic`", ascent={"optimizer": "classic"}),
    Row("`--natural-colors 0`", ascent={"natural_colors": 0.0}),
    Row("`--spectrum 0`", ascent={"spectrum": 0.0}),
    Row("`--turn 0 --stretch 0`", ascent={"turn": 0.0, "stretch": 0.0}),
    Row("`--gradient-blur 0`", ascent={"gradient_blur": 0.0}),
    Row("`--gradient-blur 1.2`", ascent={"gradient_blur": 1.2}),
    Row("`--references 3`", temporal={"references": 3}),
    Row("`--blend 0.02`", temporal={"blend": 0.02}),
    Row("`--blend 0.1`", temporal={"blend": 0.1}),
    Row("`--blend 0.3`", temporal={"blend": 0.3}),
    Row("`--blend 0.5`", temporal={"blend": 0.5}),
    Row("`--carried-steps 1`: one step, however much is lost", temporal={"carried_steps": 1}),
    Row("`--carried-steps 10`: all steps for every frame", temporal={"carried_steps": 10}),
    Row("`--no-check-boundaries`", reliability={"check_boundaries": False}),
    Row("`--no-check-consistency`", reliability={"check_consistency": False}),
    Row("`--no-check-brightness`", reliability={"check_brightness": False}),
    Row("`--mask-softness 0`", reliability={"mask_softness": 0.0}),
    Row("`--flow-updates 12`", flow={"flow_updates": 12}),
    Row("`--flow-updates 4`", flow={"flow_updates": 4}),
    Row("`--flow-scale 0.5`", flow={"flow_scale": 0.5}),
    Row("`--flow dis`", flow={"flow": "dis"}),
    Row(INDEPENDENT, temporal={"independent": True}),
)


def settings_of(row: Row, weights: Path) -> PipelineSettings:
    return PipelineSettings(
        model=ModelSettings(model="bvlc_googlenet", model_dirs=(weights,)),
        dream=DreamSettings(
            objective=ObjectiveSettings(layers=(LAYER,)),
            octave=replace(OctaveSettings(octaves=2, octave_scale=0.6), **row.octave),
            ascent=replace(AscentSettings(), **row.ascent),
        ),
        temporal=replace(TemporalSettings(), **row.temporal),
        flow=replace(FlowSettings(flow="raft_small"), **row.flow),
        reliability=replace(ReliabilitySettings(), **row.reliability),
    )


def run(row: Row, frames: Sequence[Tensor], weights: Path) -> tuple[list[Tensor], float]:
    """Return the dreams of a row, (3,H,W) each, and the median of the seconds per frame."""
    dreamer = load_dreamer(settings_of(row, weights))
    dreams, seconds = [], []
    for frame in frames:
        started = time.perf_counter()
        dreams.append(dreamer.step(frame[None]).dream[0].cpu())
        seconds.append(time.perf_counter() - started)
    return dreams, torch.tensor(seconds[1:]).median().item()


def line(name: str, figures: Figures, last: Figures, seconds: float) -> str:
    assert figures.flicker is not None
    assert figures.strength is not None
    assert last.strength is not None
    coverage = "-" if figures.coverage is None else f"{figures.coverage:.2f}"
    return (
        f"| {name} | {figures.flicker:.3f} | x{figures.strength:.1f} | x{last.strength:.1f} "
        f"| x{figures.sharpness:.2f} | {figures.drift:+.2f} | {coverage} | {seconds:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="folder with GoogLeNet's and RAFT's")
    parser.add_argument(
        "--start", type=float, default=0, help="seconds into the clip at which the dreams begin"
    )
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--skip", type=int, default=0, help="measure only what follows this many dreams")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rows", default="", help="only rows whose name has this in it")
    args = parser.parse_args()
    with open_clip(
        args.clip, settings=InputSettings(size=args.size, start=args.start, frames=args.frames)
    ) as clip:
        frames = [frame.image for frame in clip]
    rows = [row for row in ROWS if args.rows in row.name]
    runs = {row.name: run(row, frames, args.weights) for row in rows}
    base = settings_of(ROWS[0], args.weights)
    link = flow_link(load_estimator(MEASURED_BY, base.device, folders=[args.weights]))
    energy = LayerEnergy(load_models(base.model, base.device)[0], (LAYER,))
    report = measure(
        frames[args.skip :],
        {name: dreams[args.skip :] for name, (dreams, _) in runs.items()},
        link,
        energy=energy,
        independent=INDEPENDENT if INDEPENDENT in runs else None,
    )
    print(
        "| | flicker | strength | at the end | sharpness | drift | coverage | s/frame |\n" + "|---" * 8 + "|"
    )
    for measured in report.dreams:
        print(line(measured.name, measured.overall, measured.frames[-1], runs[measured.name][1]))


if __name__ == "__main__":
    main()
