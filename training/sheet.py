"""Contact sheet of a network: its layers on several images, and its best single channels.

python -m training.sheet SHEET.jpg --images cat.jpg duck.png
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from PIL import Image, ImageDraw
from torch import Tensor

from dream_core.dreaming.dream import dream
from dream_core.image import resize
from dream_core.models.dream_model import DreamModel, load_model
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    InputSettings,
    ModelName,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
)
from dream_core.video import SAMPLE_CLIP, open_clip

LAYERS = ("grain", "weave", "lace", "scales", "petals", "eyes", "blooms", "worlds")
TEXT = 16


@dataclass(frozen=True)
class Sheet:
    """Content of a contact sheet.

    Args:
        out: The image to write.
        images: Images to dream on, one row each; of a video the first frame.
        model: The network.
        model_file: Its weights; by default those that are found.
        layers: Layers to dream on, one column each.
        channel_layer: The layer whose channels to show.
        channels: Number of its channels to show; 0 for none.
        picked: Channels to show instead of those that grow most.
        size: Longest side of an image in pixels.
        octaves, octave_scale, octave_steps, learning_rate, jitter: As in the command.
    """

    out: tyro.conf.Positional[Path]
    images: tuple[Path, ...] = ()
    model: ModelName = "fractal"
    model_file: Path | None = None
    layers: tuple[str, ...] = LAYERS
    channel_layer: str = "blooms"
    channels: int = 12
    picked: tuple[int, ...] = ()
    size: int = 320
    octaves: int = OctaveSettings.octaves
    octave_scale: float = OctaveSettings.octave_scale
    octave_steps: int = OctaveSettings.octave_steps
    learning_rate: float = AscentSettings.learning_rate
    jitter: int = AscentSettings.jitter


def read(path: Path, size: int) -> Tensor:
    """Read the first image of a file, (1,3,H,W)."""
    with open_clip(path, settings=InputSettings(size=size)) as clip:
        return next(clip).image[None]


def settings_of(sheet: Sheet) -> DreamSettings:
    """Dream settings of a sheet."""
    return DreamSettings(
        octave=OctaveSettings(
            octaves=sheet.octaves, octave_scale=sheet.octave_scale, octave_steps=sheet.octave_steps
        ),
        ascent=AscentSettings(learning_rate=sheet.learning_rate, jitter=sheet.jitter),
    )


def show(image: Tensor, text: str) -> Tensor:
    """Put a line of text above an image (3,H,W): (H + 16,W,3) in 8 bits."""
    levels = image.mul(255).round().byte().permute(1, 2, 0)
    canvas = Image.new("RGB", (levels.shape[1], levels.shape[0] + TEXT), "white")
    canvas.paste(Image.fromarray(levels.numpy()), (0, TEXT))
    ImageDraw.Draw(canvas).text((4, 2), text, fill="black")
    return torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.uint8).view(
        canvas.height, canvas.width, 3
    )


def best_channels(model: DreamModel, layer: str, count: int) -> list[int]:
    """Find the channels that grow most in a dream on noise; these show best what they respond to."""
    noise = (0.5 + 0.1 * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    growth = []
    for channel in range(model.channels(layer)):
        objective = ObjectiveSettings(layers=(layer,), channels=(str(channel),))
        settings = DreamSettings(
            objective=objective,
            octave=OctaveSettings(octaves=2, octave_scale=0.7, octave_steps=8),
            ascent=AscentSettings(jitter=8),
        )
        with torch.no_grad():
            before = model.activations(noise, [layer])[layer][:, channel].float().square().mean()
        dreamed = dream(noise, [model], settings=settings)
        with torch.no_grad():
            after = model.activations(dreamed, [layer])[layer][:, channel].float().square().mean()
        growth.append((after - before).item())
    return torch.tensor(growth).topk(count).indices.tolist()


def make(sheet: Sheet) -> None:
    """Dream and write the sheet."""
    settings = settings_of(sheet)
    model = load_model(
        ModelSettings(model=sheet.model, model_file=sheet.model_file),
        device=torch.device("cpu"),
        dtype=torch.bfloat16,
    )
    images = [read(path, sheet.size) for path in sheet.images or [SAMPLE_CLIP]]
    rows = []
    for image in images:
        row = [show(image[0], "input")]
        for layer in sheet.layers:
            objective = ObjectiveSettings(layers=(layer,))
            row.append(show(dream(image, [model], settings=replace(settings, objective=objective))[0], layer))
        rows.append(torch.cat(row, 1))
    if sheet.channels or sheet.picked:
        # Larger images, two thirds as many in a row of the same width.
        image = resize(images[-1], (images[-1].shape[-2] * 3 // 2, images[-1].shape[-1] * 3 // 2))
        rows += channel_rows(sheet, model, image, per_row=(len(sheet.layers) + 1) * 2 // 3)
    width = max(row.shape[1] for row in rows)
    rows = [F.pad(row, (0, 0, 0, width - row.shape[1]), value=255) for row in rows]
    Image.fromarray(torch.cat(rows).numpy()).save(sheet.out, quality=88)


def channel_rows(sheet: Sheet, model: DreamModel, image: Tensor, *, per_row: int) -> list[Tensor]:
    """Dream of single channels on one image, in rows."""
    chosen = list(sheet.picked) or best_channels(model, sheet.channel_layer, sheet.channels)
    print(sheet.channel_layer, *chosen)
    shown = []
    for channel in chosen:
        objective = ObjectiveSettings(layers=(sheet.channel_layer,), channels=(str(channel),))
        dreamed = dream(image.clamp(0, 1), [model], settings=replace(settings_of(sheet), objective=objective))
        shown.append(show(dreamed[0], f"{sheet.channel_layer} channel {channel}"))
    return [torch.cat(shown[start : start + per_row], 1) for start in range(0, len(shown), per_row)]


if __name__ == "__main__":
    make(tyro.cli(Sheet, description=__doc__))
