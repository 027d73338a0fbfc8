"""Measure what a guide does to a dream: the table of docs/temporal.md, in Markdown.

    GOMP_SPINCOUNT=20000 uv run benchmarks/guides.py --clip rabbit.mp4 --guide flower.jpg --weights folder

Similarity is the mean, over places and frames, of the cosine between the features of a place and those of the
place of the guide most like it; features are those of the layer that dreams, less the input's mean. Size is the
root of the mean squared difference from the input, in levels of 255. A small dream flickers less than a large one:
so both are made with several learning rates, to compare those of like size.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dream_core.api import Dreamer
from dream_core.dreaming import guide_terms
from dream_core.measure.measure import LayerEnergy, flow_link, measure
from dream_core.models.dream_model import DreamModel, load_model
from dream_core.pipeline import load_estimator
from dream_core.settings import DeviceSettings, FlowSettings, InputSettings, ModelSettings
from dream_core.video import open_clip

MEASURED_BY = FlowSettings(flow="raft_small", flow_updates=24)


@dataclass(frozen=True)
class Row:
    """One variation.

    Args:
        name: as the table calls it.
        loss: None for a dream without the guide.
        learning_rate: size of a step.
        hold: how firmly matches that were carried along are kept; -1 = not at all.
    """

    name: str
    loss: str | None = None
    learning_rate: float = 2.4
    hold: float = guide_terms.HOLD


ROWS = (
    Row("without a guide"),
    Row("without a guide, `--learning-rate 1.2`", learning_rate=1.2),
    Row("without a guide, `--learning-rate 0.6`", learning_rate=0.6),
    Row("without a guide, `--learning-rate 4.8`", learning_rate=4.8),
    Row("`--guide`", "match"),
    Row("`--guide`, nothing kept from frame to frame", "match", hold=-1),
    Row("`--guide --learning-rate 4.8`", "match", learning_rate=4.8),
    Row("`--guide --learning-rate 1.2`", "match", learning_rate=1.2),
    Row("`--guide --loss statistics`", "statistics"),
)


def dream(row: Row, frames: Sequence[Tensor], guide: Tensor, layer: str, weights: Path) -> list[Tensor]:
    """Return the dreams of a row, (3,H,W) each."""
    options = {"model": "bvlc_googlenet", "model_dirs": (weights,), "layers": (layer,), "flow": "raft_small"}
    options |= {"learning_rate": row.learning_rate}
    guide_terms.HOLD = row.hold
    dreamer = Dreamer(**options) if row.loss is None else Dreamer(guide=guide, loss=row.loss, **options)
    return [dreamer.step(frame) for frame in frames]


def similarity(
    dreams: Sequence[Tensor], frames: Sequence[Tensor], guide: Tensor, model: DreamModel, layer: str
) -> float:
    """Return the mean cosine to the most similar place of the guide."""

    def features(image: Tensor) -> Tensor:
        with torch.no_grad():
            return model.activations(image[None], (layer,))[layer][0].flatten(1)

    mean = torch.stack([features(frame).mean(1) for frame in frames]).mean(0)[:, None]
    goals = F.normalize(features(guide) - mean, dim=0)
    found = [(F.normalize(features(one) - mean, dim=0).T @ goals).amax(1).mean() for one in dreams]
    return float(torch.stack(found).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--guide", type=Path, required=True, help="image, or a clip whose first frame counts")
    parser.add_argument(
        "--weights", type=Path, required=True, help="folder with BVLC GoogLeNet and RAFT small"
    )
    parser.add_argument("--layer", default="inception_4c_output")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--start", type=float, default=0, help="of the clip, in seconds")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--rows", type=int, nargs="*", help="numbers of the rows, from 0; all by default")
    given = parser.parse_args()

    def read(path: Path, start: float, count: int) -> list[Tensor]:
        reading = InputSettings(size=given.size, start=start, frames=count)
        with open_clip(path, settings=reading) as clip:
            return [frame.image for frame in clip]

    frames = read(given.clip, given.start, given.frames)
    (guide,) = read(given.guide, 0, 1)
    settings = ModelSettings(model="bvlc_googlenet", model_dirs=(given.weights,))
    model = load_model(settings, device=torch.device("cpu"), dtype=torch.float32)
    link = flow_link(load_estimator(MEASURED_BY, DeviceSettings(), folders=[given.weights]))
    energy = LayerEnergy(model, (given.layer,))
    alike = similarity(frames, frames, guide, model, given.layer)
    print("| | similarity | size | flicker | strength | sharpness |\n|---|---|---|---|---|---|")
    print(f"| the input | {alike:.3f} | 0 | | | |", flush=True)
    for row in [ROWS[number] for number in given.rows or range(len(ROWS))]:
        dreams = dream(row, frames, guide, given.layer, given.weights)
        figures = measure(torch.stack(frames), {"dream": dreams}, link, energy=energy).dreams[0].overall
        alike = similarity(dreams, frames, guide, model, given.layer)
        size = 255 * float((torch.stack(dreams) - torch.stack(frames)).square().mean().sqrt())
        print(
            f"| {row.name} | {alike:.3f} | {size:.1f} | {figures.flicker:.4f} | x{figures.strength:.1f} "
            f"| x{figures.sharpness:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
